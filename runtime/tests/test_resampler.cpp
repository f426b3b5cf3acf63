#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "resampler.hpp"
#include "support.hpp"

using edge_bts::Axis;
using edge_bts::Plane;
using edge_bts::Resampler;

namespace {

struct Sizes {
    int in_height, in_width, out_height, out_width;
};

const std::vector<Sizes> kSizes = {
    {9, 7, 5, 4}, {5, 9, 9, 5},   {3, 4, 11, 13},   {13, 1, 6, 1}, {1, 1, 4, 4},
    {8, 8, 8, 8}, {17, 30, 5, 8}, {64, 48, 32, 24}, {7, 31, 7, 8}, {500, 37, 256, 19}};

/// The weight of input j in output i, from the definition in real numbers.
double real_weight(int i, int j, int n_in, int n_out) {
    const double ratio = static_cast<double>(n_in) / n_out;
    if (n_out < n_in) {
        return std::max(0.0, std::min((i + 1) * ratio, j + 1.0) - std::max(i * ratio, 1.0 * j)) /
               ratio;
    }
    const double at = std::clamp((i + 0.5) * ratio - 0.5, 0.0, n_in - 1.0);
    return std::max(0.0, 1.0 - std::abs(at - j));
}

double real_value(const std::vector<std::uint8_t>& in, const Sizes& s, int y, int x) {
    double sum = 0;
    for (int v = 0; v < s.in_height; ++v) {
        const double row = real_weight(y, v, s.in_height, s.out_height);
        for (int u = 0; row > 0 && u < s.in_width; ++u) {
            sum += row * real_weight(x, u, s.in_width, s.out_width) *
                   in[static_cast<std::size_t>(v * s.in_width + u)];
        }
    }
    return sum;
}

template <typename T>
std::vector<T> plane_of(int height, int width) {
    return std::vector<T>(static_cast<std::size_t>(height) * static_cast<std::size_t>(width));
}

}  // namespace

TEST_CASE("the weights of every output pixel are whole, positive and sum to the denominator") {
    for (const auto& [n_in, n_out] : std::vector<std::pair<int, int>>{
             {1, 1}, {1, 7}, {7, 1}, {3, 2}, {500, 256}, {256, 500}, {16384, 3}, {3, 16384}}) {
        Axis axis;
        axis.plan(n_in, n_out);
        for (const auto& run : axis.runs) {
            double sum = 0;
            for (int k = 0; k < run.count; ++k) {
                const double weight = axis.weights[static_cast<std::size_t>(run.offset + k)];
                CHECK(weight > 0);
                CHECK(weight == std::floor(weight));
                sum += weight;
            }
            CHECK(sum == axis.denominator);
            CHECK(run.first >= 0);
            CHECK(run.first + run.count <= n_in);
        }
    }
}

TEST_CASE("a uint8 pixel is the true weighted mean, rounded") {
    for (const Sizes& s : kSizes) {
        const auto in = support::bytes(static_cast<std::size_t>(s.in_height * s.in_width), 7);
        auto out = plane_of<std::uint8_t>(s.out_height, s.out_width);
        Resampler(s.in_height, s.in_width, s.out_height, s.out_width)
            .image({in.data(), s.in_width}, {out.data(), s.out_width});
        for (int y = 0; y < s.out_height; ++y) {
            for (int x = 0; x < s.out_width; ++x) {
                const double real = real_value(in, s, y, x);
                const int got = out[static_cast<std::size_t>(y * s.out_width + x)];
                CHECK(std::abs(got - real) <= 0.5 + 1e-9);
            }
        }
    }
}

TEST_CASE("an exact half is rounded up") {
    const std::vector<std::uint8_t> in = {10, 11, 254, 255};
    std::vector<std::uint8_t> out(2);
    Resampler(1, 4, 1, 2).image({in.data(), 4}, {out.data(), 2});
    CHECK(out == std::vector<std::uint8_t>{11, 255});
}

TEST_CASE("the division by multiplication is exact for the largest sides") {
    // One white pixel of n gives 255/n: below one half as soon as n is above 510.
    for (int n : {509, 510, 511, 16384}) {
        std::vector<std::uint8_t> in(static_cast<std::size_t>(n), 0);
        in.back() = 255;
        std::uint8_t out = 9;
        Resampler(1, n, 1, 1).image({in.data(), n}, {&out, 1});
        CHECK(out == (n <= 510 ? 1 : 0));
        std::fill(in.begin(), in.end(), std::uint8_t{255});
        Resampler(n, 1, 1, 1).image({in.data(), 1}, {&out, 1});
        CHECK(out == 255);
    }
}

TEST_CASE("constant planes stay as they are") {
    for (const Sizes& s : kSizes) {
        Resampler resampler(s.in_height, s.in_width, s.out_height, s.out_width);
        for (float value : {0.0F, 1.0F, 0.1F, 0.7F}) {
            auto in = plane_of<float>(s.in_height, s.in_width);
            std::fill(in.begin(), in.end(), value);
            auto out = plane_of<float>(s.out_height, s.out_width);
            resampler.map({in.data(), s.in_width}, {out.data(), s.out_width});
            for (float got : out) CHECK(got == value);
        }
    }
}

TEST_CASE("a mask pixel is set from half coverage on") {
    const std::vector<std::uint8_t> in = {1, 0, 0, 0, 1, 1};
    std::vector<std::uint8_t> out(3);
    Resampler(1, 6, 1, 3).mask({in.data(), 6}, {out.data(), 3});
    CHECK(out == std::vector<std::uint8_t>{1, 0, 1});
}

TEST_CASE("a mask is the image of mask times 255, from 128 on") {
    for (const Sizes& s : kSizes) {
        auto in = support::bytes(static_cast<std::size_t>(s.in_height * s.in_width), 3);
        for (auto& value : in) value = value > 127 ? 1 : 0;
        auto white = in;
        for (auto& value : white) value = static_cast<std::uint8_t>(255 * value);
        auto mask = plane_of<std::uint8_t>(s.out_height, s.out_width);
        auto image = mask;
        Resampler resampler(s.in_height, s.in_width, s.out_height, s.out_width);
        resampler.mask({in.data(), s.in_width}, {mask.data(), s.out_width});
        resampler.image({white.data(), s.in_width}, {image.data(), s.out_width});
        for (std::size_t i = 0; i < mask.size(); ++i) CHECK(mask[i] == (image[i] >= 128 ? 1 : 0));
    }
}

TEST_CASE("a NaN spreads to the pixels it has a part in and no further") {
    std::vector<float> in(8, 0.5F);
    in[3] = std::numeric_limits<float>::quiet_NaN();
    std::vector<float> out(4);
    Resampler(1, 8, 1, 4).map({in.data(), 8}, {out.data(), 4});
    CHECK(out[0] == 0.5F);
    CHECK(std::isnan(out[1]));
    CHECK(out[2] == 0.5F);
    CHECK(out[3] == 0.5F);
}

TEST_CASE("a pitch wider than the row is neither read nor written") {
    const std::vector<std::uint8_t> tight = support::bytes(6, 1);
    const std::vector<std::uint8_t> padded = {tight[0], tight[1], tight[2], 255,
                                              tight[3], tight[4], tight[5], 255};
    std::vector<std::uint8_t> expected(4);
    std::vector<std::uint8_t> got(6, 77);
    Resampler resampler(2, 3, 2, 2);
    resampler.image({tight.data(), 3}, {expected.data(), 2});
    resampler.image({padded.data(), 4}, {got.data(), 3});
    CHECK(got ==
          std::vector<std::uint8_t>{expected[0], expected[1], 77, expected[2], expected[3], 77});
}
