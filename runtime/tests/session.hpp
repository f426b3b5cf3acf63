// Sessions and frames for tests of the C ABI.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "fake_network.hpp"

namespace support {

template <typename T>
T sized() {
    T value{};
    value.struct_size = sizeof(T);
    return value;
}

struct DestroySession {
    void operator()(ebts_session* session) const { ebts_session_destroy(session); }
};
using Session = std::unique_ptr<ebts_session, DestroySession>;

/// Frames up to `side` x `side`; otherwise the defaults.
inline ebts_session_options limits_of(std::uint32_t side = 64) {
    auto options = sized<ebts_session_options>();
    options.max_width = options.max_height = side;
    return options;
}

inline Session session_of(const FakeModel& model,
                          const ebts_session_options& options = limits_of()) {
    ebts_session* session = nullptr;
    REQUIRE(ebts_session_create(model.get(), &options, &session) == EBTS_OK);
    return Session(session);
}

inline ebts_frame frame_of(const void* data, std::uint32_t width, std::uint32_t height,
                           std::uint32_t format = EBTS_GRAY8) {
    auto frame = sized<ebts_frame>();
    frame.data = data;
    frame.width = width;
    frame.height = height;
    frame.format = format;
    return frame;
}

/// A bright square on black, 40 x 40.
inline std::vector<std::uint8_t> bright_square() {
    std::vector<std::uint8_t> pixels(1600, 10);
    for (std::size_t y = 10; y < 30; ++y) std::fill_n(pixels.begin() + long(40 * y + 10), 20, 200);
    return pixels;
}

inline ebts_counts counts_of(const ebts_session* session) {
    auto counts = sized<ebts_counts>();
    REQUIRE(ebts_session_counts(session, &counts) == EBTS_OK);
    return counts;
}

}  // namespace support
