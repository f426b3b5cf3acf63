// Separable resampling with whole weights; the specification is in edge_bts/geometry.hpp.
#pragma once

#include <cstdint>
#include <vector>

#include "edge_bts/geometry.hpp"

namespace edge_bts {

/// The weights of one axis.
struct Axis {
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
};

/// Resizes planes of one size to another. Not for two threads at once: it holds one row of sums.
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

  private:
    template <typename T, typename Finish>
    void run(Plane<const T> in, Plane<T> out, Finish finish) noexcept;

    template <typename T>
    void sum_rows(Plane<const T> in, const Axis::Run& run) noexcept;

    Axis rows_;
    Axis columns_;
    double denominator_ = 1;  ///< Of both axes; at most 2^30.
    std::vector<double> row_;
};

}  // namespace edge_bts
