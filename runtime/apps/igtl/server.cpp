#include "server.hpp"

#include <algorithm>
#include <cerrno>
#include <limits>

namespace edge_bts::igtl {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kScratch = 4096;
constexpr int kTurns = 16;

}  // namespace

Server::Client::Client(Handle opened, const Address& peer, std::uint16_t least)
    : socket(std::move(opened)),
      name("client " + peer.text()),
      version(least),
      // Whatever clients send is skipped but for the version of its header: any size will do.
      assembler(std::numeric_limits<std::uint64_t>::max() - kHeaderSize, false),
      scratch(kScratch) {}

Server::Server(const Address& address, std::size_t most_clients, std::uint16_t version)
    : listener_(listen_at(address)),
      address_(bound(listener_)),
      most_clients_(most_clients),
      version_(version) {}

void Server::interest(std::vector<pollfd>& polls, Clock::time_point now) const {
    polls.push_back({now < accept_again_ ? -1 : listener_.get(), POLLIN, 0});
    for (const auto& client : clients_) {
        const int events = client->current ? POLLIN | POLLOUT : POLLIN;
        polls.push_back({client->socket.get(), static_cast<short>(events), 0});
    }
}

void Server::ready(const pollfd* polls, Clock::time_point now) {
    for (std::size_t i = 0; i < clients_.size(); ++i) {
        const short events = polls[1 + i].revents;
        if ((events & POLLOUT) != 0) flush(*clients_[i]);
        if ((events & ~POLLOUT) != 0) listen(*clients_[i]);
    }
    part();
    if (polls[0].revents != 0) welcome(now);
}

void Server::welcome(Clock::time_point now) {
    Address peer;
    while (Handle socket = accept_from(listener_, peer)) {
        if (clients_.size() == most_clients_) {
            say("client " + peer.text() + ": refused, as " + std::to_string(most_clients_) +
                " are here; raise --max-clients");
            continue;
        }
        clients_.push_back(std::make_unique<Client>(std::move(socket), peer, version_));
        say(clients_.back()->name + ": joined");
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ECONNABORTED || errno == EINTR) return;
    say("cannot take clients (" + why(errno) + "); trying again in a second");
    accept_again_ = now + 1s;
}

void Server::listen(Client& client) {
    // No more than some turns: who floods the node does not keep it from the others.
    for (int turn = 0; turn < kTurns && client.over.empty(); ++turn) {
        const auto [data, size] = client.assembler.room(client.scratch);
        const auto count = receive_some(client.socket, data, size);
        if (!count) client.over = why(errno);
        if (!count || *count == 0) return;
        try {
            if (!client.assembler.filled(*count)) continue;
            client.version = std::max(client.version, client.assembler.header().version);
        } catch (const WireError& error) {
            client.over = error.what();
        }
    }
}

void Server::flush(Client& client) {
    while (client.over.empty() && client.current) {
        const Bytes& bytes = *client.current;
        const auto count =
            send_some(client.socket, bytes.data() + client.offset, bytes.size() - client.offset);
        if (!count) client.over = why(errno);
        if (!count || *count == 0) return;
        client.offset += *count;
        if (client.offset < bytes.size()) continue;
        client.offset = 0;
        client.current = std::exchange(client.waiting, nullptr);
    }
}

void Server::send(const Encode& encode) {
    std::array<Shared, 3> versions;
    for (auto& client : clients_) {
        Shared& bytes = versions.at(client->version);
        if (!bytes) bytes = encoded(encode, client->version);
        ++client->sent;
        if (!client->current) {
            client->current = bytes;
            flush(*client);
        } else if (std::exchange(client->waiting, bytes)) {
            --client->sent;
            ++client->dropped;
        }
    }
    part();
}

void Server::mention(const Encode& encode) {
    std::array<Shared, 3> versions;
    for (auto& client : clients_) {
        if (client->current) continue;
        Shared& bytes = versions.at(client->version);
        if (!bytes) bytes = encoded(encode, client->version);
        client->current = bytes;
        flush(*client);
    }
    part();
}

void Server::part() {
    const auto over = [](const std::unique_ptr<Client>& client) {
        if (client->over.empty()) return false;
        say(client->name + ": left after " + std::to_string(client->sent) + " results, " +
            std::to_string(client->dropped) + " dropped (" + client->over + ")");
        return true;
    };
    clients_.erase(std::remove_if(clients_.begin(), clients_.end(), over), clients_.end());
}

Server::Shared Server::encoded(const Encode& encode, std::uint16_t version) {
    auto free = std::find_if(pool_.begin(), pool_.end(), [](const std::shared_ptr<Bytes>& bytes) {
        return bytes.use_count() == 1;
    });
    if (free == pool_.end()) free = pool_.insert(free, std::make_shared<Bytes>());
    (*free)->clear();
    encode(**free, version);
    return *free;
}

}  // namespace edge_bts::igtl
