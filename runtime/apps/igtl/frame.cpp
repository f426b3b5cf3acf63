#include "frame.hpp"

#include <cmath>
#include <cstdlib>

namespace edge_bts::igtl {
namespace {

constexpr std::uint64_t kMostChannels = 4;
constexpr std::uint64_t kMostMetadata = 65536;
constexpr double kLeastMm = 1e-4;  // a tenth of a micron
constexpr double kMostMm = 100.0;

bool plausible(double mm) {
    return mm >= kLeastMm && mm <= kMostMm;
}  // not for NaN

double length(const Matrix& matrix, std::size_t column) {
    return std::hypot(entry(matrix, 3 * column), entry(matrix, 3 * column + 1),
                      entry(matrix, 3 * column + 2));
}

}  // namespace

Spacing spacing_of(const Metadata& metadata, const Matrix& matrix, double option) {
    for (const auto& [key, value] : metadata) {
        if (key != "micronsPerPixel") continue;
        const std::string text(value);
        char* end = nullptr;
        const double mm = std::strtod(text.c_str(), &end) / 1000.0;
        if (end != text.c_str() && *end == '\0' && plausible(mm)) return {mm, "metadata"};
    }
    const double across = length(matrix, 0);
    const double down = length(matrix, 1);
    // Floats that were a rotation times a spacing: equal to some of their 24 bits.
    const auto same = [](double a, double b) { return std::abs(a - b) <= 1e-4 * std::abs(b); };
    if (plausible(across) && same(across, down) && !same(across, 1.0)) return {across, "matrix"};
    if (option > 0.0) return {option, "option"};
    return {};
}

ebts_frame library_frame(const Image& image, const Options& options) {
    const auto [width, height, depth] = image.size;
    const std::string size = std::to_string(width) + " x " + std::to_string(height);
    if (depth != 1 || width == 1) {
        throw WireError(Fault::content,
                        "expected an image of one slice and more than one column, but got " + size +
                            " x " + std::to_string(depth) +
                            " (pyigtl sends an array of two dimensions so: give it (1, H, W))");
    }
    if (width > options.max_width || height > options.max_height) {
        throw WireError(Fault::content, "expected an image of at most " +
                                            std::to_string(options.max_width) + " x " +
                                            std::to_string(options.max_height) + ", but got " +
                                            size + "; raise --max-size");
    }
    ebts_frame frame{};
    frame.struct_size = sizeof frame;
    if (image.scalar == Scalar::uint8 && image.components == 1) frame.format = EBTS_GRAY8;
    if (image.scalar == Scalar::uint8 && image.components == 3) frame.format = EBTS_RGB;
    if (image.scalar == Scalar::uint8 && image.components == 4) frame.format = EBTS_RGBA;
    if (image.scalar == Scalar::uint16 && image.components == 1) frame.format = EBTS_GRAY16;
    if (frame.format == 0) {
        throw WireError(Fault::content,
                        "expected uint8 pixels of 1, 3 or 4 components or uint16 of 1, but got "
                        "scalar type " +
                            std::to_string(static_cast<unsigned>(image.scalar)) + " of " +
                            std::to_string(image.components));
    }
    frame.data = image.pixels.data;
    frame.width = width;
    frame.height = height;
    return frame;
}

std::uint64_t most_body(const Options& options) {
    return kExtendedHeaderSize + kImageHeaderSize + kMostMetadata +
           std::uint64_t{options.max_width} * options.max_height * kMostChannels;
}

std::string printable(std::string_view text) {
    std::string plain(text);
    for (char& c : plain) {
        if (c < ' ' || c > '~') c = '?';
    }
    return plain;
}

}  // namespace edge_bts::igtl
