// Frame in, mask and measures out: all of a session but its handle.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "edge_bts/edge_bts.h"
#include "edge_bts/geometry.hpp"
#include "gray.hpp"
#include "measure.hpp"
#include "model.hpp"
#include "network.hpp"
#include "presence.hpp"
#include "sector.hpp"

namespace edge_bts {

/// The options of a session with their defaults filled in.
struct Limits {
    int max_height;
    int max_width;
    int max_components;
    std::uint32_t deadline_us;  ///< 0: none.
    double presence_keep;       ///< 0: no hysteresis.
};

using Clock = std::chrono::steady_clock;

inline double milliseconds(Clock::duration time) noexcept {
    return std::chrono::duration<double, std::milli>(time).count();
}

/// A frame that has been checked.
struct Job {
    const std::uint8_t* pixels;  ///< The first of the region.
    std::size_t pitch;           ///< Bytes.
    int height;                  ///< Of the frame.
    int width;
    std::uint32_t format;
    std::uint32_t white;
    double mm;
    std::uint64_t timestamp;
    std::uint64_t sequence;
    ebts_rect roi;  ///< Within the frame, not empty: the box of the sector, if there is one.
    Sector sector;
};

/// Where the planes of a frame go, checked; NULL: not wanted.
struct Planes {
    std::uint8_t* mask = nullptr;
    std::size_t mask_pitch = 0;  ///< Bytes.
    float* probability = nullptr;
    std::size_t probability_pitch = 0;  ///< Elements.
};

/// Whether the region's pixels are what cut() would make of them.
inline bool is_cut(const Job& job) noexcept {
    return is_gray(job.format) && !job.sector;
}

/// Writes the gray of the region, black outside the sector; rows without a gap.
void cut(const Job& job, std::uint8_t* gray) noexcept;

/// Write the planes of a frame in the pixels of the frame: what was measured, and what the network
/// gave. `geometry` becomes that of the region, for which it must have room.
void write_mask(const Job& job, const Measurer& measurer, const Planes& planes) noexcept;
void write_probability(const Job& job, const float* output, Geometry& geometry,
                       const Planes& planes) noexcept;

/// Runs frames through a network. Takes its memory when it is made; one thread at a time.
class Pipeline {
  public:
    /// Throws Failure BACKEND, or std::bad_alloc.
    Pipeline(std::shared_ptr<const Model> model, const Limits& limits);

    /// Runs one job, whose region is that of `job` or, if it has been cut, lies in `gray`. Leaves
    /// mask and components in `measurer`, writes the planes and fills `result`, but for what
    /// ebts_poll adds. The deadline runs from `since` on. Throws Failure BACKEND.
    void run(const Job& job, const std::uint8_t* gray, const Planes& planes,
             Clock::time_point since, Measurer& measurer, ebts_result& result);

    /// What the network gave for the last job, side x side.
    const float* output() const noexcept { return request_->output(); }

    /// Runs the golden frame, which the model must have. Throws Failure BACKEND.
    Difference self_test() { return compare(*model_->golden, normalise_, *request_); }

    const Model& model() const noexcept { return *model_; }
    const Limits& limits() const noexcept { return limits_; }

  private:
    std::uint32_t prepare(const Job& job, const std::uint8_t* gray);
    std::uint32_t judge() const noexcept;
    bool is_present(const Job& job, double presence) noexcept;
    void finish(const Job& job, Measurer& measurer, ebts_result& result);

    std::shared_ptr<const Model> model_;
    Limits limits_;
    std::unique_ptr<Request> request_;
    Normaliser normalise_;
    Geometry geometry_;
    Presence presence_;
    std::vector<std::uint8_t> square_;
    // Not std::vector: pages that no frame of this stream needs stay untouched.
    std::unique_ptr<std::uint8_t[]> gray_;

    bool shown_ = false;  ///< The last frame had a mask; of this size and region:
    int height_ = 0;
    int width_ = 0;
    ebts_rect roi_{};
    Sector sector_;
};

}  // namespace edge_bts
