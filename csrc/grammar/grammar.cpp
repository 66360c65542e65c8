#include "grammar/grammar.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace midigpt::grammar {

using vocab::Codebook;
using vocab::TokenType;

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
  if (std::string problem = add_schedules(); !problem.empty()) return problem;
  const auto needed = static_cast<std::int64_t>(script_.size() + attributes) + reserved_.front();
  if (max_tokens_ > 0 && needed > max_tokens_) {
    return "the prompt and the scheduled notes take " + std::to_string(needed) + " tokens, " +
           std::to_string(max_tokens_) + " are allowed";
  }
  follow();
  return {};
}

std::string Sequence::add_schedules() {
  schedules_.assign(choices_.size(), {});
  reserved_.assign(choices_.size() + 1, 0);
  for (std::size_t i = choices_.size(); i-- > 0;) {
    reserved_[i] = reserved_[i + 1];
    const Choice& choice = choices_[i];
    if (!choice.controls.is_scheduled) continue;
    if (!book_->has(TokenType::TimeAbsolutePos)) return "the vocabulary has no positions, so no notes can be scheduled";
    BarLimits limits;
    limits.positions = std::min(choice.length, book_->size(TokenType::TimeAbsolutePos));
    limits.max_notes = max_notes_;
    limits.max_polyphony = max_polyphony_;
    limits.durations = durations(choice.drum) ? book_->size(TokenType::NoteDuration) : 0;
    limits.velocities = velocities_ ? book_->size(TokenType::VelocityLevel) : 0;
    limits.deltas = deltas_ ? book_->size(TokenType::Delta) : 0;
    limits.negative_deltas = book_->has(TokenType::DeltaDirection);
    schedules_[i] = fitting_notes(choice.controls, PitchSet(choice.controls, pitches()), limits);
    for (const ScheduledNote& note : schedules_[i]) reserved_[i] += cost_of(note, choice.drum);
  }
  return {};
}

void Sequence::weigh(double* out) const {
  std::fill_n(out, book_->vocab_size(), 1.0);
  if (finished() || !choice().body) return;
  const BarControls& controls = choice().controls;
  if (controls.pitch_weights != nullptr) {
    std::copy_n(controls.pitch_weights, pitches(), out + book_->first_id(TokenType::NoteOnset));
  }
  const auto positions =
      std::min(controls.position_weights.size(), static_cast<std::size_t>(book_->size(TokenType::TimeAbsolutePos)));
  std::copy_n(controls.position_weights.begin(), positions, out + book_->first_id(TokenType::TimeAbsolutePos));
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
  pitches_ = PitchSet(choice().controls, pitches());
  reserved_here_ = is_scheduled() ? reserved_[next_] - reserved_[next_ + 1] : 0;
  if (!schedules_[next_].empty()) reserved_here_ -= cost_of(schedules_[next_].front(), choice().drum);
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
      if (is_scheduled()) {
        allow_scheduled();
        break;
      }
      allowed_.push_back({script_[cursor_], 1});  // the bar's end
      allow_positions();
      if (may_add_note(onset_)) allow_note();
      break;
    case Phase::AfterPosition: allow_note(); break;
    case Phase::AfterVelocity: allow_onset(true); break;
    case Phase::AfterDirection:
      if (is_scheduled() && scheduled().delta != kFree) {
        allow(TokenType::Delta, -scheduled().delta, 1 - scheduled().delta);
      } else {
        allow(TokenType::Delta, 1, book_->size(TokenType::Delta));
      }
      break;
    case Phase::AfterDelta: allow_onset(false); break;
    case Phase::AfterOnset: allow_durations(); break;
  }
}

// Between two scheduled notes.
void Sequence::allow_scheduled() {
  if (static_cast<std::size_t>(notes_) == schedules_[next_].size()) {
    allowed_.push_back({script_[cursor_], 1});
  } else if (scheduled().tick == onset_) {
    allow_note();
  } else {
    allow(TokenType::TimeAbsolutePos, scheduled().tick, scheduled().tick + 1);
  }
}

void Sequence::allow(TokenType type, std::int32_t first_value, std::int32_t end_value) {
  if (end_value > first_value) allowed_.push_back({book_->first_id(type) + first_value, end_value - first_value});
}

// A position needs room for itself and one note.
void Sequence::allow_positions() {
  const std::int32_t end = std::min(book_->size(TokenType::TimeAbsolutePos), choice().length);
  if (pitches_.live(0, pitches_.end()) == 0 || !fits(1 + note_cost())) return;
  const auto before = allowed_.size();
  bool live = false;
  const auto add = [this, &live](std::int32_t first, std::int32_t last) {
    allow(TokenType::TimeAbsolutePos, first, last);
    for (std::int32_t position = first; position < last && !live; ++position) live = is_live_position(position);
  };
  if (max_polyphony_ == 0) {
    if (may_add_note(onset_)) add(onset_ + 1, end);
  } else {
    std::int32_t first = onset_ + 1;
    for (std::int32_t position = first; position <= end; ++position) {
      if (position < end && may_add_note(position)) continue;
      add(first, position);
      first = position + 1;
    }
  }
  // Positions of weight 0 alone are none.
  if (!live) allowed_.resize(before);
}

bool Sequence::is_live_position(std::int32_t position) const {
  const auto& weights = choice().controls.position_weights;
  const auto index = static_cast<std::size_t>(position);
  return index >= weights.size() || weights[index] > 0;
}

// The tokens with which a note at this onset may begin.
void Sequence::allow_note() {
  if (pitches_.live(last_pitch_ + 1, pitches_.end()) == 0) return;
  if (is_scheduled() && velocities_ && scheduled().velocity != kFree) {
    const std::int32_t level = scheduled().velocity;
    if (needs_velocity() || level != level_) {
      allow(TokenType::VelocityLevel, level, level + 1);
    } else {
      allow_onset(true);
    }
    return;
  }
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
    const std::int32_t delta = is_scheduled() ? scheduled().delta : kFree;
    if (delta != kFree && delta != 0) {
      if (delta < 0) {
        allow(TokenType::DeltaDirection, 0, 1);
      } else {
        allow(TokenType::Delta, delta, delta + 1);
      }
      return;
    }
    if (delta == kFree) allow_deltas(rest);
  }
  if (fits(rest)) allow_pitches();
}

void Sequence::allow_deltas(std::int64_t rest) {
  if (book_->has(TokenType::DeltaDirection) && fits(rest + 2)) allow(TokenType::DeltaDirection, 0, 1);
  if (fits(rest + 1)) allow(TokenType::Delta, 1, book_->size(TokenType::Delta));
}

void Sequence::allow_pitches() {
  std::int32_t end = pitches_.end();
  if (is_scheduled()) {
    if (scheduled().has_pitch()) {
      allow(TokenType::NoteOnset, scheduled().pitch, scheduled().pitch + 1);
      return;
    }
    // The other free notes up to the next prescribed pitch of the chord need room above this one.
    std::int32_t others = 0;
    const std::vector<ScheduledNote>& notes = schedules_[next_];
    for (auto i = static_cast<std::size_t>(notes_) + 1; i < notes.size() && notes[i].tick == onset_; ++i) {
      if (notes[i].has_pitch()) {
        end = notes[i].pitch;
        break;
      }
      ++others;
    }
    end = pitches_.highest(others + 1, end) + 1;
  }
  std::int32_t first = last_pitch_ + 1;
  for (std::int32_t pitch = first; pitch <= end; ++pitch) {
    if (pitch < end && pitches_.allows(pitch)) continue;
    allow(TokenType::NoteOnset, first, pitch);
    first = pitch + 1;
  }
}

void Sequence::allow_durations() {
  std::int32_t end = book_->size(TokenType::NoteDuration);
  if (is_scheduled()) {
    end = std::min(end, latest_end() - onset_);
    if (scheduled().duration != kFree) {
      const std::int32_t value = std::min(scheduled().duration, end - 1);
      allow(TokenType::NoteDuration, value, value + 1);
      return;
    }
  }
  allow(TokenType::NoteDuration, 0, end);
}

std::int32_t Sequence::latest_end() const {
  constexpr std::int32_t kNever = std::numeric_limits<std::int32_t>::max();
  if (max_polyphony_ == 0) return kNever;
  const std::vector<ScheduledNote>& notes = schedules_[next_];
  auto i = static_cast<std::size_t>(notes_);
  while (i < notes.size()) {
    const std::int32_t tick = notes[i].tick;
    std::int32_t count = 0;
    for (; i < notes.size() && notes[i].tick == tick; ++i) ++count;
    if (tick > onset_ && sounding_[static_cast<std::size_t>(tick)] + count >= max_polyphony_) return tick;
  }
  return kNever;
}

std::int64_t Sequence::cost_of(const ScheduledNote& note, bool drum) const {
  const std::int64_t delta = note.delta == kFree ? 0 : (note.delta < 0 ? 2 : (note.delta > 0 ? 1 : 0));
  return 1 + (velocities_ ? 1 : 0) + (deltas_ ? delta : 0) + (durations(drum) ? 2 : 1);
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
  if (is_scheduled() && static_cast<std::size_t>(notes_) < schedules_[next_].size()) {
    reserved_here_ -= cost_of(scheduled(), choice().drum);
  }
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

bool Sequence::durations(bool drum) const { return !drum && book_->has(TokenType::NoteDuration); }

std::int32_t Sequence::pitches() const { return std::min(book_->size(TokenType::NoteOnset), kPitches); }

bool Sequence::fits(std::int64_t cost) const {
  if (max_tokens_ <= 0) return true;
  const auto attributes = static_cast<std::int64_t>(std::count_if(
      choices_.begin() + static_cast<std::ptrdiff_t>(next_), choices_.end(), [](const Choice& c) { return !c.body; }));
  const std::int64_t rest =
      static_cast<std::int64_t>(script_.size() - cursor_) + attributes + reserved_here_ + reserved_[next_ + 1];
  return static_cast<std::int64_t>(tokens_.size()) + cost + rest <= max_tokens_;
}

}  // namespace midigpt::grammar
