// The checksum of OpenIGTLink: CRC-64 of ECMA-182, the highest bit first, from 0, not inverted.
#pragma once

#include <cstddef>
#include <cstdint>

namespace edge_bts::igtl {

/// The CRC-64 of `size` bytes that follow those whose CRC-64 is `crc`.
std::uint64_t crc64(const std::uint8_t* data, std::size_t size, std::uint64_t crc = 0) noexcept;

}  // namespace edge_bts::igtl
