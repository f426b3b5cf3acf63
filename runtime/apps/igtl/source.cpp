#include "source.hpp"

#include <algorithm>
#include <cerrno>

namespace edge_bts::igtl {
namespace {

using namespace std::chrono_literals;

constexpr Clock::duration kFirstWait = 100ms;
constexpr Clock::duration kLongestWait = 2s;
constexpr Clock::duration kStall = 5s;  // of a connection attempt, or in the middle of a message

}  // namespace

Source::Source(const std::string& place, std::uint64_t most_body, bool ask_v2)
    : addresses_(resolve("--connect", place)),
      name_("image server " + place),
      ask_v2_(ask_v2),
      assembler_(most_body, true),
      wait_(kFirstWait) {}

void Source::tick(Clock::time_point now) {
    if (state_ == State::idle) {
        if (now < retry_) return;
        progress_ = now;
        socket_ = begin_connect(addresses_[attempts_++ % addresses_.size()]);
        if (!socket_) return lose(why(errno), now);
        state_ = State::connecting;
    } else if ((state_ == State::connecting || assembler_.midway()) && now - progress_ > kStall) {
        lose(state_ == State::connecting ? "no answer" : "stopped in the middle of a message", now);
    }
}

pollfd Source::interest() const noexcept {
    const short events = state_ == State::connecting ? POLLOUT : POLLIN;
    return {state_ == State::idle ? -1 : socket_.get(), events, 0};
}

void Source::ready(short events, Clock::time_point now) {
    if (state_ != State::connecting || events == 0) return;
    if (const int error = connect_error(socket_)) return lose(why(error), now);
    open(now);
}

void Source::open(Clock::time_point now) {
    state_ = State::connected;
    progress_ = now;
    told_waiting_ = false;
    faults_ = {};
    say(name_ + ": connected");
    if (!ask_v2_) return;
    std::vector<std::uint8_t> hello;
    Envelope envelope;
    envelope.version = 2;
    envelope.device = "EdgeBTS";
    append_status(hello, envelope, {});
    send_some(socket_, hello.data(), hello.size());  // a fresh socket takes a hundred bytes
}

bool Source::read(Buffer& body, Clock::time_point now) {
    while (state_ == State::connected) {
        const auto [data, size] = assembler_.room(body);
        const auto count = receive_some(socket_, data, size);
        if (!count) {
            lose(
                std::string(assembler_.midway() ? "in the middle of a message: " : "") + why(errno),
                now);
            return false;
        }
        if (*count == 0) return false;
        progress_ = now;
        try {
            if (!assembler_.filled(*count)) continue;
        } catch (const WireError& error) {
            lose(error.what(), now);  // what follows cannot be told from pixels
            return false;
        }
        wait_ = kFirstWait;
        return true;
    }
    return false;
}

void Source::lose(const std::string& reason, Clock::time_point now) {
    if (state_ == State::connected) {
        say(name_ + ": lost, " + reason + "; connecting again");
    } else if (!told_waiting_) {
        say(name_ + ": not there yet (" + reason + "); trying on");
        told_waiting_ = true;
    }
    state_ = State::idle;
    socket_.close();
    assembler_.reset();
    retry_ = now + wait_;
    wait_ = std::min(2 * wait_, kLongestWait);
}

}  // namespace edge_bts::igtl
