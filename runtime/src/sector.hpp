// The polygon of a frame that the network sees.
#pragma once

#include <array>
#include <cstddef>

#include "edge_bts/edge_bts.h"

namespace edge_bts {

/// Pixels whose centres lie within a polygon, by the even-odd rule; corners lie at pixel corners.
class Sector {
  public:
    static constexpr std::size_t kMostCorners = 64;

    /// No polygon.
    Sector() = default;

    /// `count` from 3 to kMostCorners; coordinates within 0 and 2^15.
    Sector(const ebts_point* corners, std::size_t count) noexcept;

    explicit operator bool() const noexcept { return count_ != 0; }
    std::size_t count() const noexcept { return count_; }
    const std::array<ebts_point, kMostCorners>& corners() const noexcept { return corners_; }
    bool operator==(const Sector& other) const noexcept;

    /// The box around all corners.
    ebts_rect box() const noexcept;

    /// Calls work(first, last) for each run of pixels first .. last - 1 of row `y`, from left to
    /// right; coordinates of the frame.
    template <typename Work>
    void row(int y, Work work) const noexcept {
        std::array<int, kMostCorners> borders;
        const std::size_t count = cross(y, borders);
        for (std::size_t i = 0; i + 1 < count; i += 2) {
            if (borders[i] < borders[i + 1]) work(borders[i], borders[i + 1]);
        }
    }

    /// How many pixels there are.
    std::size_t area() const noexcept;

  private:
    std::size_t cross(int y, std::array<int, kMostCorners>& borders) const noexcept;

    std::array<ebts_point, kMostCorners> corners_{};
    std::size_t count_ = 0;
};

/// Zeroes the pixels of a plane that do not belong. `plane` is the region `box` of the frame.
template <typename T>
void clear_outside(const Sector& sector, const ebts_rect& box, T* plane,
                   std::size_t pitch) noexcept {
    for (int y = 0; y < box.height; ++y, plane += pitch) {
        int from = 0;
        sector.row(box.y + y, [&](int first, int last) {
            for (; from < first - box.x; ++from) plane[from] = T{};
            from = last - box.x;
        });
        for (; from < box.width; ++from) plane[from] = T{};
    }
}

}  // namespace edge_bts
