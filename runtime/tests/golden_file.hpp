// A file of golden frames: one frame of 32 x 32.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "golden.hpp"

/// With zeros for the frame, its mask and its probability, which begin at `body`.
inline edge_bts::Bytes golden_file(std::size_t& body) {
    const std::string text =
        R"({"__metadata__": {"edge_bts": "{\"threshold\": 0.5, \"tolerance\": )"
        R"({\"mean_abs\": 0.01, \"pixels\": 0.005}}"}, )"
        R"("frames": {"dtype": "U8", "shape": [1, 32, 32], "data_offsets": [0, 1024]}, )"
        R"("mask": {"dtype": "U8", "shape": [1, 32, 32], "data_offsets": [1024, 2048]}, )"
        R"("probability": {"dtype": "F32", "shape": [1, 32, 32], "data_offsets": [2048, 6144]}})";
    const std::uint64_t length = text.size();
    body = sizeof length + text.size();
    edge_bts::Bytes content(body + 6144);
    std::memcpy(content.data(), &length, sizeof length);
    std::copy(text.begin(), text.end(), content.begin() + sizeof length);
    return content;
}
