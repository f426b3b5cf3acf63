#include "edge_bts/geometry.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "resampler.hpp"

namespace edge_bts {
namespace {

void check_side(const char* name, int side) {
    if (side < 1 || side > kMaxSize) {
        throw std::invalid_argument(std::string("Expected ") + name + " between 1 and " +
                                    std::to_string(kMaxSize) + " pixels, but got " +
                                    std::to_string(side) + ".");
    }
}

/// Scales one side as the longer one goes to `size`; half up, at least 1.
int scaled(int side, int longer, int size) {
    return std::max(1, (2 * side * size + longer) / (2 * longer));  // below 2^30
}

void fill_rows(Plane<std::uint8_t> plane, int first, int last, int width) noexcept {
    for (int y = first; y < last; ++y) std::fill_n(plane.data + y * plane.pitch, width, 0);
}

/// Zeroes what the content box leaves of the square and returns the content.
Plane<std::uint8_t> clear_margins(const Letterbox& box, Plane<std::uint8_t> square) noexcept {
    const int bottom = box.top + box.height;
    const int right = box.left + box.width;
    fill_rows(square, 0, box.top, box.size);
    fill_rows(square, bottom, box.size, box.size);
    fill_rows(square, box.top, bottom, box.left);
    fill_rows({square.data + right, square.pitch}, box.top, bottom, box.size - right);
    return {square.data + box.top * square.pitch + box.left, square.pitch};
}

}  // namespace

Letterbox plan_letterbox(int source_height, int source_width, int size) {
    check_side("the height", source_height);
    check_side("the width", source_width);
    check_side("the size", size);
    const int longer = std::max(source_height, source_width);
    const int height = scaled(source_height, longer, size);
    const int width = scaled(source_width, longer, size);
    return {source_height,       source_width,      size, height, width,
            (size - height) / 2, (size - width) / 2};
}

struct Geometry::Resamplers {
    explicit Resamplers(const Letterbox& box)
        : forward(box.source_height, box.source_width, box.height, box.width),
          back(box.height, box.width, box.source_height, box.source_width) {}

    Resampler forward;
    Resampler back;
};

Geometry::Geometry(int source_height, int source_width, int size)
    : box_(plan_letterbox(source_height, source_width, size)),
      resamplers_(std::make_unique<Resamplers>(box_)) {}

Geometry::~Geometry() = default;
Geometry::Geometry(Geometry&&) noexcept = default;
Geometry& Geometry::operator=(Geometry&&) noexcept = default;

void Geometry::reserve(int max_height, int max_width) {
    check_side("the height", max_height);
    check_side("the width", max_width);
    resamplers_->forward.reserve(max_height, max_width, box_.size, box_.size);
    resamplers_->back.reserve(box_.size, box_.size, max_height, max_width);
}

void Geometry::plan(int source_height, int source_width) {
    const Letterbox box = plan_letterbox(source_height, source_width, box_.size);
    resamplers_->forward.plan(source_height, source_width, box.height, box.width);
    resamplers_->back.plan(box.height, box.width, source_height, source_width);
    box_ = box;
}

void Geometry::letterbox(Plane<const std::uint8_t> image, Plane<std::uint8_t> square) noexcept {
    resamplers_->forward.image(image, clear_margins(box_, square));
}

void Geometry::letterbox_mask(Plane<const std::uint8_t> mask, Plane<std::uint8_t> square) noexcept {
    resamplers_->forward.mask(mask, clear_margins(box_, square));
}

void Geometry::to_source(Plane<const float> probability, Plane<float> source) noexcept {
    const float* content = probability.data + box_.top * probability.pitch + box_.left;
    resamplers_->back.map({content, probability.pitch}, source);
}

void Geometry::to_source_mask(Plane<const float> probability, float value,
                              Plane<std::uint8_t> mask) noexcept {
    const float* content = probability.data + box_.top * probability.pitch + box_.left;
    resamplers_->back.above({content, probability.pitch}, value, mask);
}

Normaliser::Normaliser(float mean, float std) {
    for (std::size_t v = 0; v < table_.size(); ++v) {
        table_[v] = (static_cast<float>(v) / 255.0F - mean) / std;
    }
    if (!(std > 0.0F) || !std::isfinite(table_.front()) || !std::isfinite(table_.back())) {
        throw std::invalid_argument("Expected a finite mean and a standard deviation above 0.");
    }
}

void Normaliser::operator()(const std::uint8_t* image, std::size_t count,
                            float* normalised) const noexcept {
    std::transform(image, image + count, normalised, [this](std::uint8_t v) { return table_[v]; });
}

void threshold(const float* probability, std::size_t count, float value,
               std::uint8_t* mask) noexcept {
    std::transform(probability, probability + count, mask,
                   [value](float p) { return static_cast<std::uint8_t>(p >= value ? 1 : 0); });
}

}  // namespace edge_bts
