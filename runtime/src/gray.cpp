#include "gray.hpp"

#include <algorithm>
#include <cstring>

namespace edge_bts {
namespace {

template <std::size_t bytes, std::size_t red, std::size_t green, std::size_t blue>
void luma(const std::uint8_t* pixel, int width, std::uint8_t* gray) noexcept {
    for (int x = 0; x < width; ++x, pixel += bytes) {
        const std::uint32_t sum =
            9798U * pixel[red] + 19235U * pixel[green] + 3735U * pixel[blue] + (1U << 14);
        gray[x] = static_cast<std::uint8_t>(sum >> 15);
    }
}

void reduce(const std::uint8_t* pixel, int width, std::uint32_t white,
            std::uint8_t* gray) noexcept {
    for (int x = 0; x < width; ++x, pixel += 2) {
        std::uint16_t value = 0;
        std::memcpy(&value, pixel, sizeof value);
        const std::uint32_t level = std::min<std::uint32_t>(value, white);
        gray[x] = static_cast<std::uint8_t>((255U * level + white / 2) / white);
    }
}

}  // namespace

std::size_t pixel_bytes(std::uint32_t format) noexcept {
    switch (format) {
        case EBTS_GRAY8:
        case EBTS_NV12:
            return 1;
        case EBTS_GRAY16:
            return 2;
        case EBTS_RGB:
        case EBTS_BGR:
            return 3;
        case EBTS_RGBA:
        case EBTS_BGRA:
        case EBTS_ARGB:
            return 4;
        default:
            return 0;
    }
}

void to_gray(std::uint32_t format, std::uint32_t white, const std::uint8_t* pixels,
             std::size_t pitch, int height, int width, Plane<std::uint8_t> gray) noexcept {
    for (int y = 0; y < height; ++y, pixels += pitch, gray.data += gray.pitch) {
        switch (format) {
            case EBTS_GRAY16:
                reduce(pixels, width, white, gray.data);
                break;
            case EBTS_RGB:
                luma<3, 0, 1, 2>(pixels, width, gray.data);
                break;
            case EBTS_BGR:
                luma<3, 2, 1, 0>(pixels, width, gray.data);
                break;
            case EBTS_RGBA:
                luma<4, 0, 1, 2>(pixels, width, gray.data);
                break;
            case EBTS_BGRA:
                luma<4, 2, 1, 0>(pixels, width, gray.data);
                break;
            case EBTS_ARGB:
                luma<4, 1, 2, 3>(pixels, width, gray.data);
                break;
            default:
                break;
        }
    }
}

}  // namespace edge_bts
