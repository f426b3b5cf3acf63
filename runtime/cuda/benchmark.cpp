// Times the kernels alone: launches that are replayed as a CUDA graph, over buffers that together
// exceed the L2 cache twice, between two events. Prints JSON.
//
//   edge_bts_cuda_benchmark [REPEATS]      200 unless given
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "device_geometry.hpp"
#include "edge_bts/edge_bts.h"

namespace {

using edge_bts::Letterbox;

constexpr int kSide = 256;

void check(cudaError_t status) {
    if (status != cudaSuccess) throw std::runtime_error(cudaGetErrorString(status));
}

/// Memory of the device, with bytes that are no pattern.
class Buffer {
  public:
    explicit Buffer(std::size_t size) { check(cudaMalloc(&data_, size)); }
    ~Buffer() { cudaFree(data_); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    template <typename T>
    T* at(std::size_t offset) const {
        return reinterpret_cast<T*>(static_cast<std::uint8_t*>(data_) + offset);
    }

    template <typename T>
    void fill(const std::function<T(std::uint32_t)>& value, std::size_t count) {
        std::vector<T> values(count);
        std::uint32_t state = 1;
        for (T& one : values) one = value((state = state * 1664525U + 1013904223U) >> 24);
        check(cudaMemcpy(data_, values.data(), count * sizeof(T), cudaMemcpyHostToDevice));
    }

  private:
    void* data_ = nullptr;
};

using Enqueue = std::function<void(int buffer, cudaStream_t)>;

struct Time {
    double median;  ///< Microseconds of one launch, in a row of them.
    double p90;
};

/// `count` launches as one graph, replayed.
Time time(const Enqueue& enqueue, int count, int repeats) {
    cudaStream_t stream = nullptr;
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t run = nullptr;
    cudaEvent_t begin = nullptr;
    cudaEvent_t end = nullptr;
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    check(cudaEventCreate(&begin));
    check(cudaEventCreate(&end));
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    for (int i = 0; i < count; ++i) enqueue(i, stream);
    check(cudaStreamEndCapture(stream, &graph));
    check(cudaGraphInstantiate(&run, graph, 0));
    for (int i = 0; i < 10; ++i) check(cudaGraphLaunch(run, stream));
    check(cudaStreamSynchronize(stream));

    std::vector<double> times;
    for (int i = 0; i < repeats; ++i) {
        float milliseconds = 0;
        check(cudaEventRecord(begin, stream));
        check(cudaGraphLaunch(run, stream));
        check(cudaEventRecord(end, stream));
        check(cudaEventSynchronize(end));
        check(cudaEventElapsedTime(&milliseconds, begin, end));
        times.push_back(1e3 * static_cast<double>(milliseconds) / count);
    }
    check(cudaGraphExecDestroy(run));
    check(cudaGraphDestroy(graph));
    check(cudaEventDestroy(begin));
    check(cudaEventDestroy(end));
    check(cudaStreamDestroy(stream));
    std::sort(times.begin(), times.end());
    return {times[times.size() / 2], times[times.size() * 9 / 10]};
}

std::size_t aligned(std::size_t size) {
    return (size + 255) / 256 * 256;
}

/// Bytes a second of one copy on the device, read and written.
double copy_bandwidth(int repeats) {
    constexpr std::size_t kSize = std::size_t{256} << 20;
    Buffer from(kSize);
    Buffer to(kSize);
    const Time took = time(
        [&](int, cudaStream_t stream) {
            check(cudaMemcpyAsync(to.at<void*>(0), from.at<void*>(0), kSize,
                                  cudaMemcpyDeviceToDevice, stream));
        },
        1, repeats);
    return 2.0 * kSize / (took.median * 1e-6);
}

struct Bench {
    int repeats;
    int l2;
    double bandwidth;

    /// Buffers to go round, so that none is in the L2 cache when its turn comes.
    int buffers(std::size_t bytes) const {
        return std::clamp(static_cast<int>(2 * static_cast<std::size_t>(l2) / bytes) + 1, 20, 400);
    }

    void report(const char* name, int width, int height, std::size_t bytes, const Enqueue& enqueue,
                bool last = false) const {
        const int count = buffers(bytes);
        const Time took = time(enqueue, count, repeats);
        const Time warm = time([&](int, cudaStream_t stream) { enqueue(0, stream); }, 20, repeats);
        const double rate = static_cast<double>(bytes) / (took.median * 1e-6);
        std::printf(
            "    {\"kernel\": \"%s\", \"width\": %d, \"height\": %d, \"buffers\": %d, \"bytes\": "
            "%zu, \"median_us\": %.3f, \"p90_us\": %.3f, \"in_l2_median_us\": %.3f, \"gb_per_s\": "
            "%.1f, \"of_copy\": %.3f}%s\n",
            name, width, height, count, bytes, took.median, took.p90, warm.median, rate * 1e-9,
            rate / bandwidth, last ? "" : ",");
    }

    void size(int width, int height, bool last) const {
        const Letterbox box = edge_bts::plan_letterbox(height, width, kSide);
        const auto pixels = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
        const std::size_t square = kSide * kSide * sizeof(float);
        const auto content = static_cast<std::size_t>(box.height) *
                             static_cast<std::size_t>(box.width) * sizeof(float);
        const std::size_t in = aligned(pixels);
        const std::size_t out = aligned(pixels * sizeof(float));
        const auto most = static_cast<std::size_t>(buffers(pixels));

        Buffer frames(most * in);
        frames.fill<std::uint8_t>([](std::uint32_t v) { return static_cast<std::uint8_t>(v); },
                                  most * in);
        Buffer squares(most * square);
        const auto prepare = [&](int i, cudaStream_t stream) {
            const auto at = static_cast<std::size_t>(i);
            check(edge_bts::device::letterbox(
                box, {frames.at<std::uint8_t>(at * in), width, EBTS_GRAY8, 0}, 0.32F, 0.21F,
                squares.at<float>(at * square), stream));
        };
        report("letterbox float32", width, height, pixels + square, prepare);
        report("letterbox float16", width, height, pixels + square / 2,
               [&](int i, cudaStream_t stream) {
                   const auto at = static_cast<std::size_t>(i);
                   check(edge_bts::device::letterbox(
                       box, {frames.at<std::uint8_t>(at * in), width, EBTS_GRAY8, 0}, 0.32F, 0.21F,
                       squares.at<__half>(at * square), stream));
               });

        squares.fill<float>([](std::uint32_t v) { return static_cast<float>(v) / 255.0F; },
                            most * square / sizeof(float));
        Buffer masks(most * in);
        Buffer maps(most * out);
        const auto back = [&](int i, cudaStream_t stream, bool with_map) {
            const auto at = static_cast<std::size_t>(i);
            check(
                edge_bts::device::to_source(box, squares.at<float>(at * square), 0.5F,
                                            {with_map ? maps.at<float>(at * out) : nullptr, width},
                                            {masks.at<std::uint8_t>(at * in), width}, stream));
        };
        report("mask", width, height, content + pixels,
               [&](int i, cudaStream_t stream) { back(i, stream, false); });
        report(
            "mask and probability", width, height, content + 5 * pixels,
            [&](int i, cudaStream_t stream) { back(i, stream, true); }, last);
    }
};

void run(int repeats) {
    cudaDeviceProp device{};
    int driver = 0;
    int runtime = 0;
    check(cudaGetDeviceProperties(&device, 0));
    check(cudaDriverGetVersion(&driver));
    check(cudaRuntimeGetVersion(&runtime));
    const Bench bench{repeats, device.l2CacheSize, copy_bandwidth(std::min(repeats, 50))};
    Buffer byte(1);
    // What a kernel costs that does next to nothing: an image of one pixel.
    Buffer one(sizeof(float));
    const Letterbox smallest = edge_bts::plan_letterbox(1, 1, 1);
    const Time least = time(
        [&](int, cudaStream_t stream) {
            check(edge_bts::device::letterbox(smallest, {byte.at<void>(0), 1, EBTS_GRAY8, 0}, 0.0F,
                                              1.0F, one.at<float>(0), stream));
        },
        100, repeats);
    std::printf(
        "{\n  \"device\": \"%s\", \"sm\": %d, \"sm_count\": %d, \"l2_bytes\": %d, \"integrated\": "
        "%d,\n  \"driver\": %d, \"runtime\": %d, \"repeats\": %d, \"side\": %d,\n"
        "  \"copy_gb_per_s\": %.1f, \"least_us\": %.3f,\n  \"times\": [\n",
        device.name, 10 * device.major + device.minor, device.multiProcessorCount,
        device.l2CacheSize, device.integrated, driver, runtime, repeats, kSide,
        bench.bandwidth * 1e-9, least.median);
    bench.size(640, 480, false);
    bench.size(1024, 768, false);
    bench.size(1920, 1080, true);
    std::printf("  ]\n}\n");
}

}  // namespace

int main(int count, char** arguments) {
    const int repeats = count > 1 ? std::atoi(arguments[1]) : 200;
    if (repeats < 1) {
        std::fprintf(stderr, "Expected a count of repeats, but got %s.\n", arguments[1]);
        return 2;
    }
    int devices = 0;
    const cudaError_t status = cudaGetDeviceCount(&devices);
    if (status != cudaSuccess || devices == 0) {
        std::fprintf(stderr, "Expected a CUDA device, but there is none (%s).\n",
                     cudaGetErrorString(status));
        return 3;
    }
    try {
        run(repeats);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "Expected the kernels to run, but CUDA says: %s.\n", error.what());
        return 4;
    }
    return 0;
}
