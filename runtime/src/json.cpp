#include "json.hpp"

#include <set>
#include <stdexcept>
#include <vector>

namespace edge_bts {
namespace {

constexpr int kMaxDepth = 64;  // a manifest has five levels

}  // namespace

Json parse_json(const char* text, std::size_t size) {
    // Two readers may keep different ones of two equal keys; then they would run different models.
    std::vector<std::set<std::string>> keys;
    const auto watch = [&keys](int depth, Json::parse_event_t event, Json& parsed) {
        if (depth > kMaxDepth) throw std::runtime_error("it is nested too deeply");
        if (event == Json::parse_event_t::object_start) keys.emplace_back();
        if (event == Json::parse_event_t::object_end) keys.pop_back();
        if (event == Json::parse_event_t::key &&
            !keys.back().insert(parsed.get_ref<const std::string&>()).second) {
            throw std::runtime_error("a key stands twice in one object");
        }
        return true;
    };
    return Json::parse(text, text + size, watch);
}

}  // namespace edge_bts
