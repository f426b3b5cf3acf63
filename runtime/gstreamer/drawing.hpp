// What the element draws on a frame: the outline of a mask, or the mask itself.
#pragma once

#include <gst/video/video.h>

#include <cstdint>

namespace edge_bts::gstreamer {

/// Draws the border of the lesions: those of their pixels of which one of the four neighbours is no
/// lesion, or lies outside the frame. Amber where the format has R, G and B, else white in the
/// luma; chroma and alpha stay.
///
/// `mask` is 1 on lesion, else 0, as wide and high as the frame, rows without a gap.
void draw_outline(GstVideoFrame& frame, const std::uint8_t* mask) noexcept;

/// Puts the mask in place of the image: white (255) on lesion, black (0) elsewhere, without colour;
/// alpha stays.
void draw_mask(GstVideoFrame& frame, const std::uint8_t* mask) noexcept;

}  // namespace edge_bts::gstreamer
