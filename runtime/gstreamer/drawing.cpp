#include "drawing.hpp"

#include <cstddef>

namespace edge_bts::gstreamer {
namespace {

constexpr std::uint8_t kAmber[] = {255, 220, 80};
constexpr std::uint8_t kNoColour = 128;

/// The samples of one component, wherever its plane holds them.
struct Samples {
    Samples(const GstVideoFrame& frame, int component) noexcept
        : data(static_cast<std::uint8_t*>(GST_VIDEO_FRAME_COMP_DATA(&frame, component))),
          row(GST_VIDEO_FRAME_COMP_STRIDE(&frame, component)),
          pixel(GST_VIDEO_FRAME_COMP_PSTRIDE(&frame, component)),
          width(GST_VIDEO_FRAME_COMP_WIDTH(&frame, component)),
          height(GST_VIDEO_FRAME_COMP_HEIGHT(&frame, component)) {}

    std::uint8_t& at(int x, int y) const noexcept {
        return data[std::ptrdiff_t{row} * y + std::ptrdiff_t{pixel} * x];
    }

    std::uint8_t* data;
    int row;
    int pixel;
    int width;
    int height;
};

/// Components that have a sample for every pixel: gray, luma, or R, G and B.
int full_components(const GstVideoFrame& frame) noexcept {
    return GST_VIDEO_INFO_IS_RGB(&frame.info) ? 3 : 1;
}

bool on_border(const std::uint8_t* mask, int width, int height, int x, int y) noexcept {
    const std::uint8_t* here = mask + std::ptrdiff_t{width} * y + x;
    if (*here == 0) return false;
    if (x == 0 || y == 0 || x + 1 == width || y + 1 == height) return true;
    return here[-1] == 0 || here[1] == 0 || here[-width] == 0 || here[width] == 0;
}

}  // namespace

void draw_outline(GstVideoFrame& frame, const std::uint8_t* mask) noexcept {
    const int components = full_components(frame);
    for (int component = 0; component < components; ++component) {
        const Samples samples(frame, component);
        const std::uint8_t shade = components == 1 ? std::uint8_t{255} : kAmber[component];
        for (int y = 0; y < samples.height; ++y) {
            for (int x = 0; x < samples.width; ++x) {
                if (on_border(mask, samples.width, samples.height, x, y)) samples.at(x, y) = shade;
            }
        }
    }
}

void draw_mask(GstVideoFrame& frame, const std::uint8_t* mask) noexcept {
    const int components = full_components(frame);
    for (int component = 0; component < components; ++component) {
        const Samples samples(frame, component);
        for (int y = 0; y < samples.height; ++y) {
            for (int x = 0; x < samples.width; ++x) {
                samples.at(x, y) = mask[std::ptrdiff_t{samples.width} * y + x] != 0
                                       ? std::uint8_t{255}
                                       : std::uint8_t{0};
            }
        }
    }
    if (!GST_VIDEO_INFO_IS_YUV(&frame.info)) return;
    for (int component = 1; component < 3; ++component) {
        const Samples chroma(frame, component);
        for (int y = 0; y < chroma.height; ++y) {
            for (int x = 0; x < chroma.width; ++x) chroma.at(x, y) = kNoColour;
        }
    }
}

}  // namespace edge_bts::gstreamer
