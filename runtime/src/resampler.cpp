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
    const auto outputs = static_cast<std::size_t>(max_out);
    runs.reserve(outputs);
    // Area: every input pixel once, and once more where two outputs share it. Bilinear: two each.
    weights.reserve(static_cast<std::size_t>(std::max(max_in + max_out, 2 * max_out)));
    whole.first.reserve(outputs);
    // An output of n_in / n_out input pixels has less than that and two more.
    whole.weights.reserve(static_cast<std::size_t>(max_in) + 2 * outputs);
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
    plan_whole(n_in);
}

void Axis::plan_whole(int n_in) {
    whole.taps = 1;
    for (const Run& run : runs) whole.taps = std::max(whole.taps, run.count);
    whole.first.clear();
    whole.weights.clear();
    for (const Run& run : runs) {
        // At the end the taps that a pixel does not have lie before its own.
        const std::int32_t first = std::min(run.first, n_in - whole.taps);
        const std::size_t base = whole.weights.size();
        whole.first.push_back(first);
        whole.weights.resize(base + static_cast<std::size_t>(whole.taps));
        for (std::int32_t k = 0; k < run.count; ++k) {
            whole.weights[base + static_cast<std::size_t>(run.first - first + k)] =
                static_cast<std::uint16_t>(weights[static_cast<std::size_t>(run.offset + k)]);
        }
    }
}

Resampler::Resampler(int in_height, int in_width, int out_height, int out_width) {
    plan(in_height, in_width, out_height, out_width);
}

void Resampler::reserve(int in_height, int in_width, int out_height, int out_width) {
    rows_.reserve(in_height, out_height);
    columns_.reserve(in_width, out_width);
    row_.reserve(static_cast<std::size_t>(in_width));
    counts_.reserve(static_cast<std::size_t>(in_width));
    out_row_.reserve(static_cast<std::size_t>(out_width));
    spans_.reserve(static_cast<std::size_t>(in_height));
}

void Resampler::plan(int in_height, int in_width, int out_height, int out_width) {
    rows_.plan(in_height, out_height);
    columns_.plan(in_width, out_width);
    denominator_ = rows_.denominator * columns_.denominator;
    row_.resize(static_cast<std::size_t>(in_width));
    counts_.resize(static_cast<std::size_t>(in_width));
    out_row_.resize(static_cast<std::size_t>(out_width));
    spans_.resize(static_cast<std::size_t>(in_height));
}

/// Runs whole arithmetic: sums over rows are below 2^8 2^15, sums over both below 2^38.
template <typename Finish>
void Resampler::run(Plane<const std::uint8_t> in, Plane<std::uint8_t> out, Finish finish) noexcept {
    const std::size_t width = counts_.size();
    const auto taps = static_cast<std::size_t>(columns_.whole.taps);
    std::uint32_t* counts = counts_.data();
    const std::uint16_t* row_weights = rows_.whole.weights.data();
    for (const std::int32_t first : rows_.whole.first) {
        const std::uint8_t* pixels = in.data + first * in.pitch;
        std::fill_n(counts, width, 0U);
        for (std::int32_t k = 0; k < rows_.whole.taps; ++k, pixels += in.pitch) {
            const std::uint16_t weight = *row_weights++;
            if (weight == 0) continue;
            for (std::size_t x = 0; x < width; ++x) {
                counts[x] +=
                    static_cast<std::uint32_t>(weight) * static_cast<std::uint16_t>(pixels[x]);
            }
        }
        std::uint8_t* pixel = out.data;
        const std::uint16_t* weights = columns_.whole.weights.data();
        for (const std::int32_t column : columns_.whole.first) {
            std::int64_t sum = 0;
            for (std::size_t k = 0; k < taps; ++k) {
                sum += static_cast<std::int64_t>(*weights++) *
                       counts[static_cast<std::size_t>(column) + k];
            }
            *pixel++ = finish(sum);
        }
        out.data += out.pitch;
    }
}

void Resampler::image(Plane<const std::uint8_t> in, Plane<std::uint8_t> out) noexcept {
    // With n = sum + floor(D / 2), floor(n / D) = floor((n + 1/2) / D), and (n + 1/2) / D is at
    // least 1 / 2D >= 2^-31 away from a whole number, while the product below errs by less than
    // 2^-43: the multiplication by a rounded reciprocal gives the exact quotient.
    const double half = static_cast<double>(static_cast<std::int64_t>(denominator_) / 2) + 0.5;
    const double reciprocal = 1.0 / denominator_;
    run(in, out, [half, reciprocal](std::int64_t sum) {
        return static_cast<std::uint8_t>(
            static_cast<int>((static_cast<double>(sum) + half) * reciprocal));
    });
}

void Resampler::mask(Plane<const std::uint8_t> in, Plane<std::uint8_t> out) noexcept {
    const auto denominator = static_cast<std::int64_t>(denominator_);
    run(in, out, [denominator](std::int64_t sum) {
        return static_cast<std::uint8_t>(2 * sum >= denominator ? 1 : 0);
    });
}

/// Leaves the weighted sum of some input rows in row_, in `columns`.
void Resampler::sum_rows(Plane<const float> in, const Axis::Run& run, Span columns) noexcept {
    const double* weights = rows_.weights.data() + run.offset;
    const float* pixels = in.data + run.first * in.pitch + columns.first;
    double* sums = row_.data() + columns.first;
    const auto width = static_cast<std::size_t>(columns.last - columns.first);
    for (std::size_t x = 0; x < width; ++x) sums[x] = weights[0] * pixels[x];
    for (std::int32_t k = 1; k < run.count; ++k) {
        pixels += in.pitch;
        const double weight = weights[k];
        for (std::size_t x = 0; x < width; ++x) sums[x] += weight * pixels[x];
    }
}

/// Leaves the weighted sum of some entries of row_ in out_row_, for `outputs`.
void Resampler::sum_columns(Span outputs) noexcept {
    for (std::int32_t i = outputs.first; i < outputs.last; ++i) {
        const Axis::Run& column = columns_.runs[static_cast<std::size_t>(i)];
        const double* weights = columns_.weights.data() + column.offset;
        const double* sums = row_.data() + column.first;
        double sum = weights[0] * sums[0];
        for (std::int32_t k = 1; k < column.count; ++k) sum += weights[k] * sums[k];
        out_row_[static_cast<std::size_t>(i)] = sum;
    }
}

void Resampler::map(Plane<const float> in, Plane<float> out) noexcept {
    const double denominator = denominator_;
    const std::size_t width = out_row_.size();
    for (const Axis::Run& row : rows_.runs) {
        sum_rows(in, row, {0, static_cast<std::int32_t>(row_.size())});
        sum_columns({0, static_cast<std::int32_t>(width)});
        for (std::size_t x = 0; x < width; ++x) {
            out.data[x] = static_cast<float>(out_row_[x] / denominator);
        }
        out.data += out.pitch;
    }
}

void Resampler::above(Plane<const float> in, float value, Plane<std::uint8_t> out) noexcept {
    // Of values that are all less than this no mean comes to `value`, however it is rounded: with
    // weights that sum to 1 and values within [-2, 2] rounding moves it by less than 2^-22.
    const float cut = value - 1e-6F;
    const auto may_reach = [cut](float p) { return p >= cut; };
    for (std::size_t y = 0; y < spans_.size(); ++y) {
        const float* begin = in.data + static_cast<std::ptrdiff_t>(y) * in.pitch;
        const float* end = begin + row_.size();
        const float* first = std::find_if(begin, end, may_reach);
        while (end != first && !may_reach(end[-1])) --end;
        spans_[y] = {static_cast<std::int32_t>(first - begin),
                     static_cast<std::int32_t>(end - begin)};
    }
    const double least = least_sum(value);
    for (const Axis::Run& row : rows_.runs) {
        std::fill_n(out.data, out_row_.size(), std::uint8_t{0});
        Span columns{static_cast<std::int32_t>(row_.size()), 0};
        for (std::int32_t k = 0; k < row.count; ++k) {
            const Span& span = spans_[static_cast<std::size_t>(row.first + k)];
            if (span.first == span.last) continue;
            columns.first = std::min(columns.first, span.first);
            columns.last = std::max(columns.last, span.last);
        }
        if (columns.first < columns.last) {
            const Span outputs = reached(columns);
            const Axis::Run& left = columns_.runs[static_cast<std::size_t>(outputs.first)];
            const Axis::Run& right = columns_.runs[static_cast<std::size_t>(outputs.last - 1)];
            sum_rows(in, row, {left.first, right.first + right.count});
            sum_columns(outputs);
            for (std::int32_t i = outputs.first; i < outputs.last; ++i) {
                out.data[i] = out_row_[static_cast<std::size_t>(i)] >= least ? 1 : 0;
            }
        }
        out.data += out.pitch;
    }
}

/// The output columns in which any of some input columns have a part; not empty.
Resampler::Span Resampler::reached(Span columns) const noexcept {
    const auto begin = columns_.runs.begin();
    const auto first = std::partition_point(
        begin, columns_.runs.end(),
        [columns](const Axis::Run& run) { return run.first + run.count <= columns.first; });
    const auto last =
        std::partition_point(first, columns_.runs.end(),
                             [columns](const Axis::Run& run) { return run.first < columns.last; });
    return {static_cast<std::int32_t>(first - begin), static_cast<std::int32_t>(last - begin)};
}

/// The least sum that map() turns into `value` or more: it rounds a quotient to binary64 and that
/// to binary32, and neither ever turns the order of two sums round.
double Resampler::least_sum(float value) const noexcept {
    double low = (static_cast<double>(value) - 1) * denominator_;
    double high = (static_cast<double>(value) + 1) * denominator_;
    for (double middle = low / 2 + high / 2; low < middle && middle < high;
         middle = low / 2 + high / 2) {
        (static_cast<float>(middle / denominator_) >= value ? high : low) = middle;
    }
    return high;
}

}  // namespace edge_bts
