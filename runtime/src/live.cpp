#include "live.hpp"

#include <algorithm>
#include <cstring>
#include <system_error>
#include <utility>

namespace edge_bts {

Live::Live(std::shared_ptr<const Model> model, const Limits& limits, const Liveness& liveness)
    : pipeline_(std::move(model), limits, kSlots),
      liveness_(liveness),
      back_(1, 1, pipeline_.model().settings.side) {
    const auto side = static_cast<std::size_t>(pipeline_.model().settings.side);
    back_.reserve(limits.max_height, limits.max_width);
    outcomes_.reserve(3);
    for (int i = 0; i < 3; ++i) outcomes_.emplace_back(limits, side * side);
    try {
        thread_ = std::thread([this] { work(); });
    } catch (const std::system_error&) {
        throw Failure(EBTS_ERROR_MEMORY,
                      "Expected a thread for a live session, but the system gives none; close what "
                      "is not needed.");
    }
}

Live::~Live() {
    stop();
    if (thread_.joinable()) thread_.join();
}

void Live::submit(const Job& job) {
    Frame& frame = frames_[filled_];
    frame.since = Clock::now();
    frame.job = job;
    pipeline_.keep(job, filled_);
    {
        const std::lock_guard lock(mutex_);
        frame.job.sequence = ++counts_.frames;
        if (!is_waiting_ && !is_running_) open_since_ = frame.since;
        if (is_waiting_) ++counts_.dropped;
        is_waiting_ = true;
        std::swap(filled_, waiting_);
    }
    came_.notify_one();
    done_.notify_all();  // whoever polls looks after a stall from now on
}

void Live::refuse() noexcept {
    const std::lock_guard lock(mutex_);
    ++counts_.frames;
    ++counts_.errors;
}

void Live::work() noexcept {
    std::unique_lock lock(mutex_);
    while (true) {
        came_.wait(lock, [this] { return stopped_ || is_waiting_; });
        if (stopped_) break;
        std::swap(waiting_, taken_);
        is_waiting_ = false;
        is_running_ = true;
        lock.unlock();
        Outcome& outcome = outcomes_[made_];
        run(taken_, outcome);
        lock.lock();
        is_running_ = false;
        if (is_waiting_) open_since_ = frames_[waiting_].since;
        if (is_ready_ && outcomes_[ready_].status == EBTS_OK) ++counts_.dropped;
        if (outcome.status != EBTS_OK) ++counts_.errors;
        is_ready_ = true;
        stall_told_ = false;
        std::swap(made_, ready_);
        lock.unlock();
        done_.notify_all();
        if (liveness_.ready != nullptr) liveness_.ready(liveness_.user);
        lock.lock();
    }
    // The owner may be this object's: it goes when nothing here is touched any more.
    const std::shared_ptr<void> owner = std::move(owner_);
    lock.unlock();
}

void Live::run(std::size_t slot, Outcome& outcome) noexcept {
    const Frame& frame = frames_[slot];
    const Clock::time_point started = Clock::now();
    outcome.job = frame.job;
    outcome.since = frame.since;
    outcome.result = {};
    outcome.status = guarded([&] {
        const std::lock_guard lock(running_);
        pipeline_.run(frame.job, slot, {}, frame.since, outcome.measurer, outcome.result);
        std::copy_n(pipeline_.output(), outcome.output.size(), outcome.output.begin());
        return EBTS_OK;
    });
    if (outcome.status != EBTS_OK) {
        std::memcpy(outcome.sentence, sentence(), sizeof outcome.sentence);
    }
    outcome.result.wait_ms = milliseconds(started - frame.since);
}

/// Waits for an outcome. Returns with the lock held.
ebts_status Live::await(std::unique_lock<std::mutex>& lock, std::chrono::microseconds wait) {
    const bool watched = liveness_.stale.count() != 0;
    const Clock::time_point end = Clock::now() + wait;
    while (!is_ready_ && !stopped_) {
        const Clock::time_point now = Clock::now();
        const bool open = watched && (is_waiting_ || is_running_);
        // Told at once, and then as often as the caller is ready to wait: loops are not to spin.
        if (open && now > open_since_ + liveness_.stale && (!stall_told_ || now >= end)) {
            stall_told_ = true;
            return fail(EBTS_ERROR_STALLED,
                        "Expected a result at the latest %lld us after its frame, but there is "
                        "none; hide what is drawn until one comes.",
                        static_cast<long long>(liveness_.stale.count()));
        }
        if (now >= end) return EBTS_NOTHING_NEW;
        const Clock::time_point stall =
            open_since_ + liveness_.stale + std::chrono::microseconds(1);
        done_.wait_until(lock, open && !stall_told_ ? std::min(end, stall) : end);
    }
    if (!stopped_) return EBTS_OK;
    return fail(EBTS_ERROR_CLOSED, "Expected an open session, but it was destroyed meanwhile.");
}

/// Gives the outcome that is held now to the caller.
ebts_status Live::hand_out(std::unique_lock<std::mutex>& lock, const Planes& planes,
                           ebts_result& result) noexcept {
    const Outcome& outcome = outcomes_[held_];
    if (outcome.status == EBTS_OK) ++counts_.results;
    const std::uint64_t newer = counts_.frames - outcome.job.sequence;
    lock.unlock();
    if (outcome.status != EBTS_OK) return fail(outcome.status, "%s", outcome.sentence);
    write_mask(outcome.job, outcome.measurer, planes);
    write_probability(outcome.job, outcome.output.data(), back_, planes);
    const Clock::duration age = Clock::now() - outcome.since;
    result = outcome.result;
    result.age_ms = milliseconds(age);
    result.newer_frames = newer;
    if (liveness_.stale.count() != 0 && age > liveness_.stale) result.health |= EBTS_HEALTH_STALE;
    return EBTS_OK;
}

Difference Live::self_test() {
    const std::lock_guard lock(running_);
    return pipeline_.self_test();
}

Counts Live::counts() const noexcept {
    const std::lock_guard lock(mutex_);
    return counts_;
}

void Live::stop() noexcept {
    {
        const std::lock_guard lock(mutex_);
        stopped_ = true;
    }
    came_.notify_all();
    done_.notify_all();
}

void Live::release(std::shared_ptr<void> owner) noexcept {
    const std::lock_guard lock(mutex_);
    owner_ = std::move(owner);
    thread_.detach();
}

}  // namespace edge_bts
