#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "allocations.hpp"
#include "edge_bts/geometry.hpp"
#include "support.hpp"

using edge_bts::Geometry;
using edge_bts::Letterbox;
using edge_bts::plan_letterbox;

TEST_CASE("the longer side fills the square and the content is centred") {
    const Letterbox box = plan_letterbox(500, 300, 256);
    CHECK(box.height == 256);
    CHECK(box.width == 154);  // 153.6
    CHECK(box.top == 0);
    CHECK(box.left == 51);
}

TEST_CASE("a side never vanishes and an odd margin is smaller above") {
    CHECK(plan_letterbox(1, 16384, 256).height == 1);
    CHECK(plan_letterbox(1, 16384, 256).top == 127);
    CHECK(plan_letterbox(100, 200, 5).height == 3);  // 2.5 goes up
}

TEST_CASE("sides out of range are refused") {
    CHECK_THROWS_AS(plan_letterbox(0, 5, 8), std::invalid_argument);
    CHECK_THROWS_AS(plan_letterbox(5, 16385, 8), std::invalid_argument);
    CHECK_THROWS_AS(Geometry(5, 5, -1), std::invalid_argument);
    CHECK_THROWS_WITH(plan_letterbox(5, 0, 8),
                      "Expected the width between 1 and 16384 pixels, but got 0.");
}

TEST_CASE("every pixel of the square is written and the margins are zero") {
    const std::vector<std::uint8_t> image(30 * 50, 200);
    std::vector<std::uint8_t> square(32 * 32, 77);
    Geometry geometry(30, 50, 32);
    geometry.letterbox({image.data(), 50}, {square.data(), 32});
    const Letterbox& box = geometry.box();
    for (int y = 0; y < 32; ++y) {
        for (int x = 0; x < 32; ++x) {
            const bool inside = y >= box.top && y < box.top + box.height && x >= box.left &&
                                x < box.left + box.width;
            CHECK(square[static_cast<std::size_t>(32 * y + x)] == (inside ? 200 : 0));
        }
    }
}

TEST_CASE("an image of the square's own size goes through unchanged, both ways") {
    const auto image = support::bytes(16 * 16, 5);
    const auto probability = support::units(16 * 16, 5);
    std::vector<std::uint8_t> square(16 * 16);
    std::vector<float> source(16 * 16);
    Geometry geometry(16, 16, 16);
    geometry.letterbox({image.data(), 16}, {square.data(), 16});
    geometry.to_source({probability.data(), 16}, {source.data(), 16});
    CHECK(square == image);
    CHECK(source == probability);
}

TEST_CASE("frames allocate nothing once the geometry is made") {
    const auto image = support::bytes(300 * 500, 5);
    const auto probability = support::units(256 * 256, 5);
    const edge_bts::Normaliser normalise(0.3F, 0.2F);
    std::vector<std::uint8_t> square(256 * 256);
    std::vector<float> input(256 * 256);
    std::vector<float> source(300 * 500);
    std::vector<std::uint8_t> mask(300 * 500);
    Geometry geometry(300, 500, 256);
    const long before = support::allocations();
    geometry.letterbox({image.data(), 500}, {square.data(), 256});
    normalise(square.data(), square.size(), input.data());
    geometry.to_source({probability.data(), 256}, {source.data(), 500});
    edge_bts::threshold(source.data(), source.size(), 0.5F, mask.data());
    CHECK(support::allocations() == before);
}

TEST_CASE("gray levels are scaled in binary32") {
    const std::vector<std::uint8_t> image = {0, 128, 255};
    std::vector<float> got(3);
    edge_bts::Normaliser(0.5F, 0.25F)(image.data(), image.size(), got.data());
    CHECK(got[0] == -2.0F);
    CHECK(got[1] == (128.0F / 255.0F - 0.5F) / 0.25F);
    CHECK(got[2] == 2.0F);
}

TEST_CASE("a standard deviation that gives no finite value is refused") {
    for (float std : {0.0F, -1.0F, 1e-45F, std::numeric_limits<float>::quiet_NaN()}) {
        CHECK_THROWS_AS(edge_bts::Normaliser(0.5F, std), std::invalid_argument);
    }
}

TEST_CASE("the threshold belongs to the lesion and a NaN does not") {
    const std::vector<float> probability = {std::nextafter(0.5F, 0.0F), 0.5F, 1.0F,
                                            std::numeric_limits<float>::quiet_NaN()};
    std::vector<std::uint8_t> mask(4, 77);
    edge_bts::threshold(probability.data(), probability.size(), 0.5F, mask.data());
    CHECK(mask == std::vector<std::uint8_t>{0, 1, 1, 0});
}

// The same planes and sums stand in tests/core/test_geometry.py: every compiler, every level of
// optimisation and NumPy must give these bits.
TEST_CASE("the bits are the pinned ones") {
    const auto image = support::bytes(333 * 471, 20251);
    const auto probability = support::units(256 * 256, 20252);
    std::vector<std::uint8_t> square(256 * 256);
    std::vector<float> input(256 * 256);
    std::vector<float> source(333 * 471);
    Geometry geometry(333, 471, 256);

    geometry.letterbox({image.data(), 471}, {square.data(), 256});
    CHECK(support::crc32(square) == 0x30E5F195U);
    edge_bts::Normaliser(0.32F, 0.21F)(square.data(), square.size(), input.data());
    CHECK(support::crc32(input) == 0x1E8717B7U);
    geometry.to_source({probability.data(), 256}, {source.data(), 471});
    CHECK(support::crc32(source) == 0x809EF1FDU);

    // A small source: the way there enlarges, the way back shrinks.
    Geometry small(71, 53, 256);
    std::vector<float> little(71 * 53);
    small.letterbox({image.data(), 53}, {square.data(), 256});
    CHECK(support::crc32(square) == 0x08F31154U);
    small.to_source({probability.data(), 256}, {little.data(), 53});
    CHECK(support::crc32(little) == 0x72B21B2EU);
}

TEST_CASE("a geometry that is laid out anew gives the bits of a new one") {
    const auto image = support::bytes(500 * 471, 1);
    Geometry again(1, 1, 256);
    again.reserve(500, 471);
    for (const auto& [height, width] :
         std::vector<std::pair<int, int>>{{500, 471}, {71, 53}, {1, 300}, {256, 256}, {500, 2}}) {
        Geometry fresh(height, width, 256);
        again.plan(height, width);
        std::vector<std::uint8_t> expected(256 * 256);
        std::vector<std::uint8_t> square(256 * 256, 7);
        fresh.letterbox({image.data(), width}, {expected.data(), 256});
        again.letterbox({image.data(), width}, {square.data(), 256});
        CHECK(square == expected);
        const auto probability = support::units(256 * 256, 2);
        const auto count = static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
        std::vector<float> back(count);
        std::vector<float> source(count);
        fresh.to_source({probability.data(), 256}, {back.data(), width});
        again.to_source({probability.data(), 256}, {source.data(), width});
        CHECK(source == back);
    }
    CHECK_THROWS_AS(again.plan(0, 5), std::invalid_argument);
    CHECK(again.box().source_height == 500);
}

TEST_CASE("the mask without a plane between is the threshold of the plane, bit for bit") {
    const int size = 32;
    support::Random random(11);
    int marked = 0;
    for (int round = 0; round < 300; ++round) {
        const int height = 1 + random.byte() % 90;
        const int width = 1 + random.byte() % 90;
        Geometry geometry(height, width, size);
        auto probability = support::units(size * size, random.next());
        // Patches in a low plane, noise everywhere, and a plane that lies on the threshold.
        if (round % 3 == 1) {
            for (int i = 0; i < size * size; ++i) {
                if ((i / size) % 16 > 5 || i % size < 9) probability[std::size_t(i)] *= 0.01F;
            }
        }
        const float value = round % 5 == 0 ? probability[500] : random.unit();
        if (round % 3 == 2) std::fill(probability.begin(), probability.end(), value);
        const auto pixels = std::size_t(height) * std::size_t(width);
        std::vector<float> plane(pixels);
        std::vector<std::uint8_t> want(pixels);
        std::vector<std::uint8_t> got(pixels, 7);
        geometry.to_source({probability.data(), size}, {plane.data(), width});
        edge_bts::threshold(plane.data(), pixels, value, want.data());
        geometry.to_source_mask({probability.data(), size}, value, {got.data(), width});
        CHECK(got == want);
        // One unit in the last place decides.
        const float next = plane[pixels / 2];
        for (const float limit : {next, std::nextafter(next, 2.0F), std::nextafter(next, -2.0F)}) {
            edge_bts::threshold(plane.data(), pixels, limit, want.data());
            geometry.to_source_mask({probability.data(), size}, limit, {got.data(), width});
            CHECK(got == want);
            marked += static_cast<int>(std::count(got.begin(), got.end(), 1));
        }
    }
    CHECK(marked > 0);
}
