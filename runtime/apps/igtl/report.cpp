#include "report.hpp"

#include <cmath>
#include <nlohmann/json.hpp>

namespace edge_bts::igtl {
namespace {

using Json = nlohmann::ordered_json;

double rounded(double ms) {
    return std::round(ms * 1000.0) / 1000.0;
}

Json component(const ebts_component& part, bool mm) {
    Json json = {
        {"area_px", part.area_px},
        {"bbox", {part.bbox.x, part.bbox.y, part.bbox.width, part.bbox.height}},
        {"centroid", {part.centroid[0], part.centroid[1]}},
        {"longest_px", part.longest_px},
        {"longest_ends",
         {{part.longest_ends[0][0], part.longest_ends[0][1]},
          {part.longest_ends[1][0], part.longest_ends[1][1]}}},
        {"orthogonal_px", part.orthogonal_px},
    };
    if (mm) {
        json["area_mm2"] = part.area_mm2;
        json["longest_mm"] = part.longest_mm;
        json["orthogonal_mm"] = part.orthogonal_mm;
    }
    return json;
}

}  // namespace

std::string report(const Frame& frame, const ebts_result& result, const std::string& error,
                   double queue_ms, double age_ms) {
    const bool mm = frame.spacing.mm > 0.0;
    const bool usable = error.empty() && (result.health & EBTS_HEALTH_UNUSABLE) == 0;
    Json json = {
        {"device", printable(frame.header.device)},
        {"timestamp", static_cast<double>(frame.header.timestamp) / 4294967296.0},
        {"width", frame.image.size[0]},
        {"height", frame.image.size[1]},
        {"health", error.empty() ? ebts::health_words(result.health) : "FAILED"},
        {"usable", usable},
        {"mm_per_pixel", mm ? Json(frame.spacing.mm) : Json()},
        {"spacing_from", frame.spacing.from},
        {"frames",
         {{"received", frame.counts.received},
          {"segmented", frame.counts.segmented},
          {"dropped", frame.counts.dropped},
          {"superseded", frame.counts.superseded},
          {"bad", frame.counts.bad}}},
    };
    if (!error.empty()) {
        json["error"] = error;
    } else {
        json["presence"] = result.presence;
        json["components"] = Json::array();
        for (std::uint32_t i = 0; usable && i < result.component_count; ++i) {
            json["components"].push_back(component(*result.components[i], mm));
        }
        json["ms"] = {{"queue", rounded(queue_ms)},
                      {"preprocess", rounded(result.preprocess_ms)},
                      {"inference", rounded(result.inference_ms)},
                      {"postprocess", rounded(result.postprocess_ms)},
                      {"age", rounded(age_ms)}};
    }
    return json.dump(-1, ' ', true, Json::error_handler_t::replace);
}

}  // namespace edge_bts::igtl
