#include "fake_tensorrt.hpp"

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>

#include "fake_cuda.hpp"
#include "stubs.hpp"

namespace {

using namespace nvinfer1;

fake_tensorrt::State now;

const fake_tensorrt::Port* port(const char* name) {
    const auto found = std::find_if(now.ports.begin(), now.ports.end(),
                                    [name](const auto& one) { return one.name == name; });
    return found == now.ports.end() ? nullptr : &*found;
}

/// An object of the interface whose calls go to its own implementation.
template <typename Interface, typename Implementation>
class Object : public Interface {
  public:
    template <typename... Arguments>
    explicit Object(Arguments&&... arguments)
        : implementation_(std::forward<Arguments>(arguments)...) {
        this->mImpl = &implementation_;
        ++now.living;
    }
    ~Object() noexcept override { --now.living; }

  private:
    Implementation implementation_;
};

class Context : public stubs::VExecutionContext {
  public:
    explicit Context(ILogger& logger) : logger_(logger) {}

    bool setTensorAddress(char const* name, void* data) noexcept override {
        if (!now.takes_address || port(name) == nullptr) return false;
        addresses_[name] = static_cast<float*>(data);
        return reinterpret_cast<std::uintptr_t>(data) % 256 == 0;
    }

    bool enqueueV3(cudaStream_t stream) noexcept override {
        ++now.enqueued;
        now.streams.push_back(stream);
        if (!now.captures && fake_cuda::records(stream)) {
            logger_.log(ILogger::Severity::kERROR, "this engine is not capturable");
            return false;
        }
        if (now.fails_at != 0 && --now.fails_at == 0) {
            logger_.log(ILogger::Severity::kERROR, "the fake fails as asked");
            return false;
        }
        std::size_t count = 1;
        for (const int side : now.ports.front().shape) count *= static_cast<std::size_t>(side);
        const float* from = addresses_["image"];
        float* to = addresses_["probability"];
        fake_cuda::put(stream, [from, to, count] {
            std::transform(from, from + count, to, [](float value) { return now.gain * value; });
        });
        return true;
    }

  private:
    ILogger& logger_;
    std::map<std::string, float*> addresses_;
};

class Engine : public stubs::VCudaEngine {
  public:
    explicit Engine(ILogger& logger) : logger_(logger) {}

    IExecutionContext* createExecutionContext(
        ExecutionContextAllocationStrategy) noexcept override {
        now.calls.emplace_back("context");
        if (!now.makes_context) return nullptr;
        return new Object<IExecutionContext, Context>(logger_);
    }
    int32_t getNbIOTensors() const noexcept override {
        return static_cast<int32_t>(now.ports.size());
    }
    char const* getIOTensorName(int32_t index) const noexcept override {
        return now.ports[static_cast<std::size_t>(index)].name.c_str();
    }
    TensorIOMode getTensorIOMode(char const* name) const noexcept override {
        return port(name) == nullptr ? TensorIOMode::kNONE : port(name)->mode;
    }
    DataType getTensorDataType(char const* name) const noexcept override {
        return port(name) == nullptr ? DataType::kFLOAT : port(name)->type;
    }
    TensorFormat getTensorFormat(char const* name) const noexcept override {
        return port(name) == nullptr ? TensorFormat::kLINEAR : port(name)->format;
    }
    Dims getTensorShape(char const* name) const noexcept override {
        Dims dims{};
        dims.nbDims = -1;
        if (port(name) == nullptr) return dims;
        dims.nbDims = static_cast<int32_t>(port(name)->shape.size());
        std::copy(port(name)->shape.begin(), port(name)->shape.end(), dims.d);
        return dims;
    }

  private:
    ILogger& logger_;
};

class Runtime : public stubs::VRuntime {
  public:
    explicit Runtime(ILogger& logger) : logger_(logger) {}

    ICudaEngine* deserializeCudaEngine(void const*, std::size_t) noexcept override {
        now.calls.emplace_back("deserialize");
        if (!now.warning.empty()) {
            logger_.log(ILogger::Severity::kWARNING, now.warning.c_str());
        }
        if (!now.takes_plan) {
            logger_.log(ILogger::Severity::kERROR, "generated on an incompatible device");
            return nullptr;
        }
        return new Object<ICudaEngine, Engine>(logger_);
    }

  private:
    ILogger& logger_;
};

}  // namespace

namespace fake_tensorrt {

State& state() {
    return now;
}

void reset(int side) {
    now = State{};
    const int version[] = {NV_TENSORRT_MAJOR, NV_TENSORRT_MINOR, NV_TENSORRT_PATCH,
                           NV_TENSORRT_BUILD};
    std::copy(version, version + 4, now.version);
    Port image;
    image.name = "image";
    image.mode = TensorIOMode::kINPUT;
    image.shape = {1, 1, side, side};
    Port probability = image;
    probability.name = "probability";
    probability.mode = TensorIOMode::kOUTPUT;
    now.ports = {probability, image};
}

}  // namespace fake_tensorrt

extern "C" {

int32_t getInferLibMajorVersion() noexcept {
    return now.version[0];
}
int32_t getInferLibMinorVersion() noexcept {
    return now.version[1];
}
int32_t getInferLibPatchVersion() noexcept {
    return now.version[2];
}
int32_t getInferLibBuildVersion() noexcept {
    return now.version[3];
}

void* createInferRuntime_INTERNAL(void* logger, int32_t) noexcept {
    now.calls.emplace_back("start");
    if (!now.starts) return nullptr;
    return static_cast<IRuntime*>(new Object<IRuntime, Runtime>(*static_cast<ILogger*>(logger)));
}

}  // extern "C"
