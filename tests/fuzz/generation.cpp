// Whatever is asked for, in whatever document, is written within its limits or refused with a message.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "decode/decoder.h"
#include "encode/encoder.h"
#include "fuzz/check.h"
#include "fuzz/corpus_input.h"
#include "fuzz/settings_input.h"
#include "fuzz/targets.h"
#include "grammar/grammar.h"
#include "vocab/codebook.h"

namespace midigpt::fuzz {

namespace {

using grammar::BarControls;
using grammar::Range;
using grammar::Request;
using grammar::Sequence;
using vocab::Codebook;
using vocab::TokenType;

// Choices of one document; where no limit ends it, its bars are closed then.
constexpr int kMostChoices = 2000;

// One document and what is asked for in it, in vectors of exactly their length. Layout, after settings, corpus and
// windows (whose first window is the document, its infill cells the bars to write, without notes in them): flags u8
// (infill bars are written in their place; all bars are asked for; choose_attributes; limits are raw, else small),
// max_tokens, max_notes, max_polyphony i32 each; masked spans, a count u8 and begin and end i16 each; damage to the
// document, a count u8 and position u16 and token i32 each; damage to the cells, a count u8 and position u16 each; then
// with flag 16, for each cell in turn, controls u8 (pitches, their weights, weights of positions, a schedule), and what
// they name; then the choices, a u16 each.
struct Generation {
  std::vector<std::int32_t> script;
  std::vector<std::pair<std::int64_t, std::int64_t>> masked;
  std::vector<std::uint8_t> cells;
  Request request;
  bool is_damaged = false;
  std::vector<std::vector<std::uint8_t>> pitches;
  std::vector<std::vector<float>> weights;
  std::vector<std::vector<grammar::ScheduledNote>> schedules;
  std::vector<BarControls> controls;
};

bool is_note(TokenType type) {
  switch (type) {
    case TokenType::TimeAbsolutePos:
    case TokenType::VelocityLevel:
    case TokenType::DeltaDirection:
    case TokenType::Delta:
    case TokenType::NoteOnset:
    case TokenType::NoteDuration: return true;
    default: return false;
  }
}

// The document without its notes; empty if it cannot be encoded.
std::vector<std::int32_t> script_of(const Codebook& book, const OwnedCorpus& corpus, const encode::Windows& windows) {
  std::vector<encode::Documents> parts;
  const std::vector<std::int32_t> no_limits(static_cast<std::size_t>(windows.count), 0);
  if (encode::encode_batch(book, corpus.view(), windows, no_limits.data(), 1, parts)) return {};
  std::vector<std::int32_t> script;
  for (std::int64_t i = 0; windows.count > 0 && i < parts[0].ends[0]; ++i) {
    const std::int32_t token = parts[0].tokens.data()[i];
    if (!is_note(book.type_of(token))) script.push_back(token);
  }
  return script;
}

std::int32_t limit_from(Bytes& bytes, bool raw) {
  const auto value = bytes.take<std::int32_t>();
  return raw ? value : static_cast<std::int32_t>(static_cast<std::uint32_t>(value) % 600);
}

// Every bar that the script has.
void ask_for_all(const Codebook& book, Generation& out) {
  std::int64_t track = -1;
  std::int64_t bar = -1;
  for (const std::int32_t token : out.script) {
    const TokenType type = book.type_of(token);
    if (type == TokenType::Track) {
      ++track;
      bar = -1;
    }
    if (type != TokenType::Bar) continue;
    ++bar;
    if (track < 0 || track >= out.request.max_tracks || bar >= out.request.max_bars) continue;
    out.cells[static_cast<std::size_t>(track * out.request.max_bars + bar)] = 1;
  }
}

// Random controls for each cell. What they refer to stays where it is when the vectors grow.
void add_controls(Bytes& bytes, Generation& out) {
  const auto weights_of = [&bytes, &out](std::size_t count) -> std::span<const float> {
    std::vector<float> values(count);
    for (float& value : values) value = static_cast<float>(bytes.below(4)) / 2;
    out.weights.push_back(std::move(values));
    return out.weights.back();
  };
  for (std::size_t i = 0; i < out.cells.size(); ++i) {
    BarControls controls;
    const auto flags = bytes.take<std::uint8_t>();
    if ((flags & 1) != 0) {
      std::vector<std::uint8_t> pitches(grammar::kPitches);
      for (std::uint8_t& pitch : pitches) pitch = bytes.take<std::uint8_t>() & 1;
      out.pitches.push_back(std::move(pitches));
      controls.pitches = out.pitches.back().data();
    }
    if ((flags & 2) != 0) controls.pitch_weights = weights_of(grammar::kPitches).data();
    if ((flags & 4) != 0) controls.position_weights = weights_of(bytes.below(200));
    if ((flags & 8) != 0) {
      std::vector<grammar::ScheduledNote> notes(bytes.below(12));
      for (grammar::ScheduledNote& note : notes) {
        note.tick = bytes.take<std::int16_t>();
        for (std::int32_t* value : {&note.pitch, &note.duration, &note.velocity, &note.delta}) {
          if (bytes.below(3) != 0) *value = bytes.take<std::int16_t>() % 200;
        }
        note.tick %= 64;
      }
      out.schedules.push_back(std::move(notes));
      controls.schedule = out.schedules.back();
      controls.is_scheduled = true;
    }
    out.controls.push_back(controls);
  }
}

Generation generation_from(const Codebook& book, Bytes& bytes) {
  const OwnedCorpus corpus = corpus_from(bytes);
  OwnedWindows windows = windows_from(bytes, corpus, book.controls().size());
  const auto flags = bytes.take<std::uint8_t>();
  Generation out;
  out.cells = windows.infill;
  if ((flags & 1) != 0) std::fill(windows.infill.begin(), windows.infill.end(), std::uint8_t{0});
  out.script = script_of(book, corpus, windows.view());
  out.request.max_tracks = windows.max_tracks;
  out.request.max_bars = windows.max_bars;
  out.cells.resize(static_cast<std::size_t>(windows.max_tracks * windows.max_bars));
  if ((flags & 2) != 0) ask_for_all(book, out);
  out.request.choose_attributes = (flags & 4) != 0;
  const bool raw = (flags & 8) != 0;
  out.request.max_tokens = limit_from(bytes, raw);
  out.request.max_notes = limit_from(bytes, raw);
  out.request.max_polyphony = limit_from(bytes, raw);
  for (std::size_t left = bytes.below(8); left > 0; --left) {
    const auto begin = bytes.take<std::int16_t>();
    out.masked.emplace_back(begin, bytes.take<std::int16_t>());
  }
  for (std::size_t left = bytes.below(32); left > 0; --left) {
    const auto position = bytes.take<std::uint16_t>();
    const auto token = bytes.take<std::int32_t>();
    if (!out.script.empty()) out.script[position % out.script.size()] = token;
    out.is_damaged = true;
  }
  for (std::size_t left = bytes.below(32); left > 0; --left) {
    const auto position = bytes.take<std::uint16_t>();
    if (!out.cells.empty()) out.cells[position % out.cells.size()] ^= 1;
  }
  if ((flags & 16) != 0) add_controls(bytes, out);
  out.script.shrink_to_fit();
  out.cells.shrink_to_fit();
  out.request.script = out.script;
  out.request.masked = out.masked;
  out.request.cells = out.cells.data();
  if (!out.controls.empty()) out.request.controls = out.controls.data();
  return out;
}

// How many tokens may come next: known ones, none twice, and more than one.
std::size_t count_choices(const Codebook& book, const std::vector<Range>& allowed) {
  std::vector<Range> ranges = allowed;
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.first < b.first; });
  std::size_t count = 0;
  std::int32_t end = 0;
  for (const Range& range : ranges) {
    FUZZ_CHECK(range.count >= 1 && range.first >= end && range.first <= book.vocab_size() - range.count);
    end = range.first + range.count;
    count += static_cast<std::size_t>(range.count);
  }
  FUZZ_CHECK(count > 1);
  return count;
}

std::int32_t choice(const std::vector<Range>& allowed, std::size_t index) {
  for (const Range& range : allowed) {
    const auto count = static_cast<std::size_t>(range.count);
    if (index < count) return range.first + static_cast<std::int32_t>(index);
    index -= count;
  }
  FUZZ_CHECK(false);
  return -1;
}

// No bar has more notes than are allowed. Notes stand nowhere but in the bars that were written.
void check_notes(const Codebook& book, const Generation& generation, const std::vector<std::int32_t>& tokens) {
  const std::int32_t most = generation.request.max_notes;
  std::int32_t notes = 0;
  for (const std::int32_t token : tokens) {
    const TokenType type = book.type_of(token);
    if (type == TokenType::BarEnd || type == TokenType::FillInEnd) notes = 0;
    if (type == TokenType::NoteOnset) FUZZ_CHECK(++notes <= most || most == 0);
  }
}

void check_document(const Codebook& book, const Generation& generation, const Sequence& sequence) {
  const std::vector<std::int32_t>& tokens = sequence.tokens();
  const std::int64_t most = generation.request.max_tokens;
  FUZZ_CHECK(most == 0 || static_cast<std::int64_t>(tokens.size()) <= most);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    FUZZ_CHECK(tokens[i] >= 0 && tokens[i] < book.vocab_size());
    static_cast<void>(sequence.is_masked(i));
  }
  FUZZ_CHECK(sequence.bars_written() == std::count(generation.cells.begin(), generation.cells.end(), 1));
  const midigpt::decode::DecodeResult decoded = midigpt::decode::decode(book, tokens, true);
  if (generation.is_damaged) return;
  check_notes(book, generation, tokens);
  FUZZ_CHECK(decoded.error.empty());
}

}  // namespace

void generation(Input input) {
  Bytes bytes(input);
  std::string refused;
  const auto book = Codebook::build(settings_from(bytes), refused);
  if (book == nullptr) return;
  const Generation asked = generation_from(*book, bytes);
  Sequence sequence(*book);
  if (!sequence.start(asked.request).empty()) return;
  FUZZ_CHECK(asked.request.max_tokens >= 0 && asked.request.max_notes >= 0 && asked.request.max_polyphony >= 0);
  std::vector<double> weights(static_cast<std::size_t>(book->vocab_size()));
  for (int chosen = 0; !sequence.finished(); ++chosen) {
    sequence.weigh(weights.data());
    const std::size_t choices = count_choices(*book, sequence.allowed());
    FUZZ_CHECK(!sequence.advance(-1) && !sequence.advance(book->vocab_size()));
    // Without input the first: in a bar that is its end.
    const std::size_t index = chosen < kMostChoices ? bytes.take<std::uint16_t>() % choices : 0;
    const std::int32_t token = choice(sequence.allowed(), index);
    const std::size_t before = sequence.tokens().size();
    FUZZ_CHECK(sequence.advance(token));
    FUZZ_CHECK(sequence.tokens().size() > before && sequence.tokens()[before] == token);
  }
  check_document(*book, asked, sequence);
}

}  // namespace midigpt::fuzz
