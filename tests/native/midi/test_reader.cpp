#include "midi/reader.h"

#include <doctest/doctest.h>

#include "midi/limits.h"
#include "support/midi_bytes.h"

namespace {

using namespace midigpt::midi;
using namespace midigpt::tests;

struct Refusal {
  const char* what;
  Bytes bytes;
  ReadError error;
  std::int64_t offset;
};

constexpr std::int64_t kFirstEvent = 22;  // after the header (14) and the chunk's header (8)

std::vector<Refusal> refusals() {
  Bytes long_header = file({});
  long_header[7] = 7;
  return {
      {"no header", {}, ReadError::NoHeader, 0},
      {"another name", Bytes(14, 'x'), ReadError::NoHeader, 0},
      {"header length", long_header, ReadError::HeaderLength, 4},
      {"format", header(1, 480, 3), ReadError::Format, 8},
      {"SMPTE", header(1, 0xE728), ReadError::SmpteDivision, 12},
      {"half a chunk header", header(1) + Bytes{'M', 'T'}, ReadError::ChunkHeader, 14},
      {"only another chunk", header(1) + Bytes{'X', 'F', 'I', 'H', 0, 0, 0, 0}, ReadError::ChunkHeader, 22},
      {"chunk too long", header(1) + Bytes{'M', 'T', 'r', 'k', 0, 0, 0, 9}, ReadError::ChunkLength, 14},
      {"delta crosses the end", file({0x81}), ReadError::TruncatedEvent, kFirstEvent},
      {"no event after the delta", file({0}), ReadError::TruncatedEvent, kFirstEvent},
      {"half a note", file({0, 0x90, 60}), ReadError::TruncatedEvent, kFirstEvent},
      {"half a controller", file({0, 0xB0, 7}), ReadError::TruncatedEvent, kFirstEvent},
      {"meta without type", file({0, 0xFF}), ReadError::TruncatedEvent, kFirstEvent},
      {"meta without length", file({0, 0xFF, 1}), ReadError::TruncatedEvent, kFirstEvent},
      {"meta too long", file({0, 0xFF, 1, 5, 'a'}), ReadError::TruncatedEvent, kFirstEvent},
      {"exclusive too long", file({0, 0xF0, 5, 1}), ReadError::TruncatedEvent, kFirstEvent},
      {"exclusive without length", file({0, 0xF0}), ReadError::TruncatedEvent, kFirstEvent},
      {"song position without data", file({0, 0xF2, 1}), ReadError::TruncatedEvent, kFirstEvent},
      {"tempo beyond the file", file({0, 0xFF, 0x51, 0}), ReadError::TruncatedEvent, kFirstEvent},
      {"signature beyond the file", file({0, 0xFF, 0x58, 0}), ReadError::TruncatedEvent, kFirstEvent},
      {"running status first", file({0, 60, 80}), ReadError::NoRunningStatus, kFirstEvent},
      {"undefined status", file({0, 0xF4}), ReadError::UndefinedStatus, kFirstEvent},
      {"pitch above 127", file({0, 0x90, 128, 80}), ReadError::DataByte, kFirstEvent},
      {"program above 127", file({0, 0xC0, 128}), ReadError::DataByte, kFirstEvent},
      {"controller above 127", file({0, 0xB0, 7, 200}), ReadError::DataByte, kFirstEvent},
      {"bend too large", file({0, 0xE0, 0, 128}), ReadError::PitchBend, kFirstEvent},
      {"denominator 256", file(time_signature(0, 4, 8)), ReadError::TimeSignatureDenominator, kFirstEvent},
  };
}

TEST_CASE("what is refused is refused under its reason at its byte, and the scratch can be used again") {
  Scratch scratch;
  for (const Refusal& refusal : refusals()) {
    CAPTURE(refusal.what);
    const Outcome outcome = read(refusal.bytes, scratch);
    CHECK(outcome.error == refusal.error);
    CHECK(outcome.offset == refusal.offset);
    const Bytes good = file(note(0, 60, 0, 480));
    CHECK(!read(good, scratch).failed());
    CHECK(scratch.file.notes.size() == 1);
  }
}

File& read_good(const Bytes& bytes, Scratch& scratch) {
  const Outcome outcome = read(bytes, scratch);
  REQUIRE(outcome.error == ReadError::None);
  CHECK(outcome.offset == kNoOffset);
  return scratch.file;
}

TEST_CASE("a note off closes the oldest open note of its pitch") {
  Scratch scratch;
  const File& read = read_good(file({0, 0x90, 60, 80, 10, 60, 70, 10, 0x80, 60, 0, 10, 60, 0, 10, 60, 0}), scratch);
  REQUIRE(read.notes.size() == 2);
  CHECK(read.notes[0].onset == 0);
  CHECK(read.notes[0].duration == 20);
  CHECK(read.notes[1].onset == 10);
  CHECK(read.notes[1].duration == 20);
  CHECK(read.notes[1].velocity == 70);
  CHECK(read.last_tick == 30);
}

TEST_CASE("a note that is never closed says so and does not leak into the next chunk") {
  Scratch scratch;
  const File& read = read_good(header(2) + chunk({0, 0x90, 60, 80}) + chunk({0, 0x80, 60, 0}), scratch);
  REQUIRE(read.notes.size() == 1);
  CHECK(read.notes[0].duration == kUnclosed);
  CHECK(read.last_tick == 0);
}

TEST_CASE("tracks are ordered by channel and program and keep their notes in file order") {
  Scratch scratch;
  const Bytes events = program(3, 5) + note(3, 60, 0, 1) + note(0, 61, 0, 1) + program(3, 2) + note(3, 62, 0, 1) +
                       program(3, 5) + note(3, 63, 0, 1);
  const File& read = read_good(file(events), scratch);
  REQUIRE(read.tracks.size() == 3);
  CHECK(read.tracks[0].channel == 0);
  CHECK(read.tracks[1].program == 2);
  CHECK(read.tracks[2].program == 5);
  REQUIRE(read.tracks[2].num_notes == 2);
  CHECK(read.notes[read.tracks[2].first_note].pitch == 60);
  CHECK(read.notes[read.tracks[2].first_note + 1].pitch == 63);
}

TEST_CASE("a track without notes stays only for a controller, a bend or a lyric") {
  Scratch scratch;
  CHECK(read_good(file({0, 0xB0, 7, 100}), scratch).tracks.empty());
  // Held by the channel until its track appears.
  CHECK(read_good(file({0, 0xB0, 7, 100, 0, 0x90, 60, 80, 1, 60, 0}), scratch).tracks[0].has_events);
  CHECK(read_good(file({0, 0x90, 60, 80, 1, 60, 0, 0, 0xE0, 0, 64}), scratch).tracks[0].has_events);
  const Bytes silent{0, 0xFF, 0x7F, 10, 0x7D, 'm', 'i', 'd', 'i', 'g', 'p', 't', 3, 40};
  const File& kept = read_good(file(note(3, 60, 0, 10) + silent + silent), scratch);
  REQUIRE(kept.tracks.size() == 2);
  CHECK(kept.tracks[1].program == 40);
  CHECK(kept.tracks[1].num_notes == 0);
  // The track goes on where its program plays; a channel or program beyond what there is means nothing.
  CHECK(read_good(file(silent + program(3, 40) + note(3, 60, 0, 10)), scratch).tracks.size() == 1);
  Bytes beyond = silent;
  beyond[12] = 16;
  CHECK(read_good(file(beyond), scratch).tracks.empty());
  const File& lyric = read_good(file({0, 0xFF, 0x05, 1, 'a'}), scratch);
  REQUIRE(lyric.tracks.size() == 1);
  CHECK(lyric.tracks[0].channel == 15);
  CHECK(read_good(file({0, 0xFF, 0x05, 0}), scratch).tracks.empty());
  CHECK(read_good(file({0, 0xBF, 7, 1, 0, 0xFF, 0x05, 0}), scratch).tracks.size() == 1);
}

TEST_CASE("meta events leave running status alone, system messages repeat with their size") {
  Scratch scratch;
  CHECK(read_good(file({0, 0x90, 60, 80, 0, 0xFF, 1, 0, 5, 60, 0}), scratch).notes[0].duration == 5);
  // F0 of two data bytes takes three with its length; the same again as running status.
  CHECK(read_good(file({0, 0xF0, 2, 1, 1, 0, 2, 1, 1, 0, 0xF6, 0, 0xF3, 1, 0, 0xF2, 1, 1}), scratch).notes.empty());
  CHECK(read_good(file({0, 0xD0, 200, 0, 0xA0, 200, 200}), scratch).notes.empty());
}

TEST_CASE("a fourth byte ends a number, an end of track ends its chunk") {
  Scratch scratch;
  CHECK(read_good(file({0x81, 0x80, 0x80, 0x00, 0x90, 60, 80, 0, 60, 0}), scratch).notes[0].onset == 1 << 21);
  CHECK(read_good(file({0, 0xFF, 0x2F, 0, 0, 0xF4}), scratch).notes.empty());
}

TEST_CASE("the earliest tempo counts, signatures stay in file order") {
  Scratch scratch;
  const File& read = read_good(header(2, 0) + chunk(tempo(10, 400'000) + time_signature(5, 3, 2)) +
                                   chunk(tempo(5, 300'000) + tempo(0, 200'000) + time_signature(0, 6, 3)),
                               scratch);
  CHECK(read.ticks_per_quarter == 480);  // for a division of 0
  CHECK(read.tempo == 300'000);
  REQUIRE(read.time_signatures.size() == 2);
  CHECK(read.time_signatures[0].tick == 15);
  CHECK(read.time_signatures[1].numerator == 6);
  CHECK(read.last_tick == 15);
}

TEST_CASE("missing chunks, chunks of another name and what follows the last are no reason to refuse") {
  Scratch scratch;
  const Bytes alien{'X', 'F', 'I', 'H', 0, 0, 0, 1, 9};
  CHECK(read_good(header(5) + alien + chunk(note(0, 60, 0, 1)), scratch).notes.size() == 1);
  CHECK(read_good(file(note(0, 60, 0, 1)) + Bytes{1, 2, 3}, scratch).notes.size() == 1);
}

Bytes repeated(const Bytes& part, std::size_t times) {
  Bytes out;
  out.reserve(part.size() * times);
  for (std::size_t i = 0; i < times; ++i) out.insert(out.end(), part.begin(), part.end());
  return out;
}

TEST_CASE("limits are met to the last unit") {
  Scratch scratch;
  const auto events_of = [](const Bytes& status, const Bytes& event, std::size_t count) {
    return file(status + repeated(event, count));
  };
  const Bytes note_on{0, 0x90, 60, 80};
  CHECK(read(events_of(note_on, {0, 60, 80}, kMaxNotes - 1), scratch).error == ReadError::None);
  CHECK(read(events_of(note_on, {0, 60, 80}, kMaxNotes), scratch).error == ReadError::TooManyNotes);
  const Bytes signature = time_signature(0, 4, 2);
  CHECK(read(events_of({}, signature, kMaxTimeSignatures), scratch).error == ReadError::None);
  CHECK(read(events_of({}, signature, kMaxTimeSignatures + 1), scratch).error == ReadError::TooManyTimeSignatures);
  const Bytes track = chunk(note(0, 60, 0, 1));
  CHECK(read(header(2000) + repeated(track, kMaxTracks), scratch).error == ReadError::None);
  CHECK(read(header(2000) + repeated(track, kMaxTracks + 1), scratch).error == ReadError::TooManyTracks);
  const Bytes lyric{0, 0xFF, 0x05, 1, 'a'};
  CHECK(read(header(2000) + repeated(track, kMaxTracks) + chunk(lyric), scratch).error == ReadError::TooManyTracks);
  const Bytes silent{0, 0xFF, 0x7F, 10, 0x7D, 'm', 'i', 'd', 'i', 'g', 'p', 't', 3, 40};
  CHECK(read(header(2000) + repeated(track, kMaxTracks) + chunk(silent), scratch).error == ReadError::TooManyTracks);
  const Bytes long_wait{0xFF, 0xFF, 0xFF, 0x7F, 0xF6};
  CHECK(read(events_of({}, long_wait, 8), scratch).error == ReadError::None);
  CHECK(read(events_of({}, long_wait, 9), scratch).error == ReadError::TooManyTicks);
  CHECK(read(Bytes(static_cast<std::size_t>(kMaxFileBytes) + 1), scratch).error == ReadError::FileTooLarge);
}

}  // namespace
