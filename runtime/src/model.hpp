// An opened bundle, and the order in which it is opened.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "edge_bts/edge_bts.h"
#include "golden.hpp"
#include "job.hpp"
#include "network.hpp"
#include "signing.hpp"

namespace edge_bts {

struct Model {
    Settings settings{};
    std::unique_ptr<Network> network;
    std::optional<Golden> golden;  ///< Where the bundle has golden frames.
    std::string name;
    std::string version;
    std::string precision;
    std::string backend;
    std::string signer;
    std::string manifest_sha256;
    bool trusted = false;
    bool self_tested = false;
};

/// What runs a model.
struct Choice {
    std::string backend;  ///< "openvino" or "tensorrt"; empty: openvino.
    Execution execution;  ///< Of openvino.
    std::string engines;  ///< Folder of tensorrt's engines.
};

using Log = std::function<void(ebts_log_level, const std::string&)>;

/// The names of the backends that were built in, a space between them.
const char* backends() noexcept;

/// Opens a bundle in the order of docs/bundle.md. Throws Failure as ebts_model_open says.
std::shared_ptr<const Model> open_model(const std::string& path, const Trust& trust,
                                        const Choice& choice, const Log& log);

}  // namespace edge_bts
