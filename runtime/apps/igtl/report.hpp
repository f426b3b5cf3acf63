// Measures, health and times of a result as JSON.
#pragma once

#include <string>

#include "edge_bts/edge_bts.hpp"
#include "frame.hpp"

namespace edge_bts::igtl {

/// The text of the STRING that goes out with a result; docs/pipeline.md describes it. `error`: of
/// a frame on which the library failed, else empty. `age_ms`: from the frame's last byte on.
std::string report(const Frame& frame, const ebts_result& result, const std::string& error,
                   double queue_ms, double age_ms);

}  // namespace edge_bts::igtl
