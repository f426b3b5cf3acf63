// What the tests share: pseudo-random planes that other languages can make too, and a hash.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace support {

/// The linear congruential generator of Numerical Recipes; the top byte of the state is the value.
class Random {
  public:
    explicit Random(std::uint32_t seed) : state_(seed) {}

    std::uint32_t next() { return state_ = state_ * 1664525U + 1013904223U; }
    std::uint8_t byte() { return static_cast<std::uint8_t>(next() >> 24); }
    /// In [0, 1), a multiple of 2^-24.
    float unit() { return static_cast<float>(next() >> 8) / 16777216.0F; }

  private:
    std::uint32_t state_;
};

inline std::vector<std::uint8_t> bytes(std::size_t count, std::uint32_t seed) {
    Random random(seed);
    std::vector<std::uint8_t> values(count);
    for (auto& value : values) value = random.byte();
    return values;
}

inline std::vector<float> units(std::size_t count, std::uint32_t seed) {
    Random random(seed);
    std::vector<float> values(count);
    for (auto& value : values) value = random.unit();
    return values;
}

/// CRC-32 (ISO-HDLC, as in zlib) of the little-endian bytes of `values`.
template <typename T>
std::uint32_t crc32(const std::vector<T>& values) {
    std::vector<unsigned char> raw(values.size() * sizeof(T));
    std::memcpy(raw.data(), values.data(), raw.size());
    std::uint32_t crc = 0xFFFFFFFFU;
    for (unsigned char byte : raw) {
        crc ^= byte;
        for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1U) != 0U ? 0xEDB88320U : 0U);
    }
    return ~crc;
}

}  // namespace support
