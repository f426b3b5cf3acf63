// Bytes that come from outside: whatever they are, they are read or refused with a sentence. Which
// of the two is compared with Python by tests/runtime/test_library_bundles.py.
#include <doctest/doctest.h>

#include <cstring>
#include <string>

#include "failure.hpp"
#include "golden.hpp"
#include "golden_file.hpp"
#include "manifest.hpp"

using edge_bts::Bytes;
using edge_bts::Failure;

namespace {

constexpr int kSide = 32;

Bytes manifest() {
    const std::string text = R"({
  "schema_version": 1, "required_features": [], "name": "tiny", "version": "1",
  "geometry": {"imgsz": 32, "letterbox": "area down, bilinear up, centred", "pad": 0},
  "normalisation": {"mean": 0.25, "std": 0.2}, "threshold": 0.5, "presence_threshold": 0.0,
  "precision": "int8", "models": {"openvino": "model.xml"},
  "files": {"model.xml": {"size": 7, "sha256": ")" +
                             std::string(64, 'a') + R"("}},
  "minimum_runtime": {"edge_bts": "0.0.1"}
})";
    return Bytes(text.begin(), text.end());
}

/// 1 if the bytes are read, 0 if they are refused in a sentence; all else fails the test.
template <typename Read>
int outcome(const Bytes& content, Read read) {
    try {
        read(content);
        return 1;
    } catch (const Failure& failure) {
        if (std::strlen(failure.what()) < 20) FAIL("no sentence: ", failure.what());
        return 0;
    }
}

/// Every byte up to `end` replaced by bytes that matter to JSON, and every cut; returns how many
/// were read.
template <typename Read>
int sweep(const Bytes& good, std::size_t end, Read read) {
    int taken = 0;
    for (std::size_t at = 0; at < end; ++at) {
        Bytes content = good;
        for (const char other : {'\0', '"', '{', ']', ',', '9', '-', 'e', '\x80', '\xff'}) {
            content[at] = static_cast<std::uint8_t>(other);
            taken += outcome(content, read);
        }
        content.assign(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(at));
        CHECK(outcome(content, read) == 0);
    }
    return taken;
}

void read_manifest(const Bytes& content) {
    edge_bts::parse_manifest(content, "here");
}
void read_golden(const Bytes& content) {
    edge_bts::read_golden(content, kSide);
}

}  // namespace

TEST_CASE("a manifest with any byte changed, or cut anywhere, is read or refused") {
    const Bytes good = manifest();
    REQUIRE(outcome(good, read_manifest) == 1);
    const int taken = sweep(good, good.size() - 1, read_manifest);
    CHECK(taken > 0);  // names and numbers have other values
    CHECK(taken < static_cast<int>(5 * good.size()));
}

TEST_CASE("golden frames with any byte of the header changed, or cut there, are read or refused") {
    std::size_t body = 0;
    const Bytes good = golden_file(body);
    REQUIRE(outcome(good, read_golden) == 1);
    const int taken = sweep(good, body, read_golden);
    CHECK(taken < static_cast<int>(2 * body));
}

TEST_CASE("versions are compared as numbers") {
    edge_bts::Manifest manifest;
    const auto fits = [&manifest](const char* needed, const char* here) {
        manifest.minimum_runtime["x"] = needed;
        try {
            manifest.check_runtime("x", here);
            return true;
        } catch (const Failure& failure) {
            CHECK(failure.status() == EBTS_ERROR_INCOMPATIBLE);
            return false;
        }
    };
    CHECK(fits("2025.4", "2026.1.0"));
    CHECK(fits("2025.4", "2025.10"));
    CHECK(fits("2025.4", "2025.4.0-123"));
    CHECK(fits("", "1"));
    CHECK(fits("no number", "1"));
    CHECK_FALSE(fits("2025.4.1", "2025.4"));
    CHECK_FALSE(fits("2026", "2025.99.99"));
    CHECK_FALSE(fits("999999999.1", "1"));
}
