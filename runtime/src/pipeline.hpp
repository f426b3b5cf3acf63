// Frame in, mask and measures out: all of a session but its handle.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "edge_bts/edge_bts.h"
#include "edge_bts/geometry.hpp"
#include "measure.hpp"
#include "model.hpp"
#include "network.hpp"
#include "presence.hpp"

namespace edge_bts {

/// The options of a session with their defaults filled in.
struct Limits {
    int max_height;
    int max_width;
    int max_components;
    std::uint32_t deadline_us;  ///< 0: none.
};

/// A frame, planes and a region that have been checked.
struct Job {
    const std::uint8_t* pixels;
    std::size_t pitch;  ///< Bytes.
    int height;
    int width;
    std::uint32_t format;
    std::uint32_t white;
    double mm;
    ebts_rect roi;  ///< Within the frame, not empty.
    std::uint8_t* mask;
    std::size_t mask_pitch;  ///< Bytes.
    float* probability;
    std::size_t probability_pitch;  ///< Elements.
};

/// Runs frames through a network. Takes its memory when it is made; one thread at a time.
class Pipeline {
  public:
    /// Throws Failure BACKEND, or std::bad_alloc.
    Pipeline(std::shared_ptr<const Model> model, const Limits& limits);

    /// Runs one job and fills all of `result` that is not the caller's. Throws Failure BACKEND.
    void run(const Job& job, ebts_result& result);

    /// Runs the golden frame, which the model must have. Throws Failure BACKEND.
    Difference self_test() { return compare(*model_->golden, normalise_, *request_); }

    const Model& model() const noexcept { return *model_; }
    const Limits& limits() const noexcept { return limits_; }

  private:
    std::uint32_t prepare(const Job& job);
    std::uint32_t judge() const noexcept;
    void finish(const Job& job, ebts_result& result);

    std::shared_ptr<const Model> model_;
    Limits limits_;
    std::unique_ptr<Request> request_;
    Normaliser normalise_;
    Geometry geometry_;
    Presence presence_;
    Measurer measurer_;
    std::vector<std::uint8_t> square_;
    // Not std::vector: pages that no frame of this stream needs stay untouched.
    std::unique_ptr<std::uint8_t[]> gray_;
    std::uint64_t sequence_ = 0;
};

}  // namespace edge_bts
