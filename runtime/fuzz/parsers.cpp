#include <cstring>
#include <stdexcept>

#include "failure.hpp"
#include "golden.hpp"
#include "manifest.hpp"
#include "targets.hpp"

namespace {

/// Runs what must either succeed or be refused with a sentence.
template <typename Read>
void expect_read_or_refused(Read read) {
    try {
        read();
    } catch (const edge_bts::Failure& failure) {
        if (std::strlen(failure.what()) < 20) throw std::logic_error("refused without a sentence");
    }
}

}  // namespace

void fuzz::manifest(const std::uint8_t* data, std::size_t size) {
    expect_read_or_refused([&] {
        const auto manifest = edge_bts::parse_manifest(edge_bts::Bytes(data, data + size), "here");
        manifest.check_runtime("openvino", "2026.1.0");
        if (manifest.side < 1) throw std::logic_error("a manifest without a side was taken");
    });
}

void fuzz::golden(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return;
    const int side = 1 + data[0] % 16;
    expect_read_or_refused([&] {
        const auto golden = edge_bts::read_golden(edge_bts::Bytes(data + 1, data + size), side);
        const auto pixels = static_cast<std::size_t>(side * side);
        if (golden.frame.size() != pixels || golden.probability.size() != pixels) {
            throw std::logic_error("golden frames of another size were taken");
        }
    });
}
