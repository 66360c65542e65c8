#include "token_grammar/declaration.h"

#include <vector>

namespace midigpt::token_grammar {

namespace {

bool is_register(std::int32_t number, std::size_t registers) {
  return number >= -1 && number < static_cast<std::int32_t>(registers);
}

}  // namespace

std::string problem_of(const Declaration& declaration) {
  const std::size_t classes = declaration.classes.size();
  const std::size_t size = declaration.size();
  if (classes == 0 || classes > kMostClasses) return "a grammar has 1 to " + std::to_string(kMostClasses) + " classes";
  if (declaration.class_of.size() != size || declaration.register_of.size() != size ||
      declaration.value_of.size() != size) {
    return "the columns of tokens differ in length";
  }
  const ClassSet known = classes == kMostClasses ? ~ClassSet{0} : (ClassSet{1} << classes) - 1;
  ClassSet named = declaration.first;
  std::size_t moving = 0;
  std::size_t exhaustible = 0;
  std::vector<bool> seen(size);
  for (const TokenClass& one : declaration.classes) {
    named |= one.next | one.since;
    moving += one.moves() ? 1 : 0;
    exhaustible += one.is_exhaustible() ? 1 : 0;
    if (!is_register(one.limit_register, declaration.registers) ||
        !is_register(one.gate_register, declaration.registers)) {
      return "a class names a register that is not there";
    }
    for (const Token& token : one.tokens) {
      if (token.id < 0 || static_cast<std::size_t>(token.id) >= size) return "a class has a token that is not there";
      if (one.part != Part::None && (token.amount < 0 || token.amount > kMostAmount))
        return "an amount is out of range";
      const auto index = static_cast<std::int32_t>(&one - declaration.classes.data());
      if (declaration.class_of[static_cast<std::size_t>(token.id)] != index)
        return "a class has a token of another one";
      // Its value and amount would be those of the first, whichever was allowed.
      if (seen[static_cast<std::size_t>(token.id)]) return "a class has a token twice";
      seen[static_cast<std::size_t>(token.id)] = true;
    }
  }
  if ((named & ~known) != 0) return "a class that is not there is named";
  if (moving > 1) return "several classes are onsets or steps";
  if (exhaustible > kMostExhaustible) {
    return "more than " + std::to_string(kMostExhaustible) + " classes ascend without repeats or are steps";
  }
  for (std::size_t id = 0; id < size; ++id) {
    if (declaration.class_of[id] < -1 || declaration.class_of[id] >= static_cast<std::int32_t>(classes)) {
      return "a token has a class that is not there";
    }
    if (!is_register(declaration.register_of[id], declaration.registers)) {
      return "a token has a register that is not there";
    }
  }
  return "";
}

}  // namespace midigpt::token_grammar
