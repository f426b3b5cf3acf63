// Results to every client that wants them, at the pace of each.
#pragma once

#include <poll.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "codec.hpp"
#include "frame.hpp"
#include "log.hpp"
#include "socket.hpp"

namespace edge_bts::igtl {

using Bytes = std::vector<std::uint8_t>;

class Server {
  public:
    /// `version`: the lowest that is sent. Throws std::system_error if it cannot listen.
    Server(const Address& address, std::size_t most_clients, std::uint16_t version);

    const Address& address() const noexcept { return address_; }

    /// Appends what to poll; the same number of entries is handed to ready().
    void interest(std::vector<pollfd>& polls, Clock::time_point now) const;

    /// Takes the news of poll: newcomers, what clients say, room to send.
    void ready(const pollfd* polls, Clock::time_point now);

    /// Sends a result to every client; one that has not read the one before gets the newest when
    /// it has. `encode` appends the messages in a version; it is called once a version in use.
    using Encode = std::function<void(Bytes& out, std::uint16_t version)>;
    void send(const Encode& encode);

    /// The same for a word that can be left out: clients that are behind do not get it.
    void mention(const Encode& encode);

  private:
    using Shared = std::shared_ptr<const Bytes>;

    struct Client {
        Client(Handle opened, const Address& peer, std::uint16_t least);

        Handle socket;
        std::string name;
        std::uint16_t version;
        Assembler assembler;
        Buffer scratch;
        Faults faults;
        Shared current;  ///< Being sent, from `offset` on.
        std::size_t offset = 0;
        Shared waiting;             ///< The newest result, to be sent after it.
        std::uint64_t sent = 0;     ///< Results.
        std::uint64_t dropped = 0;  ///< Results replaced while they waited.
        std::string over;           ///< Why the connection is over; empty: it is not.
    };

    void welcome(Clock::time_point now);
    void part();
    static void listen(Client& client);
    static void flush(Client& client);
    Shared encoded(const Encode& encode, std::uint16_t version);

    Handle listener_;
    Address address_;
    std::size_t most_clients_;
    std::uint16_t version_;
    Clock::time_point accept_again_{};
    std::vector<std::unique_ptr<Client>> clients_;
    std::vector<std::shared_ptr<Bytes>> pool_;  ///< Memory of results, used again when all sent it.
};

}  // namespace edge_bts::igtl
