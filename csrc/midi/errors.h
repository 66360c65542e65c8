// Why a file was refused, and where.
#pragma once

#include <array>
#include <cstdint>

namespace midigpt::midi {

// Values are stored in corpora: never renumber, add at the end.
enum class ReadError : std::uint8_t {
  None = 0,
  FileTooLarge,
  NoHeader,
  HeaderLength,
  Format,
  SmpteDivision,
  ChunkHeader,
  ChunkLength,
  TruncatedEvent,
  NoRunningStatus,
  UndefinedStatus,
  DataByte,
  PitchBend,
  TimeSignatureDenominator,
  EmptyBars,
  TooManyTracks,
  TooManyNotes,
  TooManyTimeSignatures,
  TooManyBars,
  TooManyTicks,
};

struct ReadErrorInfo {
  ReadError code;
  const char* name;
  const char* meaning;
};

inline constexpr std::array kReadErrors{
    ReadErrorInfo{ReadError::None, "none", "the file was read"},
    ReadErrorInfo{ReadError::FileTooLarge, "file_too_large", "the file is larger than 16 MiB"},
    ReadErrorInfo{ReadError::NoHeader, "no_header", "the file does not start with a MIDI header (MThd)"},
    ReadErrorInfo{ReadError::HeaderLength, "header_length", "the header's length is not 6"},
    ReadErrorInfo{ReadError::Format, "format", "the format is none of 0, 1 and 2"},
    ReadErrorInfo{ReadError::SmpteDivision, "smpte_division",
                  "time is given in SMPTE frames, not in ticks per quarter"},
    ReadErrorInfo{ReadError::ChunkHeader, "chunk_header", "tracks are missing and the rest is no chunk"},
    ReadErrorInfo{ReadError::ChunkLength, "chunk_length", "a chunk is longer than the rest of the file"},
    ReadErrorInfo{ReadError::TruncatedEvent, "truncated_event", "an event crosses the end of its track"},
    ReadErrorInfo{ReadError::NoRunningStatus, "no_running_status", "a data byte without a status byte before it"},
    ReadErrorInfo{ReadError::UndefinedStatus, "undefined_status", "a status byte is undefined (F4, F5, F9 or FD)"},
    ReadErrorInfo{ReadError::DataByte, "data_byte", "a data byte of a note, program or controller is above 127"},
    ReadErrorInfo{ReadError::PitchBend, "pitch_bend", "a pitch bend is above 16383"},
    ReadErrorInfo{ReadError::TimeSignatureDenominator, "time_signature_denominator",
                  "a time signature's denominator is above 128"},
    ReadErrorInfo{ReadError::EmptyBars, "empty_bars", "no time signature gives bars a length of at least one tick"},
    ReadErrorInfo{ReadError::TooManyTracks, "too_many_tracks", "the file has more than 1,024 tracks"},
    ReadErrorInfo{ReadError::TooManyNotes, "too_many_notes", "the file has more than 1,000,000 notes"},
    ReadErrorInfo{ReadError::TooManyTimeSignatures, "too_many_time_signatures",
                  "the file has more than 100,000 time signatures"},
    ReadErrorInfo{ReadError::TooManyBars, "too_many_bars", "the file has more than 20,000 bars"},
    ReadErrorInfo{ReadError::TooManyTicks, "too_many_ticks", "the ticks add up to more than 2,147,483,646"},
};

inline constexpr std::int64_t kNoOffset = -1;

// How reading one file ended.
struct Outcome {
  ReadError error = ReadError::None;
  std::int64_t offset = kNoOffset;  // byte of the file; kNoOffset where no byte is to blame

  [[nodiscard]] bool failed() const { return error != ReadError::None; }
};

}  // namespace midigpt::midi
