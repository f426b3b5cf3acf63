#include "tensorrt_network.hpp"

#include <NvInferRuntime.h>
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <mutex>
#include <utility>

#include "cuda_memory.hpp"
#include "failure.hpp"
#if EDGE_BTS_DEVICE_FRAMES
#include "device_frames.hpp"
#endif

namespace edge_bts {
namespace {

constexpr const char* kInput = "image";
constexpr const char* kOutput = "probability";
constexpr std::size_t kAlignment = 256;  // of what TensorRT reads and writes

/// Keeps what TensorRT says; it may say it from several threads, and must not meet an exception.
class Logger : public nvinfer1::ILogger {
  public:
    void log(Severity severity, const char* text) noexcept override {
        if (severity > Severity::kWARNING) return;
        try {
            const std::lock_guard<std::mutex> lock(mutex_);
            auto& said = severity == Severity::kWARNING ? warnings_ : errors_;
            if (said.size() < kMost && std::find(said.begin(), said.end(), text) == said.end()) {
                said.emplace_back(text);
            }
        } catch (...) {
            return;  // no memory for a message
        }
    }

    /// All errors since the last call, in one line.
    std::string errors() {
        const std::lock_guard<std::mutex> lock(mutex_);
        std::string all;
        for (const std::string& text : errors_) all += (all.empty() ? "" : " | ") + text;
        errors_.clear();
        return all.empty() ? "TensorRT logged no error" : all;
    }

    std::vector<std::string> warnings() {
        const std::lock_guard<std::mutex> lock(mutex_);
        return std::exchange(warnings_, {});
    }

  private:
    static constexpr std::size_t kMost = 16;
    std::mutex mutex_;
    std::vector<std::string> errors_;
    std::vector<std::string> warnings_;
};

struct GraphDelete {
    void operator()(cudaGraph_t graph) const noexcept { cudaGraphDestroy(graph); }
};
struct RunDelete {
    void operator()(cudaGraphExec_t run) const noexcept { cudaGraphExecDestroy(run); }
};
/// A port of the network: its own memory, or what is given in its place.
class Tensor {
  public:
    Tensor(std::size_t count, bool mapped) : own_(count, mapped), used_(own_.device()) {}

    float* host() const noexcept { return own_.host(); }
    float* used() const noexcept { return used_; }

    /// Whether the pointer is another one now.
    bool use(float* given) noexcept {
        const float* before = std::exchange(used_, given == nullptr ? own_.device() : given);
        return used_ != before;
    }

    void copy_in(cudaStream_t stream) const {
        if (used_ == own_.device()) own_.copy_in(stream);
    }
    void copy_out(cudaStream_t stream) const {
        if (used_ == own_.device()) own_.copy_out(own_.count(), stream);
    }

  private:
    Shared<float> own_;
    float* used_;
};

std::string shape_of(const nvinfer1::Dims& dims) {
    std::string text;
    for (int i = 0; i < std::min(dims.nbDims, nvinfer1::Dims::MAX_DIMS); ++i) {
        text += (i == 0 ? "(" : ", ") + std::to_string(dims.d[i]);
    }
    return text + ")";
}

bool is_port(const nvinfer1::ICudaEngine& engine, const char* name, nvinfer1::TensorIOMode mode,
             int side) {
    const nvinfer1::Dims dims = engine.getTensorShape(name);
    const std::array<std::int64_t, 4> square = {1, 1, side, side};
    return engine.getTensorIOMode(name) == mode &&
           engine.getTensorDataType(name) == nvinfer1::DataType::kFLOAT &&
           engine.getTensorFormat(name) == nvinfer1::TensorFormat::kLINEAR && dims.nbDims == 4 &&
           std::equal(square.begin(), square.end(), dims.d);
}

void check_ports(const nvinfer1::ICudaEngine& engine, int side, const std::string& mend) {
    using Mode = nvinfer1::TensorIOMode;
    if (engine.getNbIOTensors() == 2 && is_port(engine, kInput, Mode::kINPUT, side) &&
        is_port(engine, kOutput, Mode::kOUTPUT, side)) {
        return;
    }
    std::string came;
    for (int i = 0; i < engine.getNbIOTensors(); ++i) {
        const char* name = engine.getIOTensorName(i);
        came +=
            (i == 0 ? "" : ", ") + std::string(name) + " " + shape_of(engine.getTensorShape(name));
    }
    const std::string square = "(1, 1, " + std::to_string(side) + ", " + std::to_string(side) + ")";
    throw Failure(EBTS_ERROR_INCOMPATIBLE,
                  std::string("Expected an engine from ") + kInput + " to " + kOutput +
                      ", both float32 " + square + " and linear, but it has " +
                      (came.empty() ? "none" : came) + ", or of other types; " + mend + ".");
}

}  // namespace

/// What requests share. Each is destroyed before what stands above it.
struct LoadedEngine {
    mutable Logger logger;
    std::unique_ptr<nvinfer1::IRuntime> runtime;
    std::unique_ptr<nvinfer1::ICudaEngine> engine;
    int side = 0;
    bool graph = false;   ///< Wished for.
    bool mapped = false;  ///< CPU and GPU share their memory.
    int device = 0;

    std::size_t pixels() const noexcept {
        return static_cast<std::size_t>(side) * static_cast<std::size_t>(side);
    }
};

struct TensorRtRequest::Parts {
    Parts(std::shared_ptr<const LoadedEngine> loaded, cudaStream_t given)
        : engine(std::move(loaded)),
          input(engine->pixels(), engine->mapped),
          output(engine->pixels(), engine->mapped) {
        if (given == nullptr) own_stream = make_stream();
        stream = given == nullptr ? own_stream.get() : given;
        context.reset(engine->engine->createExecutionContext());
        if (context == nullptr) {
            throw Failure(EBTS_ERROR_BACKEND,
                          "Expected TensorRT to make an execution context, but it refused (" +
                              engine->logger.errors() +
                              "); the GPU is short of memory: close other programs.");
        }
        set_addresses();
    }

    ~Parts() {
        if (stream != nullptr) cudaStreamSynchronize(stream);  // nothing may run in freed memory
    }

    void set_addresses() {
        for (const auto& [name, tensor] :
             {std::pair(kInput, &input), std::pair(kOutput, &output)}) {
            const bool aligned = reinterpret_cast<std::uintptr_t>(tensor->used()) % kAlignment == 0;
            if (!aligned || !context->setTensorAddress(name, tensor->used())) {
                throw Failure(EBTS_ERROR_BACKEND,
                              std::string("Expected TensorRT to take the address of ") + name +
                                  ", a multiple of " + std::to_string(kAlignment) +
                                  ", but it refused (" + engine->logger.errors() +
                                  "); open the bundle again.");
            }
        }
    }

    void launch_each() {
        input.copy_in(stream);
        if (!context->enqueueV3(stream)) {
            throw Failure(EBTS_ERROR_BACKEND,
                          "Expected TensorRT to run the engine, but it refused (" +
                              engine->logger.errors() + "); open the bundle again.");
        }
        output.copy_out(stream);
    }

    void wait() { check_cuda(cudaStreamSynchronize(stream), "run the network"); }

    /// Records a run, copies included. What TensorRT sets up at the first run after a change must
    /// not be recorded, so that one goes before.
    void capture() {
        run.reset();
        launch_each();
        wait();
        try {
            check_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
            cudaGraph_t captured = nullptr;
            try {
                launch_each();
            } catch (...) {
                cudaStreamEndCapture(stream, &captured);
                const std::unique_ptr<CUgraph_st, GraphDelete> dropped(captured);
                throw;
            }
            const cudaError_t ended = cudaStreamEndCapture(stream, &captured);
            const std::unique_ptr<CUgraph_st, GraphDelete> graph(captured);
            check_cuda(ended, "capture a run");
            cudaGraphExec_t made = nullptr;
            check_cuda(cudaGraphInstantiate(&made, graph.get(), 0), "make a graph of a run");
            run.reset(made);
        } catch (const Failure& failure) {
            cudaGetLastError();
            doubt =
                std::string("no CUDA graph, the engine is enqueued each time: ") + failure.what();
        }
    }

    std::shared_ptr<const LoadedEngine> engine;
    OwnStream own_stream;
    cudaStream_t stream = nullptr;
    Tensor input;
    Tensor output;
    std::unique_ptr<nvinfer1::IExecutionContext> context;
    std::unique_ptr<CUgraphExec_st, RunDelete> run;
    std::string doubt;
};

TensorRtRequest::TensorRtRequest(std::shared_ptr<const LoadedEngine> engine, cudaStream_t stream) {
    const OnDevice here(engine->device);
    parts_ = std::make_unique<Parts>(std::move(engine), stream);
    if (parts_->engine->graph) parts_->capture();
}

TensorRtRequest::~TensorRtRequest() = default;

float* TensorRtRequest::input() noexcept {
    return parts_->input.host();
}

const float* TensorRtRequest::output() const noexcept {
    return parts_->output.host();
}

const float* TensorRtRequest::device_output() const noexcept {
    return parts_->output.used();
}

int TensorRtRequest::side() const noexcept {
    return parts_->engine->side;
}

int TensorRtRequest::device() const noexcept {
    return parts_->engine->device;
}

bool TensorRtRequest::mapped() const noexcept {
    return parts_->engine->mapped;
}

cudaStream_t TensorRtRequest::stream() const noexcept {
    return parts_->stream;
}

const std::string& TensorRtRequest::doubt() const noexcept {
    return parts_->doubt;
}

void TensorRtRequest::infer() {
    enqueue();
    parts_->wait();
}

void TensorRtRequest::bind(float* device_input, float* device_output) {
    for (const float* given : {device_input, device_output}) {
        if (reinterpret_cast<std::uintptr_t>(given) % kAlignment != 0) {
            throw Failure(EBTS_ERROR_ARGUMENT, "Expected memory of the device aligned to " +
                                                   std::to_string(kAlignment) +
                                                   " bytes, but it is not; take what cudaMalloc "
                                                   "gives.");
        }
    }
    const bool other_input = parts_->input.use(device_input);
    const bool other_output = parts_->output.use(device_output);
    if (!other_input && !other_output) return;
    parts_->run.reset();
    parts_->set_addresses();
}

void TensorRtRequest::enqueue() {
    Parts& parts = *parts_;
    const OnDevice here(parts.engine->device);
    if (parts.engine->graph && parts.run == nullptr && parts.doubt.empty()) parts.capture();
    if (parts.run == nullptr) {
        parts.launch_each();
    } else {
        check_cuda(cudaGraphLaunch(parts.run.get(), parts.stream), "launch a graph");
    }
}

TensorRtNetwork::TensorRtNetwork(std::shared_ptr<const LoadedEngine> engine)
    : engine_(std::move(engine)) {}

std::unique_ptr<Request> TensorRtNetwork::request() const {
    return request(nullptr);
}

std::unique_ptr<TensorRtRequest> TensorRtNetwork::request(cudaStream_t stream) const {
    return std::make_unique<TensorRtRequest>(engine_, stream);
}

std::unique_ptr<DeviceWay> TensorRtNetwork::device_way(Request& request, const Limits& limits,
                                                       std::size_t slots) const {
#if EDGE_BTS_DEVICE_FRAMES
    const OnDevice here(engine_->device);
    return std::make_unique<DeviceFrames>(static_cast<TensorRtRequest&>(request), limits, slots);
#else
    return Network::device_way(request, limits, slots);
#endif
}

std::vector<int> tensorrt_version() {
    return {getInferLibMajorVersion(), getInferLibMinorVersion(), getInferLibPatchVersion(),
            getInferLibBuildVersion()};
}

std::unique_ptr<TensorRtNetwork> open_tensorrt(EngineKey key, int side, const Log& log) {
    key.tensorrt = tensorrt_version();
    if (key.tensorrt.front() != NV_TENSORRT_MAJOR) {
        // Classes and enums differ between major versions.
        throw Failure(EBTS_ERROR_INCOMPATIBLE,
                      "Expected TensorRT " + std::to_string(NV_TENSORRT_MAJOR) +
                          ", for which this library was compiled, but " + key.version() +
                          " is loaded; install the build for it.");
    }
    cudaDeviceProp device{};
    int current = 0;
    cudaError_t status = cudaGetDevice(&current);
    if (status == cudaSuccess) status = cudaGetDeviceProperties(&device, current);
    if (status != cudaSuccess) {
        cudaGetLastError();
        throw Failure(EBTS_ERROR_INCOMPATIBLE,
                      std::string("Expected a GPU, but CUDA finds none: ") +
                          cudaGetErrorString(status) +
                          "; check GPU and driver with `edge-bts doctor`.");
    }
    utsname machine{};
    uname(&machine);
    key.device = {machine.machine,
                  std::to_string(device.major) + "." + std::to_string(device.minor), device.name,
                  device.multiProcessorCount};
    const Engine found = read_engine(key);

    const auto loaded = std::make_shared<LoadedEngine>();
    loaded->side = side;
    loaded->graph = found.cuda_graph;
    loaded->device = current;
    loaded->mapped = device.integrated != 0 && device.canMapHostMemory != 0;
    loaded->runtime.reset(nvinfer1::createInferRuntime(loaded->logger));
    if (loaded->runtime == nullptr) {
        throw Failure(EBTS_ERROR_INCOMPATIBLE,
                      "Expected TensorRT to start, but it does not (" + loaded->logger.errors() +
                          "); check GPU and driver with `edge-bts doctor`.");
    }
    loaded->engine.reset(
        loaded->runtime->deserializeCudaEngine(found.plan.data(), found.plan.size()));
    if (loaded->engine == nullptr) {
        throw Failure(EBTS_ERROR_INCOMPATIBLE, "Expected TensorRT " + key.version() +
                                                   " to take the engine, but it refused (" +
                                                   loaded->logger.errors() + "); " + key.mend() +
                                                   ".");
    }
    check_ports(*loaded->engine, side, key.mend());

    auto network = std::make_unique<TensorRtNetwork>(loaded);
    const std::string doubt = network->request(nullptr)->doubt();
    if (!doubt.empty()) log(EBTS_LOG_WARNING, doubt);
    for (const std::string& text : loaded->logger.warnings()) {
        log(EBTS_LOG_WARNING, "TensorRT: " + text);
    }
    return network;
}

}  // namespace edge_bts
