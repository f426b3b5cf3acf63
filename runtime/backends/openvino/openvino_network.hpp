// The backend of the device: an OpenVINO IR on the CPU.
#pragma once

#include <memory>
#include <string>

#include "files.hpp"
#include "network.hpp"

namespace edge_bts {

/// "2026.1.0", without the build.
std::string openvino_version();

/// Compiles an IR, for one frame at a time and in float32 outside INT8 layers. The bytes that are
/// given are those that run.
///
/// Throws Failure BUNDLE if it is no network from image (1, 1, side, side) to probability of the
/// same shape, INCOMPATIBLE if the library cannot run it here.
std::unique_ptr<Network> open_openvino(Bytes topology, Bytes weights, int side,
                                       const Execution& execution);

}  // namespace edge_bts
