#include "node.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>

#include "log.hpp"

namespace edge_bts::igtl {
namespace {

using namespace std::chrono_literals;

constexpr int kTickMs = 50;
constexpr int kMessagesATurn = 8;  // then the clients have their turn
constexpr std::size_t kMostPoses = 16;
constexpr Clock::duration kStale = 1s;

constexpr char kName[] = "EdgeBTS";
constexpr std::uint16_t kTimeout = 7;  // codes of STATUS
constexpr std::uint16_t kNotReady = 13;

void raise(int event) noexcept {
    const std::uint64_t one = 1;
    // It fails only if the counter is full, and then poll wakes all the same.
    if (::write(event, &one, sizeof one) < 0) return;
}

std::string described(const Frame& frame) {
    std::string text = std::to_string(frame.image.size[0]) + " x " +
                       std::to_string(frame.image.size[1]) + " from device '" +
                       printable(frame.header.device) + "', header version " +
                       std::to_string(frame.header.version) + ", ";
    if (frame.spacing.mm > 0.0) {
        char mm[32];
        std::snprintf(mm, sizeof mm, "%.6g", frame.spacing.mm);
        return text + mm + " mm a pixel (" + frame.spacing.from + ")";
    }
    return text + "measured in pixels, as nothing says how large one is";
}

}  // namespace

Node::Node(const ebts::Model& model, const Options& options)
    : options_(options),
      wake_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
      server_(resolve("--serve", options.serve).front(), options.max_clients, options.header),
      source_(options.connect, most_body(options), options.header == 2),
      segmenter_(model, options, [event = wake_.get()] { raise(event); }) {
    if (!wake_) throw std::runtime_error("eventfd: " + why(errno));
}

void Node::run() {
    std::vector<pollfd> polls;
    while (!stopping_) {
        auto now = Clock::now();
        source_.tick(now);
        polls = {{wake_.get(), POLLIN, 0}, source_.interest()};
        server_.interest(polls, now);
        if (::poll(polls.data(), polls.size(), kTickMs) < 0 && errno != EINTR) {
            throw std::runtime_error("poll: " + why(errno));
        }
        now = Clock::now();
        std::uint64_t events = 0;
        while (::read(wake_.get(), &events, sizeof events) > 0) continue;
        server_.ready(polls.data() + 2, now);
        source_.ready(polls[1].revents, now);
        for (int i = 0; i < kMessagesATurn && source_.read(segmenter_.next().body, now); ++i) {
            receive();
            deliver();
        }
        deliver();
        mention_state(now);
    }
}

void Node::stop() noexcept {
    stopping_ = true;
    raise(wake_.get());
}

void Node::receive() {
    const Header& header = source_.header();
    const bool image = header.type == "IMAGE";
    if (!image && header.type != "TRANSFORM") return;
    if (image && !options_.device.empty() && header.device != options_.device) return;
    Frame& frame = segmenter_.next();
    frame.arrived = Clock::now();
    try {
        const Body body =
            parse_body(header, {frame.body.data(), static_cast<std::size_t>(header.body_size)});
        if (image) {
            take_image(frame, body);
        } else {
            take_pose(parse_transform(body.content));
        }
    } catch (const WireError& error) {
        ++counts_.bad;
        source_.complain(error);
    }
}

void Node::take_image(Frame& frame, const Body& body) {
    frame.image = parse_image(body.content);
    library_frame(frame.image, options_);  // refuses what the library would
    frame.header = source_.header();
    frame.id = body.id;
    frame.spacing = spacing_of(body.metadata, frame.image.matrix, options_.mm_per_pixel);
    frame.poses = poses_;
    last_image_ = frame.arrived;
    ++counts_.received;
    frame.counts = counts_;
    if (!std::exchange(told_image_, true)) say(source_.name() + ": " + described(frame));
    segmenter_.submit();
}

void Node::take_pose(const Matrix& matrix) {
    const Header& header = source_.header();
    auto pose = std::find_if(poses_.begin(), poses_.end(),
                             [&](const Pose& known) { return known.device == header.device; });
    if (pose == poses_.end()) {
        if (poses_.size() == kMostPoses) poses_.erase(poses_.begin());
        pose = poses_.emplace(poses_.end());
    }
    *pose = {header.device, header.timestamp, matrix};
}

void Node::deliver() {
    const Result* result = segmenter_.poll();
    if (result == nullptr) return;
    server_.send([&](Bytes& out, std::uint16_t version) {
        Envelope envelope;
        envelope.version = version;
        for (const Pose& pose : result->poses) {
            envelope.device = pose.device;
            envelope.timestamp = pose.timestamp;
            append_transform(out, envelope, pose.matrix);
        }
        envelope.device = options_.name;
        envelope.timestamp = result->header.timestamp;
        envelope.id = result->id;
        append_image(out, envelope, result->image,
                     {{"health", result->health}, {kName, result->report}});
        envelope.device = kName;
        append_string(out, envelope, result->report);
    });
}

void Node::mention_state(Clock::time_point now) {
    if (!source_.connected()) {
        told_image_ = false;
        poses_.clear();
    }
    if (now < next_mention_ || now - last_image_ < kStale) return;
    next_mention_ = now + kStale;
    Status status;
    status.code = source_.connected() ? kTimeout : kNotReady;
    status.name = "STALE";
    status.text = source_.connected() ? "no image for a second" : "no image server";
    server_.mention([&](Bytes& out, std::uint16_t version) {
        Envelope envelope;
        envelope.version = version;
        envelope.device = kName;
        append_status(out, envelope, status);
    });
}

}  // namespace edge_bts::igtl
