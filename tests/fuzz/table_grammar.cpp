// Whatever a table says and whatever is asked for: a message, or bars that follow the table within their limits.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "fuzz/bytes.h"
#include "fuzz/check.h"
#include "fuzz/targets.h"
#include "token_grammar/declaration.h"
#include "token_grammar/sequence.h"

namespace midigpt::fuzz {

namespace {

using token_grammar::ClassSet;
using token_grammar::Declaration;
using token_grammar::Order;
using token_grammar::Part;
using token_grammar::Request;
using token_grammar::Role;
using token_grammar::Sequence;
using token_grammar::Token;
using token_grammar::TokenClass;

constexpr int kMostChoices = 400;
constexpr std::int32_t kTrack = 0;
constexpr std::int32_t kBar = 1;
constexpr std::int32_t kFill = 2;
constexpr std::int32_t kEnd = 3;
constexpr std::int32_t kHole = 4;
// Three tokens for each of two registers, whose values are 0 to 2.
constexpr std::int32_t kHeader = 5;
constexpr std::size_t kValues = 3;
constexpr std::size_t kRegisters = 2;

// Layout: classes, a count u8, and for each: tokens, a count u8, with an amount u16 each; next u16, since u16, ends u8,
// order u8, part u8; limit u8 (a register, or none) with a limit for each value, u8; gate u8 with the values as bits,
// u8. Then first u16, flags u8 (a bar may be empty; documents have tracks; bars are filled in blocks at the end);
// damage, a count u8 and three u8 each; tracks and bars, a u8 each, and for each bar of each track a u8 (asked for; the
// values of its registers; in the bars that are not asked for: a class token); max_tokens u16, max_notes u8,
// max_polyphony u8; masked spans, a count u8 and begin and end i8 each; choices, a u8 each.
TokenClass class_from(Bytes& bytes, std::int32_t first_id) {
  TokenClass one;
  const auto count = static_cast<std::int32_t>(1 + bytes.below(6));
  for (std::int32_t i = 0; i < count; ++i) one.tokens.push_back({first_id + i, i, bytes.take<std::uint16_t>() % 12});
  one.next = bytes.take<std::uint16_t>();
  one.since = bytes.take<std::uint16_t>();
  one.ends = bytes.flag();
  one.order = static_cast<Order>(bytes.below(3));
  one.part = static_cast<Part>(bytes.below(5));
  one.limit_register = static_cast<std::int32_t>(bytes.below(kRegisters + 1)) - 1;
  for (std::size_t value = 0; value < kValues; ++value) {
    const auto limit = static_cast<std::int32_t>(bytes.below(14));
    if (limit < 13) one.limits.emplace(static_cast<std::int32_t>(value), limit);
  }
  one.gate_register = static_cast<std::int32_t>(bytes.below(kRegisters + 1)) - 1;
  const auto gates = bytes.take<std::uint8_t>();
  for (std::size_t value = 0; value < kValues; ++value) {
    if ((gates >> value & 1) != 0) one.gates.insert(static_cast<std::int32_t>(value));
  }
  return one;
}

Declaration declaration_from(Bytes& bytes, bool& fills) {
  Declaration table;
  table.role = {Role::Track, Role::Bar, Role::FillStart, Role::Other, Role::Other};
  table.register_of.assign(table.role.size(), -1);
  table.value_of.assign(table.role.size(), 0);
  for (std::size_t i = 0; i < kRegisters * kValues; ++i) {
    table.role.push_back(Role::Header);
    table.register_of.push_back(static_cast<std::int32_t>(i / kValues));
    table.value_of.push_back(static_cast<std::int32_t>(i % kValues));
  }
  table.class_of.assign(table.role.size(), -1);
  table.registers = kRegisters;
  const std::size_t classes = 1 + bytes.below(10);
  const ClassSet known = (ClassSet{1} << classes) - 1;
  for (std::size_t index = 0; index < classes; ++index) {
    TokenClass one = class_from(bytes, static_cast<std::int32_t>(table.role.size()));
    one.next &= known;
    one.since &= known;
    for (const Token& token : one.tokens) {
      table.role.push_back(Role::Other);
      table.register_of.push_back(-1);
      table.value_of.push_back(token.value);
      table.class_of.push_back(static_cast<std::int32_t>(index));
    }
    table.classes.push_back(std::move(one));
  }
  table.first = bytes.take<std::uint16_t>() & known;
  const auto flags = bytes.take<std::uint8_t>();
  table.may_be_empty = (flags & 1) != 0;
  table.has_tracks = (flags & 2) != 0;
  fills = (flags & 4) != 0;
  for (std::size_t left = bytes.below(3); left > 0; --left) {
    const std::size_t which = bytes.below(8);
    const std::size_t at = bytes.below(table.role.size());
    const std::int32_t value = static_cast<std::int8_t>(bytes.take<std::uint8_t>());
    TokenClass& one = table.classes[at % table.classes.size()];
    switch (which) {
      case 0: table.class_of[at] = value; break;
      case 1: table.register_of[at] = value; break;
      case 2: one.tokens[at % one.tokens.size()].id = value; break;
      case 3: one.tokens[at % one.tokens.size()].amount = value * 1024; break;
      case 4: one.limit_register = value; break;
      case 5: one.next = static_cast<ClassSet>(value); break;
      case 6: one.tokens[at % one.tokens.size()].value = value; break;
      default: table.registers = static_cast<std::size_t>(static_cast<std::uint8_t>(value)); break;
    }
  }
  return table;
}

struct Cell {
  bool asked = false;
  std::int32_t values[kRegisters] = {};
};

// One document and what is asked for in it.
struct Asked {
  std::vector<std::int32_t> script;
  std::vector<std::uint8_t> cells;
  std::vector<std::pair<std::int64_t, std::int64_t>> masked;
  std::vector<Cell> to_write;  // in the order of the document
  Request request;
};

Asked asked_from(Bytes& bytes, const Declaration& table, bool fills) {
  Asked out;
  out.request.max_tracks = table.has_tracks ? static_cast<std::int64_t>(1 + bytes.below(2)) : 1;
  out.request.max_bars = static_cast<std::int64_t>(1 + bytes.below(3));
  for (std::int64_t track = 0; track < out.request.max_tracks; ++track) {
    if (table.has_tracks) out.script.push_back(kTrack);
    for (std::int64_t bar = 0; bar < out.request.max_bars; ++bar) {
      const auto flags = bytes.take<std::uint8_t>();
      Cell cell{(flags & 1) != 0, {(flags >> 1 & 3) % 3, (flags >> 3 & 3) % 3}};
      out.cells.push_back(cell.asked ? 1 : 0);
      out.script.insert(out.script.end(), {kBar, kHeader + cell.values[0], kHeader + 3 + cell.values[1]});
      if (cell.asked) out.to_write.push_back(cell);
      if (fills && cell.asked) out.script.push_back(kHole);
      if (!cell.asked && (flags & 32) != 0) out.script.push_back(table.classes.front().tokens.front().id);
    }
    out.script.push_back(kEnd);
  }
  for (std::size_t i = 0; fills && i < out.to_write.size(); ++i) {
    out.script.push_back(kFill);
    out.script.push_back(kEnd);
  }
  out.request.max_tokens = bytes.take<std::uint16_t>() % 200;
  out.request.max_notes = static_cast<std::int32_t>(bytes.below(6));
  out.request.max_polyphony = static_cast<std::int32_t>(bytes.below(5));
  for (std::size_t left = bytes.below(3); left > 0; --left) {
    const auto begin = bytes.take<std::int8_t>();
    out.masked.emplace_back(begin, bytes.take<std::int8_t>());
  }
  out.script.shrink_to_fit();
  out.cells.shrink_to_fit();
  out.request.script = out.script;
  out.request.masked = out.masked;
  out.request.cells = out.cells.data();
  return out;
}

// What was written in one bar, checked against the table without looking at the code that wrote it.
class BarCheck {
 public:
  BarCheck(const Declaration& table, const Cell& cell, const Request& request)
      : table_(table), cell_(cell), request_(request) {}

  void check(const std::vector<std::int32_t>& body) {
    ClassSet next = table_.first;
    bool ends = table_.may_be_empty;
    for (const std::int32_t id : body) {
      const auto index = static_cast<std::size_t>(table_.class_of[static_cast<std::size_t>(id)]);
      FUZZ_CHECK((next >> index & 1) != 0);
      const TokenClass& of = table_.classes[index];
      const auto token =
          std::find_if(of.tokens.begin(), of.tokens.end(), [&](const Token& one) { return one.id == id; });
      FUZZ_CHECK(token != of.tokens.end());
      take(index, of, *token);
      next = of.next;
      ends = of.ends;
    }
    FUZZ_CHECK(ends);
    FUZZ_CHECK(request_.max_notes == 0 || notes_ <= request_.max_notes);
    if (request_.max_polyphony == 0 || !only_goes_on()) return;
    for (const auto& [place, count] : sounding_) FUZZ_CHECK(count <= request_.max_polyphony);
  }

 private:
  void take(std::size_t index, const TokenClass& of, const Token& token) {
    if (of.gate_register >= 0) FUZZ_CHECK(of.gates.contains(value(of.gate_register)));
    const std::int64_t place = of.part == Part::Step ? place_ + token.amount : token.amount;
    if (of.limit_register >= 0) {
      const auto limit = of.limits.find(value(of.limit_register));
      FUZZ_CHECK(limit != of.limits.end() && (of.moves() ? place : token.value) < limit->second);
    }
    const auto last = last_.find(index);
    if (last != last_.end() && of.order == Order::Ascending) FUZZ_CHECK(token.value > last->second);
    if (last != last_.end() && of.order == Order::NotDescending) FUZZ_CHECK(token.value >= last->second);
    last_[index] = token.value;
    for (std::size_t i = 0; i < table_.classes.size(); ++i) {
      if ((table_.classes[i].since >> index & 1) != 0) last_.erase(i);
    }
    if (of.moves()) {
      place_ = place;
      is_open_ = false;
    }
    if (of.part == Part::Note) {
      ++notes_;
      FUZZ_CHECK(request_.max_polyphony == 0 || sounding_[place_] < request_.max_polyphony);
      for (std::int64_t at = 0; at < std::max<std::int64_t>(length_, 1); ++at) ++sounding_[place_ + at];
      is_open_ = length_ == 0;
      length_ = 0;
    }
    if (of.part == Part::Length) {
      const std::int64_t length = std::max(token.amount, 1);
      for (std::int64_t at = 1; is_open_ && at < length; ++at) ++sounding_[place_ + at];
      if (!is_open_) length_ = length;
      is_open_ = false;
    }
  }

  // Whether no note begins before one that was written earlier. A note that does may go on into a place that is full.
  [[nodiscard]] bool only_goes_on() const {
    for (const TokenClass& one : table_.classes) {
      if (one.part != Part::Onset) continue;
      if (one.order == Order::None || one.since != 0) return false;
      for (const Token& a : one.tokens) {
        for (const Token& b : one.tokens) {
          if (a.value <= b.value && a.amount > b.amount) return false;
        }
      }
    }
    return true;
  }

  [[nodiscard]] std::int32_t value(std::int32_t number) const { return cell_.values[number]; }

  const Declaration& table_;
  const Cell& cell_;
  const Request& request_;
  std::map<std::size_t, std::int32_t> last_;
  std::map<std::int64_t, std::int32_t> sounding_;
  std::int64_t place_ = 0;
  std::int64_t length_ = 0;
  std::int32_t notes_ = 0;
  bool is_open_ = false;
};

void check_document(const Declaration& table, const Asked& asked, const Sequence& sequence) {
  const std::vector<std::int32_t>& tokens = sequence.tokens();
  FUZZ_CHECK(asked.request.max_tokens == 0 || static_cast<std::int64_t>(tokens.size()) <= asked.request.max_tokens);
  FUZZ_CHECK(static_cast<std::size_t>(sequence.bars_written()) == asked.to_write.size());
  std::vector<std::vector<std::int32_t>> bodies;
  std::vector<std::int32_t> body;
  std::size_t read = 0;  // into the script
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    static_cast<void>(sequence.is_masked(i));
    if (read < asked.script.size() && tokens[i] == asked.script[read]) {
      ++read;
      const bool is_bar_end = read >= 2 && table.class_of[static_cast<std::size_t>(tokens[i])] < 0;
      if (is_bar_end && !body.empty()) bodies.push_back(std::exchange(body, {}));
      continue;
    }
    FUZZ_CHECK(table.class_of[static_cast<std::size_t>(tokens[i])] >= 0);
    body.push_back(tokens[i]);
  }
  FUZZ_CHECK(body.empty() && bodies.size() <= asked.to_write.size());
  FUZZ_CHECK(table.may_be_empty || bodies.size() == asked.to_write.size());
  // Of empty bars one cannot tell here which of the others they stand between.
  if (bodies.size() != asked.to_write.size()) return;
  for (std::size_t i = 0; i < bodies.size(); ++i) BarCheck(table, asked.to_write[i], asked.request).check(bodies[i]);
}

}  // namespace

void table_grammar(Input input) {
  Bytes bytes(input);
  bool fills = false;
  const Declaration table = declaration_from(bytes, fills);
  if (!problem_of(table).empty()) return;
  const Asked asked = asked_from(bytes, table, fills);
  Sequence sequence(table);
  if (!sequence.start(asked.request).empty()) return;
  for (int chosen = 0; !sequence.finished(); ++chosen) {
    if (chosen == kMostChoices) return;
    std::vector<std::int32_t> allowed = sequence.allowed();
    FUZZ_CHECK(allowed.size() > 1);
    FUZZ_CHECK(!sequence.advance(-1) && !sequence.advance(static_cast<std::int32_t>(table.size())));
    const std::int32_t token = allowed[bytes.take<std::uint8_t>() % allowed.size()];
    std::sort(allowed.begin(), allowed.end());
    FUZZ_CHECK(std::adjacent_find(allowed.begin(), allowed.end()) == allowed.end());
    FUZZ_CHECK(allowed.front() >= 0 && allowed.back() < static_cast<std::int32_t>(table.size()));
    const std::size_t before = sequence.tokens().size();
    FUZZ_CHECK(sequence.advance(token));
    FUZZ_CHECK(sequence.tokens().size() > before && sequence.tokens()[before] == token);
  }
  check_document(table, asked, sequence);
}

}  // namespace midigpt::fuzz
