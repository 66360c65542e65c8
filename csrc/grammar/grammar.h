// Which tokens may come next, so that what is written is a document that the encoder could have written
// (docs/encoder-specification.md, C.2 to C.5 and F.5).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "grammar/schedule.h"
#include "grammar/script.h"
#include "vocab/codebook.h"
#include "vocab/document_positions.h"

namespace midigpt::grammar {

// Tokens [first, first + count) may come next.
struct Range {
  std::int32_t first = 0;
  std::int32_t count = 0;
};

// A document that is being written: what its script forces, and what is chosen where the script leaves a choice.
class Sequence {
 public:
  explicit Sequence(const vocab::Codebook& book) : book_(&book), count_(book) {}

  // Begins a document; everything up to the first choice is written. What is wrong with the request, or nothing.
  std::string start(const Request& request);

  // Whether every bar that was asked for is written.
  [[nodiscard]] bool finished() const { return next_ == choices_.size(); }
  // What may come next, without overlap; empty once finished.
  [[nodiscard]] const std::vector<Range>& allowed() const { return allowed_; }
  // Sets [vocab_size] to the weight of each token within its type, 1 where none is given.
  void weigh(double* out) const;
  // Writes a choice and all that follows from it. False, and nothing happens, if it is not allowed.
  bool advance(std::int32_t token);

  [[nodiscard]] const std::vector<std::int32_t>& tokens() const { return tokens_; }
  // The position of token `index` of the document.
  [[nodiscard]] std::int32_t position(std::size_t index) const { return positions_[index]; }
  // Whether token `index` of the document is in a masked span.
  [[nodiscard]] bool is_masked(std::size_t index) const { return masked_[index] != 0; }
  // How many of the requested bars are complete.
  [[nodiscard]] std::int32_t bars_written() const { return bars_written_; }

 private:
  // The part of a note that the sequence is in.
  enum class Phase : std::uint8_t { Between, AfterPosition, AfterVelocity, AfterDirection, AfterDelta, AfterOnset };

  void follow();
  void write(std::int32_t token);
  void end_choice();
  void push(std::int32_t token, bool masked);
  void begin_body();
  void find_allowed();
  void allow(vocab::TokenType type, std::int32_t first_value, std::int32_t end_value);
  void allow_positions();
  void allow_note();
  void allow_onset(bool with_delta);
  void allow_deltas(std::int64_t rest);
  void allow_pitches();
  void allow_durations();
  void allow_scheduled();
  [[nodiscard]] std::string add_schedules();
  [[nodiscard]] bool is_scheduled() const { return choice().controls.is_scheduled; }
  // The scheduled note that is next, or begun.
  [[nodiscard]] const ScheduledNote& scheduled() const { return schedules_[next_][static_cast<std::size_t>(notes_)]; }
  // The end of the notes that may begin here: a longer one would leave no room for a later scheduled note.
  [[nodiscard]] std::int32_t latest_end() const;
  // Tokens of a scheduled note, at most.
  [[nodiscard]] std::int64_t cost_of(const ScheduledNote& note, bool drum) const;
  void write_note_token(vocab::TokenType type, std::int32_t value);
  void end_note(std::int32_t duration);
  [[nodiscard]] const Choice& choice() const { return choices_[next_]; }
  [[nodiscard]] bool may_add_note(std::int32_t onset) const;
  [[nodiscard]] bool needs_velocity() const;
  [[nodiscard]] bool durations() const { return durations(choice().drum); }
  [[nodiscard]] bool durations(bool drum) const;
  [[nodiscard]] bool is_live_position(std::int32_t position) const;
  // Tokens of the shortest note at this point, its position aside.
  [[nodiscard]] std::int64_t note_cost() const;
  [[nodiscard]] std::int32_t pitches() const;
  // Whether `cost` more tokens leave room for all that must still come.
  [[nodiscard]] bool fits(std::int64_t cost) const;

  const vocab::Codebook* book_;
  std::vector<std::int32_t> script_;
  std::vector<std::uint8_t> script_masked_;
  std::vector<Choice> choices_;
  std::int64_t max_tokens_ = 0;
  std::int32_t max_notes_ = 0;
  std::int32_t max_polyphony_ = 0;
  bool velocities_ = false;
  bool deltas_ = false;
  std::vector<std::vector<ScheduledNote>> schedules_;  // by choice
  // Tokens of all scheduled notes, at most: by choice, of those from it on; and in the bar, of those after the next
  // one.
  std::vector<std::int64_t> reserved_;
  std::int64_t reserved_here_ = 0;

  std::vector<std::int32_t> tokens_;
  vocab::DocumentPositions count_;
  std::vector<std::int32_t> positions_;
  std::vector<std::uint8_t> masked_;
  std::vector<Range> allowed_;
  std::size_t cursor_ = 0;  // into script_
  std::size_t next_ = 0;    // into choices_
  bool begun_ = false;      // the bar of choices_[next_]
  std::int32_t bars_written_ = 0;

  // The bar that is being written.
  Phase phase_ = Phase::Between;
  std::int32_t onset_ = 0;
  std::int32_t last_pitch_ = -1;  // at this onset
  std::int32_t level_ = 0;
  std::int32_t notes_ = 0;
  PitchSet pitches_;
  std::vector<std::int32_t> sounding_;  // notes by position, if polyphony is limited
};

}  // namespace midigpt::grammar
