// The fuzzing targets: each takes any bytes and returns, or ends the process because something does not hold.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace midigpt::fuzz {

using Input = std::span<const std::uint8_t>;

void reader(Input input);          // a MIDI file to columns
void differential(Input input);    // the reader against reference_reader.h
void encoder_config(Input input);  // any settings to a codebook, or a message
void encode_batch(Input input);    // damaged columns and windows to tokens
void decode(Input input);          // any tokens to a score, and on to a MIDI file
void round_trip(Input input);      // encoding what was decoded gives the same tokens
void generation(Input input);      // any request to the grammar is written within its limits
void splice(Input input);          // notes of a MIDI file replaced, and nothing else
void table_grammar(Input input);   // any request to a declared grammar is written as its table says

struct Target {
  std::string_view name;
  void (*run)(Input input);
};

inline constexpr std::array kTargets{
    Target{"reader", reader},
    Target{"differential", differential},
    Target{"encoder_config", encoder_config},
    Target{"encode_batch", encode_batch},
    Target{"decode", decode},
    Target{"round_trip", round_trip},
    Target{"generation", generation},
    Target{"splice", splice},
    Target{"table_grammar", table_grammar},
};

}  // namespace midigpt::fuzz
