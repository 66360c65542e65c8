// Encoder settings out of the bytes of a fuzzing input.
#pragma once

#include "fuzz/bytes.h"
#include "vocab/settings.h"

namespace midigpt::fuzz {

// Any settings that the binding can pass, sensible or not. Layout (seeds.py writes it):
//
//   flags u8 (emit_delta_tokens, supports_infill, supports_mask_bar_token, velocity_sticky, switchable_velocity,
//   switchable_microtiming, signed_deltas, from the lowest bit), resolution, decode_resolution, pitch_min, pitch_max,
//   velocity_levels, note_duration_max_beats, num_genres i32 each; then lists, each a count u8 and its entries: time
//   signatures (two i32), merge groups (a count u8 and i32 each), num_bars_map (i32), attribute controls (control u8;
//   level, kind and mode in one u8), token domains (row of the type table u8, size i32); last the step between density
//   edges u8.
vocab::Settings settings_from(Bytes& bytes);

}  // namespace midigpt::fuzz
