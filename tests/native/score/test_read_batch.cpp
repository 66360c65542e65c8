#include "score/read_batch.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "midi/errors.h"
#include "score/columns.h"
#include "support/failing_threads.h"
#include "support/midi_bytes.h"

namespace {

using namespace midigpt::score;
using namespace midigpt::tests;
using midigpt::midi::ReadError;

struct Batch {
  Bytes data;
  std::vector<std::int64_t> offsets{0};

  void add(const Bytes& file) {
    data = std::move(data) + file;
    offsets.push_back(static_cast<std::int64_t>(data.size()));
  }
  [[nodiscard]] BatchResult read(int threads = 1) const { return read_batch(data, offsets, threads); }
};

BatchResult read_one(const Bytes& file) {
  Batch batch;
  batch.add(file);
  BatchResult result = batch.read();
  REQUIRE(static_cast<ReadError>(result.status[0]) == ReadError::None);
  return result;
}

TEST_CASE("no files give no pieces") {
  const BatchResult result = Batch{}.read(4);
  CHECK(result.status.size() == 0);
  CHECK(result.columns.tempo.empty());
  CHECK(result.columns.note_offsets.size() == 1);
}

TEST_CASE("a note lies in the bar of its onset with what rounding took away") {
  const ColumnStore columns = read_one(file(note(0, 60, 4001, 1000), 1000)).columns;
  REQUIRE(columns.note_pitch.size() == 1);
  CHECK(columns.cell_bar[0] == 1);
  CHECK(columns.cell_note_end[0] == 1);
  CHECK(columns.note_onset[0] == 0);          // 0.48 of a tick
  CHECK(columns.note_microtiming[0] == 230);  // 0.48 * 480, rounded
  CHECK(columns.note_duration[0] == 480);
  CHECK(columns.bar_length.size() == 2);
}

TEST_CASE("a note that would round onto the next bar line is dropped, one of length 0 is a tick long") {
  CHECK(read_one(file(note(0, 60, 3999, 500), 1000)).columns.note_pitch.empty());
  CHECK(read_one(file(note(0, 60, 0, 0))).columns.note_duration[0] == 1);
}

TEST_CASE("many notes are placed as one, whichever are left out between them") {
  // Every fourteenth note would round onto the next bar line, every fifth never ends.
  Bytes events;
  std::vector<std::int64_t> onsets;
  std::int64_t tick = 0;
  for (std::int64_t i = 0; i < 1500; ++i) {
    const bool rounds_up = i % 14 == 0;
    const std::int64_t onset = rounds_up ? tick / 4000 * 4000 + 3999 : tick + 61;
    const auto wait = static_cast<std::uint32_t>(onset - tick);
    const bool ends = i % 5 != 0;
    const auto pitch = static_cast<std::uint8_t>(ends ? 60 : i / 70);
    events = std::move(events) + (ends ? note(0, pitch, wait, 1) : delta(wait) + Bytes{0x90, pitch, 80});
    if (ends && !rounds_up) onsets.push_back(onset);
    tick = onset + (ends ? 1 : 0);
  }
  const ColumnStore columns = read_one(file(events, 1000)).columns;
  REQUIRE(columns.note_onset.size() == onsets.size());
  std::vector<std::int32_t> cell_begin{0};
  for (const std::int32_t end : columns.cell_note_end.from(0)) cell_begin.push_back(end);
  std::size_t cell = 0;
  for (std::size_t i = 0; i < onsets.size(); ++i) {
    const double exact = static_cast<double>(onsets[i] % 4000) / 1000 * 480;
    CHECK(columns.note_onset[i] == std::lround(exact));
    CHECK(columns.note_microtiming[i] == std::lround((exact - std::round(exact)) * 480));
    while (columns.cell_note_end[cell] <= static_cast<std::int32_t>(i)) ++cell;
    CHECK(columns.cell_bar[cell] == onsets[i] / 4000);
    const bool begins = i == 0 || onsets[i] / 4000 != onsets[i - 1] / 4000;
    CHECK(begins == (cell_begin[cell] == static_cast<std::int32_t>(i)));
  }
  CHECK(cell_begin.back() == static_cast<std::int32_t>(onsets.size()));
}

TEST_CASE("a note across a cut bar is stretched by what the bar lost") {
  const Bytes events = note(0, 60, 900, 60) + time_signature(0, 3, 2);
  CHECK(read_one(file(events)).columns.note_duration[0] == 1020);
}

TEST_CASE("notes before the first bar start with it") {
  const Bytes before = time_signature(0, 0, 2) + note(0, 60, 100, 10);
  const Bytes events = before + time_signature(370, 4, 2) + note(0, 61, 0, 480);
  const ColumnStore columns = read_one(file(events)).columns;
  REQUIRE(columns.note_pitch.size() == 2);
  CHECK(columns.note_onset[0] == 0);
  CHECK(columns.note_duration[0] == 1);
}

TEST_CASE("tracks, cells and pieces are runs") {
  Batch batch;
  batch.add(header(2) + chunk(note(9, 36, 0, 10) + note(9, 38, 1910, 10)) + chunk(note(0, 60, 1920, 10)));
  batch.add(Bytes{'n', 'o'});
  batch.add(file({}));
  batch.add(file(tempo(0, 250'000) + note(1, 61, 0, 10) + Bytes{0, 0x91, 62, 80}));
  const BatchResult result = batch.read();
  CHECK(static_cast<ReadError>(result.status[1]) == ReadError::NoHeader);
  CHECK(result.error_offset[1] == 0);
  const ColumnStore& columns = result.columns;
  REQUIRE(columns.track_offsets.size() == 5);
  CHECK(columns.track_offsets[1] == 2);
  CHECK(columns.track_offsets[3] == 2);
  CHECK(columns.track_offsets[4] == 3);
  CHECK(columns.track_drum[0] == 1);
  CHECK(columns.track_drum[1] == 0);
  CHECK(columns.track_cell_end[0] == 2);
  CHECK(columns.track_cell_end[1] == 3);
  CHECK(columns.track_cell_end[2] == 1);
  CHECK(columns.cell_bar[2] == 1);
  CHECK(columns.cell_note_end[3] == 1);
  CHECK(columns.tempo[3] == 250'000);
  CHECK(columns.bar_offsets[3] == 2);  // bars live in tracks: the empty file has none
}

// More than one run of files, some refused, so that threads have something to put in order.
Batch large_batch() {
  Batch batch;
  for (std::uint32_t index = 0; index < 60; ++index) {
    Bytes events;
    for (std::uint32_t i = 0; i < 40 * (index % 7 + 1); ++i) {
      const auto channel = static_cast<std::uint8_t>(i % 16);
      events = std::move(events) + note(channel, static_cast<std::uint8_t>(i % 128), index, 7 * i);
    }
    batch.add(index % 11 == 3 ? Bytes(1000, 'x') : file(events));
  }
  for (int i = 0; i < 4; ++i) batch.add(file(Bytes(70'000, 0)));
  return batch;
}

TEST_CASE("any number of threads gives the same columns, also where fewer can be made") {
  const Batch batch = large_batch();
  const BatchResult one = batch.read(1);
  for (const auto& [threads, made] : {std::pair{2, 1}, {5, 8}, {64, 126}, {2, 0}, {5, 1}, {64, 3}}) {
    const FewThreads few(made);
    const BatchResult many = batch.read(threads);
    for_each_column(one.columns, many.columns, [](auto column, const auto& a, const auto& b) {
      CAPTURE(std::string(column.name));
      REQUIRE(a.size() == b.size());
      CHECK(std::equal(a.data(), a.data() + a.size(), b.data()));
    });
    const std::size_t files = one.status.size();
    CHECK(std::equal(one.status.data(), one.status.data() + files, many.status.data()));
    CHECK(std::equal(one.error_offset.data(), one.error_offset.data() + files, many.error_offset.data()));
  }
}

}  // namespace
