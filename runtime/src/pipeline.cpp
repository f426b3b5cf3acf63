#include "pipeline.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "failure.hpp"
#include "gray.hpp"

namespace edge_bts {
namespace {

/// What a sigmoid in single precision may be beyond 0 and 1.
constexpr float kSlack = 1e-4F;

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
T* corner(const Job& job, T* plane, std::size_t pitch) noexcept {
    return plane + static_cast<std::size_t>(job.roi.y) * pitch +
           static_cast<std::size_t>(job.roi.x);
}

void plan(Geometry& geometry, const ebts_rect& roi) noexcept {
    const Letterbox& box = geometry.box();
    if (box.source_height != roi.height || box.source_width != roi.width) {
        geometry.plan(roi.height, roi.width);
    }
}

bool same(const ebts_rect& a, const ebts_rect& b) noexcept {
    return a.x == b.x && a.y == b.y && a.width == b.width && a.height == b.height;
}

/// Whether the region's pixels are what cut() would make of them.
bool is_cut(const Job& job) noexcept {
    return is_gray(job.format) && !job.sector;
}

/// Writes the gray of the region, black outside the sector; rows without a gap.
void cut(const Job& job, std::uint8_t* gray) noexcept {
    const auto width = static_cast<std::size_t>(job.roi.width);
    if (is_gray(job.format)) {
        const std::uint8_t* row = job.pixels;
        for (int y = 0; y < job.roi.height; ++y, row += job.pitch) {
            std::copy_n(row, width, gray + static_cast<std::size_t>(y) * width);
        }
    } else {
        to_gray(job.format, job.white, job.pixels, job.pitch, job.roi.height, job.roi.width,
                {gray, job.roi.width});
    }
    if (job.sector) clear_outside(job.sector, job.roi, gray, width);
}

}  // namespace

void write_mask(const Job& job, const Measurer& measurer, const Planes& planes) noexcept {
    if (planes.mask == nullptr) return;
    clear_around(job, planes.mask, planes.mask_pitch);
    std::uint8_t* out = corner(job, planes.mask, planes.mask_pitch);
    Plane<const std::uint8_t> mask = measurer.mask();
    for (int y = 0; y < job.roi.height; ++y, out += planes.mask_pitch, mask.data += mask.pitch) {
        std::transform(mask.data, mask.data + job.roi.width, out, [](std::uint8_t pixel) {
            return static_cast<std::uint8_t>(pixel != 0 ? 1 : 0);
        });
    }
}

void write_probability(const Job& job, const float* output, Geometry& geometry,
                       const Planes& planes) noexcept {
    if (planes.probability == nullptr) return;
    plan(geometry, job.roi);
    clear_around(job, planes.probability, planes.probability_pitch);
    float* out = corner(job, planes.probability, planes.probability_pitch);
    geometry.to_source({output, geometry.box().size},
                       {out, static_cast<std::ptrdiff_t>(planes.probability_pitch)});
    if (job.sector) clear_outside(job.sector, job.roi, out, planes.probability_pitch);
}

Pipeline::Pipeline(std::shared_ptr<const Model> model, const Limits& limits, std::size_t slots)
    : model_(std::move(model)),
      limits_(limits),
      request_(model_->network->request()),
      normalise_(model_->settings.mean, model_->settings.std),
      geometry_(1, 1, model_->settings.side),
      presence_(model_->settings.side),
      square_(area_of(model_->settings.side, model_->settings.side)) {
    geometry_.reserve(limits.max_height, limits.max_width);
    if (limits.memory == EBTS_MEMORY_HOST) {
        gray_.resize(slots);
        for (auto& gray : gray_) {
            gray.reset(new std::uint8_t[area_of(limits.max_height, limits.max_width)]);
        }
        return;
    }
    device_ = model_->network->device_way(*request_, limits, slots);
    if (device_ == nullptr) {
        throw Failure(EBTS_ERROR_INCOMPATIBLE,
                      "Expected a backend that takes frames in CUDA memory (tensorrt, in a library "
                      "built with EDGE_BTS_CUDA), but " +
                          model_->name + " is open in " + model_->backend +
                          "; open it in that one, or copy the frames to the host.");
    }
}

void Pipeline::keep(const Job& job, std::size_t slot) {
    if (device_ != nullptr) {
        device_->keep(job, slot);
    } else {
        cut(job, gray_[slot].get());
    }
}

void Pipeline::run(const Job& job, std::optional<std::size_t> kept, const Planes& planes,
                   Clock::time_point since, Measurer& measurer, ebts_result& result) {
    const Clock::time_point started = Clock::now();
    plan(geometry_, job.roi);
    const Passed passed = device_ != nullptr
                              ? device_->run(job, kept, geometry_.box(), model_->settings)
                              : pass(job, kept);
    finish(job, passed.white, measurer, result);
    write_mask(job, measurer, planes);
    write_probability(job, output(), geometry_, planes);
    const Clock::time_point ended = Clock::now();
    result.width = static_cast<std::uint32_t>(job.width);
    result.height = static_cast<std::uint32_t>(job.height);
    result.mm_per_pixel = job.mm;
    result.timestamp = job.timestamp;
    result.sequence = job.sequence;
    result.preprocess_ms = passed.prepare_ms;
    result.inference_ms = passed.infer_ms;
    result.postprocess_ms =
        std::max(0.0, milliseconds(ended - started) - passed.prepare_ms - passed.infer_ms);
    const auto deadline = std::chrono::microseconds(limits_.deadline_us);
    if (limits_.deadline_us != 0 && ended - since > deadline) result.health |= EBTS_HEALTH_LATE;
}

Difference Pipeline::self_test() {
    if (device_ != nullptr) device_->leave();
    return compare(*model_->golden, normalise_, *request_);
}

/// Takes a frame in the memory of the host through the network.
Passed Pipeline::pass(const Job& job, std::optional<std::size_t> kept) {
    const Clock::time_point started = Clock::now();
    const ebts_rect& roi = job.roi;
    Plane<const std::uint8_t> region{job.pixels, static_cast<std::ptrdiff_t>(job.pitch)};
    if (kept || !is_cut(job)) {
        if (!kept) keep(job, 0);
        region = {gray_[kept.value_or(0)].get(), roi.width};
    }
    const std::size_t white = count_white(region, roi.height, roi.width);
    geometry_.letterbox(region, {square_.data(), model_->settings.side});
    normalise_(square_.data(), square_.size(), request_->input());
    const Clock::time_point prepared = Clock::now();
    request_->infer();
    return {white, milliseconds(prepared - started), milliseconds(Clock::now() - prepared)};
}

/// What the output of the network says of its health.
std::uint32_t Pipeline::judge() const noexcept {
    const float* output = request_->output();
    std::uint32_t outside = 0;
    std::uint32_t no_number = 0;
    for (std::size_t i = 0; i < square_.size(); ++i) {
        // A NaN compares as false, so that it is outside too.
        const unsigned above = output[i] >= -kSlack ? 1U : 0U;
        const unsigned below = output[i] <= 1 + kSlack ? 1U : 0U;
        outside += 1U - (above & below);
    }
    for (std::size_t i = 0; outside != 0 && i < square_.size(); ++i) {
        no_number += std::isfinite(output[i]) ? 0U : 1U;
    }
    std::uint32_t health = EBTS_HEALTH_OK;
    if (no_number != 0) health |= EBTS_HEALTH_NAN;
    if (outside != no_number) health |= EBTS_HEALTH_OUT_OF_RANGE;
    return health;
}

/// Whether the score lets a mask stand; with hysteresis, if frame follows like frame.
bool Pipeline::is_present(const Job& job, double presence) noexcept {
    const bool follows = shown_ && job.height == height_ && job.width == width_ &&
                         same(job.roi, roi_) && job.sector == sector_;
    height_ = job.height;
    width_ = job.width;
    roi_ = job.roi;
    sector_ = job.sector;
    const bool keeps = follows && limits_.presence_keep != 0;
    return presence >= (keeps ? limits_.presence_keep : model_->settings.presence_threshold);
}

/// Writes 0 or 1 where the region is lesion.
void Pipeline::find_mask(const Job& job, Plane<std::uint8_t> mask) {
    const ebts_rect& roi = job.roi;
    const auto width = static_cast<std::size_t>(roi.width);
    if (device_ == nullptr) {
        const Settings& settings = model_->settings;
        geometry_.to_source_mask({output(), settings.side}, settings.threshold, mask);
    } else {
        const std::uint8_t* row = device_->mask();
        for (int y = 0; y < roi.height; ++y, row += width) {
            std::copy_n(row, width, mask.data + y * mask.pitch);
        }
    }
    if (job.sector) {
        clear_outside(job.sector, roi, mask.data, static_cast<std::size_t>(mask.pitch));
    }
}

/// Judges and measures what the network gave for a job.
void Pipeline::finish(const Job& job, std::size_t white, Measurer& measurer, ebts_result& result) {
    const ebts_rect& roi = job.roi;
    const std::size_t area = job.sector ? job.sector.area() : area_of(roi.height, roi.width);
    const std::uint32_t broken = judge();
    result.presence = presence_.score(output());
    shown_ = is_present(job, result.presence) && broken == 0;

    const Plane<std::uint8_t> mask = measurer.begin(roi.height, roi.width);
    if (shown_) {
        find_mask(job, mask);
    } else {
        for (int y = 0; y < roi.height; ++y) {
            std::fill_n(mask.data + y * mask.pitch, roi.width, std::uint8_t{0});
        }
    }
    measurer.measure({roi.x, roi.y}, job.mm);
    result.component_count = static_cast<std::uint32_t>(measurer.count());
    result.components_found = static_cast<std::uint32_t>(measurer.found());
    result.components = measurer.count() == 0 ? nullptr : measurer.listed();
    result.health = broken;
    if (2 * white >= area) result.health |= EBTS_HEALTH_SATURATED;
    if (measurer.found() == 0) result.health |= EBTS_HEALTH_EMPTY;
}

}  // namespace edge_bts
