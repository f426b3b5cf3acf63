// The newest of a stream between two threads: what nobody fetched in time is replaced.
#pragma once

#include <array>
#include <condition_variable>
#include <mutex>
#include <utility>

namespace edge_bts::igtl {

/// Three of T, made once: one is being written, one is ready, one is being read. More would only
/// make what is read older. One thread writes, one reads; none waits for the other's work.
template <typename T>
class Newest {
  public:
    template <typename Make>
    explicit Newest(const Make& make) : slots_{make(), make(), make()} {}

    /// The writer's own, until publish().
    T& writing() noexcept { return slots_[written_]; }

    /// Makes it the ready one. Returns true if that replaced one which nobody had read.
    bool publish() {
        bool replaced = false;
        {
            const std::lock_guard lock(mutex_);
            replaced = std::exchange(ready_, true);
            std::swap(written_, between_);
        }
        came_.notify_one();
        return replaced;
    }

    /// The ready one, the reader's own until the next call; NULL if there is none.
    T* take() {
        const std::lock_guard lock(mutex_);
        return fetch();
    }

    /// Waits for one; NULL after close().
    T* wait() {
        std::unique_lock lock(mutex_);
        came_.wait(lock, [this] { return ready_ || closed_; });
        return closed_ ? nullptr : fetch();
    }

    /// Ends every wait().
    void close() {
        {
            const std::lock_guard lock(mutex_);
            closed_ = true;
        }
        came_.notify_all();
    }

  private:
    T* fetch() noexcept {
        if (!std::exchange(ready_, false)) return nullptr;
        std::swap(between_, read_);
        return &slots_[read_];
    }

    std::mutex mutex_;
    std::condition_variable came_;
    std::array<T, 3> slots_;
    std::size_t written_ = 0;  // the writer's alone but for the swap
    std::size_t between_ = 1;
    std::size_t read_ = 2;
    bool ready_ = false;
    bool closed_ = false;
};

}  // namespace edge_bts::igtl
