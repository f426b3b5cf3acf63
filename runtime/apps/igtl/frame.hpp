// A frame on its way through the node: what came, what is computed, what goes out.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "codec.hpp"
#include "edge_bts/edge_bts.h"
#include "options.hpp"

namespace edge_bts::igtl {

using Clock = std::chrono::steady_clock;

/// Millimetres of a pixel, and who said so.
struct Spacing {
    double mm = 0.0;            ///< 0: unknown, then lengths are in pixels alone.
    const char* from = "none";  ///< "metadata", "matrix", "option" or "none".
};

/// The spacing of an image: its metadata `micronsPerPixel`, then its matrix where that is not the
/// 1 mm that servers send who know nothing, then the command line. A matrix whose columns differ
/// in length says nothing, as one number cannot hold it.
Spacing spacing_of(const Metadata& metadata, const Matrix& matrix, double option);

/// A TRANSFORM of the image server: a pose, which belongs to the frames after it.
struct Pose {
    std::string device;
    std::uint64_t timestamp = 0;
    Matrix matrix{};
};

/// How far images came, since the node runs, when the one was segmented that was received last of
/// these.
struct Counts {
    std::uint64_t received = 0;    ///< Images that can be segmented.
    std::uint64_t segmented = 0;   ///< Of these: results made, be they usable or not.
    std::uint64_t dropped = 0;     ///< Of these: all others, replaced by a newer one in time.
    std::uint64_t superseded = 0;  ///< Results replaced by a newer one before they were sent.
    std::uint64_t bad = 0;  ///< Messages that cannot be used: wrong CRC, size, type of pixel.
};

/// An image that came.
struct Frame {
    explicit Frame(std::size_t most_body) : body(most_body) {}

    Buffer body;
    Header header;
    std::uint32_t id = 0;
    Image image;  ///< Its pixels lie in `body`.
    Spacing spacing;
    std::vector<Pose> poses;
    Counts counts;  ///< Those that come in are known when it came, the others when it is done.
    Clock::time_point arrived;
};

/// What was made of one.
struct Result {
    Header header;  ///< Of the image.
    std::uint32_t id = 0;
    Image image;                      ///< As it came; its pixels are those of `plane`.
    std::vector<std::uint8_t> plane;  ///< Mask or probability, width times height of the image.
    std::vector<Pose> poses;
    std::string health;  ///< "OK", or words such as "EMPTY LATE".
    std::string report;  ///< Measures, health and times as JSON, below 65536 bytes.
};

/// The pixels of an image as the library takes them. Throws WireError content where it takes none
/// such, or the image is larger than the options allow.
ebts_frame library_frame(const Image& image, const Options& options);

/// Bytes of a body that can hold the largest image with metadata.
std::uint64_t most_body(const Options& options);

/// Printable ASCII: what a peer sends is not to steer a terminal, nor to break JSON.
std::string printable(std::string_view text);

}  // namespace edge_bts::igtl
