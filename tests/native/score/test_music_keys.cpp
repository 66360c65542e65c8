#include "score/music_keys.h"

#include <cstdint>
#include <vector>

#include <doctest/doctest.h>

#include "support/one_piece.h"

namespace {

using namespace midigpt::score;
using midigpt::tests::OnePiece;

MusicKeys keys_of(const OnePiece& source) {
  const auto bounded = source.bounded();
  MusicKeyFinder finder;
  MusicKeys keys;
  REQUIRE(finder.find(bounded, {bounded.columns, 0}, keys));
  return keys;
}

OnePiece piece(std::uint8_t pitch, bool drum = false, int bars = 4) {
  OnePiece made;
  for (int bar = 0; bar < bars; ++bar) made.add_bar(4, 4);
  made.add_track(0, drum);
  for (int bar = 0; bar < bars; ++bar) {
    for (int note = 0; note < 4; ++note) {
      made.add_note(bar, 480 * note, 240 + bar, static_cast<std::uint8_t>(pitch + 2 * note), 80);
    }
  }
  return made;
}

TEST_CASE("a transposed piece has the same keys, transposed drums have others") {
  const MusicKeys low = keys_of(piece(40));
  const MusicKeys high = keys_of(piece(50));
  CHECK(low.exact == high.exact);
  CHECK(low.sketch == high.sketch);
  CHECK(low.bars == 4);
  CHECK(keys_of(piece(40, true)).exact != keys_of(piece(50, true)).exact);
  CHECK(keys_of(piece(40, true)).exact != low.exact);
}

TEST_CASE("a track moved against the others keeps its bars, not the key of the whole") {
  OnePiece together = piece(40);
  OnePiece apart = together;
  for (OnePiece* made : {&together, &apart}) {
    made->add_track(7, false);
    for (int bar = 0; bar < 4; ++bar) made->add_note(bar, 0, 480, made == &together ? 60 : 61, 80);
  }
  CHECK(keys_of(together).exact != keys_of(apart).exact);
  CHECK(keys_of(together).sketch == keys_of(apart).sketch);
  CHECK(keys_of(together).bars == 5);
}

TEST_CASE("a piece without notes has the key 0 and an empty sketch") {
  OnePiece silent;
  silent.add_bar(4, 4);
  silent.add_track(0, false);
  const MusicKeys keys = keys_of(silent);
  CHECK(keys.exact == 0);
  CHECK(keys.bars == 0);
  CHECK(keys.sketch.front() == 0xFFFFFFFFU);
}

TEST_CASE("empty bins borrow, so that every value of a piece with one bar is taken") {
  const MusicKeys keys = keys_of(piece(40, false, 1));
  CHECK(keys.bars == 1);
  for (const auto value : keys.sketch) CHECK(value != 0xFFFFFFFFU);
}

TEST_CASE("different hashes are counted, 0 among them, and hashes that meet in one place") {
  std::vector<std::uint64_t> table;
  const auto counted = [&table](std::vector<std::uint64_t> hashes) { return count_different(hashes, table); };
  CHECK(counted({}) == 0);
  CHECK(counted({0}) == 1);
  CHECK(counted({0, 0, 1, std::uint64_t{1} << 63U, 1}) == 3);
  CHECK(counted({~std::uint64_t{0}, ~std::uint64_t{0} - 1, ~std::uint64_t{0}}) == 2);
  // The same first bits: each steps over all before it, until they are sorted.
  std::vector<std::uint64_t> met;
  for (std::uint64_t hash = 0; hash < 200'000; ++hash) met.push_back(hash / 2);
  CHECK(counted(met) == 100'000);
}

TEST_CASE("damaged runs are refused") {
  const auto found = [](const OnePiece& source) {
    const auto bounded = source.bounded();
    MusicKeyFinder finder;
    MusicKeys keys;
    return finder.find(bounded, {bounded.columns, 0}, keys);
  };
  CHECK(found(piece(40)));
  OnePiece bad = piece(40);
  bad.cell_note_end[1] = 1000;
  CHECK_FALSE(found(bad));
  bad = piece(40);
  bad.cell_note_end[1] = bad.cell_note_end[0];
  CHECK_FALSE(found(bad));
  bad = piece(40);
  bad.track_cell_end[0] = 1000;
  CHECK_FALSE(found(bad));
}

}  // namespace
