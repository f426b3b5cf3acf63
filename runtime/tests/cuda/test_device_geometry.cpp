#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "device.hpp"
#include "device_geometry.hpp"
#include "edge_bts/edge_bts.h"
#include "gray.hpp"
#include "sector.hpp"
#include "support.hpp"

using edge_bts::Geometry;
using edge_bts::Letterbox;
using edge_bts::Normaliser;
using edge_bts::device::letterbox;
using edge_bts::device::Outline;
using edge_bts::device::survey;
using edge_bts::device::to_source;
using support::Guarded;
using support::has_device;

namespace {

constexpr float kMean = 0.32F;
constexpr float kStd = 0.21F;
constexpr float kThreshold = 0.47F;

struct Size {
    int height;
    int width;
    int side;
};

std::size_t area(int height, int width) {
    return static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
}

template <typename T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

/// Bits, but that every NaN is the same: IEEE 754 leaves open which one comes out of a sum.
bool same_but_nan(const std::vector<float>& a, const std::vector<float>& b) {
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (std::isnan(a[i]) && std::isnan(b[i])) continue;
        if (std::memcmp(&a[i], &b[i], sizeof(float)) != 0) return false;
    }
    return a.size() == b.size();
}

/// What the C++ core makes of a gray image.
std::vector<float> core_square(const Size& size, const std::vector<std::uint8_t>& image) {
    Geometry geometry(size.height, size.width, size.side);
    std::vector<std::uint8_t> square(area(size.side, size.side));
    std::vector<float> normalised(square.size());
    geometry.letterbox({image.data(), size.width}, {square.data(), size.side});
    Normaliser(kMean, kStd)(square.data(), square.size(), normalised.data());
    return normalised;
}

/// A row of the source with room behind it; where in a word it begins differs from case to case.
int pitch_of(const Size& size) {
    return size.width + size.height % 9;
}
int skew_of(const Size& size) {
    return size.width % 5;
}

void check_letterbox(const Size& size, const std::vector<std::uint8_t>& image) {
    const std::vector<float> expected = core_square(size, image);
    const Letterbox box = edge_bts::plan_letterbox(size.height, size.width, size.side);
    const support::Stream stream;
    for (const int guard : {0, 255}) {  // what is read beside the pixels would show
        Guarded<std::uint8_t> frame(size.height, size.width, pitch_of(size), skew_of(size), guard);
        Guarded<float> square(size.side, size.side, size.side, 0, guard);
        Guarded<std::uint16_t> half(size.side, size.side, size.side, 0, guard);
        frame.set(image);
        const edge_bts::device::Frame given{frame.device(), frame.pitch(), EBTS_GRAY8, 0};
        support::require(letterbox(box, given, kMean, kStd, square.device(), stream));
        support::require(
            letterbox(box, given, kMean, kStd, reinterpret_cast<__half*>(half.device()), stream));
        stream.wait();
        CHECK(same_bits(square.get(), expected));
        CHECK(square.intact());
        std::vector<std::uint16_t> rounded(expected.size());
        for (std::size_t i = 0; i < rounded.size(); ++i) {
            const __half value = __float2half_rn(expected[i]);
            std::memcpy(&rounded[i], &value, sizeof value);
        }
        CHECK(same_bits(half.get(), rounded));
        CHECK(half.intact());
    }
}

void check_to_source(const Size& size, const std::vector<float>& probability) {
    Geometry geometry(size.height, size.width, size.side);
    std::vector<float> expected(area(size.height, size.width));
    std::vector<std::uint8_t> expected_mask(expected.size());
    geometry.to_source({probability.data(), size.side}, {expected.data(), size.width});
    edge_bts::threshold(expected.data(), expected.size(), kThreshold, expected_mask.data());

    const support::Stream stream;
    Guarded<float> square(size.side, size.side, size.side, 0, 255);  // NaN beside the pixels
    Guarded<float> source(size.height, size.width, pitch_of(size), skew_of(size), 85);
    Guarded<std::uint8_t> mask(size.height, size.width, pitch_of(size), skew_of(size), 85);
    Guarded<std::uint8_t> only(size.height, size.width, pitch_of(size), skew_of(size), 85);
    square.set(probability);
    support::require(to_source(geometry.box(), square.device(), kThreshold,
                               {source.device(), source.pitch()}, {mask.device(), mask.pitch()},
                               stream));
    support::require(to_source(geometry.box(), square.device(), kThreshold, {nullptr, 0},
                               {only.device(), only.pitch()}, stream));
    stream.wait();
    CHECK(same_but_nan(source.get(), expected));
    CHECK(mask.get() == expected_mask);
    CHECK(only.get() == expected_mask);
    CHECK(source.intact());
    CHECK(mask.intact());
    CHECK(only.intact());
}

void check_both(const Size& size) {
    CAPTURE(size.height);
    CAPTURE(size.width);
    CAPTURE(size.side);
    check_letterbox(size, support::bytes(area(size.height, size.width), 7));
    check_to_source(size, support::units(area(size.side, size.side), 11));
}

// Down, up, one axis each way, equal, odd, single rows and columns, rows beyond a block's sums.
const Size kSizes[] = {
    {480, 640, 256}, {1080, 1920, 256}, {333, 471, 256}, {256, 256, 256}, {255, 257, 256},
    {100, 60, 256},  {31, 33, 64},      {1, 1, 16},      {1, 300, 64},    {300, 1, 64},
    {7, 2500, 96},   {2500, 7, 96},     {3, 5000, 8},    {5000, 3, 1},    {129, 127, 128},
    {511, 64, 40},   {40, 30, 41},      {17, 19, 512},   {1, 1, 1},       {200, 3001, 2100},
};

}  // namespace

TEST_CASE("frame to square and back give the bits of the core, and touch nothing beside them") {
    if (!has_device()) return;
    for (const Size& size : kSizes) check_both(size);
}

TEST_CASE("so they do for sizes at random") {
    if (!has_device()) return;
    support::Random random(2025);
    const auto side = [&random](int most) {
        return 1 + static_cast<int>(random.next() >> 8) % most;
    };
    for (int i = 0; i < 200; ++i) check_both({side(900), side(900), side(320)});
}

TEST_CASE("the largest sides give the bits of the core") {
    if (!has_device()) return;
    check_both({16384, 40, 512});
    check_both({40, 16384, 512});
    check_both({5, 3, 3000});
}

TEST_CASE("extremes of gray and of probability give the bits of the core") {
    if (!has_device()) return;
    const Size size{123, 217, 64};
    const Letterbox box = edge_bts::plan_letterbox(size.height, size.width, size.side);
    const support::Stream stream;
    for (const int level : {0, 1, 254, 255}) {
        const std::vector<std::uint8_t> image(area(size.height, size.width),
                                              static_cast<std::uint8_t>(level));
        Guarded<std::uint8_t> frame(size.height, size.width, size.width, 0, 9);
        Guarded<float> square(size.side, size.side, size.side, 0, 9);
        frame.set(image);
        support::require(letterbox(box, {frame.device(), frame.pitch(), EBTS_GRAY8, 0}, kMean, kStd,
                                   square.device(), stream));
        stream.wait();
        CHECK(same_bits(square.get(), core_square(size, image)));
    }
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const float values[] = {0.0F,      -0.0F,      1.0F,   kThreshold, std::nextafter(1.0F, 2.0F),
                            kInfinity, -kInfinity, 1e-45F, 3e38F,      std::nanf(""),
                            -3e38F,    1.2e-38F,   -1e-40F};
    for (const float value : values) {
        CAPTURE(value);
        check_to_source(size, std::vector<float>(area(size.side, size.side), value));
        std::vector<float> mixed = support::units(area(size.side, size.side), 3);
        for (std::size_t i = 0; i < mixed.size(); i += 7) mixed[i] = value;
        check_to_source(size, mixed);
        check_to_source({40, 25, 64}, mixed);
    }
}

TEST_CASE("means halfway between two gray levels are those of the core") {
    if (!has_device()) return;
    const Size sizes[] = {{96, 96, 48}, {510, 54, 255}, {36, 36, 108}, {510, 510, 170}};
    for (const Size& size : sizes) {
        CAPTURE(size.height);
        CAPTURE(size.side);
        std::vector<std::uint8_t> image;
        for (int y = 0; y < size.height; ++y) {
            const int level = y / 2 * 254 / (size.height / 2);
            for (int x = 0; x < size.width; ++x) {
                image.push_back(static_cast<std::uint8_t>(level + x % 2));
            }
        }
        check_letterbox(size, image);
    }
}

// Of ordinary probabilities a fused or reordered sum, or a quotient that is off by one unit of
// binary64, shows in no bit of binary32. It shows where sums cancel, and where a mean lies exactly
// between two numbers of binary32.
TEST_CASE("every rounding is that of the core") {
    if (!has_device()) return;
    // Halves and thirds, of denominators that are no powers of two; then others.
    const Size sizes[] = {{36, 36, 24}, {48, 48, 96},  {36, 36, 108}, {72, 60, 48},
                          {60, 36, 36}, {101, 75, 64}, {50, 70, 96},  {333, 471, 128}};
    for (const Size& size : sizes) {
        CAPTURE(size.height);
        CAPTURE(size.width);
        CAPTURE(size.side);
        const auto side = static_cast<std::size_t>(size.side);
        std::vector<float> cancelling(side * side);
        std::vector<float> between(side * side);
        std::vector<float> spread(side * side);
        support::Random random(17);
        for (std::size_t y = 0; y < side; ++y) {
            // Rows far apart in size, so that a sum over them has all the bits of binary64.
            const float row = std::ldexp(1.0F + random.unit(), -(random.byte() % 30));
            const float next = std::nextafter(row, 2.0F);
            for (std::size_t x = 0; x < side; ++x) {
                cancelling[y * side + x] = x % 2 == 0 ? row : -row;
                between[y * side + x] = (x + y) % 2 == 0 ? row : next;
                spread[y * side + x] = std::ldexp(random.unit() - 0.5F, -(random.byte() % 60));
            }
        }
        check_to_source(size, cancelling);
        check_to_source(size, between);
        check_to_source(size, spread);
        // Between two numbers in every row alike.
        for (std::size_t i = 0; i < between.size(); ++i) {
            between[i] = i % 2 == 0 ? 0.7F : std::nextafter(0.7F, 1.0F);
        }
        check_to_source(size, between);
    }
}

TEST_CASE("every format becomes gray as in the core, at odd addresses too") {
    if (!has_device()) return;
    const Size size{75, 101, 48};
    const Letterbox box = edge_bts::plan_letterbox(size.height, size.width, size.side);
    const support::Stream stream;
    for (std::uint32_t format = EBTS_GRAY8; format <= EBTS_NV12; ++format) {
        for (const std::uint32_t white : {1U, 4095U, 65535U}) {
            CAPTURE(format);
            CAPTURE(white);
            const int row = size.width * static_cast<int>(edge_bts::pixel_bytes(format));
            const auto pixels = support::bytes(area(size.height, row), format);
            std::vector<std::uint8_t> gray = pixels;
            if (!edge_bts::is_gray(format)) {
                gray.resize(area(size.height, size.width));
                edge_bts::to_gray(format, white, pixels.data(), static_cast<std::size_t>(row),
                                  size.height, size.width, {gray.data(), size.width});
            }
            Guarded<std::uint8_t> frame(size.height, row, row + 3, 1, 200);
            Guarded<float> square(size.side, size.side, size.side, 0, 9);
            frame.set(pixels);
            support::require(letterbox(box, {frame.device(), frame.pitch(), format, white}, kMean,
                                       kStd, square.device(), stream));
            stream.wait();
            CHECK(same_bits(square.get(), core_square(size, gray)));
            CHECK(square.intact());
        }
    }
}

TEST_CASE("gray, the black around a sector and the count of white pixels are those of the core") {
    if (!has_device()) return;
    constexpr int kHeight = 61;
    constexpr int kWidth = 1037;  // more than two blocks
    // Concave, crossing itself, with a level edge, and beyond the region on all sides.
    const std::vector<std::vector<ebts_point>> shapes = {
        {},
        {{1037, 0}, {400, 61}, {0, 3}},
        {{5, 5}, {900, 5}, {900, 50}, {450, 12}, {5, 50}},
        {{0, 0}, {1037, 61}, {1037, 0}, {0, 61}},
        {{519, 0}, {519, 61}, {520, 61}, {520, 0}}};
    const support::Stream stream;
    for (const auto& corners : shapes) {
        Outline outline{static_cast<int>(corners.size()), {}, {}};
        for (std::size_t i = 0; i < corners.size(); ++i) {
            outline.x[i] = corners[i].x;
            outline.y[i] = corners[i].y;
        }
        const edge_bts::Sector sector(corners.data(), corners.size());
        for (std::uint32_t format = EBTS_GRAY8; format <= EBTS_NV12; ++format) {
            CAPTURE(corners.size());
            CAPTURE(format);
            const int row = kWidth * static_cast<int>(edge_bts::pixel_bytes(format));
            auto pixels = support::bytes(area(kHeight, row), format);
            for (std::uint8_t& value : pixels) value = value > 100 ? 255 : value;
            std::vector<std::uint8_t> gray = pixels;
            if (!edge_bts::is_gray(format)) {
                gray.resize(area(kHeight, kWidth));
                edge_bts::to_gray(format, 4095, pixels.data(), static_cast<std::size_t>(row),
                                  kHeight, kWidth, {gray.data(), kWidth});
            }
            if (sector) {
                edge_bts::clear_outside(sector, {0, 0, kWidth, kHeight}, gray.data(), kWidth);
            }
            const auto white =
                static_cast<std::uint32_t>(std::count(gray.begin(), gray.end(), 255));
            CHECK(white > 0);
            Guarded<std::uint8_t> frame(kHeight, row, row + 3, 1, 255);
            Guarded<std::uint8_t> kept(kHeight, kWidth, kWidth, 0, 7);
            Guarded<std::uint32_t> count(1, 1, 1, 0, 0);
            frame.set(pixels);
            const edge_bts::device::Frame given{frame.device(), frame.pitch(), format, 4095};
            support::require(
                survey(given, kHeight, kWidth, outline, kept.device(), count.device(), stream));
            support::require(
                survey(given, kHeight, kWidth, outline, nullptr, count.device(), stream));
            stream.wait();
            CHECK(kept.get() == gray);
            CHECK(kept.intact());
            CHECK(count.get()[0] == 2 * white);  // both calls added
        }
    }
}

TEST_CASE("a region of a frame in mapped memory of the host gives the bits of the core") {
    if (!has_device()) return;
    const Size frame{300, 400, 0};
    const Size region{211, 305, 128};
    const auto image = support::bytes(area(frame.height, frame.width), 5);
    void* host = nullptr;
    void* mapped = nullptr;
    support::require(cudaHostAlloc(&host, image.size(), cudaHostAllocMapped));
    std::memcpy(host, image.data(), image.size());
    support::require(cudaHostGetDevicePointer(&mapped, host, 0));

    constexpr int kX = 37;
    constexpr int kY = 51;
    std::vector<std::uint8_t> dense;
    for (int y = 0; y < region.height; ++y) {
        const auto row = image.begin() + (kY + y) * frame.width + kX;
        dense.insert(dense.end(), row, row + region.width);
    }
    const support::Stream stream;
    Guarded<float> square(region.side, region.side, region.side, 0, 9);
    const auto* corner = static_cast<const std::uint8_t*>(mapped) + kY * frame.width + kX;
    support::require(letterbox(edge_bts::plan_letterbox(region.height, region.width, region.side),
                               {corner, frame.width, EBTS_GRAY8, 0}, kMean, kStd, square.device(),
                               stream));
    stream.wait();
    CHECK(same_bits(square.get(), core_square(region, dense)));
    support::require(cudaFreeHost(host));
}

TEST_CASE("both ways are captured in a graph: nothing in them waits or allocates") {
    if (!has_device()) return;
    const Size size{480, 640, 256};
    const Letterbox box = edge_bts::plan_letterbox(size.height, size.width, size.side);
    const auto image = support::bytes(area(size.height, size.width), 5);
    const support::Stream stream;
    Guarded<std::uint8_t> frame(size.height, size.width, size.width, 0, 9);
    Guarded<float> square(size.side, size.side, size.side, 0, 9);
    Guarded<std::uint8_t> mask(size.height, size.width, size.width, 0, 9);
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t run = nullptr;
    support::require(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    CHECK(letterbox(box, {frame.device(), frame.pitch(), EBTS_GRAY8, 0}, kMean, kStd,
                    square.device(), stream) == cudaSuccess);
    CHECK(to_source(box, square.device(), kThreshold, {nullptr, 0}, {mask.device(), mask.pitch()},
                    stream) == cudaSuccess);
    support::require(cudaStreamEndCapture(stream, &graph));
    support::require(cudaGraphInstantiate(&run, graph, 0));
    frame.set(image);  // after the capture: the graph reads what is there when it runs
    support::require(cudaGraphLaunch(run, stream));
    stream.wait();
    CHECK(same_bits(square.get(), core_square(size, image)));
    CHECK(cudaGraphExecDestroy(run) == cudaSuccess);
    CHECK(cudaGraphDestroy(graph) == cudaSuccess);
}

// Needs no device: it is refused before a launch.
TEST_CASE("what cannot be read or written is refused by status") {
    const Letterbox box = edge_bts::plan_letterbox(4, 4, 4);
    float square[16];
    const std::uint8_t pixels[16] = {};
    const auto refused = [&](const edge_bts::device::Frame& frame, float* to) {
        return letterbox(box, frame, kMean, kStd, to, nullptr) == cudaErrorInvalidValue;
    };
    CHECK(refused({nullptr, 4, EBTS_GRAY8, 0}, square));
    CHECK(refused({pixels, 4, EBTS_GRAY8, 0}, nullptr));
    CHECK(refused({pixels, 4, 0, 0}, square));
    CHECK(refused({pixels, 4, EBTS_NV12 + 1, 0}, square));
    CHECK(refused({pixels, 4, EBTS_GRAY16, 0}, square));
    CHECK(refused({pixels, 4, EBTS_GRAY16, 65536}, square));
    std::uint32_t white = 0;
    const Outline all{};
    CHECK(survey({nullptr, 4, EBTS_GRAY8, 0}, 4, 4, all, nullptr, &white, nullptr) ==
          cudaErrorInvalidValue);
    CHECK(survey({pixels, 4, EBTS_GRAY8, 0}, 4, 4, all, nullptr, nullptr, nullptr) ==
          cudaErrorInvalidValue);
    CHECK(to_source(box, square, kThreshold, {nullptr, 0}, {nullptr, 0}, nullptr) ==
          cudaErrorInvalidValue);
    CHECK(to_source(box, nullptr, kThreshold, {square, 4}, {nullptr, 0}, nullptr) ==
          cudaErrorInvalidValue);
}

TEST_CASE("without a device a launch says so and does not abort") {
    if (has_device()) return;
    const Letterbox box = edge_bts::plan_letterbox(4, 4, 4);
    float square[16];
    CHECK(to_source(box, square, kThreshold, {square, 4}, {nullptr, 0}, nullptr) != cudaSuccess);
}
