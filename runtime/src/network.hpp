// What a backend gives the rest: one network, and requests that run it.
#pragma once

#include <memory>
#include <string>
#include <vector>

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
};

}  // namespace edge_bts
