#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <vector>

#include "edge_bts/edge_bts.h"
#include "fake_network.hpp"
#include "gray.hpp"
#include "targets.hpp"

namespace {

constexpr std::uint32_t kSide = 48;
constexpr std::size_t kMost = 1 << 20;

/// Takes a struct from the front of the bytes, what is missing as 0.
template <typename T>
T next(const std::uint8_t*& data, std::size_t& size) {
    T value{};
    const std::size_t count = std::min(size, sizeof value);
    std::memcpy(static_cast<void*>(&value), data, count);
    data += count;
    size -= count;
    return value;
}

/// A struct with zeros behind it as far as any struct_size that is looked at.
template <typename T>
struct Padded {
    T value;
    std::uint8_t behind[4096] = {};
};

/// Bytes of `height` rows, saturated: as the contract counts them.
std::size_t bytes_of(std::size_t pitch, std::size_t row, std::size_t height) {
    if (pitch == 0) pitch = row;
    if (height == 0) return 0;
    if (height > 1 && pitch > kMost) return std::numeric_limits<std::size_t>::max();
    return pitch * (height - 1) + row;
}

struct Sessions {
    Sessions() : model(support::fake_model()) {
        ebts_session_options options{};
        options.struct_size = sizeof options;
        options.max_width = options.max_height = kSide;
        if (ebts_session_create(model.get(), &options, &direct) != EBTS_OK) throw 1;
        options.live = 1;
        if (ebts_session_create(model.get(), &options, &live) != EBTS_OK) throw 1;
    }
    ~Sessions() {
        ebts_session_destroy(direct);
        ebts_session_destroy(live);
    }
    Sessions(const Sessions&) = delete;
    Sessions& operator=(const Sessions&) = delete;

    support::FakeModel model;
    ebts_session* direct = nullptr;
    ebts_session* live = nullptr;
};

}  // namespace

void fuzz::frame(const std::uint8_t* data, std::size_t size) {
    static const Sessions sessions;
    Padded<ebts_frame> padded_frame{next<ebts_frame>(data, size)};
    Padded<ebts_planes> padded_planes{next<ebts_planes>(data, size)};
    ebts_frame& frame = padded_frame.value;
    ebts_planes& planes = padded_planes.value;
    std::vector<ebts_point> corners(std::min<std::size_t>(frame.sector_count, 128));
    for (ebts_point& corner : corners) {
        corner.x = next<std::int8_t>(data, size);
        corner.y = next<std::int8_t>(data, size);
    }
    if (frame.sector != nullptr) frame.sector = corners.data();
    // Half of the inputs would be refused for their size alone.
    if (frame.struct_size % 2 == 0) frame.struct_size = sizeof frame;
    if (planes.struct_size % 2 == 0) planes.struct_size = sizeof planes;

    // Buffers as large as the structs say and no larger; what would not fit is the caller's lie.
    const bool small = frame.width <= kSide && frame.height <= kSide;
    const std::size_t height = small ? frame.height : 0;
    const std::size_t width = small ? frame.width : 0;
    const std::size_t image =
        bytes_of(frame.pitch, width * edge_bts::pixel_bytes(frame.format), height);
    const std::size_t mask = bytes_of(planes.mask_pitch, width, height);
    const std::size_t probability = bytes_of(planes.probability_pitch, 4 * width, height);
    if (image > 64 * kMost || mask > 64 * kMost || probability > 64 * kMost) return;
    std::vector<std::uint8_t> pixels(std::max<std::size_t>(image, 1), size > 0 ? data[0] : 9);
    std::copy_n(data, std::min(size, image), pixels.begin());
    std::vector<std::uint8_t> out(mask);
    std::vector<float> map(probability / 4);
    if (frame.data != nullptr) frame.data = pixels.data();
    if (planes.mask != nullptr && mask != 0) planes.mask = out.data();
    if (planes.probability != nullptr && !map.empty()) planes.probability = map.data();

    ebts_result result{};
    result.struct_size = sizeof result;
    const ebts_status status = ebts_segment(sessions.direct, &frame, &planes, &result);
    if (status == EBTS_ERROR_INTERNAL) throw std::logic_error(ebts_last_error());
    for (std::uint32_t i = 0; status == EBTS_OK && i < result.component_count; ++i) {
        const ebts_rect& box = result.components[i]->bbox;
        if (box.x < 0 || box.y < 0 || box.width > int(width) - box.x ||
            box.height > int(height) - box.y) {
            throw std::logic_error("a component lies outside its frame");
        }
    }
    if (ebts_submit(sessions.live, &frame) != EBTS_OK) return;
    const ebts_status polled = ebts_poll(sessions.live, 1000000, &planes, &result);
    if (status == EBTS_OK && polled != EBTS_OK) throw std::logic_error(ebts_last_error());
    // A result that was refused for its planes is not left to an input with others.
    if (polled != EBTS_OK) ebts_poll(sessions.live, 1000000, nullptr, &result);
}
