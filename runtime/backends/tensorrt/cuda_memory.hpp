// Streams, events and memory of CUDA that give themselves back.
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>
#include <string>

#include "failure.hpp"

namespace edge_bts {

/// Throws Failure BACKEND, or std::bad_alloc, where CUDA fails to do `what`.
inline void check_cuda(cudaError_t status, const char* what) {
    if (status == cudaSuccess) return;
    cudaGetLastError();  // not to be found again by whoever asks next
    if (status == cudaErrorMemoryAllocation) throw std::bad_alloc();
    throw Failure(EBTS_ERROR_BACKEND, std::string("Expected CUDA to ") + what +
                                          ", but it failed: " + cudaGetErrorString(status) +
                                          "; open the bundle again.");
}

struct StreamDelete {
    void operator()(cudaStream_t stream) const noexcept { cudaStreamDestroy(stream); }
};
struct EventDelete {
    void operator()(cudaEvent_t event) const noexcept { cudaEventDestroy(event); }
};
struct DeviceDelete {
    void operator()(void* memory) const noexcept { cudaFree(memory); }
};
struct HostDelete {
    void operator()(void* memory) const noexcept { cudaFreeHost(memory); }
};

using OwnStream = std::unique_ptr<CUstream_st, StreamDelete>;
using OwnEvent = std::unique_ptr<CUevent_st, EventDelete>;
template <typename T>
using DeviceMemory = std::unique_ptr<T, DeviceDelete>;

/// A stream that waits for no other.
inline OwnStream make_stream() {
    cudaStream_t stream = nullptr;
    check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "make a stream");
    return OwnStream(stream);
}

inline OwnEvent make_event(unsigned flags) {
    cudaEvent_t event = nullptr;
    check_cuda(cudaEventCreateWithFlags(&event, flags), "make an event");
    return OwnEvent(event);
}

template <typename T>
DeviceMemory<T> make_device_memory(std::size_t count) {
    void* memory = nullptr;
    check_cuda(cudaMalloc(&memory, count * sizeof(T)), "give memory");
    return DeviceMemory<T>(static_cast<T*>(memory));
}

/// Numbers that both CPU and GPU have: mapped where they share their memory, else in pinned memory
/// and in the GPU's, between which a stream copies.
template <typename T>
class Shared {
  public:
    Shared(std::size_t count, bool mapped) : count_(count) {
        void* memory = nullptr;
        check_cuda(cudaHostAlloc(&memory, count * sizeof(T),
                                 mapped ? cudaHostAllocMapped : cudaHostAllocDefault),
                   "pin memory");
        host_.reset(static_cast<T*>(memory));
        std::fill_n(host_.get(), count, T{});
        if (mapped) {
            check_cuda(cudaHostGetDevicePointer(&memory, host_.get(), 0), "map memory");
            device_ = static_cast<T*>(memory);
        } else {
            own_ = make_device_memory<T>(count);
            device_ = own_.get();
        }
    }

    T* host() const noexcept { return host_.get(); }
    T* device() const noexcept { return device_; }
    std::size_t count() const noexcept { return count_; }

    void copy_in(cudaStream_t stream) const {
        if (own_ == nullptr) return;
        check_cuda(cudaMemcpyAsync(device_, host_.get(), count_ * sizeof(T), cudaMemcpyHostToDevice,
                                   stream),
                   "copy to the GPU");
    }

    /// The first `count`.
    void copy_out(std::size_t count, cudaStream_t stream) const {
        if (own_ == nullptr) return;
        check_cuda(cudaMemcpyAsync(host_.get(), device_, count * sizeof(T), cudaMemcpyDeviceToHost,
                                   stream),
                   "copy from the GPU");
    }

  private:
    std::size_t count_;
    std::unique_ptr<T, HostDelete> host_;
    DeviceMemory<T> own_;  ///< Null where the host's is mapped.
    T* device_ = nullptr;
};

/// Makes a device the thread's own for as long as it lives: a thread of ours has the first one.
class OnDevice {
  public:
    explicit OnDevice(int device) {
        check_cuda(cudaGetDevice(&before_), "name the device of the thread");
        if (before_ != device) check_cuda(cudaSetDevice(device), "take the device of the model");
    }
    ~OnDevice() { cudaSetDevice(before_); }
    OnDevice(const OnDevice&) = delete;
    OnDevice& operator=(const OnDevice&) = delete;

  private:
    int before_ = 0;
};

}  // namespace edge_bts
