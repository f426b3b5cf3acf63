// manifest.json, as far as a runtime needs it: the twin of edge_bts/manifest.py.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "files.hpp"

namespace edge_bts {

inline constexpr const char* kManifestName = "manifest.json";
inline constexpr std::size_t kMaxManifestBytes = 1 << 20;
inline constexpr std::uint64_t kMaxFileBytes = 512ULL << 20;

struct Manifest {
    struct File {
        std::uint64_t size;
        std::string sha256;
    };

    /// Throws Failure INCOMPATIBLE if `minimum_runtime` asks for more than `version` of `name`.
    void check_runtime(const std::string& name, const std::string& version) const;

    std::string name;
    std::string version;
    std::string precision;
    int side = 0;
    double mean = 0;
    double std = 0;
    double threshold = 0;
    double presence_threshold = 0;
    std::map<std::string, std::string> models;
    std::map<std::string, File> files;
    std::map<std::string, std::string> minimum_runtime;
};

/// Throws Failure BUNDLE if it is no manifest, INCOMPATIBLE if it needs a newer library.
Manifest parse_manifest(const Bytes& content, const std::string& where);

}  // namespace edge_bts
