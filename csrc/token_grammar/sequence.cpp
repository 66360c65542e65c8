#include "token_grammar/sequence.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

namespace midigpt::token_grammar {

namespace {

constexpr std::int32_t kUnset = std::numeric_limits<std::int32_t>::min();
constexpr std::int32_t kUnlimited = std::numeric_limits<std::int32_t>::max();
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
    if (max_tokens_ > 0 && static_cast<std::int64_t>(script_.size()) > max_tokens_) {
      return "it has more than " + std::to_string(max_tokens_) + " tokens";
    }
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
    const std::int64_t least = to_end({.offers = offers()}, outlook({}));
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
    limit_.at(i) = one.moves() ? kLastPlace : kNever;
    if (one.limit_register >= 0) {
      const auto limit = one.limits.find(registers[static_cast<std::size_t>(one.limit_register)]);
      // Without a limit there is nothing, not even a value below 0.
      limit_.at(i) = limit == one.limits.end() ? kNone : std::min<std::int64_t>(limit->second, limit_.at(i));
    }
    const bool is_usable =
        one.gate_register < 0 || one.gates.contains(registers[static_cast<std::size_t>(one.gate_register)]);
    const bool has_value = std::any_of(one.tokens.begin(), one.tokens.end(),
                                       [&](const Token& token) { return is_below_limit(i, 0, token); });
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
    const auto end = static_cast<std::size_t>(from + length);
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
  const ClassSet offered = offers();
  for (std::size_t i = 0; i < declaration_->classes.size(); ++i) {
    if ((next & offered & bit(i)) != 0) allow_class(i, offered, left);
  }
  // A bar that cannot go on ends, whatever its table says.
  if (may_end() || allowed_.empty()) allowed_.push_back(script_[choices_[next_].at]);
}

void Sequence::allow_class(std::size_t index, ClassSet offers, std::int64_t room) {
  if (class_at(index).part == Part::Note && (notes_left() == 0 || space(place_) == 0)) return;
  // What was found for tokens that leave the same: most tokens of a class do.
  struct Found {
    bool exhausted;
    Outlook outlook;
    bool fits;
  };
  std::vector<Found> known;
  for (const Token& token : class_at(index).tokens) {
    if (!may_choose(index, token)) continue;
    const bool exhausted = exhausts(index, token);
    const Outlook left = outlook({index, &token});
    auto found = std::find_if(known.begin(), known.end(),
                              [&](const Found& one) { return one.exhausted == exhausted && one.outlook == left; });
    if (found == known.end()) {
      Ahead state = after({.offers = offers}, index, exhausted);
      // The outlook knows the token.
      state.is_reset = false;
      state.moved = Moved::Not;
      state.notes = 0;
      found = known.insert(known.end(), {exhausted, left, 1 + to_end(state, left) <= room});
    }
    if (found->fits) allowed_.push_back(token.id);
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

std::int64_t Sequence::last_value(std::size_t index, const Candidate& taken) const {
  if (taken.token == nullptr) return last_value_.at(index);
  if ((class_at(index).since & bit(taken.index)) != 0) return kNone;
  return index == taken.index ? taken.token->value : last_value_.at(index);
}

bool Sequence::is_in_order(std::size_t index, std::int64_t last, const Token& token) const {
  switch (class_at(index).order) {
    case Order::Ascending: return last == kNone || token.value > last;
    case Order::NotDescending: return last == kNone || token.value >= last;
    case Order::None: break;
  }
  return true;
}

bool Sequence::is_below_limit(std::size_t index, std::int64_t place, const Token& token) const {
  const TokenClass& of = class_at(index);
  if (of.part == Part::Step) return place + token.amount < limit_.at(index);
  return (of.part == Part::Onset ? token.amount : token.value) < limit_.at(index);
}

bool Sequence::may_choose(std::size_t index, const Token& token) const {
  return is_in_order(index, last_value_.at(index), token) && is_below_limit(index, place_, token);
}

bool Sequence::exhausts(std::size_t index, const Token& token) const {
  const TokenClass& of = class_at(index);
  if (!of.is_exhaustible()) return false;
  const std::int64_t last = last_value(index, {index, &token});
  const std::int64_t place = of.moves() ? place_after(of, token) : place_;
  return std::none_of(of.tokens.begin(), of.tokens.end(), [&](const Token& other) {
    return is_in_order(index, last, other) && is_below_limit(index, place, other);
  });
}

std::int32_t Sequence::space(std::int64_t place) const {
  if (max_polyphony_ == 0) return kUnlimited;
  const bool is_known = place >= 0 && static_cast<std::size_t>(place) < sounding_.size();
  return std::max(max_polyphony_ - (is_known ? sounding_[static_cast<std::size_t>(place)] : 0), 0);
}

std::int32_t Sequence::notes_left() const { return max_notes_ == 0 ? kUnlimited : std::max(max_notes_ - notes_, 0); }

ClassSet Sequence::offers() const {
  ClassSet found = 0;
  for (std::size_t i = 0; i < declaration_->classes.size(); ++i) {
    if ((open_ & bit(i)) == 0) continue;
    const TokenClass& of = class_at(i);
    const bool has_value =
        std::any_of(of.tokens.begin(), of.tokens.end(), [&](const Token& token) { return may_choose(i, token); });
    if (has_value) found |= bit(i);
  }
  return found;
}

Sequence::Outlook Sequence::outlook(const Candidate& taken) const {
  const Part part = taken.token == nullptr ? Part::None : class_at(taken.index).part;
  Outlook left{notes_left(), kUnlimited, kUnlimited, kUnlimited};
  if (part == Part::Note && max_notes_ > 0) --left.notes;
  if (max_polyphony_ == 0) return left;
  const bool moves = part == Part::Onset || part == Part::Step;
  const std::int64_t place = moves ? place_after(class_at(taken.index), *taken.token) : place_;
  // A note sounds at its place, and later ones too if its length says so: at most one note more at each place.
  const std::int32_t begun = part == Part::Note ? 1 : 0;
  const std::int32_t going_on = begun == 1 || (is_note_open_ && !moves) ? 1 : 0;
  left.here = std::max(space(place) - begun, 0);
  left.onward = 0;
  left.again = 0;
  for (std::size_t i = 0; i < declaration_->classes.size(); ++i) {
    const TokenClass& of = class_at(i);
    if (!of.moves() || (open_ & bit(i)) == 0) continue;
    const std::int64_t last = last_value(i, taken);
    for (const Token& token : of.tokens) {
      if (!is_below_limit(i, place, token)) continue;
      const std::int64_t to = of.part == Part::Step ? place + token.amount : token.amount;
      const std::int32_t room = std::max(space(to) - (to == place ? begun : going_on), 0);
      left.again = std::max(left.again, room);
      if (is_in_order(i, last, token)) left.onward = std::max(left.onward, room);
    }
  }
  return left;
}

Sequence::Ahead Sequence::after(const Ahead& before, std::size_t index, bool exhausted) const {
  Ahead state = before;
  const TokenClass& of = class_at(index);
  state.last = static_cast<std::int32_t>(index);
  if (of.moves()) state.moved = state.is_reset ? Moved::Again : Moved::Onward;
  if (of.part == Part::Note) ++state.notes;
  if (exhausted) state.offers &= ~bit(index);
  for (std::size_t i = 0; i < declaration_->classes.size(); ++i) {
    // A step that has no room left gets none by values that begin again.
    if ((class_at(i).since & bit(index)) == 0 || class_at(i).part == Part::Step) continue;
    state.offers |= open_ & bit(i);
    if (class_at(i).part == Part::Onset) state.is_reset = true;
  }
  return state;
}

std::size_t Sequence::number_of(const Ahead& state) const {
  std::size_t number = state.last < 0 ? 0 : static_cast<std::size_t>(state.last) + 1;
  for (std::size_t i = 0; i < declaration_->classes.size(); ++i) {
    // The others offer a value at any time, or at none in this bar.
    if (class_at(i).is_exhaustible()) number = 2 * number + ((state.offers & bit(i)) != 0 ? 1 : 0);
  }
  return (2 * number + (state.is_reset ? 1 : 0)) * 3 + static_cast<std::size_t>(state.moved);
}

// By steps; a state that is reached again counts only if fewer notes led to it, which leaves room for more.
std::int64_t Sequence::to_end(const Ahead& from, const Outlook& outlook) {
  const auto exhaustible = std::count_if(declaration_->classes.begin(), declaration_->classes.end(),
                                         [](const TokenClass& one) { return one.is_exhaustible(); });
  fewest_notes_.assign(((declaration_->classes.size() + 1) << static_cast<std::size_t>(exhaustible)) * 6, kUnlimited);
  states_.assign(1, from);
  std::size_t begin = 0;
  for (std::int64_t steps = 0; begin < states_.size(); ++steps) {
    const std::size_t end = states_.size();
    for (; begin < end; ++begin) {
      const Ahead state = states_[begin];
      const bool is_first = state.last < 0;
      if (is_first ? declaration_->may_be_empty : class_at(static_cast<std::size_t>(state.last)).ends) return steps;
      const ClassSet next = is_first ? declaration_->first : class_at(static_cast<std::size_t>(state.last)).next;
      std::int32_t room = outlook.here;
      if (state.moved != Moved::Not) room = state.moved == Moved::Onward ? outlook.onward : outlook.again;
      room = std::min(room, outlook.notes);
      for (std::size_t i = 0; i < declaration_->classes.size(); ++i) {
        const TokenClass& of = class_at(i);
        if ((next & state.offers & bit(i)) == 0) continue;
        if (of.part == Part::Note && state.notes >= room) continue;
        // The worst that a value may do: it is the last of its class.
        const Ahead following = after(state, i, of.is_exhaustible());
        std::int32_t& fewest = fewest_notes_[number_of(following)];
        if (following.notes >= fewest) continue;
        fewest = following.notes;
        states_.push_back(following);
      }
    }
  }
  return kNever;
}

}  // namespace midigpt::token_grammar
