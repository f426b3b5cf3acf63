#include "fake_cuda.hpp"

#include <cstdlib>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

using Work = std::function<void()>;

struct CUstream_st {
    std::vector<Work> waiting;
    std::vector<Work> recorded;
    bool recording = false;
};

struct CUevent_st {
    cudaStream_t stream = nullptr;
};

struct CUgraph_st {
    std::vector<Work> work;
};

struct CUgraphExec_st {
    std::vector<Work> work;
};

namespace {

enum class Kind { device, pinned, mapped };

struct Piece {
    Kind kind;
    std::size_t size;
};

struct State {
    fake_cuda::Device device;
    std::map<const void*, Piece> memory;
    int objects = 0;
    int captures = 0;
    int graph_launches = 0;
    int copies = 0;
    int countdown = 0;
    cudaError_t status = cudaSuccess;
    std::string name;
    bool failed = false;
};

State state;

cudaError_t take(void** memory, std::size_t size, Kind kind) {
    *memory = std::aligned_alloc(256, (size + 255) / 256 * 256);
    state.memory[*memory] = {kind, size};
    return cudaSuccess;
}

cudaError_t give(void* memory) {
    if (memory != nullptr && state.memory.erase(memory) != 1) return cudaErrorInvalidValue;
    std::free(memory);
    return cudaSuccess;
}

bool is(const void* memory, Kind kind) {
    const auto found = state.memory.find(memory);
    return found != state.memory.end() && found->second.kind == kind;
}

/// The piece of memory in which an address lies.
std::map<const void*, Piece>::const_iterator piece(const void* memory) {
    auto found = state.memory.upper_bound(memory);
    if (found == state.memory.begin()) return state.memory.end();
    --found;
    const auto into = static_cast<const char*>(memory) - static_cast<const char*>(found->first);
    return static_cast<std::size_t>(into) < found->second.size ? found : state.memory.end();
}

void work_off(cudaStream_t stream) {
    for (const Work& work : std::exchange(stream->waiting, {})) work();
}

}  // namespace

namespace fake_cuda {

void reset() {
    state = State();
}
Device& device() {
    return state.device;
}
void fail(int number, cudaError_t status, const std::string& name) {
    state.countdown = number;
    state.status = status;
    state.name = name;
    state.failed = false;
}
bool fails(const char* name) {
    if (state.countdown == 0 || (!state.name.empty() && state.name != name)) return false;
    if (--state.countdown > 0) return false;
    state.failed = true;
    return true;
}
bool failed() {
    return state.failed;
}
int living() {
    return state.objects + static_cast<int>(state.memory.size());
}
int captures() {
    return state.captures;
}
int graph_launches() {
    return state.graph_launches;
}
int copies() {
    return state.copies;
}
bool records(cudaStream_t stream) {
    return stream->recording;
}
bool is_device_memory(const void* memory) {
    return is(memory, Kind::device);
}
bool is_mapped(const void* memory) {
    return is(memory, Kind::mapped);
}

void put(cudaStream_t stream, Work work) {
    if (stream->recording) {
        stream->recorded.push_back(std::move(work));
    } else {
        stream->waiting.push_back(std::move(work));
    }
}

}  // namespace fake_cuda

#define FAIL_IF_ASKED(name) \
    if (fake_cuda::fails(name)) return state.status

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
    *count = state.device.there ? 1 : 0;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
    FAIL_IF_ASKED("cudaGetDevice");
    *device = 0;
    return state.device.there ? cudaSuccess : cudaErrorNoDevice;
}

cudaError_t cudaSetDevice(int device) {
    return device == 0 && state.device.there ? cudaSuccess : cudaErrorInvalidDevice;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
    FAIL_IF_ASKED("cudaGetDeviceProperties");
    *properties = {};
    std::strncpy(properties->name, state.device.name.c_str(), sizeof properties->name - 1);
    properties->major = state.device.major;
    properties->minor = state.device.minor;
    properties->multiProcessorCount = state.device.sm_count;
    properties->integrated = state.device.integrated ? 1 : 0;
    properties->canMapHostMemory = 1;
    return cudaSuccess;
}

const char* cudaGetErrorString(cudaError_t status) {
    return status == cudaErrorNoDevice ? "no CUDA-capable device is detected" : "unknown error";
}

cudaError_t cudaGetLastError() {
    return cudaSuccess;
}

cudaError_t cudaMalloc(void** memory, std::size_t size) {
    FAIL_IF_ASKED("cudaMalloc");
    return take(memory, size, Kind::device);
}

cudaError_t cudaFree(void* memory) {
    return give(memory);
}

cudaError_t cudaHostAlloc(void** memory, std::size_t size, unsigned flags) {
    FAIL_IF_ASKED("cudaHostAlloc");
    return take(memory, size, (flags & cudaHostAllocMapped) != 0 ? Kind::mapped : Kind::pinned);
}

cudaError_t cudaFreeHost(void* memory) {
    return give(memory);
}

cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned) {
    FAIL_IF_ASKED("cudaHostGetDevicePointer");
    *device = host;
    return is(host, Kind::mapped) ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t size, cudaMemcpyKind) {
    std::memcpy(to, from, size);
    return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
    return cudaSuccess;  // cudaMemcpy is done when it returns; who waits for a stream names it
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t size, cudaMemcpyKind kind,
                            cudaStream_t stream) {
    FAIL_IF_ASKED("cudaMemcpyAsync");
    const void* device = kind == cudaMemcpyHostToDevice ? to : from;
    const void* host = kind == cudaMemcpyHostToDevice ? from : to;
    if (!is(device, Kind::device) || !is(host, Kind::pinned)) return cudaErrorInvalidValue;
    fake_cuda::put(stream, [=] {
        ++state.copies;
        std::memcpy(to, from, size);
    });
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t size, cudaStream_t stream) {
    FAIL_IF_ASKED("cudaMemsetAsync");
    if (piece(memory) == state.memory.end()) return cudaErrorInvalidValue;
    fake_cuda::put(stream, [=] { std::memset(memory, value, size); });
    return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* about, const void* memory) {
    FAIL_IF_ASKED("cudaPointerGetAttributes");
    const auto found = piece(memory);
    *about = {};
    about->type = cudaMemoryTypeUnregistered;
    if (found == state.memory.end()) return cudaSuccess;
    about->type = found->second.kind == Kind::device ? cudaMemoryTypeDevice : cudaMemoryTypeHost;
    about->devicePointer = const_cast<void*>(memory);
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
    FAIL_IF_ASKED("cudaEventCreateWithFlags");
    *event = new CUevent_st;
    ++state.objects;
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    delete event;
    --state.objects;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    FAIL_IF_ASKED("cudaEventRecord");
    event->stream = stream;
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
    FAIL_IF_ASKED("cudaStreamWaitEvent");
    fake_cuda::put(stream, [other = event->stream] { work_off(other); });
    return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
    FAIL_IF_ASKED("cudaEventElapsedTime");
    *milliseconds = 0.001F;
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
    FAIL_IF_ASKED("cudaStreamCreateWithFlags");
    if (flags != cudaStreamNonBlocking) return cudaErrorInvalidValue;
    *stream = new CUstream_st;
    ++state.objects;
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    delete stream;
    --state.objects;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    FAIL_IF_ASKED("cudaStreamSynchronize");
    if (stream->recording) return cudaErrorStreamCaptureUnsupported;
    work_off(stream);
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
    FAIL_IF_ASKED("cudaStreamBeginCapture");
    if (mode != cudaStreamCaptureModeThreadLocal) return cudaErrorInvalidValue;
    stream->recording = true;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
    stream->recording = false;
    std::vector<Work> recorded = std::exchange(stream->recorded, {});
    *graph = nullptr;
    FAIL_IF_ASKED("cudaStreamEndCapture");
    *graph = new CUgraph_st{std::move(recorded)};
    ++state.objects;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* run, cudaGraph_t graph, unsigned long long) {
    FAIL_IF_ASKED("cudaGraphInstantiate");
    *run = new CUgraphExec_st{graph->work};
    ++state.objects;
    ++state.captures;
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t run, cudaStream_t stream) {
    FAIL_IF_ASKED("cudaGraphLaunch");
    ++state.graph_launches;
    for (const Work& work : run->work) fake_cuda::put(stream, work);
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    if (graph != nullptr) --state.objects;
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t run) {
    delete run;
    --state.objects;
    return cudaSuccess;
}

}  // extern "C"
