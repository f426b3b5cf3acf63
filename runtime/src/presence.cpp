#include "presence.hpp"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <functional>
#include <numeric>

namespace edge_bts {
namespace {

/// Looked at together: most blocks have nothing that counts.
constexpr std::size_t kBlock = 64;

/// As numpy.nan_to_num.
float finite(float value) noexcept {
    return std::isnan(value) ? 0.0F : std::clamp(value, -FLT_MAX, FLT_MAX);
}

/// Whether nothing in the block is above `bound`; a NaN is no answer to that.
bool is_below(const float* block, float bound) noexcept {
    unsigned above = 0;
    for (std::size_t i = 0; i < kBlock; ++i) above += block[i] <= bound ? 0U : 1U;
    return above == 0;
}

}  // namespace

Presence::Presence(int side)
    : pixels_(static_cast<std::size_t>(side) * static_cast<std::size_t>(side)),
      count_(std::max<std::size_t>(1, (pixels_ + 250) / 500)),
      highest_(4 * count_ + kBlock) {}

double Presence::score(const float* probability) noexcept {
    // `bound` is the least of the highest so far, once there are enough of them: what is not above
    // it does not count. Candidates are gathered until the room is full, then the highest are kept.
    const auto begin = highest_.begin();
    const auto kept = begin + static_cast<std::ptrdiff_t>(count_);
    auto end = begin;
    float bound = -FLT_MAX;
    const auto keep_highest = [&] {
        if (end <= kept) return;
        std::nth_element(begin, kept - 1, end, std::greater<float>());
        bound = *(kept - 1);
        end = kept;
    };
    for (std::size_t base = 0; base < pixels_; base += kBlock) {
        const std::size_t size = std::min(kBlock, pixels_ - base);
        const float* block = probability + base;
        if (size == kBlock && end >= kept && is_below(block, bound)) continue;
        for (std::size_t i = 0; i < size; ++i) {
            const float value = finite(block[i]);
            if (end < kept || value > bound) *end++ = value;
        }
        if (highest_.end() - end < static_cast<std::ptrdiff_t>(kBlock)) keep_highest();
    }
    keep_highest();
    return std::accumulate(begin, end, 0.0) / static_cast<double>(count_);
}

}  // namespace edge_bts
