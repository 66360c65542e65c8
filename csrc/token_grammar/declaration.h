// What a table says of a token language: classes of tokens, which class follows which, and which values a state allows.
// midigpt_core/encoding/token_grammar.py documents the options and checks them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace midigpt::token_grammar {

inline constexpr std::size_t kMostClasses = 32;
// Classes that can run out of values. A look ahead has a state for each set of them.
inline constexpr std::size_t kMostExhaustible = 8;
// The largest amount of a token, and the last place in a bar: memory has a bound whatever a table says.
inline constexpr std::int32_t kMostAmount = 1 << 16;
inline constexpr std::int64_t kLastPlace = 1 << 20;
// One bit per class.
using ClassSet = std::uint32_t;

enum class Order : std::uint8_t { None, Ascending, NotDescending };
// Onset: the amount is the place in the bar at which notes begin. Step: it is added to that place.
enum class Part : std::uint8_t { None, Onset, Step, Note, Length };
// What a token of the script is.
enum class Role : std::uint8_t { Other, Track, Bar, Header, FillStart };

// A token with its value within its type, and what the value amounts to in units of the bar.
struct Token {
  std::int32_t id = 0;
  std::int32_t value = 0;
  std::int32_t amount = 0;
};

struct TokenClass {
  std::vector<Token> tokens;
  ClassSet next = 0;
  bool ends = false;  // whether the bar may end after it
  Order order = Order::None;
  ClassSet since = 0;  // classes after which values may begin again from the lowest
  Part part = Part::None;
  // The register whose value decides the limit; -1: there is none. A value without a limit allows nothing.
  std::int32_t limit_register = -1;
  std::map<std::int32_t, std::int32_t> limits;
  // The class is usable where this register has one of these values; -1: everywhere.
  std::int32_t gate_register = -1;
  std::set<std::int32_t> gates;

  [[nodiscard]] bool moves() const { return part == Part::Onset || part == Part::Step; }
  // Whether a token of the class may be the last one that a bar has room for.
  [[nodiscard]] bool is_exhaustible() const { return order == Order::Ascending || part == Part::Step; }
};

struct Declaration {
  std::vector<TokenClass> classes;
  ClassSet first = 0;
  bool may_be_empty = false;
  bool has_tracks = false;  // whether bars are counted from each Track token
  // By token id. class_of: -1 outside bars. register_of: the register that the token's value is kept in, -1: none.
  std::vector<Role> role;
  std::vector<std::int32_t> class_of;
  std::vector<std::int32_t> register_of;
  std::vector<std::int32_t> value_of;
  std::size_t registers = 0;

  [[nodiscard]] std::size_t size() const { return role.size(); }
};

// What is wrong with a declaration for native code, or nothing.
std::string problem_of(const Declaration& declaration);

}  // namespace midigpt::token_grammar
