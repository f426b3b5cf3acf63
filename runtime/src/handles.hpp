// What the handles of the C ABI stand for: numbers that are never given twice, so that one that was
// closed is known as such and never followed.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include "edge_bts/edge_bts.h"
#include "model.hpp"

namespace edge_bts {

/// `Handle` is the incomplete type of the ABI, which no object ever has.
template <typename Handle, typename T>
class Handles {
  public:
    /// The one table of the process. It is never destroyed: programs leave handles open at exit.
    static Handles& table() noexcept {
        alignas(Handles) static unsigned char room[sizeof(Handles)];
        static Handles* one = new (room) Handles;
        return *one;
    }

    /// Throws std::bad_alloc.
    Handle* add(std::shared_ptr<T> object) {
        const std::lock_guard lock(mutex_);
        const std::uintptr_t number = last_ + 1;
        objects_.emplace(number, std::move(object));
        last_ = number;
        return reinterpret_cast<Handle*>(number);
    }

    /// What is open under the handle, held until the pointer goes; else NULL.
    std::shared_ptr<T> get(const Handle* handle) const {
        const std::lock_guard lock(mutex_);
        const auto found = objects_.find(reinterpret_cast<std::uintptr_t>(handle));
        return found == objects_.end() ? nullptr : found->second;
    }

    /// Closes the handle and returns what was open under it.
    std::shared_ptr<T> remove(const Handle* handle) {
        const std::lock_guard lock(mutex_);
        const auto found = objects_.find(reinterpret_cast<std::uintptr_t>(handle));
        if (found == objects_.end()) return nullptr;
        std::shared_ptr<T> object = std::move(found->second);
        objects_.erase(found);
        return object;
    }

  private:
    Handles() = default;

    mutable std::mutex mutex_;
    std::map<std::uintptr_t, std::shared_ptr<T>> objects_;
    std::uintptr_t last_ = 0;
};

using Models = Handles<ebts_model, const Model>;

}  // namespace edge_bts
