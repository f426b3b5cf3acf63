// TCP sockets that never block (Linux).
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace edge_bts::igtl {

/// An open file descriptor, or none.
class Handle {
  public:
    Handle() = default;
    explicit Handle(int fd) noexcept : fd_(fd) {}
    ~Handle() { close(); }
    Handle(Handle&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Handle& operator=(Handle&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }

    int get() const noexcept { return fd_; }
    explicit operator bool() const noexcept { return fd_ >= 0; }
    void close() noexcept;

  private:
    int fd_ = -1;
};

/// An address of IPv4 or IPv6 and how it is written.
struct Address {
    sockaddr_storage storage{};
    socklen_t size = 0;

    const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
    /// "127.0.0.1:18944", "[::1]:18944".
    std::string text() const;
    bool loopback() const noexcept;
};

/// Resolves "HOST:PORT" or "[IPv6]:PORT"; a name may have several addresses, and has one at least.
/// Throws UsageError.
std::vector<Address> resolve(const std::string& option, const std::string& text);

/// Listens at an address; the port may be taken anew at once after an end. Throws
/// std::system_error.
Handle listen_at(const Address& address);

/// The address that a socket is bound to.
Address bound(const Handle& socket);

/// Begins to connect; the socket becomes writable when that succeeded or failed. Empty, with errno
/// set, if it failed at once.
Handle begin_connect(const Address& address);

/// 0 if connected, else an errno.
int connect_error(const Handle& socket);

/// Takes a waiting connection; empty, with errno set, if there is none.
Handle accept_from(const Handle& listener, Address& peer);

/// Bytes that were moved; 0: none can be now; nothing: the connection is over, errno says why (0:
/// the peer closed it).
std::optional<std::size_t> receive_some(const Handle& socket, std::uint8_t* data, std::size_t size);
std::optional<std::size_t> send_some(const Handle& socket, const std::uint8_t* data,
                                     std::size_t size);

/// errno in words; "closed by the peer" for 0.
std::string why(int error);

}  // namespace edge_bts::igtl
