// The limits of a file. Each is checked before the memory or the time that it bounds is used.
//
// docs/limits.md compares them with real files and lists each known malicious file.
#pragma once

#include <cstdint>

namespace midigpt::midi {

inline constexpr std::int64_t kMaxFileBytes = 16 << 20;
inline constexpr std::int64_t kMaxTracks = 1024;      // tracks with events, after splitting by channel and program
inline constexpr std::int64_t kMaxNotes = 1'000'000;  // note-ons
inline constexpr std::int64_t kMaxBars = 20'000;
// Tempo events need no limit: only the earliest is kept.
inline constexpr std::int64_t kMaxTimeSignatures = 100'000;
// Of a file's own ticks, and of ticks at the resolution of the score.
inline constexpr std::int64_t kMaxTick = INT32_MAX - 1;

}  // namespace midigpt::midi
