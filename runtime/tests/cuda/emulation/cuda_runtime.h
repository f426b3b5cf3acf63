// Takes the place of CUDA's header of this name when kernels are compiled as C++: the threads of a
// block take turns from one __syncthreads() to the next, block after block. For the arithmetic and
// the bounds of a kernel, not for races between threads or for time.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime_api.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>

#include "fake_cuda.hpp"

#undef __shared__
#undef __launch_bounds__
#define __shared__ static  // blocks come one after the other
#define __launch_bounds__(...)

namespace emulation {

inline uint3 thread;
inline uint3 block;

/// Runs `body` once for each thread of each block.
void run(dim3 grid, dim3 threads, const std::function<void()>& body);

/// Gives the turn to the next thread of the block.
void synchronize();

}  // namespace emulation

#define threadIdx emulation::thread
#define blockIdx emulation::block

inline void __syncthreads() {
    emulation::synchronize();
}

using std::abs;
using std::max;
using std::min;

template <typename T>
T __ldg(const T* at) {
    return *at;
}

inline unsigned atomicAdd(unsigned* at, unsigned value) {
    const unsigned before = *at;
    *at += value;
    return before;
}

inline int __clz(int value) {
    return value == 0 ? 32 : __builtin_clz(static_cast<unsigned>(value));
}

inline double __hiloint2double(int high, int low) {
    const auto bits = static_cast<std::uint64_t>(static_cast<std::uint32_t>(high)) << 32 |
                      static_cast<std::uint32_t>(low);
    double value = 0;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline int __double2hiint(double value) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    return static_cast<int>(bits >> 32);
}

// Compiled without contraction, these round as their names say.
inline double __fma_rn(double a, double b, double c) {
    return std::fma(a, b, c);
}
inline double __dmul_rn(double a, double b) {
    return a * b;
}
inline double __dadd_rn(double a, double b) {
    return a + b;
}
inline float __fsub_rn(float a, float b) {
    return a - b;
}
inline float __fdiv_rn(float a, float b) {
    return a / b;
}
inline float __double2float_rn(double value) {
    return static_cast<float>(value);
}
inline float __ll2float_rn(long long value) {
    return static_cast<float>(value);
}

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments... arguments) {
    if (fake_cuda::fails("cudaLaunchKernelEx")) return cudaErrorLaunchFailure;
    const dim3 grid = config->gridDim;
    const dim3 threads = config->blockDim;
    fake_cuda::put(config->stream,
                   [=] { emulation::run(grid, threads, [&] { kernel(arguments...); }); });
    return cudaSuccess;
}
