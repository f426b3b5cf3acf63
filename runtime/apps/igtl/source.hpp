// The connection to the image server: made, lost and made again.
#pragma once

#include <poll.h>

#include <cstdint>
#include <string>
#include <vector>

#include "codec.hpp"
#include "frame.hpp"
#include "log.hpp"
#include "socket.hpp"

namespace edge_bts::igtl {

class Source {
  public:
    /// `place`: HOST:PORT, whose addresses are tried in turn. `ask_v2`: send a STATUS of version 2
    /// when connected, which makes PlusServer answer in version 2; a server of version 1 alone
    /// would be put out of step by it.
    Source(const std::string& place, std::uint64_t most_body, bool ask_v2);

    /// Connects when it is time to, and gives up on a server that stopped in mid-message.
    void tick(Clock::time_point now);

    /// What to poll; fd -1 while nothing is to be waited for.
    pollfd interest() const noexcept;

    /// Takes the news of poll.
    void ready(short events, Clock::time_point now);

    /// Reads on what has come. Returns true if a message is whole: its header is header(), its body
    /// in `body`, which must be the same buffer until then.
    bool read(Buffer& body, Clock::time_point now);

    const Header& header() const noexcept { return assembler_.header(); }
    bool connected() const noexcept { return state_ == State::connected; }
    const std::string& name() const noexcept { return name_; }

    /// Logs a fault of a message, each kind once a connection.
    void complain(const WireError& error) { faults_.tell(name_, error); }

  private:
    enum class State { idle, connecting, connected };

    void open(Clock::time_point now);
    void lose(const std::string& reason, Clock::time_point now);

    std::vector<Address> addresses_;
    std::size_t attempts_ = 0;
    std::string name_;
    bool ask_v2_;
    State state_ = State::idle;
    Handle socket_;
    Assembler assembler_;
    Faults faults_;
    Clock::time_point retry_{};     ///< When idle: connect again.
    Clock::time_point progress_{};  ///< The last byte.
    Clock::duration wait_;          ///< Before the next attempt.
    bool told_waiting_ = false;
};

}  // namespace edge_bts::igtl
