// What is fuzzed: each takes any bytes, and must neither crash nor let anything undefined happen.
// libFuzzer runs them one by one (main.cpp), the tests run them on the kept corpus.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fuzz {

/// The bytes of manifest.json.
void manifest(const std::uint8_t* data, std::size_t size);

/// The bytes of golden.safetensors; the first is the side of the network.
void golden(const std::uint8_t* data, std::size_t size);

/// A folder: records of one byte that names a file, two that count its bytes, and those.
void bundle(const std::uint8_t* data, std::size_t size);

/// A frame with its planes, as ebts_segment and ebts_submit take them: the raw structs.
void frame(const std::uint8_t* data, std::size_t size);

/// The options of a model and of a session: the raw structs.
void options(const std::uint8_t* data, std::size_t size);

}  // namespace fuzz
