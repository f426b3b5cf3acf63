// Engines that `edge-bts build` left on this device, and the checks that need no TensorRT: the twin
// of edge_bts/tensorrt/cache.py.
#pragma once

#include <string>
#include <vector>

#include "files.hpp"

namespace edge_bts {

/// What ties an engine to a device.
struct EngineDevice {
    std::string machine;             ///< "aarch64".
    std::string compute_capability;  ///< "8.7".
    std::string gpu;                 ///< The name that the driver gives.
    int sm_count;                    ///< Boards of one capability differ by it.
};

/// The engine that is looked for.
struct EngineKey {
    std::string folder;           ///< The cache.
    std::string bundle;           ///< Path of the bundle, for messages.
    std::string manifest_sha256;  ///< Of the bundle.
    std::string precision;        ///< "int8", "fp16" or "fp32".
    std::vector<int> tensorrt;    ///< Of the library here: major, minor, patch, build.
    EngineDevice device;          ///< Here.

    /// "10.3.0.26", or with `numbers` 3 "10.3.0".
    std::string version(std::size_t numbers = 4) const;

    /// The command that makes the engine.
    std::string mend() const;
};

struct Engine {
    Bytes plan;
    bool cuda_graph;  ///< Whether it was asked, when it was built, to be run as a CUDA graph.
};

/// Reads `<folder>/<manifest_sha256>/<TensorRT>-<sm>-<precision>.engine` after these checks, in
/// this order, of which none that follows sees what one before refused: not everybody can write
/// folder, plan and sidecar; the sidecar is one of ours and of this bundle; size and SHA-256 of the
/// plan; its tag; its TensorRT version; machine, compute capability, GPU and SM count. The bytes
/// that are returned are those that were checked.
///
/// Throws Failure INCOMPATIBLE if there is no engine, or it is of another TensorRT or device,
/// INTEGRITY if it is not what was written or everybody could write it.
Engine read_engine(const EngineKey& key);

}  // namespace edge_bts
