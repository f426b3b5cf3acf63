#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "measure.hpp"
#include "support.hpp"

using edge_bts::Measurer;

// That the measures are those of edge_bts/measure.py, and with it of OpenCV, is shown by
// tests/runtime/test_library.py.

namespace {

void write(Measurer& measurer, const std::vector<std::uint8_t>& mask, int height, int width) {
    const auto plane = measurer.begin(height, width);
    for (int y = 0; y < height; ++y) {
        std::copy_n(mask.data() + y * width, width, plane.data + y * plane.pitch);
    }
    measurer.measure({0, 0}, 0);
}

}  // namespace

TEST_CASE("one pixel is one pixel long") {
    Measurer measurer(3, 4, 2);
    write(measurer, {0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0}, 3, 4);
    REQUIRE(measurer.count() == 1);
    const ebts_component& one = *measurer.listed()[0];
    CHECK(one.area_px == 1);
    CHECK(one.longest_px == 1.0);
    CHECK(one.orthogonal_px == 1.0);
    CHECK(one.contour_count == 1);
    CHECK(one.contour[0].x == 2);
    CHECK(one.contour[0].y == 1);
    CHECK(one.longest_mm == 0);
}

TEST_CASE("a full mask touches every border") {
    Measurer measurer(5, 7, 2);
    write(measurer, std::vector<std::uint8_t>(35, 1), 5, 7);
    REQUIRE(measurer.found() == 1);
    const ebts_component& all = *measurer.listed()[0];
    CHECK(all.area_px == 35);
    CHECK(all.bbox.width == 7);
    CHECK(all.contour_count == 20);
    CHECK(all.longest_px == doctest::Approx(std::hypot(7, 4)));
}

TEST_CASE("every mask of 4 x 4 fits into the memory that is reserved") {
    // A contour that were longer than the bound would be written beyond its buffer, which the
    // address sanitizer sees.
    for (unsigned bits = 0; bits < 65536; ++bits) {
        Measurer measurer(4, 4, 4);
        std::vector<std::uint8_t> mask(16);
        for (unsigned i = 0; i < 16; ++i) mask[i] = (bits >> i) & 1U;
        write(measurer, mask, 4, 4);
        std::size_t points = 0;
        std::size_t area = 0;
        for (std::size_t i = 0; i < measurer.count(); ++i) {
            points += measurer.listed()[i]->contour_count;
            area += measurer.listed()[i]->area_px;
        }
        if (points > 2 * 16 + 8 ||
            area != static_cast<std::size_t>(std::count(mask.begin(), mask.end(), 1))) {
            FAIL("mask ", bits);
        }
    }
}

TEST_CASE("no component is worse than half of the frame's pixels in isolation") {
    const int side = 31;
    std::vector<std::uint8_t> mask(static_cast<std::size_t>(side * side));
    for (int y = 0; y < side; y += 2) {
        for (int x = 0; x < side; x += 2) mask[static_cast<std::size_t>(y * side + x)] = 1;
    }
    Measurer measurer(side, side, 10);
    write(measurer, mask, side, side);
    CHECK(measurer.found() == 256);
    REQUIRE(measurer.count() == 10);
    for (std::size_t i = 0; i < 10; ++i) CHECK(measurer.listed()[i]->bbox.x == 2 * int(i));
}
