// Separable resampling with whole weights; the specification is in edge_bts/geometry.hpp.
#pragma once

#include <cstdint>
#include <vector>

#include "edge_bts/geometry.hpp"

namespace edge_bts {

/// The weights of one axis.
struct Axis {
    /// The same weights for whole arithmetic, `taps` for every output pixel: those that a pixel
    /// does not have are 0.
    struct Whole {
        std::int32_t taps = 1;
        std::vector<std::int32_t> first;     ///< One for each output pixel.
        std::vector<std::uint16_t> weights;  ///< At most 2^15.
    };

    /// One output pixel: input pixels first .. first + count - 1, weights from `offset` on.
    struct Run {
        std::int32_t first;
        std::int32_t count;
        std::int32_t offset;
    };

    /// Makes room for every axis up to these lengths: plan() then allocates nothing.
    void reserve(int max_in, int max_out);

    /// Lays out `n_in` pixels to `n_out`, in place of what was.
    void plan(int n_in, int n_out);

    std::vector<Run> runs;        ///< One for each output pixel.
    std::vector<double> weights;  ///< Whole numbers above 0.
    double denominator = 1;       ///< What the weights of each run sum to.
    Whole whole;

  private:
    void plan_whole(int n_in);
};

/// Resizes planes of one size to another. Not for two threads at once: it holds rows of sums.
class Resampler {
  public:
    Resampler(int in_height, int in_width, int out_height, int out_width);

    /// Makes room for all sizes up to these: plan() then allocates nothing.
    void reserve(int in_height, int in_width, int out_height, int out_width);

    /// Changes the two sizes.
    void plan(int in_height, int in_width, int out_height, int out_width);

    void image(Plane<const std::uint8_t> in, Plane<std::uint8_t> out) noexcept;
    void mask(Plane<const std::uint8_t> in, Plane<std::uint8_t> out) noexcept;
    void map(Plane<const float> in, Plane<float> out) noexcept;

    /// 1 where map() would give `value` or more, else 0. Works where something may come to that
    /// alone, so that it is fast for small parts of the plane. `in` within [-2, 2], no NaN.
    void above(Plane<const float> in, float value, Plane<std::uint8_t> out) noexcept;

  private:
    /// From first to before last.
    struct Span {
        std::int32_t first;
        std::int32_t last;
    };

    template <typename Finish>
    void run(Plane<const std::uint8_t> in, Plane<std::uint8_t> out, Finish finish) noexcept;

    void sum_rows(Plane<const float> in, const Axis::Run& run, Span columns) noexcept;
    void sum_columns(Span outputs) noexcept;
    Span reached(Span columns) const noexcept;
    double least_sum(float value) const noexcept;

    Axis rows_;
    Axis columns_;
    double denominator_ = 1;             ///< Of both axes; at most 2^30.
    std::vector<double> row_;            ///< Sums over the input rows of one output row.
    std::vector<double> out_row_;        ///< The same over its columns too.
    std::vector<std::uint32_t> counts_;  ///< Sums over the input rows, whole.
    std::vector<Span> spans_;            ///< Where each input row may come to a value.
};

}  // namespace edge_bts
