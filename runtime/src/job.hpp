// A frame that has been checked, and what it is checked against.
#pragma once

#include <cstddef>
#include <cstdint>

#include "edge_bts/edge_bts.h"
#include "sector.hpp"

namespace edge_bts {

/// What frames need to know of a model.
struct Settings {
    int side;
    float mean;
    float std;
    float threshold;
    double presence_threshold;
};

/// The options of a session with their defaults filled in.
struct Limits {
    int max_height;
    int max_width;
    int max_components;
    std::uint32_t deadline_us;  ///< 0: none.
    double presence_keep;       ///< 0: no hysteresis.
    std::uint32_t memory;       ///< An ebts_memory.
};

/// A frame that has been checked.
struct Job {
    const std::uint8_t* pixels;  ///< The first of the region.
    std::size_t pitch;           ///< Bytes.
    int height;                  ///< Of the frame.
    int width;
    std::uint32_t format;
    std::uint32_t white;
    double mm;
    std::uint64_t timestamp;
    std::uint64_t sequence;
    ebts_rect roi;  ///< Within the frame, not empty: the box of the sector, if there is one.
    Sector sector;
    void* stream;  ///< Of EBTS_MEMORY_CUDA; its work writes the frame. NULL: it is written.
};

}  // namespace edge_bts
