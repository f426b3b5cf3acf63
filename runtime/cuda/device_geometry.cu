#include <cuda_runtime.h>

#include <algorithm>
#include <type_traits>

#include "device_geometry.hpp"
#include "edge_bts/edge_bts.h"

namespace edge_bts::device {
namespace {

// Sums that a block holds at once; longer rows of the source go by in turn. A multiple of 4.
constexpr int kChunk = 1024;

/// One axis of the specification. Weights are worked out where they are used: a new source size
/// then costs neither an upload nor an allocation.
struct Axis {
    int in;
    int out;
};

/// Input pixels first .. end - 1 of one output pixel; `at` is where it begins (area) or lies
/// (bilinear), in the units of weight().
struct Run {
    int first;
    int end;
    int at;
};

__device__ Run run_of(Axis axis, int i) {
    if (axis.in == axis.out) return {i, i + 1, 0};
    if (axis.out < axis.in) {
        const int low = i * axis.in;
        return {low / axis.out, (low + axis.in - 1) / axis.out + 1, low};
    }
    const int whole = 2 * axis.out;
    const int at = min(max((2 * i + 1) * axis.in - axis.out, 0), whole * (axis.in - 1));
    const int first = at / whole;
    return {first, first + (at == first * whole ? 1 : 2), at};
}

/// Weight of input pixel `j` of the run: above 0.
__device__ int weight(Axis axis, const Run& run, int j) {
    if (axis.in == axis.out) return 1;
    if (axis.out < axis.in) {
        return min(run.at + axis.in, (j + 1) * axis.out) - max(run.at, j * axis.out);
    }
    const int whole = 2 * axis.out;
    return whole - abs(run.at - j * whole);
}

int denominator(Axis axis) {
    if (axis.in == axis.out) return 1;
    return axis.out < axis.in ? axis.in : 2 * axis.out;
}

/// Gray levels: whole numbers, exact in any order; below 2^23 over the rows, 2^38 over both axes.
struct Whole {
    using Partial = std::uint32_t;
    using Total = std::uint64_t;

    static __device__ Partial no_partial() { return 0; }
    static __device__ Total no_total() { return 0; }

    static __device__ Partial add_row(Partial sum, int weight, std::uint8_t value) {
        return sum + static_cast<std::uint32_t>(weight) * value;
    }
    static __device__ Total add_column(Total sum, int weight, Partial value) {
        return sum + static_cast<Total>(static_cast<std::uint32_t>(weight)) * value;
    }
};

/// Probabilities: binary64, in the order of the specification.
struct Binary64 {
    using Partial = double;
    using Total = double;

    // What leaves every first product as it is, a zero's sign too.
    static __device__ Partial no_partial() { return -0.0; }
    static __device__ Total no_total() { return -0.0; }

    static __device__ Partial add_row(Partial sum, int weight, float value) {
        // 15 bits times 24 are exact in 53: fused or not, this rounds once.
        return __fma_rn(exact(weight), static_cast<double>(value), sum);
    }
    static __device__ Total add_column(Total sum, int weight, Partial value) {
        return __dadd_rn(sum, __dmul_rn(exact(weight), value));
    }

    /// `weight`, at least 1, as binary64, put together from its bits: devices for the edge convert
    /// as slowly as they compute in binary64, but have integer units in plenty.
    static __device__ double exact(int weight) {
        const int exponent = 31 - __clz(weight);
        return __hiloint2double(((1022 + exponent) << 20) + (weight << (20 - exponent)), 0);
    }
};

/// Four pixels of a row from `x` on; those outside 0..width-1 are not read and come as 0.
template <typename T>
__device__ void load_each(const T* row, int x, int width, T (&values)[4]) {
    for (int k = 0; k < 4; ++k) values[k] = x + k >= 0 && x + k < width ? __ldg(row + x + k) : T{};
}

/// A plane whose pixels are read four at a time where that is aligned.
template <typename T, typename Vector, typename R>
struct Dense {
    using Rule = R;
    using Value = T;

    const T* pixels;
    std::ptrdiff_t pitch;  ///< Elements.
    int width;

    /// Columns by which an aligned group of four begins before a multiple of four.
    __device__ int shift() const {
        return static_cast<int>(reinterpret_cast<std::uintptr_t>(pixels) % sizeof(Vector) /
                                sizeof(T));
    }
    __device__ bool wide(int x) const {
        return x >= 0 && x + 4 <= width && pitch % 4 == 0 &&
               reinterpret_cast<std::uintptr_t>(pixels + x) % sizeof(Vector) == 0;
    }
    __device__ void load_wide(int y, int x, T (&values)[4]) const {
        const Vector four = __ldg(reinterpret_cast<const Vector*>(pixels + y * pitch + x));
        values[0] = four.x;
        values[1] = four.y;
        values[2] = four.z;
        values[3] = four.w;
    }
    __device__ void load(int y, int x, T (&values)[4]) const {
        load_each(pixels + y * pitch, x, width, values);
    }
};

using Gray8 = Dense<std::uint8_t, uchar4, Whole>;
using Square = Dense<float, float4, Binary64>;

/// Pixels that become gray as they are read.
template <typename Gray>
struct Converted {
    using Rule = Whole;
    using Value = std::uint8_t;

    const std::uint8_t* pixels;
    std::ptrdiff_t pitch;  ///< Bytes.
    int width;
    Gray gray;

    __device__ int shift() const { return 0; }
    __device__ bool wide(int) const { return false; }
    __device__ void load_wide(int, int, std::uint8_t (&)[4]) const {}
    __device__ void load(int y, int x, std::uint8_t (&values)[4]) const {
        const std::uint8_t* row = pixels + y * pitch;
        for (int k = 0; k < 4; ++k) {
            values[k] = x + k >= 0 && x + k < width ? gray(row + (x + k) * gray.bytes) : 0;
        }
    }
};

/// As to_gray() of the core has them.
struct Gray16 {
    static constexpr int bytes = 2;
    std::uint32_t white;

    __device__ std::uint8_t operator()(const std::uint8_t* pixel) const {
        // A row may begin at an odd address.
        const std::uint32_t value = __ldg(pixel) | static_cast<std::uint32_t>(__ldg(pixel + 1))
                                                       << 8;
        return static_cast<std::uint8_t>((255U * min(value, white) + white / 2) / white);
    }
};

struct Luma {
    int bytes;
    int red;
    int green;
    int blue;

    __device__ std::uint8_t operator()(const std::uint8_t* pixel) const {
        const std::uint32_t sum = 9798U * __ldg(pixel + red) + 19235U * __ldg(pixel + green) +
                                  3735U * __ldg(pixel + blue) + (1U << 14);
        return static_cast<std::uint8_t>(sum >> 15);
    }
};

/// Writes normalised pixels of the square; what lies outside the content is 0 before it is
/// normalised.
template <typename T>
struct Normalised {
    static constexpr int kThreads = 128;
    static constexpr int kEach = 1;  ///< Neighbouring pixels of one thread.

    int top;
    int left;
    int height;
    int width;
    T* square;
    int denominator;
    float reciprocal;
    float mean;
    float std;

    /// floor((n + floor(D / 2)) / D), at most 255.
    __device__ int rounded(std::uint64_t n) const {
        const auto sum = static_cast<std::int64_t>(n) + denominator / 2;
        // The estimate errs by less than 1, so that it is the quotient or next to it.
        const int estimate = static_cast<int>(__ll2float_rn(sum) * reciprocal);
        const std::int64_t rest = sum - static_cast<std::int64_t>(estimate) * denominator;
        return estimate + (rest >= denominator) - (rest < 0);
    }
    static __device__ void set(float& to, float value) { to = value; }
    static __device__ void set(__half& to, float value) { to = __float2half_rn(value); }

    __device__ void write(int y, int x, bool content, const std::uint64_t (&sums)[kEach]) const {
        const int level = content ? rounded(sums[0]) : 0;
        const float share = __fdiv_rn(static_cast<float>(level), 255.0F);
        set(square[y * width + x], __fdiv_rn(__fsub_rn(share, mean), std));
    }
};

/// Writes probability and mask of the source.
struct Source {
    static constexpr int kThreads = 64;
    static constexpr int kEach = 4;

    int top;
    int left;
    int height;
    int width;
    Plane<float> probability;
    Plane<std::uint8_t> mask;
    double denominator;
    double reciprocal;  ///< Of the denominator, rounded to nearest.
    float threshold;

    /// n / D as IEEE 754 rounds it, with a quarter of the work in binary64 that a division is. The
    /// product errs by at most 1.5 units in the last place; the rest is exact, as it has no more
    /// than 32 bits; the corrected value is off by less than 2^-51 of a unit before it is rounded,
    /// and n / D, with whole D <= 2^30, is nowhere within 2^-31 of where rounding changes.
    __device__ double quotient(double n) const {
        const double product = __dmul_rn(n, reciprocal);
        const int exponent = __double2hiint(product) & 0x7FF00000;
        if (exponent == 0 || exponent == 0x7FF00000) return product;  // zero, infinite, no number
        return __fma_rn(__fma_rn(-product, denominator, n), reciprocal, product);
    }

    template <typename Vector, typename T>
    __device__ void store(Plane<T> plane, int y, int x, const T (&values)[kEach]) const {
        if (plane.data == nullptr) return;
        T* to = plane.data + y * plane.pitch + x;
        if (x + kEach <= width && reinterpret_cast<std::uintptr_t>(to) % sizeof(Vector) == 0) {
            *reinterpret_cast<Vector*>(to) = {values[0], values[1], values[2], values[3]};
        } else {
            for (int k = 0; k < kEach && x + k < width; ++k) to[k] = values[k];
        }
    }

    __device__ void write(int y, int x, bool, const double (&sums)[kEach]) const {
        float values[kEach];
        std::uint8_t inside[kEach];
        for (int k = 0; k < kEach; ++k) {
            values[k] = __double2float_rn(quotient(sums[k]));
            inside[k] = values[k] >= threshold ? 1 : 0;
        }
        store<float4>(probability, y, x, values);
        store<uchar4>(mask, y, x, inside);
    }
};

/// Weighted sums over the rows of a run, of columns begin .. end - 1, into shared memory.
template <int kThreads, typename From>
__device__ void sum_rows(const From& from, Axis rows, const Run& run, int begin, int end,
                         typename From::Rule::Partial* sums) {
    using Rule = typename From::Rule;
    for (int x = begin + 4 * static_cast<int>(threadIdx.x); x < end; x += 4 * kThreads) {
        typename Rule::Partial four[4];
        for (auto& sum : four) sum = Rule::no_partial();
        typename From::Value values[4];
        if (from.wide(x)) {
#pragma unroll 4
            for (int y = run.first; y < run.end; ++y) {
                from.load_wide(y, x, values);
                const int w = weight(rows, run, y);
                for (int k = 0; k < 4; ++k) four[k] = Rule::add_row(four[k], w, values[k]);
            }
        } else {
            for (int y = run.first; y < run.end; ++y) {
                from.load(y, x, values);
                const int w = weight(rows, run, y);
                for (int k = 0; k < 4; ++k) four[k] = Rule::add_row(four[k], w, values[k]);
            }
        }
        for (int k = 0; k < 4; ++k) sums[x - begin + k] = four[k];
    }
}

/// A block makes a piece of one output row: sums over the rows, once for each column, then each
/// thread its pixels from those sums.
template <typename From, typename To>
__global__ void __launch_bounds__(To::kThreads)
    resample(const From from, const Axis rows, const Axis columns, const To to) {
    using Rule = typename From::Rule;
    constexpr int kPiece = To::kThreads * To::kEach;
    __shared__ typename Rule::Partial sums[kChunk];

    const int y = static_cast<int>(blockIdx.y) - to.top;
    const int start = static_cast<int>(blockIdx.x) * kPiece - to.left;
    const int low = max(start, 0);
    const int high = min(start + kPiece, columns.out);
    const int mine = start + static_cast<int>(threadIdx.x) * To::kEach;

    typename Rule::Total totals[To::kEach];
    for (auto& total : totals) total = Rule::no_total();
    if (y >= 0 && y < rows.out && low < high) {
        const Run row = run_of(rows, y);
        Run runs[To::kEach];
#pragma unroll
        for (int k = 0; k < To::kEach; ++k) {
            const bool content = mine + k >= 0 && mine + k < columns.out;
            runs[k] = content ? run_of(columns, mine + k) : Run{0, 0, 0};
        }
        const int last = run_of(columns, high - 1).end;
        const int shift = from.shift();
        int begin = (run_of(columns, low).first + shift) / 4 * 4 - shift;
        for (; begin < last; begin += kChunk) {
            const int end = min(begin + kChunk, last);
            sum_rows<To::kThreads>(from, rows, row, begin, end, sums);
            __syncthreads();
#pragma unroll
            for (int k = 0; k < To::kEach; ++k) {
                const int stop = min(runs[k].end, end);
                for (int j = max(runs[k].first, begin); j < stop; ++j) {
                    totals[k] =
                        Rule::add_column(totals[k], weight(columns, runs[k], j), sums[j - begin]);
                }
            }
            __syncthreads();
        }
    }
    const int x = mine + to.left;
    if (x < to.width) {
        const bool content = y >= 0 && y < rows.out && mine >= 0 && mine < columns.out;
        to.write(y + to.top, x, content, totals);
    }
}

template <typename From, typename To>
cudaError_t launch(const From& from, Axis rows, Axis columns, const To& to,
                   cudaStream_t stream) noexcept {
    constexpr int kPiece = To::kThreads * To::kEach;
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>((to.width + kPiece - 1) / kPiece),
                          static_cast<unsigned>(to.height));
    config.blockDim = dim3(To::kThreads);
    config.stream = stream;
    return cudaLaunchKernelEx(&config, resample<From, To>, from, rows, columns, to);
}

/// Calls work(from) with the pixels of a frame as gray; an error for what is no frame.
template <typename Work>
cudaError_t with_gray(const Frame& frame, int width, const Work& work) noexcept {
    if (frame.pixels == nullptr) return cudaErrorInvalidValue;
    const auto* pixels = static_cast<const std::uint8_t*>(frame.pixels);
    const auto colour = [&](Luma luma) {
        return work(Converted<Luma>{pixels, frame.pitch, width, luma});
    };
    switch (frame.format) {
        case EBTS_GRAY8:
        case EBTS_NV12:
            return work(Gray8{pixels, frame.pitch, width});
        case EBTS_GRAY16:
            if (frame.white == 0 || frame.white > 65535) return cudaErrorInvalidValue;
            return work(Converted<Gray16>{pixels, frame.pitch, width, {frame.white}});
        case EBTS_RGB:
            return colour({3, 0, 1, 2});
        case EBTS_BGR:
            return colour({3, 2, 1, 0});
        case EBTS_RGBA:
            return colour({4, 0, 1, 2});
        case EBTS_BGRA:
            return colour({4, 2, 1, 0});
        case EBTS_ARGB:
            return colour({4, 1, 2, 3});
        default:
            return cudaErrorInvalidValue;
    }
}

/// The first column whose centre is not left of where an edge crosses the middle of row `y`, as
/// Sector has it; no column at all where it does not.
__device__ int border(const Outline& outline, int edge, int y) {
    const int next = edge + 1 == outline.count ? 0 : edge + 1;
    const bool down = outline.y[edge] <= y;
    if (down == (outline.y[next] <= y)) return 1 << 30;
    const int a = down ? edge : next;
    const int b = down ? next : edge;
    const std::int64_t rise = outline.y[b] - outline.y[a];
    const std::int64_t n =
        (2 * static_cast<std::int64_t>(outline.x[a]) - 1) * rise +
        (2 * static_cast<std::int64_t>(y - outline.y[a]) + 1) * (outline.x[b] - outline.x[a]);
    const std::int64_t d = 2 * rise;
    return static_cast<int>(n >= 0 ? (n + d - 1) / d : -(-n / d));
}

/// A block goes over a piece of one row.
template <int kThreads, typename From>
__global__ void __launch_bounds__(kThreads)
    survey_rows(const From from, int width, const Outline outline, std::uint8_t* gray,
                std::uint32_t* white) {
    __shared__ int borders[Outline::kMostCorners];
    __shared__ std::uint32_t found;
    const int y = static_cast<int>(blockIdx.y);
    const int x = 4 * (static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x));
    for (int i = static_cast<int>(threadIdx.x); i < outline.count; i += kThreads) {
        borders[i] = border(outline, i, y);
    }
    if (threadIdx.x == 0) found = 0;
    __syncthreads();

    std::uint8_t values[4];
    if (from.wide(x)) {
        from.load_wide(y, x, values);
    } else {
        from.load(y, x, values);
    }
    std::uint32_t mine = 0;
    for (int k = 0; k < 4 && x + k < width; ++k) {
        bool inside = outline.count == 0;
        for (int i = 0; i < outline.count; ++i) inside = inside != (borders[i] <= x + k);
        if (!inside) values[k] = 0;
        mine += values[k] == 255 ? 1 : 0;
        if (gray != nullptr) gray[static_cast<std::ptrdiff_t>(y) * width + x + k] = values[k];
    }
    if (mine != 0) atomicAdd(&found, mine);
    __syncthreads();
    if (threadIdx.x == 0 && found != 0) atomicAdd(white, found);
}

template <typename T>
cudaError_t to_square(const Letterbox& box, const Frame& frame, float mean, float std, T* square,
                      cudaStream_t stream) noexcept {
    if (square == nullptr) return cudaErrorInvalidValue;
    const Axis rows{box.source_height, box.height};
    const Axis columns{box.source_width, box.width};
    const int both = denominator(rows) * denominator(columns);
    const Normalised<T> to{
        box.top, box.left, box.size, box.size, square, both, 1.0F / static_cast<float>(both),
        mean,    std};
    return with_gray(frame, box.source_width,
                     [&](const auto& from) { return launch(from, rows, columns, to, stream); });
}

}  // namespace

cudaError_t survey(const Frame& frame, int height, int width, const Outline& outline,
                   std::uint8_t* gray, std::uint32_t* white, cudaStream_t stream) noexcept {
    if (white == nullptr) return cudaErrorInvalidValue;
    constexpr int kThreads = 128;
    constexpr int kPiece = 4 * kThreads;
    cudaLaunchConfig_t config{};
    config.gridDim =
        dim3(static_cast<unsigned>((width + kPiece - 1) / kPiece), static_cast<unsigned>(height));
    config.blockDim = dim3(kThreads);
    config.stream = stream;
    return with_gray(frame, width, [&](const auto& from) {
        return cudaLaunchKernelEx(&config, survey_rows<kThreads, std::decay_t<decltype(from)>>,
                                  from, width, outline, gray, white);
    });
}

cudaError_t letterbox(const Letterbox& box, const Frame& frame, float mean, float std,
                      float* square, cudaStream_t stream) noexcept {
    return to_square(box, frame, mean, std, square, stream);
}

cudaError_t letterbox(const Letterbox& box, const Frame& frame, float mean, float std,
                      __half* square, cudaStream_t stream) noexcept {
    return to_square(box, frame, mean, std, square, stream);
}

cudaError_t to_source(const Letterbox& box, const float* square, float threshold,
                      Plane<float> probability, Plane<std::uint8_t> mask,
                      cudaStream_t stream) noexcept {
    if (square == nullptr || (probability.data == nullptr && mask.data == nullptr)) {
        return cudaErrorInvalidValue;
    }
    const Axis rows{box.height, box.source_height};
    const Axis columns{box.width, box.source_width};
    const double both = static_cast<double>(denominator(rows)) * denominator(columns);
    const std::ptrdiff_t pitch = box.size;
    const Square from{square + box.top * pitch + box.left, pitch, box.width};
    const Source to{0,    0,    box.source_height, box.source_width, probability,
                    mask, both, 1.0 / both,        threshold};
    return launch(from, rows, columns, to, stream);
}

}  // namespace edge_bts::device
