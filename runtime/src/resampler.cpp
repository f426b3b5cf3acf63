#include "resampler.hpp"

#include <algorithm>
#include <cfloat>
#include <cstddef>

namespace edge_bts {
namespace {

// The float rule needs products and sums of binary64 to be rounded as such (not x87).
static_assert(FLT_EVAL_METHOD == 0, "compile with SSE2 (-msse2 -mfpmath=sse)");
static_assert(DBL_MANT_DIG == 53 && FLT_MANT_DIG == 24, "IEEE 754 arithmetic is needed");

void add_tap(Axis& axis, Axis::Run& run, int weight) {
    if (weight > 0) {
        axis.weights.push_back(weight);
        ++run.count;
    }
}

void add_area(Axis& axis, Axis::Run& run, int i, int n_in, int n_out) {
    // At most 2^14 * 2^14: int is enough.
    const int low = i * n_in;
    const int high = low + n_in;
    run.first = low / n_out;
    for (int j = run.first; j * n_out < high; ++j) {
        add_tap(axis, run, std::min(high, (j + 1) * n_out) - std::max(low, j * n_out));
    }
}

void add_bilinear(Axis& axis, Axis::Run& run, int i, int n_in, int n_out) {
    const int whole = 2 * n_out;
    const int at = std::clamp((2 * i + 1) * n_in - n_out, 0, whole * (n_in - 1));
    run.first = at / whole;
    add_tap(axis, run, whole - at % whole);
    add_tap(axis, run, at % whole);
}

int denominator_of(int n_in, int n_out) {
    if (n_in == n_out) return 1;
    return n_out < n_in ? n_in : 2 * n_out;
}

}  // namespace

void Axis::reserve(int max_in, int max_out) {
    runs.reserve(static_cast<std::size_t>(max_out));
    // Area: every input pixel once, and once more where two outputs share it. Bilinear: two each.
    weights.reserve(static_cast<std::size_t>(std::max(max_in + max_out, 2 * max_out)));
}

void Axis::plan(int n_in, int n_out) {
    reserve(n_in, n_out);
    denominator = denominator_of(n_in, n_out);
    runs.clear();
    weights.clear();
    for (int i = 0; i < n_out; ++i) {
        Run run{i, 0, static_cast<std::int32_t>(weights.size())};
        if (n_out == n_in) {
            add_tap(*this, run, 1);
        } else if (n_out < n_in) {
            add_area(*this, run, i, n_in, n_out);
        } else {
            add_bilinear(*this, run, i, n_in, n_out);
        }
        runs.push_back(run);
    }
}

Resampler::Resampler(int in_height, int in_width, int out_height, int out_width) {
    plan(in_height, in_width, out_height, out_width);
}

void Resampler::reserve(int in_height, int in_width, int out_height, int out_width) {
    rows_.reserve(in_height, out_height);
    columns_.reserve(in_width, out_width);
    row_.reserve(static_cast<std::size_t>(in_width));
}

void Resampler::plan(int in_height, int in_width, int out_height, int out_width) {
    rows_.plan(in_height, out_height);
    columns_.plan(in_width, out_width);
    denominator_ = rows_.denominator * columns_.denominator;
    row_.resize(static_cast<std::size_t>(in_width));
}

/// Leaves the weighted sum of some input rows in row_.
template <typename T>
void Resampler::sum_rows(Plane<const T> in, const Axis::Run& run) noexcept {
    const double* weights = rows_.weights.data() + run.offset;
    const T* pixels = in.data + run.first * in.pitch;
    double* sums = row_.data();
    const std::size_t width = row_.size();
    for (std::size_t x = 0; x < width; ++x) sums[x] = weights[0] * pixels[x];
    for (std::int32_t k = 1; k < run.count; ++k) {
        pixels += in.pitch;
        const double weight = weights[k];
        for (std::size_t x = 0; x < width; ++x) sums[x] += weight * pixels[x];
    }
}

template <typename T, typename Finish>
void Resampler::run(Plane<const T> in, Plane<T> out, Finish finish) noexcept {
    for (const Axis::Run& row : rows_.runs) {
        sum_rows(in, row);
        T* pixel = out.data;
        for (const Axis::Run& column : columns_.runs) {
            const double* weights = columns_.weights.data() + column.offset;
            const double* sums = row_.data() + column.first;
            double sum = weights[0] * sums[0];
            for (std::int32_t k = 1; k < column.count; ++k) sum += weights[k] * sums[k];
            *pixel++ = finish(sum);
        }
        out.data += out.pitch;
    }
}

void Resampler::image(Plane<const std::uint8_t> in, Plane<std::uint8_t> out) noexcept {
    // The sums are whole and below 2^38, so binary64 holds them exactly in any order. With
    // n = sum + floor(D / 2), floor(n / D) = floor((n + 1/2) / D), and (n + 1/2) / D is at least
    // 1 / 2D >= 2^-31 away from a whole number, while the product below errs by less than 2^-43:
    // the multiplication by a rounded reciprocal gives the exact quotient.
    const double half = static_cast<double>(static_cast<std::int64_t>(denominator_) / 2) + 0.5;
    const double reciprocal = 1.0 / denominator_;
    run(in, out, [half, reciprocal](double sum) {
        return static_cast<std::uint8_t>(static_cast<int>((sum + half) * reciprocal));
    });
}

void Resampler::mask(Plane<const std::uint8_t> in, Plane<std::uint8_t> out) noexcept {
    const double denominator = denominator_;
    run(in, out, [denominator](double sum) {
        return static_cast<std::uint8_t>(2.0 * sum >= denominator ? 1 : 0);
    });
}

void Resampler::map(Plane<const float> in, Plane<float> out) noexcept {
    const double denominator = denominator_;
    run(in, out, [denominator](double sum) { return static_cast<float>(sum / denominator); });
}

}  // namespace edge_bts
