// A *script* is a document as the encoder writes it with the bars that are asked for left empty. Every token of it is
// forced; in an empty bar, and where an attribute is left to the model, tokens are chosen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "grammar/schedule.h"
#include "vocab/codebook.h"

namespace midigpt::grammar {

// What is asked for in one document.
struct Request {
  std::span<const std::int32_t> script;
  // Tokens of the script that nothing attends to, as [begin, end), ascending.
  std::span<const std::pair<std::int64_t, std::int64_t>> masked;
  const std::uint8_t* cells = nullptr;  // [T, B], the bars to write, by their place in the script
  std::int64_t max_tracks = 0;
  std::int64_t max_bars = 0;
  bool choose_attributes = false;  // of bars without a placeholder, and of their tracks
  std::int64_t max_tokens = 0;     // of the whole document; 0: no limit
  std::int32_t max_notes = 0;      // in one bar; 0: no limit
  std::int32_t max_polyphony = 0;  // notes sounding at once within a bar; 0: no limit
  // [T, B], as `cells`; null: none. Their arrays must outlive the sequence.
  const BarControls* controls = nullptr;
};

// A place of the script where tokens are chosen, before its token `at`.
struct Choice {
  std::size_t at = 0;
  bool body = false;  // the notes of a bar, else one attribute
  vocab::TokenType attribute = vocab::TokenType::None;
  bool drum = false;
  std::int32_t length = 0;  // of the bar, in positions
  BarControls controls;
};

// What a script leaves to choose.
struct Script {
  std::vector<Choice> choices;
  std::size_t end = 0;  // of the script: nothing after the last choice's bar is needed
  bool use_velocity = true;
  bool use_microtiming = true;
};

// Finds the choices of the request's script. What is wrong with it, or nothing.
std::string read_script(const vocab::Codebook& book, const Request& request, Script& script);

}  // namespace midigpt::grammar
