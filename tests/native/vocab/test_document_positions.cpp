#include "vocab/document_positions.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "vocab/codebook.h"

namespace {

using namespace midigpt::vocab;

std::shared_ptr<Codebook> book(bool placeholder_positions) {
  Settings settings;
  settings.resolution = 12;
  settings.supports_infill = true;
  settings.placeholder_positions = placeholder_positions;
  std::string error;
  auto made = Codebook::build(settings, error);
  CHECK(error == "");
  REQUIRE(made != nullptr);
  return made;
}

std::vector<std::int32_t> positions(const Codebook& codebook, DocumentPositions& count,
                                    const std::vector<TokenType>& document) {
  std::vector<std::int32_t> out;
  count.restart();
  for (const TokenType type : document) out.push_back(count.next(codebook.first_id(type)));
  return out;
}

constexpr TokenType kBar = TokenType::Bar;
constexpr TokenType kHole = TokenType::FillInPlaceholder;
constexpr TokenType kStart = TokenType::FillInStart;
constexpr TokenType kNote = TokenType::NoteOnset;
constexpr TokenType kEnd = TokenType::FillInEnd;

TEST_CASE("each block counts on from its own placeholder") {
  const auto codebook = book(true);
  DocumentPositions count(*codebook);
  const std::vector<TokenType> document{kBar,  kHole, kBar,   kHole, kBar,  kStart, kNote,
                                        kNote, kEnd,  kStart, kEnd,  kNote, kNote,  kNote};
  CHECK(positions(*codebook, count, document) ==
        std::vector<std::int32_t>{0, 1, 2, 3, 4, 1, 2, 3, 4, 3, 4, 11, 12, 13});
  CHECK(positions(*codebook, count, {kBar, kHole, kStart, kEnd}) == std::vector<std::int32_t>{0, 1, 1, 2});
}

TEST_CASE("a block without a placeholder, and one that begins in another, do not go below 0") {
  const auto codebook = book(true);
  DocumentPositions count(*codebook);
  CHECK(positions(*codebook, count, {kBar, kStart, kNote, kEnd}) == std::vector<std::int32_t>{0, 1, 2, 3});
  CHECK(positions(*codebook, count, {kHole, kStart, kNote, kStart, kNote, kEnd}) ==
        std::vector<std::int32_t>{0, 0, 1, 3, 4, 5});
}

TEST_CASE("in sequence positions are places") {
  const auto codebook = book(false);
  DocumentPositions count(*codebook);
  CHECK(positions(*codebook, count, {kBar, kHole, kStart, kNote, kEnd}) == std::vector<std::int32_t>{0, 1, 2, 3, 4});
}

TEST_CASE("a vocabulary without tokens to fill in with has no placeholders") {
  Settings settings;
  settings.placeholder_positions = true;
  std::string error;
  CHECK(Codebook::build(settings, error) == nullptr);
  CHECK(error == "infill_positions: placeholder positions need the FillIn tokens, which supports_infill adds");
}

}  // namespace
