// What a backend gives for frames that lie in the memory of its device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "edge_bts/geometry.hpp"
#include "job.hpp"

namespace edge_bts {

/// What came of a frame besides output and mask.
struct Passed {
    std::size_t white;  ///< Pixels of the region that are.
    double prepare_ms;
    double infer_ms;
};

/// The way of a frame from the memory of a device through a request and back to its source, all
/// but what judges and measures. Gives the bits of Geometry.
class DeviceWay {
  public:
    virtual ~DeviceWay() = default;

    /// Keeps the gray of a region, black outside its sector, in a slot, and returns when the frame
    /// has been read. May be called while another thread is in run() with another slot.
    /// Throws Failure FRAME for pixels that do not lie in the device's memory, else BACKEND.
    virtual void keep(const Job& job, std::size_t slot) = 0;

    /// Runs a job whose region is its own or, if `kept`, lies in that slot, and waits. What the
    /// network gave is then the request's output.
    /// Throws as keep().
    virtual Passed run(const Job& job, std::optional<std::size_t> kept, const Letterbox& box,
                       const Settings& model) = 0;

    /// Of the last run: the region without a gap between rows, 1 where the probability comes to the
    /// threshold, the sector not looked at. Memory of the host.
    virtual const std::uint8_t* mask() const noexcept = 0;

    /// Gives the request's input back to the host, until the next run. Throws Failure BACKEND.
    virtual void leave() = 0;
};

}  // namespace edge_bts
