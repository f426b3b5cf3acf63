#include "pipeline.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "gray.hpp"

namespace edge_bts {
namespace {

using Clock = std::chrono::steady_clock;

/// What a sigmoid in single precision may be beyond 0 and 1.
constexpr float kSlack = 1e-4F;

double milliseconds(Clock::duration time) {
    return std::chrono::duration<double, std::milli>(time).count();
}

std::size_t area_of(int height, int width) {
    return static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
}

/// Zeroes what the region leaves of a plane of the frame.
template <typename T>
void clear_around(const Job& job, T* plane, std::size_t pitch) noexcept {
    const ebts_rect& roi = job.roi;
    const int right = roi.x + roi.width;
    for (int y = 0; y < job.height; ++y, plane += pitch) {
        if (y < roi.y || y >= roi.y + roi.height) {
            std::fill_n(plane, job.width, T{});
        } else {
            std::fill_n(plane, roi.x, T{});
            std::fill_n(plane + right, job.width - right, T{});
        }
    }
}

/// Counts in bytes as long as they last: compilers then count many pixels at once.
std::size_t count_white(Plane<const std::uint8_t> gray, int height, int width) noexcept {
    constexpr int kBlock = 255;
    std::size_t white = 0;
    for (int y = 0; y < height; ++y, gray.data += gray.pitch) {
        for (int left = 0; left < width; left += kBlock) {
            const int right = std::min(width, left + kBlock);
            std::uint8_t count = 0;
            for (int x = left; x < right; ++x) {
                count = static_cast<std::uint8_t>(count + (gray.data[x] == 255 ? 1 : 0));
            }
            white += count;
        }
    }
    return white;
}

template <typename T>
T* corner(const Job& job, T* plane, std::size_t pitch, std::size_t step = 1) noexcept {
    return plane + static_cast<std::size_t>(job.roi.y) * pitch +
           static_cast<std::size_t>(job.roi.x) * step;
}

}  // namespace

Pipeline::Pipeline(std::shared_ptr<const Model> model, const Limits& limits)
    : model_(std::move(model)),
      limits_(limits),
      request_(model_->network->request()),
      normalise_(model_->settings.mean, model_->settings.std),
      geometry_(1, 1, model_->settings.side),
      presence_(model_->settings.side),
      measurer_(limits.max_height, limits.max_width, limits.max_components),
      square_(area_of(model_->settings.side, model_->settings.side)),
      gray_(new std::uint8_t[area_of(limits.max_height, limits.max_width)]) {
    geometry_.reserve(limits.max_height, limits.max_width);
}

void Pipeline::run(const Job& job, ebts_result& result) {
    const Clock::time_point started = Clock::now();
    result.health = prepare(job);
    const Clock::time_point prepared = Clock::now();
    request_->infer();
    const Clock::time_point inferred = Clock::now();
    finish(job, result);
    const Clock::time_point ended = Clock::now();
    result.sequence = ++sequence_;
    result.preprocess_ms = milliseconds(prepared - started);
    result.inference_ms = milliseconds(inferred - prepared);
    result.postprocess_ms = milliseconds(ended - inferred);
    const auto deadline = std::chrono::microseconds(limits_.deadline_us);
    if (limits_.deadline_us != 0 && ended - started > deadline) result.health |= EBTS_HEALTH_LATE;
}

/// Fills the input of the network; returns what the frame itself says of its health.
std::uint32_t Pipeline::prepare(const Job& job) {
    const ebts_rect& roi = job.roi;
    const Letterbox& box = geometry_.box();
    if (box.source_height != roi.height || box.source_width != roi.width) {
        geometry_.plan(roi.height, roi.width);
    }
    const std::uint8_t* pixels = corner(job, job.pixels, job.pitch, pixel_bytes(job.format));
    Plane<const std::uint8_t> gray{pixels, static_cast<std::ptrdiff_t>(job.pitch)};
    if (!is_gray(job.format)) {
        to_gray(job.format, job.white, pixels, job.pitch, roi.height, roi.width,
                {gray_.get(), roi.width});
        gray = {gray_.get(), roi.width};
    }
    const std::size_t white = count_white(gray, roi.height, roi.width);
    const int side = model_->settings.side;
    geometry_.letterbox(gray, {square_.data(), side});
    normalise_(square_.data(), square_.size(), request_->input());
    return 2 * white >= area_of(roi.height, roi.width) ? EBTS_HEALTH_SATURATED : EBTS_HEALTH_OK;
}

/// What the output of the network says of its health.
std::uint32_t Pipeline::judge() const noexcept {
    const float* output = request_->output();
    std::uint32_t outside = 0;
    std::uint32_t no_number = 0;
    for (std::size_t i = 0; i < square_.size(); ++i) {
        // A NaN compares as false, so that it is outside too.
        outside += (output[i] >= -kSlack) & (output[i] <= 1 + kSlack) ? 0U : 1U;
    }
    for (std::size_t i = 0; outside != 0 && i < square_.size(); ++i) {
        no_number += std::isfinite(output[i]) ? 0U : 1U;
    }
    std::uint32_t health = EBTS_HEALTH_OK;
    if (no_number != 0) health |= EBTS_HEALTH_NAN;
    if (outside != no_number) health |= EBTS_HEALTH_OUT_OF_RANGE;
    return health;
}

void Pipeline::finish(const Job& job, ebts_result& result) {
    const Settings& settings = model_->settings;
    const ebts_rect& roi = job.roi;
    const float* output = request_->output();
    const std::uint32_t broken = judge();
    result.presence = presence_.score(output);

    if (job.probability != nullptr) {
        clear_around(job, job.probability, job.probability_pitch);
        geometry_.to_source({output, settings.side},
                            {corner(job, job.probability, job.probability_pitch),
                             static_cast<std::ptrdiff_t>(job.probability_pitch)});
    }
    const Plane<std::uint8_t> mask = measurer_.begin(roi.height, roi.width);
    if (result.presence >= settings.presence_threshold && broken == 0) {
        geometry_.to_source_mask({output, settings.side}, settings.threshold, mask);
    } else {
        for (int y = 0; y < roi.height; ++y) {
            std::fill_n(mask.data + y * mask.pitch, roi.width, std::uint8_t{0});
        }
    }
    if (job.mask != nullptr) {
        clear_around(job, job.mask, job.mask_pitch);
        std::uint8_t* out = corner(job, job.mask, job.mask_pitch);
        for (int y = 0; y < roi.height; ++y, out += job.mask_pitch) {
            std::copy_n(mask.data + y * mask.pitch, roi.width, out);
        }
    }
    measurer_.measure({roi.x, roi.y}, job.mm);
    result.component_count = static_cast<std::uint32_t>(measurer_.count());
    result.components_found = static_cast<std::uint32_t>(measurer_.found());
    result.components = measurer_.count() == 0 ? nullptr : measurer_.listed();
    result.health |= broken;
    if (measurer_.found() == 0) result.health |= EBTS_HEALTH_EMPTY;
}

}  // namespace edge_bts
