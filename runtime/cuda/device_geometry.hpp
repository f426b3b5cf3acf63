// The geometry on a CUDA device: frames to the square that the network sees, and back.
//
// The third implementation of the specification in edge_bts/geometry.hpp, with its bits: on gray
// levels, on floats, and on the mask. It needs CUDA alone, neither TensorRT nor a session. Gray and
// sectors are those of gray.hpp and sector.hpp.
//
// A call launches one kernel and returns: it waits for nothing, allocates nothing and can be
// captured in a graph. Memory is what the device can read and write by the pointer given: its own,
// or mapped memory of the host. Only the pixels of a region are read or written, never the rest of
// a row's pitch. Results are there once the stream is; what a kernel itself fails with shows there.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "edge_bts/geometry.hpp"

namespace edge_bts::device {

/// Pixels of a frame, from the corner of its region on.
struct Frame {
    const void* pixels;
    std::ptrdiff_t pitch;  ///< Bytes from row to row.
    std::uint32_t format;  ///< EBTS_GRAY8 and the like.
    std::uint32_t white;   ///< Of EBTS_GRAY16: the level that becomes 255; 1..65535.
};

/// A polygon: corners in order, those of Sector, counted from the corner of the region.
struct Outline {
    static constexpr int kMostCorners = 64;

    int count;  ///< 0: the whole region.
    int x[kMostCorners];
    int y[kMostCorners];
};

/// Gray of a region of `height` x `width` pixels, black outside the outline; to `gray`, rows
/// without a gap, unless that is null. Adds the number of white pixels to `white`.
/// cudaErrorInvalidValue: a null pointer, another format, white of 0; else what the launch says.
cudaError_t survey(const Frame& frame, int height, int width, const Outline& outline,
                   std::uint8_t* gray, std::uint32_t* white, cudaStream_t stream) noexcept;

/// Frame of the source size to the normalised square, `square` dense with rows of box.size. Half
/// precision is the single-precision value rounded to nearest even.
/// cudaErrorInvalidValue: a null pointer, another format, white of 0; else what the launch says.
cudaError_t letterbox(const Letterbox& box, const Frame& frame, float mean, float std,
                      float* square, cudaStream_t stream) noexcept;
cudaError_t letterbox(const Letterbox& box, const Frame& frame, float mean, float std,
                      __half* square, cudaStream_t stream) noexcept;

/// `square`, dense with rows of box.size, back to the source size: its probability, and the mask
/// that is 1 where that is at least `threshold`. Either may be left out with null data.
/// cudaErrorInvalidValue: null `square`, or nothing to write; else what the launch says.
cudaError_t to_source(const Letterbox& box, const float* square, float threshold,
                      Plane<float> probability, Plane<std::uint8_t> mask,
                      cudaStream_t stream) noexcept;

}  // namespace edge_bts::device
