// How a file says that a track has no notes (any more): a sequencer-specific meta event that we write and read.
//
// A track is a channel and program of a chunk that has notes. Without this event, taking the last note of a track away
// would renumber the tracks that follow it. Other programs skip the event.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace midigpt::midi {

// 7D is the manufacturer's id for non-commercial use; a channel 0..15 and a program 0..127 follow.
inline constexpr std::array<std::uint8_t, 8> kSilentTrack{0x7D, 'm', 'i', 'd', 'i', 'g', 'p', 't'};
inline constexpr std::size_t kSilentTrackBytes = kSilentTrack.size() + 2;

}  // namespace midigpt::midi
