#include "presence.hpp"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <functional>
#include <numeric>

namespace edge_bts {
namespace {

/// As numpy.nan_to_num.
float finite(float value) noexcept {
    return std::isnan(value) ? 0.0F : std::clamp(value, -FLT_MAX, FLT_MAX);
}

}  // namespace

Presence::Presence(int side)
    : pixels_(static_cast<std::size_t>(side) * static_cast<std::size_t>(side)),
      highest_(std::max<std::size_t>(1, (pixels_ + 250) / 500)) {}

double Presence::score(const float* probability) noexcept {
    // A heap of the highest so far, the least of them in front: few pixels displace it.
    const auto greater = std::greater<float>();
    const std::size_t count = highest_.size();
    std::transform(probability, probability + count, highest_.begin(), finite);
    std::make_heap(highest_.begin(), highest_.end(), greater);
    for (std::size_t i = count; i < pixels_; ++i) {
        const float value = finite(probability[i]);
        if (value > highest_.front()) {
            std::pop_heap(highest_.begin(), highest_.end(), greater);
            highest_.back() = value;
            std::push_heap(highest_.begin(), highest_.end(), greater);
        }
    }
    return std::accumulate(highest_.begin(), highest_.end(), 0.0) / static_cast<double>(count);
}

}  // namespace edge_bts
