// What a backend gives the rest: one network, and requests that run it.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "device_way.hpp"

namespace edge_bts {

/// How a backend runs.
struct Execution {
    unsigned threads = 0;  ///< 0: as the backend likes.
    bool pinned = false;   ///< Threads stay on their CPUs.
    std::string cache;     ///< Folder of what was compiled; empty: none.
};

/// One run of a network at a time, in buffers that stay where they are.
class Request {
  public:
    virtual ~Request() = default;

    /// side x side, normalised; written before infer().
    virtual float* input() noexcept = 0;

    /// side x side, probability; read after infer().
    virtual const float* output() const noexcept = 0;

    /// Throws Failure BACKEND.
    virtual void infer() = 0;
};

/// A compiled network; may be shared by threads.
class Network {
  public:
    virtual ~Network() = default;

    /// Throws Failure BACKEND, or std::bad_alloc.
    virtual std::unique_ptr<Request> request() const = 0;

    /// The way of frames in the device's memory through a request of this network, for as long as
    /// that is there, with room for `slots` (1 at least) regions; null: this backend takes none.
    /// Throws Failure BACKEND, or std::bad_alloc.
    virtual std::unique_ptr<DeviceWay> device_way(Request& /*request*/, const Limits& /*limits*/,
                                                  std::size_t /*slots*/) const {
        return nullptr;
    }
};

}  // namespace edge_bts
