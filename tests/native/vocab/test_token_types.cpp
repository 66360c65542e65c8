#include "vocab/token_types.h"

#include <doctest/doctest.h>

#include <set>

namespace {

using namespace midigpt::vocab;

TEST_CASE("a type is known by its name, its upper-case name and its alias") {
  CHECK(token_type("PitchRange") == TokenType::TrackLevelPitchRangeMax);
  CHECK(token_type("TOKEN_NOTE_ONSET") == TokenType::NoteOnset);
  CHECK(token_type("PieceEnd") == TokenType::None);
  CHECK(token_type("") == std::nullopt);
  CHECK(token_type("noteonset") == std::nullopt);
  for (const TokenTypeInfo& row : kTokenTypes) CHECK(token_type(canonical_name(row.type)) == row.type);
}

TEST_CASE("numbers ascend and stay below the count") {
  std::set<std::size_t> numbers;
  for (const TokenTypeInfo& row : kTokenTypes) numbers.insert(index_of(row.type));
  CHECK(numbers.size() == kTokenTypes.size());
  CHECK(*numbers.rbegin() + 1 == kTokenTypeCount);
  CHECK(index_of(TokenType::TrackLevelNomml) == 88);
}

}  // namespace
