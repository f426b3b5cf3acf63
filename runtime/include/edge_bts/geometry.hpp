// From source geometry to the square that the network sees, and back.
//
// Source geometry is the pixels as the probe delivered them; model geometry is a square of `size`.
// The image is resized so that its longer side is `size` and centred on 0; the probability map of
// the network goes the same way back. C++ for this repository; the C ABI stands on top of it.
//
// Specification. Every implementation gives these bits; the others are edge_bts/_geometry_numpy.py
// and runtime/cuda.
//
//   Letterbox of h x w in S: with L = max(h, w), the content box has
//       height = max(1, floor((2 h S + L) / 2 L)), width alike,
//       top = floor((S - height) / 2), left alike; outside it the square is 0.
//
//   Resizing n_in to n_out pixels along one axis: output i is sum_j W(i, j) in(j) / D with whole
//   weights W >= 0 that sum to D:
//     n_out < n_in, area:      D = n_in; W(i, j) is the overlap of [i n_in, (i+1) n_in) with
//                              [j n_out, (j+1) n_out).
//     n_out > n_in, bilinear   D = 2 n_out; t = (2 i + 1) n_in - n_out clamped to [0, D (n_in-1)];
//     with half-pixel centres: W(i, floor(t / D)) = D - t mod D, W(i, floor(t / D) + 1) = t mod D.
//     n_out = n_in:            D = 1; a copy.
//   The two axes are independent of each other: one may shrink while the other grows.
//
//   uint8: floor((N + floor(D / 2)) / D), where N is the exact sum over both axes and D the product
//     of both denominators: the true weighted mean, rounded half up.
//   Masks (0 or 1): 1 where the uint8 rule on 255 * mask gives at least 128, which is 2 N >= D.
//   float: in IEEE binary64, first over the rows, then over the columns, each in ascending order,
//     starting from the first product; terms with W = 0 are left out; each product and each sum is
//     rounded (no fused multiply-add); then one division by D and one rounding to binary32.
//
//   Normalised: ((v / 255) - mean) / std, each operation in binary32.
//   Threshold: 1 where p >= t; a NaN gives 0.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace edge_bts {

/// Largest height, width and size in pixels.
inline constexpr int kMaxSize = 16384;

/// Where an image lies in the square; all in pixels.
struct Letterbox {
    int source_height;
    int source_width;
    int size;    ///< Side of the square.
    int height;  ///< Content box.
    int width;
    int top;
    int left;
};

/// Lays an image of `source_height` x `source_width` out in a square of `size`.
/// Throws std::invalid_argument if a side is not in 1..kMaxSize.
Letterbox plan_letterbox(int source_height, int source_width, int size);

/// Rows of pixels in memory that somebody else owns; `pitch` counts elements from row to row.
template <typename T>
struct Plane {
    T* data;
    std::ptrdiff_t pitch;
};

/// The geometry of one source size: weights and scratch are made once, frames then allocate
/// nothing.
///
/// An object serves one thread at a time. Planes must not overlap; only the sides in the comments
/// are read or written, never the rest of a row's pitch.
class Geometry {
  public:
    /// Throws std::invalid_argument as plan_letterbox does, or std::bad_alloc.
    Geometry(int source_height, int source_width, int size);
    ~Geometry();
    Geometry(Geometry&&) noexcept;
    Geometry& operator=(Geometry&&) noexcept;

    /// Makes room for every source up to this size: plan() then allocates nothing.
    /// Throws as the constructor.
    void reserve(int max_height, int max_width);

    /// Changes the source size. Throws as the constructor, before anything is changed, but
    /// std::bad_alloc, which reserve() rules out.
    void plan(int source_height, int source_width);

    const Letterbox& box() const noexcept { return box_; }

    /// `image` source_height x source_width to `square` size x size.
    void letterbox(Plane<const std::uint8_t> image, Plane<std::uint8_t> square) noexcept;

    /// The same for a mask of 0 and 1.
    void letterbox_mask(Plane<const std::uint8_t> mask, Plane<std::uint8_t> square) noexcept;

    /// `probability` size x size back to `source` source_height x source_width.
    void to_source(Plane<const float> probability, Plane<float> source) noexcept;

    /// What threshold() makes of to_source(), bit for bit, without the plane between them and the
    /// faster the less there is to mark. `probability` and `value` within [-2, 2], no NaN; else
    /// some mask.
    void to_source_mask(Plane<const float> probability, float value,
                        Plane<std::uint8_t> mask) noexcept;

  private:
    struct Resamplers;
    Letterbox box_;
    std::unique_ptr<Resamplers> resamplers_;
};

/// Scales gray levels to what the network was trained on; may be shared by threads.
class Normaliser {
  public:
    /// `mean` finite and `std` above 0, both in units of v / 255; std::invalid_argument if the
    /// result would not be finite.
    Normaliser(float mean, float std);

    void operator()(const std::uint8_t* image, std::size_t count, float* normalised) const noexcept;

  private:
    std::array<float, 256> table_;
};

/// `mask[i]` is 1 where `probability[i] >= value`, else 0, for a NaN too.
void threshold(const float* probability, std::size_t count, float value,
               std::uint8_t* mask) noexcept;

}  // namespace edge_bts
