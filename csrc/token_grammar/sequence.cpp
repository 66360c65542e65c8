#include "token_grammar/sequence.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

namespace midigpt::token_grammar {

namespace {

constexpr std::int32_t kUnset = std::numeric_limits<std::int32_t>::min();
// No note sounds longer, so that memory has a bound whatever a table says.
constexpr std::int64_t kLongest = 1 << 16;

// Track and bar.
using Cell = std::pair<std::int64_t, std::int64_t>;

std::vector<Cell> cells_of(const Request& request) {
  std::vector<Cell> cells;
  for (std::int64_t i = 0; i < request.max_tracks * request.max_bars; ++i) {
    if (request.cells[i] != 0) cells.emplace_back(i / request.max_bars, i % request.max_bars);
  }
  return cells;
}

ClassSet bit(std::size_t index) { return ClassSet{1} << index; }

}  // namespace

std::string Sequence::start(const Request& request) {
  *this = Sequence(*declaration_);
  script_.assign(request.script.begin(), request.script.end());
  for (const std::int32_t token : script_) {
    if (token < 0 || static_cast<std::size_t>(token) >= declaration_->size()) {
      return "token " + std::to_string(token) + " is outside the vocabulary";
    }
  }
  script_masked_.assign(script_.size(), 0);
  for (const auto& [begin, end] : request.masked) {
    if (begin < 0 || end < begin || end > static_cast<std::int64_t>(script_.size())) {
      return "a masked span is outside the document";
    }
    std::fill(script_masked_.begin() + begin, script_masked_.begin() + end, std::uint8_t{1});
  }
  max_tokens_ = request.max_tokens;
  max_notes_ = request.max_notes;
  max_polyphony_ = request.max_polyphony;
  if (std::string problem = find_choices(request); !problem.empty()) return problem;
  if (choices_.empty()) {
    tokens_ = script_;
    masked_ = script_masked_;
    return "";
  }
  script_.resize(choices_.back().at + 1);
  least_.assign(choices_.size(), 0);
  std::int64_t total = 0;
  for (std::size_t i = choices_.size(); i-- > 0;) {
    least_[i] = total;
    begin_bar(choices_[i].registers);
    const std::int64_t least = to_end(look());
    if (least >= kNever) return "no token can begin a bar that it asks for, nor can the bar be empty";
    total += least;
  }
  in_bar_ = false;
  if (max_tokens_ > 0 && static_cast<std::int64_t>(script_.size()) + total > max_tokens_) {
    return "it has no room for the bars to write in " + std::to_string(max_tokens_) + " tokens";
  }
  follow();
  return "";
}

std::string Sequence::find_choices(const Request& request) {
  const std::vector<Cell> asked = cells_of(request);
  const auto is = [&](std::size_t at, Role role) {
    return at < script_.size() && declaration_->role[static_cast<std::size_t>(script_[at])] == role;
  };
  bool fills = false;
  for (std::size_t i = 0; i < script_.size(); ++i) fills = fills || is(i, Role::FillStart);
  std::map<Cell, Registers> registers_of;
  Registers registers(declaration_->registers, kUnset);
  Cell here{declaration_->has_tracks ? -1 : 0, -1};
  std::size_t blocks = 0;
  for (std::size_t i = 0; i < script_.size(); ++i) {
    const auto keep = [&](std::size_t at) {
      const auto id = static_cast<std::size_t>(script_[at]);
      if (declaration_->register_of[id] >= 0) {
        registers[static_cast<std::size_t>(declaration_->register_of[id])] = declaration_->value_of[id];
      }
    };
    keep(i);
    if (is(i, Role::Track)) here = {here.first + 1, -1};
    if (!is(i, Role::Bar) && !is(i, Role::FillStart)) continue;
    const bool is_block = is(i, Role::FillStart);
    if (is_block) {
      if (blocks == asked.size()) return "it has more bars to fill in than are asked for";
      const Cell cell{declaration_->has_tracks ? asked[blocks].first : 0, asked[blocks].second};
      const auto found = registers_of.find(cell);
      if (found == registers_of.end()) return "a bar to fill in is not among its bars";
      registers = found->second;
      ++blocks;
    } else {
      ++here.second;
    }
    while (is(i + 1, Role::Header)) keep(++i);
    if (!is_block) registers_of.emplace(here, registers);
    const bool is_asked = is_block || (!fills && std::find(asked.begin(), asked.end(), here) != asked.end());
    if (!is_asked) continue;
    if (i + 1 == script_.size()) {
      return "it ends with a bar to write: the encoder must end tracks, or documents, with a token of its own";
    }
    if (declaration_->class_of[static_cast<std::size_t>(script_[i + 1])] >= 0) return "a bar to write has notes";
    choices_.push_back({i + 1, registers});
  }
  if (choices_.size() != asked.size()) {
    return "it has " + std::to_string(choices_.size()) + " of the " + std::to_string(asked.size()) + " bars to write";
  }
  return "";
}

bool Sequence::advance(std::int32_t token) {
  if (finished() || std::find(allowed_.begin(), allowed_.end(), token) == allowed_.end()) return false;
  take(token);
  follow();
  return true;
}

// Writes all that is forced, up to the next choice.
void Sequence::follow() {
  allowed_.clear();
  while (!finished()) {
    const Choice& choice = choices_[next_];
    if (!in_bar_) {
      for (; cursor_ < choice.at; ++cursor_) {
        tokens_.push_back(script_[cursor_]);
        masked_.push_back(script_masked_[cursor_]);
      }
      begin_bar(choice.registers);
      in_bar_ = true;
    }
    find_allowed();
    if (allowed_.size() > 1) return;
    take(allowed_.front());
  }
  allowed_.clear();
}

void Sequence::begin_bar(const Registers& registers) {
  last_ = -1;
  place_ = 0;
  notes_ = 0;
  length_ = 0;
  is_note_open_ = false;
  open_ = 0;
  last_value_.fill(kNone);
  sounding_.clear();
  for (std::size_t i = 0; i < declaration_->classes.size(); ++i) {
    const TokenClass& one = class_at(i);
    limit_.at(i) = kNever;
    if (one.limit_register >= 0) {
      const auto limit = one.limits.find(registers[static_cast<std::size_t>(one.limit_register)]);
      limit_.at(i) = limit == one.limits.end() ? 0 : limit->second;
    }
    const bool is_usable =
        one.gate_register < 0 || one.gates.contains(registers[static_cast<std::size_t>(one.gate_register)]);
    const bool has_value =
        std::any_of(one.tokens.begin(), one.tokens.end(), [&](const Token& token) { return is_below_limit(i, token); });
    if (is_usable && has_value) open_ |= bit(i);
  }
}

void Sequence::take(std::int32_t token) {
  tokens_.push_back(token);
  masked_.push_back(0);
  const auto own = declaration_->class_of[static_cast<std::size_t>(token)];
  if (own < 0) {
    in_bar_ = false;
    ++next_;
    ++cursor_;
    return;
  }
  const auto index = static_cast<std::size_t>(own);
  const TokenClass& of = class_at(index);
  const Token& taken =
      *std::find_if(of.tokens.begin(), of.tokens.end(), [&](const Token& one) { return one.id == token; });
  for (std::size_t i = 0; i < declaration_->classes.size(); ++i) {
    if ((class_at(i).since & bit(index)) != 0) last_value_.at(i) = kNone;
  }
  if ((of.since & bit(index)) == 0) last_value_.at(index) = taken.value;
  last_ = own;
  if (of.moves()) {
    place_ = place_after(of, taken);
    is_note_open_ = false;
  }
  const auto sound = [&](std::int64_t from, std::int64_t length) {
    if (max_polyphony_ == 0 || from < 0) return;
    const auto end = static_cast<std::size_t>(from + std::min(length, kLongest));
    if (end > sounding_.size()) sounding_.resize(end, 0);
    for (auto at = static_cast<std::size_t>(from); at < end; ++at) ++sounding_[at];
  };
  if (of.part == Part::Note) {
    ++notes_;
    sound(place_, std::max<std::int64_t>(length_, 1));
    is_note_open_ = length_ == 0;
    length_ = 0;
  }
  if (of.part == Part::Length) {
    const std::int64_t length = std::max<std::int64_t>(taken.amount, 1);
    if (is_note_open_) {
      sound(place_ + 1, length - 1);
    } else {
      length_ = length;
    }
    is_note_open_ = false;
  }
}

void Sequence::find_allowed() {
  allowed_.clear();
  const std::int64_t left = room();
  const ClassSet next = following();
  const Ahead now = look();
  for (std::size_t i = 0; i < declaration_->classes.size(); ++i) {
    if ((next & bit(i)) != 0 && (open_ & bit(i)) != 0) allow_class(i, now, left);
  }
  // A bar that cannot go on ends, whatever its table says.
  if (may_end() || allowed_.empty()) allowed_.push_back(script_[choices_[next_].at]);
}

void Sequence::allow_class(std::size_t index, const Ahead& now, std::int64_t room) {
  const TokenClass& of = class_at(index);
  if (of.part == Part::Note && (now.notes == 0 || !now.live)) return;
  // By whether the class is exhausted and whether a note can follow: 1 allowed, 0 not, -1 not known yet.
  std::array<int, 4> known{-1, -1, -1, -1};
  for (const Token& token : of.tokens) {
    if (!may_choose(index, token)) continue;
    const bool exhausted = exhausts(index, token);
    bool live = now.live;
    if (of.moves()) live = has_room_for_note(place_after(of, token));
    if (of.part == Part::Note) live = max_polyphony_ == 0 || has_room_for_note(place_);
    int& fits = known.at((exhausted ? 2U : 0U) + (live ? 1U : 0U));
    if (fits < 0) fits = 1 + to_end(after(now, index, exhausted, live)) <= room ? 1 : 0;
    if (fits == 1) allowed_.push_back(token.id);
  }
}

ClassSet Sequence::following() const {
  return last_ < 0 ? declaration_->first : class_at(static_cast<std::size_t>(last_)).next;
}

bool Sequence::may_end() const {
  return last_ < 0 ? declaration_->may_be_empty : class_at(static_cast<std::size_t>(last_)).ends;
}

std::int64_t Sequence::room() const {
  if (max_tokens_ == 0) return kNever - 1;
  const auto written = static_cast<std::int64_t>(tokens_.size());
  return max_tokens_ - written - static_cast<std::int64_t>(script_.size() - cursor_) - least_[next_];
}

std::int64_t Sequence::place_after(const TokenClass& of, const Token& token) const {
  return of.part == Part::Step ? place_ + token.amount : token.amount;
}

bool Sequence::is_in_order(std::size_t index, const Token& token) const {
  const std::int64_t last = last_value_.at(index);
  switch (class_at(index).order) {
    case Order::Ascending: return last == kNone || token.value > last;
    case Order::NotDescending: return last == kNone || token.value >= last;
    case Order::None: break;
  }
  return true;
}

bool Sequence::is_below_limit(std::size_t index, const Token& token) const {
  const TokenClass& of = class_at(index);
  return (of.moves() ? place_after(of, token) : token.value) < limit_.at(index);
}

bool Sequence::may_choose(std::size_t index, const Token& token) const {
  return is_in_order(index, token) && is_below_limit(index, token);
}

bool Sequence::exhausts(std::size_t index, const Token& token) const {
  const TokenClass& of = class_at(index);
  if (of.part == Part::Step) {
    const std::int64_t place = place_after(of, token);
    return std::none_of(of.tokens.begin(), of.tokens.end(),
                        [&](const Token& other) { return place + other.amount < limit_.at(index); });
  }
  if (of.order != Order::Ascending || (of.since & bit(index)) != 0) return false;
  return std::none_of(of.tokens.begin(), of.tokens.end(),
                      [&](const Token& other) { return other.value > token.value && is_below_limit(index, other); });
}

bool Sequence::has_room_for_note(std::int64_t place) const {
  if (max_polyphony_ == 0) return true;
  const bool is_known = place >= 0 && static_cast<std::size_t>(place) < sounding_.size();
  return !is_known || sounding_[static_cast<std::size_t>(place)] < max_polyphony_;
}

std::int32_t Sequence::notes_left() const {
  return max_notes_ == 0 ? std::numeric_limits<std::int32_t>::max() : std::max(max_notes_ - notes_, 0);
}

Sequence::Ahead Sequence::look() {
  Ahead now{last_, 0, notes_left(), has_room_for_note(place_)};
  lively_ = 0;
  for (std::size_t i = 0; i < declaration_->classes.size(); ++i) {
    if ((open_ & bit(i)) == 0) continue;
    const TokenClass& of = class_at(i);
    for (const Token& token : of.tokens) {
      if (!may_choose(i, token)) continue;
      now.offers |= bit(i);
      if (!of.moves()) break;
      if (!has_room_for_note(place_after(of, token))) continue;
      lively_ |= bit(i);
      break;
    }
  }
  return now;
}

Sequence::Ahead Sequence::after(const Ahead& before, std::size_t index, bool exhausted, bool live) const {
  Ahead state = before;
  state.last = static_cast<std::int32_t>(index);
  state.live = live;
  if (exhausted) state.offers &= ~bit(index);
  for (std::size_t i = 0; i < declaration_->classes.size(); ++i) {
    if ((class_at(i).since & bit(index)) != 0) state.offers |= open_ & bit(i);
  }
  if (class_at(index).part == Part::Note && max_notes_ > 0) --state.notes;
  return state;
}

std::int64_t Sequence::to_end(const Ahead& from) const {
  std::vector<Ahead> seen{from};
  std::size_t begin = 0;
  for (std::int64_t steps = 0; begin < seen.size(); ++steps) {
    const std::size_t end = seen.size();
    for (; begin < end; ++begin) {
      const Ahead state = seen[begin];
      const bool is_first = state.last < 0;
      if (is_first ? declaration_->may_be_empty : class_at(static_cast<std::size_t>(state.last)).ends) return steps;
      const ClassSet next = is_first ? declaration_->first : class_at(static_cast<std::size_t>(state.last)).next;
      for (std::size_t i = 0; i < declaration_->classes.size(); ++i) {
        const TokenClass& of = class_at(i);
        if ((next & state.offers & bit(i)) == 0) continue;
        if (of.part == Part::Note && (state.notes == 0 || !state.live)) continue;
        // The worst that a value may do: it is the last of its class, and no second note fits in its place.
        const bool exhausted = of.order == Order::Ascending || of.part == Part::Step;
        bool live = state.live;
        if (of.moves()) live = (lively_ & bit(i)) != 0;
        if (of.part == Part::Note) live = max_polyphony_ == 0;
        const Ahead following = after(state, i, exhausted, live);
        if (std::find(seen.begin(), seen.end(), following) == seen.end()) seen.push_back(following);
      }
    }
  }
  return kNever;
}

}  // namespace midigpt::token_grammar
