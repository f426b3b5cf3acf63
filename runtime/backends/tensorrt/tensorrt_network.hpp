// The backend of NVIDIA's devices: an engine that `edge-bts build` left there. Nothing is built
// here. Compiles against TensorRT 10.3 to 11.x.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <string>
#include <vector>

#include "engine_cache.hpp"
#include "model.hpp"
#include "network.hpp"

namespace nvinfer1 {
class IExecutionContext;
}

namespace edge_bts {

/// Major, minor, patch and build of the library that is loaded.
std::vector<int> tensorrt_version();

struct LoadedEngine;

/// One execution context with its buffers and stream, on the device that was the thread's when the
/// network was opened.
///
/// Where CPU and GPU share their memory, input() and output() are mapped into the GPU; elsewhere
/// they are pinned, and copied by the stream. Where the engine wishes for a CUDA graph, a run is
/// one launch; the graph holds the pointers, and is captured anew when they change.
class TensorRtRequest : public Request {
  public:
    /// On `stream`, or if that is null on one of its own, which waits for no other.
    /// Throws Failure BACKEND, or std::bad_alloc.
    TensorRtRequest(std::shared_ptr<const LoadedEngine> engine, cudaStream_t stream);
    ~TensorRtRequest() override;
    TensorRtRequest(const TensorRtRequest&) = delete;
    TensorRtRequest& operator=(const TensorRtRequest&) = delete;

    float* input() noexcept override;
    const float* output() const noexcept override;

    /// Enqueues and waits for the stream.
    void infer() override;

    /// Runs from here on with memory of the device, 1x1xSxS float32 each and aligned to 256 bytes,
    /// in place of input() and output(), which are then not copied; null: those again.
    /// Throws Failure ARGUMENT for another alignment, before anything is changed, or BACKEND if
    /// TensorRT refuses it: then bind others before the next run.
    void bind(float* device_input, float* device_output);

    /// Puts a run into the stream and does not wait, but when a graph must be captured.
    /// Throws Failure BACKEND.
    void enqueue();

    /// Where the device finds the output, which bind() may have changed.
    const float* device_output() const noexcept;

    int side() const noexcept;
    int device() const noexcept;
    bool mapped() const noexcept;  ///< CPU and GPU share their memory.
    cudaStream_t stream() const noexcept;

    /// Why there is no graph though the engine wishes for one; empty if all is well.
    const std::string& doubt() const noexcept;

  private:
    struct Parts;
    std::unique_ptr<Parts> parts_;
};

/// An engine; its requests may outlive it.
class TensorRtNetwork : public Network {
  public:
    explicit TensorRtNetwork(std::shared_ptr<const LoadedEngine> engine);

    std::unique_ptr<Request> request() const override;
    std::unique_ptr<DeviceWay> device_way(Request& request, const Limits& limits,
                                          std::size_t slots) const override;

    /// On the caller's stream.
    std::unique_ptr<TensorRtRequest> request(cudaStream_t stream) const;

  private:
    std::shared_ptr<const LoadedEngine> engine_;
};

/// Opens the engine of a bundle: the checks of read_engine() for the current device, then TensorRT
/// must take it, and its inputs and outputs must be ours. The known answer is the caller's to
/// check. `key` without TensorRT and device, which are found here. What TensorRT warns of is
/// logged.
///
/// Throws Failure INCOMPATIBLE where GPU, driver or TensorRT do not serve or refuse the engine,
/// INTEGRITY as read_engine(), BACKEND, or std::bad_alloc.
std::unique_ptr<TensorRtNetwork> open_tensorrt(EngineKey key, int side, const Log& log);

}  // namespace edge_bts
