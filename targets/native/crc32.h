// CRC-32 as zlib computes it (ISO 3309), which is what a neuron file has of each of its rows.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace harness {

inline uint32_t crc32(const uint8_t* bytes, size_t count) {
  static const auto table = [] {
    std::array<uint32_t, 256> made{};
    for (uint32_t i = 0; i < 256; i++) {
      made[i] = i;
      for (int bit = 0; bit < 8; bit++) made[i] = made[i] >> 1 ^ (made[i] & 1 ? 0xedb88320u : 0);
    }
    return made;
  }();
  uint32_t crc = ~0u;
  for (size_t i = 0; i < count; i++) crc = crc >> 8 ^ table[(crc ^ bytes[i]) & 255];
  return ~crc;
}

}  // namespace harness
