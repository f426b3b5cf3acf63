#include "measure.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <tuple>

namespace edge_bts {
namespace {

constexpr std::uint8_t kNew = 1;
constexpr std::uint8_t kSeen = 2;

// The neighbours by number: right, upper right, up, ... anticlockwise.
constexpr ebts_point kNeighbours[8] = {{1, 0},  {1, -1}, {0, -1}, {-1, -1},
                                       {-1, 0}, {-1, 1}, {0, 1},  {1, 1}};
constexpr int kLeft = 4;

std::size_t area_of(int height, int width) {
    return static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
}

/// Each visit of a border pixel passes an edge between the component and what is around it, and
/// no edge is passed twice: a frame has no more edges than this.
std::size_t most_points(int height, int width) {
    return 2 * area_of(height, width) + static_cast<std::size_t>(height) +
           static_cast<std::size_t>(width);
}

/// A row of n pixels has at most so many runs.
std::size_t most_runs(int height, int width) {
    return area_of(height, (width + 1) / 2);
}

const std::uint8_t* next_new(const std::uint8_t* from, const std::uint8_t* end) noexcept {
    return static_cast<const std::uint8_t*>(
        std::memchr(from, kNew, static_cast<std::size_t>(end - from)));
}

}  // namespace

Measurer::Measurer(int max_height, int max_width, int max_components)
    : plane_(new std::uint8_t[area_of(max_height + 2, max_width + 2)]),
      queue_(new Run[most_runs(max_height, max_width)]),
      contours_(new ebts_point[most_points(max_height, max_width)]) {
    const auto most = static_cast<std::size_t>(max_components);
    const auto half_rows = 2 * static_cast<std::size_t>(max_height) + 1;
    regions_.resize(most);
    components_.resize(most);
    for (const ebts_component& component : components_) order_.push_back(&component);
    low_.resize(half_rows);
    high_.resize(half_rows);
    corners_.resize(2 * half_rows);
}

Plane<std::uint8_t> Measurer::begin(int height, int width) noexcept {
    height_ = height;
    width_ = width;
    pitch_ = width + 2;
    count_ = found_ = points_ = 0;
    for (int i = 0; i < 16; ++i) {
        steps_[i] = kNeighbours[i % 8].y * pitch_ + kNeighbours[i % 8].x;
    }
    std::uint8_t* row = plane_.get();
    std::fill_n(row, pitch_, std::uint8_t{0});
    for (int y = 0; y < height; ++y) {
        row += pitch_;
        row[0] = row[width + 1] = 0;
    }
    std::fill_n(row + pitch_, pitch_, std::uint8_t{0});
    return {plane_.get() + pitch_ + 1, pitch_};
}

void Measurer::measure(ebts_point origin, double mm) noexcept {
    for (int y = 1; y <= height_; ++y) {
        const std::uint8_t* row = plane_.get() + static_cast<std::ptrdiff_t>(y) * pitch_;
        const std::uint8_t* end = row + pitch_;
        for (const std::uint8_t* at = next_new(row, end); at != nullptr; at = next_new(at, end)) {
            keep(flood(static_cast<std::int32_t>(at - plane_.get())));
        }
    }
    for (std::size_t i = 0; i < count_; ++i) describe(regions_[i], origin, mm, components_[i]);
}

/// Marks the run of new pixels that `at` lies in.
Measurer::Run Measurer::take_run(std::int32_t at) noexcept {
    // The frame of zeros ends every run.
    std::uint8_t* first = plane_.get() + at;
    std::uint8_t* last = first;
    while (first[-1] == kNew) --first;
    while (*last == kNew) ++last;
    std::fill(first, last, kSeen);
    return {static_cast<std::int32_t>(first - plane_.get()),
            static_cast<std::int32_t>(last - first)};
}

Measurer::Region Measurer::flood(std::int32_t start) noexcept {
    Region region{0, height_, width_, 0, 0, start, 0, 0};
    Run* last = queue_.get();
    *last++ = take_run(start);
    for (const Run* at = queue_.get(); at != last; ++at) {
        const std::int32_t y = at->start / pitch_ - 1;
        const std::int32_t x = at->start % pitch_ - 1;
        region.area += at->length;
        region.top = std::min(region.top, y);
        region.left = std::min(region.left, x);
        region.bottom = std::max(region.bottom, y);
        region.right = std::max(region.right, x + at->length - 1);
        // Whole numbers below 2^53, and so exact.
        region.sum_x += static_cast<double>(at->length) * (2 * x + at->length - 1) / 2;
        region.sum_y += static_cast<double>(at->length) * y;
        for (const std::int32_t step : {-pitch_, pitch_}) {
            const std::uint8_t* from = plane_.get() + at->start + step - 1;
            const std::uint8_t* end = from + at->length + 2;
            while ((from = next_new(from, end)) != nullptr) {
                const Run run = take_run(static_cast<std::int32_t>(from - plane_.get()));
                *last++ = run;
                from = std::min<const std::uint8_t*>(end, plane_.get() + run.start + run.length);
            }
        }
    }
    return region;
}

void Measurer::keep(const Region& region) noexcept {
    ++found_;
    const auto before = [](const Region& a, const Region& b) {
        return std::tuple(-a.area, a.top, a.left) < std::tuple(-b.area, b.top, b.left);
    };
    const auto begin = regions_.begin();
    const auto end = begin + static_cast<std::ptrdiff_t>(count_);
    const auto place = std::upper_bound(begin, end, region, before);
    if (count_ < regions_.size()) {
        std::move_backward(place, end, end + 1);
        ++count_;
    } else if (place != end) {
        std::move_backward(place, end - 1, end);
    } else {
        return;
    }
    *place = region;
}

void Measurer::describe(const Region& region, ebts_point origin, double mm,
                        ebts_component& component) noexcept {
    component = {};
    component.area_px = static_cast<std::uint32_t>(region.area);
    component.bbox = {region.left + origin.x, region.top + origin.y, region.right - region.left + 1,
                      region.bottom - region.top + 1};
    component.centroid[0] = region.sum_x / region.area + origin.x;
    component.centroid[1] = region.sum_y / region.area + origin.y;
    ebts_point* contour = contours_.get() + points_;
    component.contour = contour;
    component.contour_count = trace(region, origin, contour);
    points_ += component.contour_count;
    diameters(component);
    component.area_mm2 = region.area * (mm * mm);
    component.longest_mm = component.longest_px * mm;
    component.orthogonal_mm = component.orthogonal_px * mm;
}

/// Follows the outer border (Suzuki and Abe 1985, algorithm 1, for the outer border alone).
std::size_t Measurer::trace(const Region& region, ebts_point origin, ebts_point* contour) noexcept {
    const std::uint8_t* first = plane_.get() + region.start;
    ebts_point point = {region.start % pitch_ - 1 + origin.x, region.start / pitch_ - 1 + origin.y};
    int side = kLeft;
    do {
        side = (side + 7) % 8;
    } while (first[steps_[side]] == 0 && side != kLeft);
    if (side == kLeft) {  // one pixel
        *contour = point;
        return 1;
    }
    const std::uint8_t* last = first + steps_[side];
    const std::uint8_t* at = first;
    for (std::size_t count = 0;;) {
        do {
            ++side;
        } while (at[steps_[side]] == 0);
        side %= 8;
        contour[count++] = point;
        const std::uint8_t* next = at + steps_[side];
        if (next == first && at == last) return count;
        at = next;
        point.x += kNeighbours[side].x;
        point.y += kNeighbours[side].y;
        side = (side + 4) % 8;
    }
}

/// Leaves the corners of the convex hull of the outline, in half pixels, in corners_, by x and y.
std::size_t Measurer::hull(const ebts_component& component) noexcept {
    const ebts_rect& box = component.bbox;
    const std::size_t rows = 2 * static_cast<std::size_t>(box.height) + 1;
    std::fill_n(low_.begin(), rows, std::numeric_limits<std::int32_t>::max());
    std::fill_n(high_.begin(), rows, std::numeric_limits<std::int32_t>::min());
    const auto widen = [this](std::size_t row, std::int32_t low, std::int32_t high) {
        low_[row] = std::min(low_[row], low);
        high_[row] = std::max(high_[row], high);
    };
    for (std::size_t i = 0; i < component.contour_count; ++i) {
        const ebts_point p = component.contour[i];
        const std::size_t row = 2 * static_cast<std::size_t>(p.y - box.y);
        widen(row, 2 * p.x, 2 * p.x);
        widen(row + 1, 2 * p.x - 1, 2 * p.x + 1);
        widen(row + 2, 2 * p.x, 2 * p.x);
    }
    const auto bend = [](const Corner& a, const Corner& b, const Corner& c) {
        return (b.x - a.x) * (c.y - a.y) - (c.x - a.x) * (b.y - a.y);
    };
    std::size_t count = 0;
    const auto chain = [&](const std::vector<std::int32_t>& xs, int sign) {
        const std::size_t base = count;
        for (std::size_t row = 0; row < rows; ++row) {
            const Corner corner{
                xs[row], 2 * static_cast<std::int64_t>(box.y) - 1 + static_cast<std::int64_t>(row)};
            while (count >= base + 2 &&
                   sign * bend(corners_[count - 2], corners_[count - 1], corner) >= 0) {
                --count;
            }
            corners_[count++] = corner;
        }
    };
    chain(low_, 1);
    chain(high_, -1);
    const auto begin = corners_.begin();
    const auto end = begin + static_cast<std::ptrdiff_t>(count);
    std::sort(begin, end, [](const Corner& a, const Corner& b) {
        return std::tie(a.x, a.y) < std::tie(b.x, b.y);
    });
    const auto last = std::unique(
        begin, end, [](const Corner& a, const Corner& b) { return a.x == b.x && a.y == b.y; });
    return static_cast<std::size_t>(last - begin);
}

void Measurer::diameters(ebts_component& component) noexcept {
    const std::size_t count = hull(component);
    // Squares of whole half pixels are exact, so that ties are broken alike everywhere: the first
    // pair by x and y.
    std::int64_t longest = -1;
    Corner first{};
    Corner second{};
    for (std::size_t i = 0; i < count; ++i) {
        for (std::size_t j = i + 1; j < count; ++j) {
            const std::int64_t x = corners_[j].x - corners_[i].x;
            const std::int64_t y = corners_[j].y - corners_[i].y;
            if (x * x + y * y <= longest) continue;
            longest = x * x + y * y;
            first = corners_[i];
            second = corners_[j];
        }
    }
    const double length = std::sqrt(static_cast<double>(longest));
    const double along_x = static_cast<double>(second.x - first.x) / length;
    const double along_y = static_cast<double>(second.y - first.y) / length;
    double least = std::numeric_limits<double>::infinity();
    double most = -least;
    for (std::size_t i = 0; i < count; ++i) {
        const double offset = static_cast<double>(corners_[i].x) * -along_y +
                              static_cast<double>(corners_[i].y) * along_x;
        least = std::min(least, offset);
        most = std::max(most, offset);
    }
    component.longest_px = length / 2;
    component.longest_ends[0][0] = static_cast<double>(first.x) / 2;
    component.longest_ends[0][1] = static_cast<double>(first.y) / 2;
    component.longest_ends[1][0] = static_cast<double>(second.x) / 2;
    component.longest_ends[1][1] = static_cast<double>(second.y) / 2;
    component.orthogonal_px = (most - least) / 2;
}

}  // namespace edge_bts
