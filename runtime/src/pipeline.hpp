// Frame in, mask and measures out: all of a session but its handle.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "edge_bts/edge_bts.h"
#include "edge_bts/geometry.hpp"
#include "job.hpp"
#include "measure.hpp"
#include "model.hpp"
#include "network.hpp"
#include "presence.hpp"

namespace edge_bts {

using Clock = std::chrono::steady_clock;

inline double milliseconds(Clock::duration time) noexcept {
    return std::chrono::duration<double, std::milli>(time).count();
}

/// Where the planes of a frame go, checked; NULL: not wanted.
struct Planes {
    std::uint8_t* mask = nullptr;
    std::size_t mask_pitch = 0;  ///< Bytes.
    float* probability = nullptr;
    std::size_t probability_pitch = 0;  ///< Elements.
};

/// Write the planes of a frame in the pixels of the frame: what was measured, and what the network
/// gave. `geometry` becomes that of the region, for which it must have room.
void write_mask(const Job& job, const Measurer& measurer, const Planes& planes) noexcept;
void write_probability(const Job& job, const float* output, Geometry& geometry,
                       const Planes& planes) noexcept;

/// Runs frames through a network. Takes its memory when it is made; one thread at a time, but for
/// keep().
class Pipeline {
  public:
    /// With room for `slots` regions that are kept, 1 at least. Throws Failure BACKEND, or
    /// INCOMPATIBLE for a memory that the backend does not take, or std::bad_alloc.
    Pipeline(std::shared_ptr<const Model> model, const Limits& limits, std::size_t slots = 1);

    /// Keeps the gray of the region, black outside the sector, in a slot: the frame itself is then
    /// needed no longer. May be called while another thread is in run() with another slot.
    /// Throws Failure FRAME or BACKEND where a frame of a device cannot be read.
    void keep(const Job& job, std::size_t slot);

    /// Runs one job, whose region is its own or, if it is `kept`, lies in that slot. Leaves mask
    /// and components in `measurer`, writes the planes and fills `result`, but for what ebts_poll
    /// adds. The deadline runs from `since` on. Throws Failure BACKEND, or as keep().
    void run(const Job& job, std::optional<std::size_t> kept, const Planes& planes,
             Clock::time_point since, Measurer& measurer, ebts_result& result);

    /// What the network gave for the last job, side x side.
    const float* output() const noexcept { return request_->output(); }

    /// Runs the golden frame, which the model must have. Throws Failure BACKEND.
    Difference self_test();

    const Model& model() const noexcept { return *model_; }
    const Limits& limits() const noexcept { return limits_; }

  private:
    Passed pass(const Job& job, std::optional<std::size_t> kept);
    std::uint32_t judge() const noexcept;
    bool is_present(const Job& job, double presence) noexcept;
    void find_mask(const Job& job, Plane<std::uint8_t> mask);
    void finish(const Job& job, std::size_t white, Measurer& measurer, ebts_result& result);

    std::shared_ptr<const Model> model_;
    Limits limits_;
    std::unique_ptr<Request> request_;
    std::unique_ptr<DeviceWay> device_;  ///< Where frames lie in the memory of a device.
    Normaliser normalise_;
    Geometry geometry_;
    Presence presence_;
    std::vector<std::uint8_t> square_;
    // Not std::vector: pages that no frame of this stream needs stay untouched.
    std::vector<std::unique_ptr<std::uint8_t[]>> gray_;  ///< The slots of the host.

    bool shown_ = false;  ///< The last frame had a mask; of this size and region:
    int height_ = 0;
    int width_ = 0;
    ebts_rect roi_{};
    Sector sector_;
};

}  // namespace edge_bts
