// MIDI files as bytes, put together by hand.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

namespace midigpt::tests {

using Bytes = std::vector<std::uint8_t>;

inline Bytes operator+(Bytes left, const Bytes& right) {
  left.reserve(left.size() + right.size());
  for (const std::uint8_t byte : right) left.push_back(byte);
  return left;
}

inline Bytes big_endian(std::uint32_t value, int bytes) {
  Bytes out;
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) out.push_back(static_cast<std::uint8_t>(value >> shift));
  return out;
}

inline Bytes header(std::uint32_t tracks, std::uint32_t division = 480, std::uint32_t format = 1) {
  return Bytes{'M', 'T', 'h', 'd'} + big_endian(6, 4) + big_endian(format, 2) + big_endian(tracks, 2) +
         big_endian(division, 2);
}

inline Bytes chunk(const Bytes& events) {
  return Bytes{'M', 'T', 'r', 'k'} + big_endian(static_cast<std::uint32_t>(events.size()), 4) + events;
}

// A number of ticks before an event.
inline Bytes delta(std::uint32_t ticks) {
  Bytes out{static_cast<std::uint8_t>(ticks & 0x7F)};
  while ((ticks >>= 7) > 0) out.insert(out.begin(), static_cast<std::uint8_t>(ticks | 0x80));
  return out;
}

inline Bytes note(std::uint8_t channel, std::uint8_t pitch, std::uint32_t wait, std::uint32_t duration,
                  std::uint8_t velocity = 80) {
  const auto on = static_cast<std::uint8_t>(0x90 | channel);
  return delta(wait) + Bytes{on, pitch, velocity} + delta(duration) + Bytes{on, pitch, 0};
}

inline Bytes time_signature(std::uint32_t wait, std::uint8_t numerator, std::uint8_t log2_denominator) {
  return delta(wait) + Bytes{0xFF, 0x58, 4, numerator, log2_denominator, 24, 8};
}

inline Bytes tempo(std::uint32_t wait, std::uint32_t microseconds) {
  return delta(wait) + Bytes{0xFF, 0x51, 3} + big_endian(microseconds, 3);
}

inline Bytes program(std::uint8_t channel, std::uint8_t number) {
  return {0, static_cast<std::uint8_t>(0xC0 | channel), number};
}

// One chunk of these events.
inline Bytes file(const Bytes& events, std::uint32_t division = 480) { return header(1, division) + chunk(events); }

}  // namespace midigpt::tests
