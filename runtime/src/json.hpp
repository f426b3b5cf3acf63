// JSON as edge_bts/manifest.py reads it: no key twice, no NaN, bounded depth.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace edge_bts {

using Json = nlohmann::json;

/// Parses `size` bytes. Throws std::runtime_error with the reason.
Json parse_json(const char* text, std::size_t size);

}  // namespace edge_bts
