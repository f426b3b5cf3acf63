#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "presence.hpp"
#include "support.hpp"

namespace {

/// The definition: sort, take the highest, average.
double by_sorting(std::vector<float> values, std::size_t count) {
    std::sort(values.rbegin(), values.rend());
    return std::accumulate(values.begin(), values.begin() + std::ptrdiff_t(count), 0.0) /
           static_cast<double>(count);
}

}  // namespace

TEST_CASE("presence is the mean of the highest 0.2 %, wherever they lie and however often") {
    for (const int side : {1, 7, 32, 65, 256}) {
        const auto pixels = static_cast<std::size_t>(side) * static_cast<std::size_t>(side);
        const std::size_t count = std::max<std::size_t>(1, (pixels + 250) / 500);
        edge_bts::Presence presence(side);
        for (std::uint32_t seed = 0; seed < 20; ++seed) {
            auto values = support::units(pixels, seed);
            if (seed % 4 == 1) std::sort(values.begin(), values.end());
            if (seed % 4 == 2) std::sort(values.rbegin(), values.rend());
            if (seed % 4 == 3) {
                for (float& value : values) value = value > 0.9F ? 1.0F : 0.0F;
            }
            CHECK(presence.score(values.data()) ==
                  doctest::Approx(by_sorting(values, count)).epsilon(1e-12));
        }
    }
}

TEST_CASE("a NaN counts as 0, and infinity as the largest number") {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const float inf = std::numeric_limits<float>::infinity();
    const float most = std::numeric_limits<float>::max();
    edge_bts::Presence presence(32);  // two of 1024
    std::vector<float> values(1024, -1.0F);
    CHECK(presence.score(values.data()) == -1.0);
    values[1000] = nan;
    CHECK(presence.score(values.data()) == -0.5);
    values[1023] = inf;
    CHECK(presence.score(values.data()) == static_cast<double>(most) / 2);
    std::fill(values.begin(), values.end(), -inf);
    CHECK(presence.score(values.data()) == -static_cast<double>(most));
}
