#include "segmenter.hpp"

#include <algorithm>
#include <cmath>

#include "report.hpp"

namespace edge_bts::igtl {
namespace {

double milliseconds(Clock::duration time) {
    return std::chrono::duration<double, std::milli>(time).count();
}

ebts_session_options limits(const Options& options) {
    auto most = ebts::sized<ebts_session_options>();
    most.max_width = options.max_width;
    most.max_height = options.max_height;
    return most;  // no deadline: here it counts from the arrival of the frame on
}

/// Pixels of two bytes in the order of this machine.
void swap_to_native(std::uint8_t* pixels, std::size_t size, bool little_endian) {
    constexpr std::uint16_t kOne = 1;
    const bool native_little = *reinterpret_cast<const std::uint8_t*>(&kOne) == 1;
    if (little_endian == native_little) return;
    for (std::size_t i = 0; i + 1 < size; i += 2) std::swap(pixels[i], pixels[i + 1]);
}

std::uint8_t quantised(float probability) {
    if (!(probability > 0.0F)) return 0;  // nor NaN
    return static_cast<std::uint8_t>(std::lround(std::min(probability, 1.0F) * 255.0F));
}

}  // namespace

Segmenter::Segmenter(const ebts::Model& model, const Options& options, std::function<void()> done)
    : options_(options),
      session_(model, limits(options)),
      done_(std::move(done)),
      frames_([&] { return Frame(static_cast<std::size_t>(most_body(options))); }),
      results_([] { return Result(); }),
      worker_([this] { work(); }) {}

Segmenter::~Segmenter() {
    frames_.close();
    worker_.join();
}

void Segmenter::work() {
    while (Frame* frame = frames_.wait()) {
        segment(*frame, results_.writing());
        if (results_.publish()) ++superseded_;
        done_();
    }
}

void Segmenter::segment(Frame& frame, Result& result) {
    const auto start = Clock::now();
    const std::size_t count = std::size_t{frame.image.size[0]} * frame.image.size[1];
    result.plane.assign(count, 0);
    auto input = library_frame(frame.image, options_);
    input.mm_per_pixel = frame.spacing.mm;
    input.timestamp = frame.header.timestamp;
    if (input.format == EBTS_GRAY16) {
        const std::size_t offset =
            static_cast<std::size_t>(frame.image.pixels.data - frame.body.data());
        swap_to_native(frame.body.data() + offset, frame.image.pixels.size,
                       frame.image.little_endian);
    }
    auto planes = ebts::sized<ebts_planes>();
    if (options_.output == Output::mask) {
        planes.mask = result.plane.data();
    } else {
        probability_.resize(count);
        planes.probability = probability_.data();
    }
    auto found = ebts::sized<ebts_result>();
    std::string error;
    if (ebts_segment(session_.get(), &input, &planes, &found) != EBTS_OK) {
        error = ebts_last_error();
    } else if (options_.output == Output::probability) {
        std::transform(probability_.begin(), probability_.end(), result.plane.begin(), quantised);
    }
    const double age = milliseconds(Clock::now() - frame.arrived);
    if (options_.deadline_ms > 0 && age > options_.deadline_ms) found.health |= EBTS_HEALTH_LATE;
    if (!error.empty() || (found.health & EBTS_HEALTH_UNUSABLE) != 0) {
        // A viewer draws what comes, and does not read the report.
        std::fill(result.plane.begin(), result.plane.end(), std::uint8_t{0});
    }
    frame.counts.segmented = ++segmented_;
    frame.counts.dropped = frame.counts.received - segmented_;  // frames keep their order
    frame.counts.superseded = superseded_;
    result.header = frame.header;
    result.id = frame.id;
    result.image = frame.image;
    result.image.components = 1;
    result.image.scalar = Scalar::uint8;
    result.image.little_endian = true;
    result.image.pixels = {result.plane.data(), result.plane.size()};
    result.poses = frame.poses;
    result.health = error.empty() ? ebts::health_words(found.health) : "FAILED";
    result.report = report(frame, found, error, milliseconds(start - frame.arrived), age);
}

}  // namespace edge_bts::igtl
