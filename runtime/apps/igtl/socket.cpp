#include "socket.hpp"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "options.hpp"

namespace edge_bts::igtl {
namespace {

// What the kernel may hold of a slow reader's results before the newest waits for its turn here.
constexpr int kUnsentBytes = 64 * 1024;

void set(const Handle& socket, int level, int option, int value) {
    ::setsockopt(socket.get(), level, option, &value, sizeof value);
}

Handle open_socket(int family) {
    return Handle(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
}

void tune(const Handle& socket) {
    set(socket, IPPROTO_TCP, TCP_NODELAY, 1);
    set(socket, IPPROTO_TCP, TCP_NOTSENT_LOWAT, kUnsentBytes);
    set(socket, SOL_SOCKET, SO_KEEPALIVE, 1);  // finds a cable that was pulled
}

std::optional<std::size_t> moved(ssize_t count) {
    if (count > 0) return static_cast<std::size_t>(count);
    if (count == 0) {
        errno = 0;
        return std::nullopt;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return 0;
    return std::nullopt;
}

}  // namespace

void Handle::close() noexcept {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

std::string Address::text() const {
    char host[INET6_ADDRSTRLEN] = "?";
    if (storage.ss_family == AF_INET) {
        const auto* v4 = reinterpret_cast<const sockaddr_in*>(&storage);
        ::inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
        return std::string(host) + ":" + std::to_string(ntohs(v4->sin_port));
    }
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&storage);
    ::inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
    return "[" + std::string(host) + "]:" + std::to_string(ntohs(v6->sin6_port));
}

bool Address::loopback() const noexcept {
    if (storage.ss_family == AF_INET) {
        const auto* v4 = reinterpret_cast<const sockaddr_in*>(&storage);
        return (ntohl(v4->sin_addr.s_addr) >> 24) == 127;
    }
    return IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_addr) != 0;
}

std::vector<Address> resolve(const std::string& option, const std::string& text) {
    const auto colon = text.rfind(':');
    std::string host = text.substr(0, colon);
    if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
        host = host.substr(1, host.size() - 2);
    }
    const std::string port = colon == std::string::npos ? "" : text.substr(colon + 1);
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICSERV;
    addrinfo* found = nullptr;
    if (host.empty() || port.empty() ||
        ::getaddrinfo(host.c_str(), port.c_str(), &hints, &found) != 0) {
        throw UsageError("Expected HOST:PORT of a known host for " + option + ", but got '" + text +
                         "'.");
    }
    std::vector<Address> addresses;
    for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
        Address& address = addresses.emplace_back();
        address.size = one->ai_addrlen;
        std::memcpy(&address.storage, one->ai_addr, one->ai_addrlen);
    }
    ::freeaddrinfo(found);
    return addresses;
}

Handle listen_at(const Address& address) {
    Handle socket = open_socket(address.storage.ss_family);
    set(socket, SOL_SOCKET, SO_REUSEADDR, 1);
    if (!socket || ::bind(socket.get(), address.get(), address.size) != 0 ||
        ::listen(socket.get(), SOMAXCONN) != 0) {
        throw std::system_error(errno, std::generic_category());
    }
    return socket;
}

Address bound(const Handle& socket) {
    Address address;
    address.size = sizeof address.storage;
    ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address.storage), &address.size);
    return address;
}

Handle begin_connect(const Address& address) {
    Handle socket = open_socket(address.storage.ss_family);
    if (!socket) return {};
    tune(socket);
    if (::connect(socket.get(), address.get(), address.size) == 0 || errno == EINPROGRESS) {
        return socket;
    }
    const int error = errno;
    socket.close();
    errno = error;
    return {};
}

int connect_error(const Handle& socket) {
    int error = 0;
    socklen_t size = sizeof error;
    return ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

Handle accept_from(const Handle& listener, Address& peer) {
    peer.size = sizeof peer.storage;
    Handle socket(::accept4(listener.get(), reinterpret_cast<sockaddr*>(&peer.storage), &peer.size,
                            SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (socket) tune(socket);
    return socket;
}

std::optional<std::size_t> receive_some(const Handle& socket, std::uint8_t* data,
                                        std::size_t size) {
    return moved(::recv(socket.get(), data, size, 0));
}

std::optional<std::size_t> send_some(const Handle& socket, const std::uint8_t* data,
                                     std::size_t size) {
    return moved(::send(socket.get(), data, size, MSG_NOSIGNAL));
}

std::string why(int error) {
    return error == 0 ? "closed by the peer" : std::generic_category().message(error);
}

}  // namespace edge_bts::igtl
