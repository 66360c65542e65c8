#include "token_grammar/sequence.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "token_grammar/declaration.h"

namespace {

using midigpt::token_grammar::Declaration;
using midigpt::token_grammar::Order;
using midigpt::token_grammar::Part;
using midigpt::token_grammar::problem_of;
using midigpt::token_grammar::Request;
using midigpt::token_grammar::Role;
using midigpt::token_grammar::Sequence;
using midigpt::token_grammar::TokenClass;

constexpr std::int32_t kBar = 0;
constexpr std::int32_t kEnd = 1;
constexpr std::int32_t kPosition = 2;  // 2 to 5
constexpr std::int32_t kPitch = 6;     // 6 to 8

// Positions ascend within a bar, pitches within a position; every position has a note.
Declaration table() {
  Declaration table;
  table.role = {Role::Bar,   Role::Other, Role::Other, Role::Other, Role::Other,
                Role::Other, Role::Other, Role::Other, Role::Other};
  table.class_of = {-1, -1, 0, 0, 0, 0, 1, 1, 1};
  table.register_of.assign(9, -1);
  table.value_of = {0, 0, 0, 1, 2, 3, 0, 1, 2};
  TokenClass position;
  TokenClass pitch;
  for (std::int32_t value = 0; value < 4; ++value) position.tokens.push_back({kPosition + value, value, value});
  for (std::int32_t value = 0; value < 3; ++value) pitch.tokens.push_back({kPitch + value, value, value});
  position.next = 2;
  position.order = Order::Ascending;
  position.part = Part::Onset;
  pitch.next = 3;
  pitch.ends = true;
  pitch.order = Order::Ascending;
  pitch.since = 1;
  pitch.part = Part::Note;
  table.classes = {position, pitch};
  table.first = 1;
  table.may_be_empty = true;
  return table;
}

std::vector<std::int32_t> allowed(const Sequence& sequence) {
  std::vector<std::int32_t> found = sequence.allowed();
  std::sort(found.begin(), found.end());
  return found;
}

struct Asked {
  std::vector<std::int32_t> script;
  std::vector<std::uint8_t> cells;
  std::vector<std::pair<std::int64_t, std::int64_t>> masked;

  [[nodiscard]] Request request() const {
    Request request;
    request.script = script;
    request.masked = masked;
    request.cells = cells.data();
    request.max_tracks = 1;
    request.max_bars = static_cast<std::int64_t>(cells.size());
    return request;
  }
};

TEST_CASE("a bar is written from what may follow, and the token after it ends it") {
  const Declaration declaration = table();
  Sequence sequence(declaration);
  const Asked asked{{kBar, kBar, kEnd}, {1, 1}, {}};
  REQUIRE(sequence.start(asked.request()).empty());
  CHECK(sequence.tokens() == std::vector<std::int32_t>{kBar});
  CHECK(allowed(sequence) == std::vector<std::int32_t>{kBar, 2, 3, 4, 5});
  CHECK(sequence.advance(4));
  CHECK(allowed(sequence) == std::vector<std::int32_t>{6, 7, 8});
  CHECK_FALSE(sequence.advance(kBar));
  CHECK(sequence.advance(7));
  CHECK(allowed(sequence) == std::vector<std::int32_t>{kBar, 5, 8});
  CHECK(sequence.advance(kBar));
  CHECK(sequence.bars_written() == 1);
  CHECK(sequence.advance(kEnd));
  CHECK(sequence.finished());
  CHECK(sequence.allowed().empty());
  CHECK(sequence.tokens() == std::vector<std::int32_t>{kBar, 4, 7, kBar, kEnd});
}

TEST_CASE("limits leave no token that leads nowhere") {
  const Declaration declaration = table();
  const Asked asked{{kBar, kEnd}, {1}, {{0, 1}}};
  Request request = asked.request();
  request.max_notes = 1;
  Sequence sequence(declaration);
  REQUIRE(sequence.start(request).empty());
  CHECK(sequence.is_masked(0));
  REQUIRE(sequence.advance(2));
  REQUIRE(sequence.advance(6));
  CHECK(sequence.finished());  // only the end is left, and is forced
  request.max_notes = 0;
  request.max_polyphony = 1;
  REQUIRE(sequence.start(request).empty());
  REQUIRE(sequence.advance(2));
  REQUIRE(sequence.advance(6));
  CHECK(allowed(sequence) == std::vector<std::int32_t>{kEnd, 3, 4, 5});
  request.max_tokens = 3;
  REQUIRE(sequence.start(request).empty());
  CHECK(sequence.finished());  // no note fits
  request.max_tokens = 1;
  CHECK(sequence.start(request).find("no room") != std::string::npos);
}

TEST_CASE("a value without a limit allows nothing, not even below 0") {
  Declaration declaration = table();
  declaration.role.push_back(Role::Header);
  declaration.class_of.push_back(-1);
  declaration.register_of.push_back(0);
  declaration.value_of.push_back(3);
  declaration.registers = 1;
  declaration.classes[0].limit_register = 0;
  declaration.classes[0].limits = {{3, 1}};
  declaration.classes[0].tokens[0].value = -1;
  declaration.classes[0].part = Part::None;
  const Asked asked{{kBar, 9, kEnd}, {1}, {}};
  Sequence sequence(declaration);
  REQUIRE(sequence.start(asked.request()).empty());
  CHECK(allowed(sequence) == std::vector<std::int32_t>{kEnd, 2});
  declaration.classes[0].limits = {{4, 1}};
  REQUIRE(sequence.start(asked.request()).empty());
  CHECK(sequence.finished());  // only the end is left, and is forced
}

TEST_CASE("what cannot be written is refused") {
  const Declaration declaration = table();
  Sequence sequence(declaration);
  const auto problem = [&](std::vector<std::int32_t> script, std::vector<std::uint8_t> cells) {
    const Asked asked{std::move(script), std::move(cells), {}};
    return sequence.start(asked.request());
  };
  CHECK(problem({kBar}, {1}).find("ends with a bar") != std::string::npos);
  CHECK(problem({kBar, 2, 6, kEnd}, {1}).find("has notes") != std::string::npos);
  CHECK(problem({kBar, kEnd}, {0, 1}).find("0 of the 1 bars") != std::string::npos);
  CHECK(problem({kBar, 9}, {0}).find("outside the vocabulary") != std::string::npos);
  CHECK(problem({kBar, kEnd}, {0}).empty());
  CHECK(sequence.finished());
  CHECK(sequence.tokens() == std::vector<std::int32_t>{kBar, kEnd});
  Request longer = Asked{{}, {0}, {}}.request();
  const std::vector<std::int32_t> script{kBar, kEnd};
  longer.script = script;
  longer.max_bars = 0;
  longer.max_tokens = 1;
  CHECK(sequence.start(longer).find("more than 1 tokens") != std::string::npos);
  const Asked masked{{kBar, kEnd}, {1}, {{1, 3}}};
  CHECK(sequence.start(masked.request()).find("masked span") != std::string::npos);
}

TEST_CASE("no place is beyond the last, whatever the steps") {
  Declaration declaration = table();
  declaration.classes[0].part = Part::Step;
  declaration.classes[0].order = Order::None;
  for (auto& token : declaration.classes[0].tokens) token.amount = midigpt::token_grammar::kMostAmount;
  const Asked asked{{kBar, kEnd}, {1}, {}};
  Request request = asked.request();
  request.max_polyphony = 1;
  Sequence sequence(declaration);
  REQUIRE(sequence.start(request).empty());
  int steps = 0;
  while (!sequence.finished() && steps < 100 && sequence.advance(kPosition)) {
    ++steps;
    if (!sequence.finished()) REQUIRE(sequence.advance(kPitch));
  }
  CHECK(steps == 15);
}

TEST_CASE("a table for native code is checked") {
  CHECK(problem_of(table()).empty());
  Declaration broken = table();
  broken.first = 4;
  CHECK_FALSE(problem_of(broken).empty());
  broken = table();
  broken.classes[0].limit_register = 0;
  CHECK_FALSE(problem_of(broken).empty());
  broken = table();
  broken.class_of[0] = 2;
  CHECK_FALSE(problem_of(broken).empty());
  broken = table();
  broken.register_of[0] = 0;
  CHECK_FALSE(problem_of(broken).empty());
  broken = table();
  broken.value_of.pop_back();
  CHECK_FALSE(problem_of(broken).empty());
  broken = table();
  broken.classes[0].tokens[0].id = 9;
  CHECK_FALSE(problem_of(broken).empty());
  broken = table();
  broken.classes[0].tokens[0].id = kPitch;
  CHECK_FALSE(problem_of(broken).empty());
  broken = table();
  broken.classes[0].tokens[0].amount = -1;
  CHECK_FALSE(problem_of(broken).empty());
  broken = table();
  broken.classes[1].part = Part::Step;
  CHECK(problem_of(broken).find("onsets or steps") != std::string::npos);
  broken = table();
  while (broken.classes.size() < 9) broken.classes.push_back(broken.classes[0]);
  for (std::size_t i = 2; i < 9; ++i) {
    broken.classes[i].part = Part::None;
    broken.classes[i].tokens.clear();
  }
  CHECK(problem_of(broken).find("more than 8 classes") != std::string::npos);
  broken.classes.clear();
  CHECK_FALSE(problem_of(broken).empty());
}

}  // namespace
