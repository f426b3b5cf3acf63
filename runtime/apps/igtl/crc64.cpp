#include "crc64.hpp"

#include <array>

namespace edge_bts::igtl {
namespace {

constexpr std::uint64_t kPolynomial = 0x42F0E1EBA9EA3693U;
constexpr std::size_t kSlices = 16;

using Table = std::array<std::array<std::uint64_t, 256>, kSlices>;

/// Entry [k][b]: the CRC of the byte b and k zero bytes after it.
constexpr Table make_table() {
    Table table{};
    for (std::size_t byte = 0; byte < 256; ++byte) {
        std::uint64_t crc = static_cast<std::uint64_t>(byte) << 56;
        for (int bit = 0; bit < 8; ++bit) crc = (crc << 1) ^ ((crc >> 63) * kPolynomial);
        table[0][byte] = crc;
    }
    for (std::size_t k = 1; k < kSlices; ++k) {
        for (std::size_t byte = 0; byte < 256; ++byte) {
            const std::uint64_t crc = table[k - 1][byte];
            table[k][byte] = (crc << 8) ^ table[0][crc >> 56];
        }
    }
    return table;
}

constexpr Table kTable = make_table();

std::uint64_t load(const std::uint8_t* data) noexcept {
    std::uint64_t word = 0;
    for (int i = 0; i < 8; ++i) word = (word << 8) | data[i];  // compilers make one load of it
    return word;
}

}  // namespace

std::uint64_t crc64(const std::uint8_t* data, std::size_t size, std::uint64_t crc) noexcept {
    // Sixteen bytes a step, whose look-ups do not wait for each other: byte by byte, a colour frame
    // of 1080 rows would take longer than its period.
    for (; size >= kSlices; size -= kSlices, data += kSlices) {
        const std::uint64_t first = crc ^ load(data);
        const std::uint64_t second = load(data + 8);
        crc = 0;
        for (std::size_t i = 0; i < 8; ++i) {
            const std::size_t shift = 56 - 8 * i;
            crc ^= kTable[15 - i][(first >> shift) & 0xFFU];
            crc ^= kTable[7 - i][(second >> shift) & 0xFFU];
        }
    }
    for (; size > 0; --size, ++data) crc = (crc << 8) ^ kTable[0][(crc >> 56) ^ *data];
    return crc;
}

}  // namespace edge_bts::igtl
