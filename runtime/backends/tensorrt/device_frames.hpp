// Frames in the memory of the GPU: the kernels of runtime/cuda around a request of TensorRT.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "cuda_memory.hpp"
#include "device_geometry.hpp"
#include "device_way.hpp"
#include "tensorrt_network.hpp"

namespace edge_bts {

/// All that a frame goes through is put into the request's stream, and waited for once.
class DeviceFrames : public DeviceWay {
  public:
    /// Room for frames within `limits` and for `slots` regions. `request` outlives it.
    /// Throws Failure BACKEND, or std::bad_alloc.
    DeviceFrames(TensorRtRequest& request, const Limits& limits, std::size_t slots);
    ~DeviceFrames() override;
    DeviceFrames(const DeviceFrames&) = delete;
    DeviceFrames& operator=(const DeviceFrames&) = delete;

    void keep(const Job& job, std::size_t slot) override;
    Passed run(const Job& job, std::optional<std::size_t> kept, const Letterbox& box,
               const Settings& model) override;
    const std::uint8_t* mask() const noexcept override { return mask_.host(); }
    void leave() override { request_.bind(nullptr, nullptr); }

  private:
    struct Slot {
        explicit Slot(std::size_t pixels)
            : gray(make_device_memory<std::uint8_t>(pixels)), white(1, false) {}

        DeviceMemory<std::uint8_t> gray;
        Shared<std::uint32_t> white;  ///< Not mapped: it is counted by atomic operations.
    };

    void look_at(const Job& job, bool wants_gray, Slot& slot, cudaStream_t stream);

    TensorRtRequest& request_;
    DeviceMemory<float> square_;  ///< The network's input.
    Shared<std::uint8_t> mask_;
    std::vector<Slot> slots_;
    OwnStream feed_;    ///< Of keep().
    OwnEvent written_;  ///< The frame, by the caller's stream.
    OwnEvent begun_;
    OwnEvent prepared_;
    OwnEvent inferred_;
};

}  // namespace edge_bts
