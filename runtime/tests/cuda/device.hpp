// What tests on a CUDA device share: whether there is one, and memory with guards around it.
#pragma once

#include <cuda_runtime_api.h>
#include <doctest/doctest.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

namespace support {

/// Says once why tests are skipped where there is no device.
inline bool has_device() {
    static const bool found = [] {
        int count = 0;
        const cudaError_t status = cudaGetDeviceCount(&count);
        if (status == cudaSuccess && count > 0) return true;
        std::printf("Skipped: no CUDA device (%s).\n", cudaGetErrorString(status));
        return false;
    }();
    return found;
}

inline void require(cudaError_t status) {
    if (status != cudaSuccess) FAIL(cudaGetErrorString(status));
}

/// A stream that does not wait for the default one.
class Stream {
  public:
    Stream() { require(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
    ~Stream() { cudaStreamDestroy(stream_); }
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;

    operator cudaStream_t() const { return stream_; }
    void wait() const { require(cudaStreamSynchronize(stream_)); }

  private:
    cudaStream_t stream_ = nullptr;
};

/// `rows` x `width` elements with a pitch, `skew` elements after an aligned address, in memory of
/// the device; all the rest is `guard`.
template <typename T>
class Guarded {
  public:
    Guarded(int rows, int width, int pitch, int skew, int guard)
        : rows_(rows),
          width_(width),
          pitch_(pitch),
          skew_(kMargin + skew),
          bytes_((static_cast<std::size_t>(rows) * static_cast<std::size_t>(pitch) +
                  static_cast<std::size_t>(skew_ + kMargin)) *
                     sizeof(T),
                 static_cast<std::uint8_t>(guard)),
          before_(bytes_) {
        require(cudaMalloc(&device_, bytes_.size()));
        upload();
    }
    ~Guarded() { cudaFree(device_); }
    Guarded(const Guarded&) = delete;
    Guarded& operator=(const Guarded&) = delete;

    T* device() const { return static_cast<T*>(device_) + skew_; }
    int pitch() const { return pitch_; }

    /// Puts rows x width dense elements in place.
    void set(const std::vector<T>& dense) {
        for (int y = 0; y < rows_; ++y) {
            std::memcpy(at(bytes_, y), dense.data() + static_cast<std::ptrdiff_t>(y) * width_,
                        static_cast<std::size_t>(width_) * sizeof(T));
        }
        upload();
    }

    /// The rows x width elements as they are on the device.
    std::vector<T> get() {
        require(cudaMemcpy(bytes_.data(), device_, bytes_.size(), cudaMemcpyDeviceToHost));
        std::vector<T> dense(static_cast<std::size_t>(rows_) * static_cast<std::size_t>(width_));
        for (int y = 0; y < rows_; ++y) {
            std::memcpy(dense.data() + static_cast<std::ptrdiff_t>(y) * width_, at(bytes_, y),
                        static_cast<std::size_t>(width_) * sizeof(T));
        }
        return dense;
    }

    /// After get(): whether all around the elements is as it was.
    bool intact() {
        for (int y = 0; y < rows_; ++y) {
            std::memcpy(at(bytes_, y), at(before_, y),
                        static_cast<std::size_t>(width_) * sizeof(T));
        }
        return bytes_ == before_;
    }

  private:
    static constexpr int kMargin = 64;  // elements; a multiple of every vector

    std::uint8_t* at(std::vector<std::uint8_t>& bytes, int y) const {
        return bytes.data() + (static_cast<std::size_t>(skew_) +
                               static_cast<std::size_t>(y) * static_cast<std::size_t>(pitch_)) *
                                  sizeof(T);
    }
    void upload() {
        require(cudaMemcpy(device_, bytes_.data(), bytes_.size(), cudaMemcpyHostToDevice));
        // From pageable memory it may return before the device has all, and Stream waits for none.
        require(cudaDeviceSynchronize());
    }

    int rows_;
    int width_;
    int pitch_;
    int skew_;
    std::vector<std::uint8_t> bytes_;
    std::vector<std::uint8_t> before_;
    void* device_ = nullptr;
};

}  // namespace support
