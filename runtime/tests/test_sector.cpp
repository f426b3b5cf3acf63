#include <doctest/doctest.h>

#include <vector>

#include "sector.hpp"
#include "session.hpp"
#include "support.hpp"

using edge_bts::Sector;

namespace {

/// The even-odd rule by a ray from the pixel's centre to the left, in whole arithmetic: which side
/// of each edge the centre lies on.
bool inside(const std::vector<ebts_point>& corners, int x, int y) {
    bool odd = false;
    for (std::size_t i = 0; i < corners.size(); ++i) {
        ebts_point a = corners[i];
        ebts_point b = corners[(i + 1) % corners.size()];
        if (a.y > b.y) std::swap(a, b);
        if (!(2 * a.y < 2 * y + 1 && 2 * y + 1 < 2 * b.y)) continue;
        // Twice the area of a, b and the centre: 0 on the edge, above 0 right of it.
        const long turn =
            long(2 * x + 1 - 2 * a.x) * (b.y - a.y) - long(2 * y + 1 - 2 * a.y) * (b.x - a.x);
        if (turn >= 0) odd = !odd;
    }
    return odd;
}

}  // namespace

TEST_CASE("pixels belong to a sector by the even-odd rule of their centres") {
    support::Random random(3);
    for (int round = 0; round < 500; ++round) {
        std::vector<ebts_point> corners(3 + random.byte() % 6);
        for (ebts_point& corner : corners) corner = {random.byte() % 31, random.byte() % 29};
        const Sector sector(corners.data(), corners.size());
        std::size_t area = 0;
        for (int y = 0; y < 28; ++y) {
            std::vector<bool> row(30);
            sector.row(y, [&](int first, int last) {
                for (int x = first; x < last; ++x) row[std::size_t(x)] = true;
            });
            for (int x = 0; x < 30; ++x) {
                if (row[std::size_t(x)] != inside(corners, x, y)) FAIL("pixel ", x, " ", y);
                area += row[std::size_t(x)] ? 1 : 0;
            }
        }
        CHECK(sector.area() == area);
    }
}

TEST_CASE("a sector that is a rectangle is the region of that rectangle") {
    const auto model = support::fake_model();
    const auto session = support::session_of(model);
    const auto pixels = support::bytes(40 * 40, 5);
    ebts_frame frame = support::frame_of(pixels.data(), 40, 40);
    const ebts_point corners[] = {{5, 7}, {31, 7}, {31, 40}, {5, 40}};
    std::vector<std::uint8_t> masks[2];
    std::vector<float> probabilities[2];
    for (int i = 0; i < 2; ++i) {
        frame.roi = i == 0 ? ebts_rect{5, 7, 26, 33} : ebts_rect{};
        frame.sector = i == 0 ? nullptr : corners;
        frame.sector_count = i == 0 ? 0 : 4;
        masks[i].assign(1600, 9);
        probabilities[i].assign(1600, 9);
        auto planes = support::sized<ebts_planes>();
        planes.mask = masks[i].data();
        planes.probability = probabilities[i].data();
        auto result = support::sized<ebts_result>();
        REQUIRE(ebts_segment(session.get(), &frame, &planes, &result) == EBTS_OK);
        CHECK(result.component_count > 0);
    }
    CHECK(masks[0] == masks[1]);
    CHECK(probabilities[0] == probabilities[1]);
}

TEST_CASE("the network sees black around the sector, and nothing is found there") {
    const auto model = support::fake_model();  // probability is gray
    const auto session = support::session_of(model);
    const std::vector<std::uint8_t> white(64 * 48, 250);
    ebts_frame frame = support::frame_of(white.data(), 64, 48);
    const std::vector<ebts_point> fan = {{24, 0}, {40, 0}, {64, 40}, {32, 48}, {0, 40}};
    frame.sector = fan.data();
    frame.sector_count = fan.size();
    std::vector<std::uint8_t> mask(64 * 48, 9);
    std::vector<float> probability(64 * 48, 9);
    auto planes = support::sized<ebts_planes>();
    planes.mask = mask.data();
    planes.probability = probability.data();
    auto result = support::sized<ebts_result>();
    REQUIRE(ebts_segment(session.get(), &frame, &planes, &result) == EBTS_OK);
    std::size_t outside = 0;
    for (int y = 0; y < 48; ++y) {
        for (int x = 0; x < 64; ++x) {
            if (inside(fan, x, y)) continue;
            ++outside;
            const auto at = static_cast<std::size_t>(64 * y + x);
            if (mask[at] != 0 || probability[at] != 0) FAIL("pixel ", x, " ", y);
        }
    }
    CHECK(outside > 500);
    REQUIRE(result.component_count == 1);
    CHECK(result.components[0]->area_px > (64 * 48 - outside) * 9 / 10);
    CHECK(result.health == EBTS_HEALTH_OK);
}

TEST_CASE("saturation is judged by the pixels of the sector") {
    const auto model = support::fake_model();
    const auto session = support::session_of(model);
    std::vector<std::uint8_t> pixels(1600, 255);
    ebts_frame frame = support::frame_of(pixels.data(), 40, 40);
    const ebts_point triangle[] = {{0, 0}, {40, 0}, {0, 40}};
    frame.sector = triangle;
    frame.sector_count = 3;
    auto result = support::sized<ebts_result>();
    REQUIRE(ebts_segment(session.get(), &frame, nullptr, &result) == EBTS_OK);
    CHECK((result.health & EBTS_HEALTH_SATURATED) != 0);
    std::fill(pixels.begin(), pixels.begin() + 800, std::uint8_t{9});
    REQUIRE(ebts_segment(session.get(), &frame, nullptr, &result) == EBTS_OK);
    CHECK((result.health & EBTS_HEALTH_SATURATED) == 0);
}

TEST_CASE("sectors that are none are refused") {
    const auto model = support::fake_model();
    const auto session = support::session_of(model);
    const std::vector<std::uint8_t> pixels(1600);
    const auto status = [&](std::vector<ebts_point> corners, ebts_rect roi = {}) {
        ebts_frame frame = support::frame_of(pixels.data(), 40, 40);
        frame.sector = corners.data();
        frame.sector_count = corners.size();
        frame.roi = roi;
        auto result = support::sized<ebts_result>();
        return ebts_segment(session.get(), &frame, nullptr, &result);
    };
    const std::vector<ebts_point> good = {{0, 0}, {40, 0}, {40, 40}};
    CHECK(status(good) == EBTS_OK);
    CHECK(status(good, {0, 0, 9, 9}) == EBTS_ERROR_FRAME);
    CHECK(status({{0, 0}, {40, 0}}) == EBTS_ERROR_FRAME);
    CHECK(status(std::vector<ebts_point>(65, {3, 3})) == EBTS_ERROR_FRAME);
    CHECK(status({{0, 0}, {41, 0}, {40, 40}}) == EBTS_ERROR_FRAME);
    CHECK(status({{0, -1}, {40, 0}, {40, 40}}) == EBTS_ERROR_FRAME);
    CHECK(status({{0, 0}, {20, 20}, {40, 40}}) == EBTS_ERROR_FRAME);  // no area
    ebts_frame frame = support::frame_of(pixels.data(), 40, 40);
    frame.sector_count = 3;
    auto result = support::sized<ebts_result>();
    CHECK(ebts_segment(session.get(), &frame, nullptr, &result) == EBTS_ERROR_ARGUMENT);
}
