#include "grammar/grammar.h"

#include <algorithm>
#include <utility>

namespace midigpt::grammar {

using vocab::Codebook;
using vocab::TokenType;

namespace {

constexpr std::int32_t kHighestPitch = 127;

}  // namespace

std::string Sequence::start(const Request& request) {
  for (const auto& [name, limit] :
       {std::pair{"max_tokens", request.max_tokens}, std::pair{"max_notes", std::int64_t{request.max_notes}},
        std::pair{"max_polyphony", std::int64_t{request.max_polyphony}}}) {
    if (limit < 0) return std::string(name) + " is " + std::to_string(limit) + ", it must be at least 0 (no limit)";
  }
  Script script;
  if (std::string problem = read_script(*book_, request, script); !problem.empty()) return problem;
  const Codebook& book = *book_;
  script_.assign(request.script.begin(), request.script.begin() + static_cast<std::ptrdiff_t>(script.end));
  script_masked_.assign(script_.size(), 0);
  for (const auto& [begin, end] : request.masked) {
    if (begin < 0 || end < begin) return "a masked span ends before it begins";
    const auto last = std::min(end, static_cast<std::int64_t>(script_.size()));
    for (std::int64_t i = begin; i < last; ++i) script_masked_[static_cast<std::size_t>(i)] = 1;
  }
  choices_ = std::move(script.choices);
  max_tokens_ = request.max_tokens;
  max_notes_ = request.max_notes;
  max_polyphony_ = request.max_polyphony;
  velocities_ = book.size(TokenType::VelocityLevel) > 1 && script.use_velocity;
  // Value 0 of Delta is never written.
  deltas_ = book.settings().emit_delta_tokens && script.use_microtiming && book.size(TokenType::Delta) > 1;
  tokens_.clear();
  count_.restart();
  positions_.clear();
  masked_.clear();
  cursor_ = 0;
  next_ = 0;
  begun_ = false;
  bars_written_ = 0;
  const std::size_t attributes =
      choices_.size() -
      static_cast<std::size_t>(std::count_if(choices_.begin(), choices_.end(), [](const Choice& c) { return c.body; }));
  if (max_tokens_ > 0 && static_cast<std::int64_t>(script_.size() + attributes) > max_tokens_) {
    return "the prompt alone has " + std::to_string(script_.size() + attributes) + " tokens, " +
           std::to_string(max_tokens_) + " are allowed";
  }
  follow();
  return {};
}

bool Sequence::advance(std::int32_t token) {
  const bool known = std::any_of(allowed_.begin(), allowed_.end(), [token](const Range& range) {
    return token >= range.first && token - range.first < range.count;
  });
  if (!known) return false;
  write(token);
  follow();
  return true;
}

void Sequence::write(std::int32_t token) {
  push(token, false);
  if (!choice().body) {
    end_choice();
  } else if (token == script_[cursor_]) {  // the end of the bar or fill block
    ++cursor_;
    ++bars_written_;
    end_choice();
  } else {
    write_note_token(book_->type_of(token), book_->value_of(token));
  }
}

void Sequence::end_choice() {
  ++next_;
  begun_ = false;
}

// Writes what is no choice, up to the next choice between two tokens at least.
void Sequence::follow() {
  for (;;) {
    allowed_.clear();
    if (finished()) return;
    for (; cursor_ < choice().at; ++cursor_) push(script_[cursor_], script_masked_[cursor_] != 0);
    if (choice().body && !begun_) begin_body();
    find_allowed();
    if (allowed_.size() != 1 || allowed_.front().count != 1) return;
    write(allowed_.front().first);
  }
}

void Sequence::push(std::int32_t token, bool masked) {
  tokens_.push_back(token);
  positions_.push_back(count_.next(token));
  masked_.push_back(masked ? 1 : 0);
}

void Sequence::begin_body() {
  begun_ = true;
  phase_ = Phase::Between;
  onset_ = 0;
  last_pitch_ = -1;
  level_ = 0;
  notes_ = 0;
  // No longer than the vocabulary has positions, however long a signature says the bar is.
  const std::int32_t positions = std::clamp(choice().length, 0, std::max(book_->size(TokenType::TimeAbsolutePos), 1));
  sounding_.assign(max_polyphony_ > 0 ? static_cast<std::size_t>(positions) : 0, 0);
}

void Sequence::find_allowed() {
  if (!choice().body) {
    const TokenType type = choice().attribute;
    allow(type, 0, book_->size(type));
    return;
  }
  switch (phase_) {
    case Phase::Between:
      allowed_.push_back({script_[cursor_], 1});  // the bar's end
      allow_positions();
      if (may_add_note(onset_)) allow_note();
      break;
    case Phase::AfterPosition: allow_note(); break;
    case Phase::AfterVelocity: allow_onset(true); break;
    case Phase::AfterDirection: allow(TokenType::Delta, 1, book_->size(TokenType::Delta)); break;
    case Phase::AfterDelta: allow_onset(false); break;
    case Phase::AfterOnset: allow(TokenType::NoteDuration, 0, book_->size(TokenType::NoteDuration)); break;
  }
}

void Sequence::allow(TokenType type, std::int32_t first_value, std::int32_t end_value) {
  if (end_value > first_value) allowed_.push_back({book_->first_id(type) + first_value, end_value - first_value});
}

// A position needs room for itself and one note.
void Sequence::allow_positions() {
  const std::int32_t end = std::min(book_->size(TokenType::TimeAbsolutePos), choice().length);
  if (pitches() == 0 || !fits(1 + note_cost())) return;
  if (max_polyphony_ == 0) {
    if (may_add_note(onset_)) allow(TokenType::TimeAbsolutePos, onset_ + 1, end);
    return;
  }
  std::int32_t first = onset_ + 1;
  for (std::int32_t position = first; position <= end; ++position) {
    if (position < end && may_add_note(position)) continue;
    allow(TokenType::TimeAbsolutePos, first, position);
    first = position + 1;
  }
}

// The tokens with which a note at this onset may begin.
void Sequence::allow_note() {
  if (last_pitch_ + 1 >= pitches()) return;
  if (velocities_ && fits(note_cost() + (needs_velocity() ? 0 : 1))) {
    const std::int32_t levels = book_->size(TokenType::VelocityLevel);
    const bool sticky = book_->settings().velocity_sticky && level_ > 0;
    allow(TokenType::VelocityLevel, 1, sticky ? level_ : levels);
    if (sticky) allow(TokenType::VelocityLevel, level_ + 1, levels);
  }
  if (!needs_velocity()) allow_onset(true);
}

// The tokens between a note's velocity and its duration; `with_delta`: its delta is not written yet.
void Sequence::allow_onset(bool with_delta) {
  const std::int64_t rest = durations() ? 2 : 1;
  if (with_delta && deltas_) {
    if (book_->has(TokenType::DeltaDirection) && fits(rest + 2)) allow(TokenType::DeltaDirection, 0, 1);
    if (fits(rest + 1)) allow(TokenType::Delta, 1, book_->size(TokenType::Delta));
  }
  if (fits(rest)) allow(TokenType::NoteOnset, last_pitch_ + 1, pitches());
}

void Sequence::write_note_token(TokenType type, std::int32_t value) {
  switch (type) {
    case TokenType::TimeAbsolutePos:
      onset_ = value;
      last_pitch_ = -1;
      phase_ = Phase::AfterPosition;
      break;
    case TokenType::VelocityLevel:
      level_ = value;
      phase_ = Phase::AfterVelocity;
      break;
    case TokenType::DeltaDirection: phase_ = Phase::AfterDirection; break;
    case TokenType::Delta: phase_ = Phase::AfterDelta; break;
    case TokenType::NoteOnset:
      // Without positions the encoder writes the chords of a bar one after another, so pitches need not ascend.
      if (book_->has(TokenType::TimeAbsolutePos)) last_pitch_ = value;
      if (durations()) {
        phase_ = Phase::AfterOnset;
      } else {
        end_note(1);
      }
      break;
    default: end_note(value + 1); break;  // NoteDuration
  }
}

void Sequence::end_note(std::int32_t duration) {
  ++notes_;
  const auto size = static_cast<std::int64_t>(sounding_.size());
  const std::int64_t end = std::min<std::int64_t>(std::int64_t{onset_} + duration, size);
  for (std::int64_t position = onset_; position < end; ++position) ++sounding_[static_cast<std::size_t>(position)];
  phase_ = Phase::Between;
}

bool Sequence::may_add_note(std::int32_t onset) const {
  if (onset >= choice().length || (max_notes_ > 0 && notes_ >= max_notes_)) return false;
  return max_polyphony_ == 0 || sounding_[static_cast<std::size_t>(onset)] < max_polyphony_;
}

bool Sequence::needs_velocity() const { return velocities_ && (level_ == 0 || !book_->settings().velocity_sticky); }

std::int64_t Sequence::note_cost() const { return (needs_velocity() ? 1 : 0) + (durations() ? 2 : 1); }

bool Sequence::durations() const { return !choice().drum && book_->has(TokenType::NoteDuration); }

std::int32_t Sequence::pitches() const { return std::min(book_->size(TokenType::NoteOnset), kHighestPitch + 1); }

bool Sequence::fits(std::int64_t cost) const {
  if (max_tokens_ <= 0) return true;
  const auto attributes = static_cast<std::int64_t>(std::count_if(
      choices_.begin() + static_cast<std::ptrdiff_t>(next_), choices_.end(), [](const Choice& c) { return !c.body; }));
  const std::int64_t rest = static_cast<std::int64_t>(script_.size() - cursor_) + attributes;
  return static_cast<std::int64_t>(tokens_.size()) + cost + rest <= max_tokens_;
}

}  // namespace midigpt::grammar
