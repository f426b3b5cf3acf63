// A live session: frames in from one thread, results out to another, the newest first.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "edge_bts/edge_bts.h"
#include "errors.hpp"
#include "pipeline.hpp"

namespace edge_bts {

/// What a live session does beyond its limits.
struct Liveness {
    std::chrono::microseconds stale;  ///< 0: never.
    ebts_ready ready;
    void* user;
};

/// What becomes of frames; the rest of them is pending.
struct Counts {
    std::uint64_t frames = 0;
    std::uint64_t results = 0;
    std::uint64_t errors = 0;
    std::uint64_t dropped = 0;
};

/// Three frames (one is filled, one waits, one runs) and three outcomes (one is made, one waits,
/// one is the caller's) change places; nothing is copied or allocated where they meet.
class Live {
  public:
    /// Throws Failure BACKEND or MEMORY, or std::bad_alloc.
    Live(std::shared_ptr<const Model> model, const Limits& limits, const Liveness& liveness);

    /// Stops, and waits for the thread, unless it was released.
    ~Live();
    Live(const Live&) = delete;
    Live& operator=(const Live&) = delete;

    const Pipeline& pipeline() const noexcept { return pipeline_; }

    /// One thread at a time. Throws as Pipeline::keep(), and then has not counted the frame.
    void submit(const Job& job);

    /// Counts a frame that was refused.
    void refuse() noexcept;

    /// One thread at a time. `check` is asked whether planes fit a frame of width, height; its
    /// status is returned if not.
    template <typename Check>
    ebts_status poll(std::chrono::microseconds wait, Check check, Planes& planes,
                     ebts_result& result) noexcept {
        std::unique_lock lock(mutex_);
        ebts_status status = await(lock, wait);
        if (status != EBTS_OK) return status;
        if (outcomes_[ready_].status == EBTS_OK) {
            const Job& job = outcomes_[ready_].job;
            status = check(job.width, job.height, planes);
            if (status != EBTS_OK) return status;
        }
        std::swap(ready_, held_);
        is_ready_ = false;
        return hand_out(lock, planes, result);
    }

    /// Between two frames. Throws Failure BACKEND.
    Difference self_test();

    Counts counts() const noexcept;

    /// Ends what waits and lets nothing new begin.
    void stop() noexcept;

    bool is_own_thread() const noexcept { return std::this_thread::get_id() == thread_.get_id(); }

    /// Lets the thread end by itself, and hold `owner` until then; for that thread.
    void release(std::shared_ptr<void> owner) noexcept;

  private:
    static constexpr std::size_t kSlots = 3;
    struct Frame {
        Job job{};
        Clock::time_point since{};
    };
    struct Outcome {
        Outcome(const Limits& limits, std::size_t pixels)
            : measurer(limits.max_height, limits.max_width, limits.max_components),
              output(pixels) {}

        Measurer measurer;
        std::vector<float> output;
        Job job{};
        Clock::time_point since{};
        ebts_result result{};
        ebts_status status = EBTS_OK;
        char sentence[kMaxSentence] = "";
    };

    void work() noexcept;
    void run(std::size_t slot, Outcome& outcome) noexcept;
    ebts_status await(std::unique_lock<std::mutex>& lock, std::chrono::microseconds wait);
    ebts_status hand_out(std::unique_lock<std::mutex>& lock, const Planes& planes,
                         ebts_result& result) noexcept;

    Pipeline pipeline_;
    Liveness liveness_;
    Geometry back_;                     ///< Of ebts_poll's thread.
    std::array<Frame, kSlots> frames_;  ///< What each of the pipeline's slots keeps.
    std::vector<Outcome> outcomes_;

    std::mutex running_;        ///< Held while the network runs.
    mutable std::mutex mutex_;  ///< Of all that follows; held for moments.
    std::condition_variable came_;
    std::condition_variable done_;
    std::size_t filled_ = 0;
    std::size_t waiting_ = 1;
    std::size_t taken_ = 2;
    std::size_t made_ = 0;
    std::size_t ready_ = 1;
    std::size_t held_ = 2;
    bool is_waiting_ = false;
    bool is_running_ = false;
    bool is_ready_ = false;
    bool stall_told_ = false;
    bool stopped_ = false;
    Clock::time_point open_since_{};  ///< Of the first frame after what was finished last.
    Counts counts_;

    std::shared_ptr<void> owner_;
    std::thread thread_;
};

}  // namespace edge_bts
