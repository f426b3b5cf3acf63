// Pixels of any format to gray.
#pragma once

#include <cstddef>
#include <cstdint>

#include "edge_bts/edge_bts.h"
#include "edge_bts/geometry.hpp"

namespace edge_bts {

/// Bytes of one pixel; 0 for what is no format.
std::size_t pixel_bytes(std::uint32_t format) noexcept;

/// Whether the bytes are gray already.
inline bool is_gray(std::uint32_t format) noexcept {
    return format == EBTS_GRAY8 || format == EBTS_NV12;
}

/// Reduces `width` x `height` pixels of a format that is not gray; `pitch` in bytes.
/// Colour is floor((9798 R + 19235 G + 3735 B + 2^14) / 2^15), as OpenCV has it.
void to_gray(std::uint32_t format, std::uint32_t white, const std::uint8_t* pixels,
             std::size_t pitch, int height, int width, Plane<std::uint8_t> gray) noexcept;

}  // namespace edge_bts
