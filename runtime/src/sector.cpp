#include "sector.hpp"

#include <algorithm>
#include <cstdint>

namespace edge_bts {
namespace {

/// The first column whose centre is not left of where the edge crosses the middle of row `y`.
/// In halves of a pixel: the centre of column x is 2x + 1.
int column(const ebts_point& a, const ebts_point& b, int y) noexcept {
    const std::int64_t rise = b.y - a.y;  // above 0
    // 2 X - 1 <= 2 x with X = a.x + (y + 1/2 - a.y) (b.x - a.x) / rise, and so x = ceil(n / d).
    const std::int64_t n = (2 * std::int64_t{a.x} - 1) * rise +
                           (2 * (std::int64_t{y} - a.y) + 1) * (std::int64_t{b.x} - a.x);
    const std::int64_t d = 2 * rise;
    return static_cast<int>(n >= 0 ? (n + d - 1) / d : -(-n / d));
}

}  // namespace

Sector::Sector(const ebts_point* corners, std::size_t count) noexcept : count_(count) {
    std::copy_n(corners, count, corners_.begin());
}

bool Sector::operator==(const Sector& other) const noexcept {
    return std::equal(
        corners_.begin(), corners_.begin() + static_cast<std::ptrdiff_t>(count_),
        other.corners_.begin(), other.corners_.begin() + static_cast<std::ptrdiff_t>(other.count_),
        [](const ebts_point& a, const ebts_point& b) { return a.x == b.x && a.y == b.y; });
}

ebts_rect Sector::box() const noexcept {
    ebts_point least = corners_[0];
    ebts_point most = corners_[0];
    for (std::size_t i = 1; i < count_; ++i) {
        least = {std::min(least.x, corners_[i].x), std::min(least.y, corners_[i].y)};
        most = {std::max(most.x, corners_[i].x), std::max(most.y, corners_[i].y)};
    }
    return {least.x, least.y, most.x - least.x, most.y - least.y};
}

std::size_t Sector::area() const noexcept {
    const ebts_rect all = box();
    std::size_t pixels = 0;
    for (int y = all.y; y < all.y + all.height; ++y) {
        row(y, [&](int first, int last) { pixels += static_cast<std::size_t>(last - first); });
    }
    return pixels;
}

/// Where the outline crosses the middle of row `y`, from left to right; an even number of times.
std::size_t Sector::cross(int y, std::array<int, kMostCorners>& borders) const noexcept {
    std::size_t count = 0;
    for (std::size_t i = 0; i < count_; ++i) {
        const ebts_point& a = corners_[i];
        const ebts_point& b = corners_[(i + 1) % count_];
        // No corner lies in the middle of a row, and level edges are never crossed.
        if ((a.y <= y) == (b.y <= y)) continue;
        borders[count++] = a.y < b.y ? column(a, b, y) : column(b, a, y);
    }
    std::sort(borders.begin(), borders.begin() + static_cast<std::ptrdiff_t>(count));
    return count;
}

}  // namespace edge_bts
