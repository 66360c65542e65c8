#include "grammar/grammar.h"

#include <algorithm>

#include "vocab/quantisers.h"

namespace midigpt::grammar {

using vocab::Codebook;
using vocab::TokenType;

namespace {

constexpr std::int32_t kHighestPitch = 127;
// A bar without a time signature is in 4/4.
constexpr double kDefaultBeats = 4.0;

}  // namespace

// Finds the choices of a script.
class Sequence::ScriptReader {
 public:
  ScriptReader(const Codebook& book, const Request& request) : book_(book), request_(request) {}

  // What is wrong with the script, or nothing.
  std::string read();

  std::vector<Choice> choices;
  std::size_t end = 0;  // of the script: nothing after the last choice's bar is needed
  bool use_velocity = true;
  bool use_microtiming = true;

 private:
  struct Bar {
    bool drum = false;
    double beats = kDefaultBeats;
  };

  void open_bar();
  std::string close_bar(std::size_t at);
  void choose_missing(std::span<const vocab::WrittenAttribute> attributes, std::size_t from, std::size_t to);
  [[nodiscard]] bool asked(std::int64_t bar) const;
  [[nodiscard]] bool writes_track() const;
  void add_body(std::size_t at, const Bar& bar);

  const Codebook& book_;
  const Request& request_;
  std::int64_t track_ = -1;
  std::int64_t bar_index_ = -1;
  std::size_t header_ = 0;  // first token that may be an attribute of the open track or bar
  bool in_header_ = false;
  Bar bar_;
  bool empty_ = true;  // no token of the open bar's body yet
  bool placeholder_ = false;
  std::vector<Bar> placeholders_;
  std::size_t blocks_ = 0;
  bool in_block_ = false;
};

std::string Sequence::ScriptReader::read() {
  for (std::size_t i = 0; i < request_.script.size(); ++i) {
    const std::int32_t token = request_.script[i];
    if (token < 0 || token >= book_.vocab_size()) return "token " + std::to_string(i) + " is outside the vocabulary";
    const TokenType type = book_.type_of(token);
    const std::int32_t value = book_.value_of(token);
    switch (type) {
      case TokenType::UseVelocity: use_velocity = value != 0; break;
      case TokenType::UseMicrotiming: use_microtiming = value != 0; break;
      case TokenType::Track:
        ++track_;
        bar_index_ = -1;
        bar_.drum = value == 1;
        header_ = i + 1;
        in_header_ = true;
        break;
      case TokenType::Instrument: header_ = i + 1; break;
      case TokenType::TrackEnd:
      case TokenType::Bar:
        if (in_header_ && request_.choose_attributes && writes_track()) {
          choose_missing(book_.track_attributes(), header_, i);
        }
        in_header_ = false;
        if (type == TokenType::TrackEnd) break;
        open_bar();
        header_ = i + 1;
        break;
      case TokenType::TimeSig: {
        const auto& signatures = book_.settings().time_signatures;
        if (static_cast<std::size_t>(value) >= signatures.size()) break;
        const vocab::TimeSignature& signature = signatures[static_cast<std::size_t>(value)];
        bar_.beats = 4.0 * signature.numerator / signature.denominator;
        break;
      }
      case TokenType::FillInPlaceholder:
        placeholder_ = true;
        placeholders_.push_back(bar_);
        break;
      case TokenType::BarEnd:
        if (std::string problem = close_bar(i); !problem.empty()) return problem;
        break;
      case TokenType::FillInStart:
        if (blocks_ == placeholders_.size()) return "there are more blocks than placeholders";
        in_block_ = true;
        empty_ = true;
        break;
      case TokenType::FillInEnd:
        if (!in_block_ || !empty_) return "block " + std::to_string(blocks_) + " is not empty";
        add_body(i, placeholders_[blocks_++]);
        in_block_ = false;
        break;
      case TokenType::NoteOnset:
      case TokenType::MaskBar: empty_ = false; break;
      default: break;
    }
  }
  std::int64_t cells = 0;
  for (std::int64_t cell = 0; cell < request_.max_tracks * request_.max_bars; ++cell) cells += request_.cells[cell] != 0;
  const auto bodies = std::count_if(choices.begin(), choices.end(), [](const Choice& choice) { return choice.body; });
  if (bodies != cells) {
    return std::to_string(cells) + " bars are to be written, the prompt has room for " + std::to_string(bodies);
  }
  if (cells == 0) return "no bar is to be written";
  // Attributes after the last bar would be nobody's.
  while (!choices.back().body) choices.pop_back();
  return {};
}

void Sequence::ScriptReader::open_bar() {
  ++bar_index_;
  bar_.beats = kDefaultBeats;
  empty_ = true;
  placeholder_ = false;
}

std::string Sequence::ScriptReader::close_bar(std::size_t at) {
  if (placeholder_ || !asked(bar_index_)) return {};
  if (!empty_) {
    return "bar " + std::to_string(bar_index_) + " of track " + std::to_string(track_) + " is to be written and not empty";
  }
  if (request_.choose_attributes) choose_missing(book_.bar_attributes(), header_, at);
  add_body(at, bar_);
  return {};
}

// Attributes that apply to the track and are not among the tokens [from, to) of its header are chosen, each in its place.
void Sequence::ScriptReader::choose_missing(std::span<const vocab::WrittenAttribute> attributes, std::size_t from,
                                            std::size_t to) {
  std::size_t at = from;
  for (const vocab::WrittenAttribute& attribute : attributes) {
    if (at < to && book_.type_of(request_.script[at]) == attribute.type) {
      ++at;
    } else if (book_.controls()[attribute.control].applies_to(bar_.drum)) {
      choices.push_back({at, false, attribute.type, bar_.drum, 0});
    }
  }
}

bool Sequence::ScriptReader::asked(std::int64_t bar) const {
  return track_ >= 0 && track_ < request_.max_tracks && bar >= 0 && bar < request_.max_bars &&
         request_.cells[track_ * request_.max_bars + bar] != 0;
}

bool Sequence::ScriptReader::writes_track() const {
  for (std::int64_t bar = 0; bar < request_.max_bars; ++bar) {
    if (asked(bar)) return true;
  }
  return false;
}

void Sequence::ScriptReader::add_body(std::size_t at, const Bar& bar) {
  choices.push_back({at, true, TokenType::None, bar.drum,
                     vocab::saturate(bar.beats * book_.settings().resolution + 0.5)});
  end = at + 1;
}

std::string Sequence::start(const Request& request) {
  ScriptReader reader(*book_, request);
  if (std::string problem = reader.read(); !problem.empty()) return problem;
  const Codebook& book = *book_;
  script_.assign(request.script.begin(), request.script.begin() + static_cast<std::ptrdiff_t>(reader.end));
  script_hidden_.assign(script_.size(), 0);
  for (const auto& [begin, end] : request.hidden) {
    if (begin < 0 || end < begin) return "a hidden span ends before it begins";
    const auto last = std::min(end, static_cast<std::int64_t>(script_.size()));
    for (std::int64_t i = begin; i < last; ++i) script_hidden_[static_cast<std::size_t>(i)] = 1;
  }
  choices_ = std::move(reader.choices);
  max_tokens_ = request.max_tokens;
  max_notes_ = request.max_notes;
  max_polyphony_ = request.max_polyphony;
  velocities_ = book.size(TokenType::VelocityLevel) > 1 && reader.use_velocity;
  // Value 0 of Delta is never written.
  deltas_ = book.settings().emit_delta_tokens && reader.use_microtiming && book.size(TokenType::Delta) > 1;
  tokens_.clear();
  hidden_.clear();
  cursor_ = 0;
  next_ = 0;
  begun_ = false;
  bars_written_ = 0;
  const std::size_t attributes = choices_.size() - static_cast<std::size_t>(std::count_if(
                                     choices_.begin(), choices_.end(), [](const Choice& c) { return c.body; }));
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
  } else if (token == script_[cursor_]) {  // the bar's or block's end
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
    for (; cursor_ < choice().at; ++cursor_) push(script_[cursor_], script_hidden_[cursor_] != 0);
    if (choice().body && !begun_) begin_body();
    find_allowed();
    if (allowed_.size() != 1 || allowed_.front().count != 1) return;
    write(allowed_.front().first);
  }
}

void Sequence::push(std::int32_t token, bool hidden) {
  tokens_.push_back(token);
  hidden_.push_back(hidden ? 1 : 0);
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

bool Sequence::needs_velocity() const {
  return velocities_ && (level_ == 0 || !book_->settings().velocity_sticky);
}

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
