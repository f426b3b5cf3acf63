// Connected components of a mask and their size: the twin of edge_bts/measure.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "edge_bts/edge_bts.h"
#include "edge_bts/geometry.hpp"

namespace edge_bts {

/// Measures masks up to a size, in memory that it takes once. One thread at a time.
class Measurer {
  public:
    /// Lists at most `max_components`. Throws std::bad_alloc.
    Measurer(int max_height, int max_width, int max_components);

    /// Begins a mask of that size, within the largest: write 0 or 1 into every pixel of the plane.
    Plane<std::uint8_t> begin(int height, int width) noexcept;

    /// Measures the mask that was written; lesion is then any value but 0. `origin` is where its
    /// first pixel lies in the frame; `mm` millimetres a pixel, 0 if unknown.
    void measure(ebts_point origin, double mm) noexcept;

    /// The mask that was measured: 0, or else.
    Plane<const std::uint8_t> mask() const noexcept { return {plane_.get() + pitch_ + 1, pitch_}; }

    /// The largest components, by falling area, then top, then left; valid until begin().
    const ebts_component* const* listed() const noexcept { return order_.data(); }
    std::size_t count() const noexcept { return count_; }

    /// How many there are.
    std::size_t found() const noexcept { return found_; }

  private:
    struct Region {
        std::int32_t area;
        std::int32_t top;
        std::int32_t left;
        std::int32_t bottom;
        std::int32_t right;
        std::int32_t start;  ///< Index of its first pixel in reading order.
        double sum_x;
        double sum_y;
    };
    struct Corner {
        std::int64_t x;
        std::int64_t y;
    };

    /// Pixels that lie side by side in a row.
    struct Run {
        std::int32_t start;  ///< Index of the first.
        std::int32_t length;
    };

    Region flood(std::int32_t start) noexcept;
    Run take_run(std::int32_t at) noexcept;
    void keep(const Region& region) noexcept;
    void describe(const Region& region, ebts_point origin, double mm,
                  ebts_component& component) noexcept;
    std::size_t trace(const Region& region, ebts_point origin, ebts_point* contour) noexcept;
    std::size_t hull(const ebts_component& component) noexcept;
    void diameters(ebts_component& component) noexcept;

    int height_ = 0;
    int width_ = 0;
    std::int32_t pitch_ = 0;
    std::int32_t steps_[16] =
        {};  ///< To the eight neighbours, anticlockwise from the right, twice.
    std::size_t count_ = 0;
    std::size_t found_ = 0;
    std::size_t points_ = 0;

    // Not std::vector: pages that no frame of this stream needs stay untouched.
    std::unique_ptr<std::uint8_t[]> plane_;  ///< The mask in a frame of zeros, one pixel wide.
    std::unique_ptr<Run[]> queue_;
    std::unique_ptr<ebts_point[]> contours_;
    std::vector<Region> regions_;
    std::vector<ebts_component> components_;
    std::vector<const ebts_component*> order_;
    std::vector<std::int32_t> low_;  ///< Least x of every half row, in half pixels.
    std::vector<std::int32_t> high_;
    std::vector<Corner> corners_;
};

}  // namespace edge_bts
