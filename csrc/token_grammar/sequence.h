// A document that is written by a table: its script forces every token but those of the bars that are left empty.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "token_grammar/declaration.h"

namespace midigpt::token_grammar {

struct Request {
  std::span<const std::int32_t> script;
  // Tokens of the script that nothing attends to, as [begin, end), ascending.
  std::span<const std::pair<std::int64_t, std::int64_t>> masked;
  const std::uint8_t* cells = nullptr;  // [T, B], the bars to write
  std::int64_t max_tracks = 0;
  std::int64_t max_bars = 0;
  std::int64_t max_tokens = 0;     // of the whole document; 0: no limit
  std::int32_t max_notes = 0;      // in one bar; 0: no limit
  std::int32_t max_polyphony = 0;  // notes sounding at once in one bar; 0: no limit
};

class Sequence {
 public:
  explicit Sequence(const Declaration& declaration) : declaration_(&declaration) {}

  // Begins a document; everything up to the first choice is written. What is wrong with the request, or nothing.
  std::string start(const Request& request);

  [[nodiscard]] bool finished() const { return next_ == choices_.size(); }
  // The tokens that may come next; empty once finished.
  [[nodiscard]] const std::vector<std::int32_t>& allowed() const { return allowed_; }
  // Writes a choice and all that follows from it. False, and nothing happens, if it is not allowed.
  bool advance(std::int32_t token);

  [[nodiscard]] const std::vector<std::int32_t>& tokens() const { return tokens_; }
  [[nodiscard]] bool is_masked(std::size_t index) const { return masked_[index] != 0; }
  [[nodiscard]] std::int32_t bars_written() const { return static_cast<std::int32_t>(next_); }

 private:
  using Registers = std::vector<std::int32_t>;

  // An empty bar: what is chosen comes before token `at` of the script, which ends it.
  struct Choice {
    std::size_t at = 0;
    Registers registers;
  };

  // Where a look ahead has moved to since it began: nowhere; to the best of the places that a bar still offers; to the
  // best of all places of the bar, which it offers once more.
  enum class Moved : std::uint8_t { Not, Onward, Again };

  // A state of a look ahead: the last class, the classes that have a value to offer, whether all places of the bar are
  // offered once more, and the notes since it began.
  struct Ahead {
    std::int32_t last = -1;
    ClassSet offers = 0;
    bool is_reset = false;
    Moved moved = Moved::Not;
    std::int32_t notes = 0;
  };

  // How many notes there is room for where a look ahead begins: in the bar; and sounding at once here, at the best
  // place that the bar still offers, and at the best of all its places. At least this many, whatever is chosen.
  struct Outlook {
    std::int32_t notes = 0;
    std::int32_t here = 0;
    std::int32_t onward = 0;
    std::int32_t again = 0;

    bool operator==(const Outlook&) const = default;
  };

  // A token that a state may come after, with its class.
  struct Candidate {
    std::size_t index = 0;
    const Token* token = nullptr;
  };

  [[nodiscard]] std::string find_choices(const Request& request);
  void follow();
  void begin_bar(const Registers& registers);
  void take(std::int32_t token);
  void find_allowed();
  void allow_class(std::size_t index, ClassSet offers, std::int64_t room);

  [[nodiscard]] const TokenClass& class_at(std::size_t index) const { return declaration_->classes[index]; }
  [[nodiscard]] ClassSet following() const;
  [[nodiscard]] bool may_end() const;
  // Tokens that can still be written before the end of this bar.
  [[nodiscard]] std::int64_t room() const;
  [[nodiscard]] std::int64_t place_after(const TokenClass& of, const Token& token) const;
  // The value that the next one of a class is compared with, after a candidate; kNone: any value may come.
  [[nodiscard]] std::int64_t last_value(std::size_t index, const Candidate& taken) const;
  [[nodiscard]] bool is_in_order(std::size_t index, std::int64_t last, const Token& token) const;
  [[nodiscard]] bool is_below_limit(std::size_t index, std::int64_t place, const Token& token) const;
  [[nodiscard]] bool may_choose(std::size_t index, const Token& token) const;
  // Whether its class has no value left after this token.
  [[nodiscard]] bool exhausts(std::size_t index, const Token& token) const;
  // Notes that polyphony has room for at a place.
  [[nodiscard]] std::int32_t space(std::int64_t place) const;
  [[nodiscard]] std::int32_t notes_left() const;
  // Classes that have a value to offer now.
  [[nodiscard]] ClassSet offers() const;
  // After a candidate; without one, now.
  [[nodiscard]] Outlook outlook(const Candidate& taken) const;
  // The state after a token of class `index`.
  [[nodiscard]] Ahead after(const Ahead& before, std::size_t index, bool exhausted) const;
  // The fewest tokens from a state to where the bar may end; kNever: it cannot.
  std::int64_t to_end(const Ahead& from, const Outlook& outlook);
  [[nodiscard]] std::size_t number_of(const Ahead& state) const;

  static constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max() / 2;
  static constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::min();

  const Declaration* declaration_;
  std::vector<std::int32_t> script_;
  std::vector<std::uint8_t> script_masked_;
  std::vector<Choice> choices_;
  std::vector<std::int64_t> least_;  // by choice: the fewest tokens of all bars after it
  std::int64_t max_tokens_ = 0;
  std::int32_t max_notes_ = 0;
  std::int32_t max_polyphony_ = 0;

  std::vector<std::int32_t> tokens_;
  std::vector<std::uint8_t> masked_;
  std::vector<std::int32_t> allowed_;
  std::size_t cursor_ = 0;  // into script_
  std::size_t next_ = 0;    // into choices_

  // The bar that is being written.
  bool in_bar_ = false;
  std::int32_t last_ = -1;  // class of the last token
  std::int64_t place_ = 0;
  std::int32_t notes_ = 0;
  std::int64_t length_ = 0;    // of the next note, where it comes before the note
  bool is_note_open_ = false;  // whether a length would be that of the last note
  ClassSet open_ = 0;          // classes that have a value at the start of the bar
  std::array<std::int64_t, kMostClasses> last_value_{};
  std::array<std::int64_t, kMostClasses> limit_{};
  std::vector<std::int32_t> sounding_;  // notes by place, if polyphony is limited

  // Of the look ahead in progress: its states, and by number of a state the fewest notes with which it was reached.
  std::vector<Ahead> states_;
  std::vector<std::int32_t> fewest_notes_;
};

}  // namespace midigpt::token_grammar
