// The first golden frame of a bundle: the twin of edge_bts/golden.py.
#pragma once

#include <vector>

#include "edge_bts/geometry.hpp"
#include "files.hpp"
#include "network.hpp"

namespace edge_bts {

inline constexpr const char* kGoldenName = "golden.safetensors";

struct Golden {
    Bytes frame;                     ///< side x side, model geometry.
    std::vector<float> probability;  ///< What the network must come to.
    float threshold;                 ///< Of the mask.
    double mean_abs;                 ///< Allowed: mean absolute difference of probability.
    double pixels;                   ///< Allowed: share of the mask's pixels that differ.
};

/// How far a network is from a golden frame, in the terms of its tolerance.
struct Difference {
    double mean_abs;
    double pixels;
};

/// Reads the bytes of golden.safetensors. Throws Failure BUNDLE if they are no golden frames of
/// that side.
Golden read_golden(const Bytes& content, int side);

/// Runs the frame; allocates nothing. Throws Failure BACKEND.
Difference compare(const Golden& golden, const Normaliser& normalise, Request& request);

inline bool within(const Golden& golden, const Difference& came) noexcept {
    return came.mean_abs <= golden.mean_abs && came.pixels <= golden.pixels;
}

}  // namespace edge_bts
