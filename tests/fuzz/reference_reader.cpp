#include "fuzz/reference_reader.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <string>
#include <utility>

#include "midi/limits.h"

namespace midigpt::fuzz::reference {

namespace {

using midi::ReadError;

constexpr double kResolution = 480;
constexpr int kDrums = 9;
constexpr int kLyrics = 15;

struct Refused {
  ReadError error;
};

void require(bool condition, ReadError error) {
  if (!condition) throw Refused{error};
}

struct RawNote {
  std::int64_t on = 0;
  std::int64_t off = -1;  // -1: never closed
  std::int64_t pitch = 0;
  std::int64_t velocity = 0;
};

struct Group {
  std::vector<RawNote> notes;
  bool has_events = false;
};

using GroupKey = std::pair<int, int>;  // channel, program

struct RawTrack {
  GroupKey key;
  Group group;
};

struct Signature {
  std::int64_t tick = 0;
  std::int64_t numerator = 4;
  std::int64_t log2_denominator = 2;
};

struct Tempo {
  std::int64_t tick = 0;
  std::int64_t value = 0;
};

struct RawFile {
  std::int64_t ticks_per_quarter = 480;
  std::int64_t num_notes = 0;
  std::int64_t last_tick = 0;
  std::vector<RawTrack> tracks;
  std::vector<Signature> signatures;
  std::vector<Tempo> tempos;
};

// Bytes of the file up to the end of a chunk.
class Chunk {
 public:
  Chunk(std::span<const std::uint8_t> file, std::size_t begin, std::size_t end) : file_(file), at_(begin), end_(end) {}

  [[nodiscard]] bool done() const { return at_ >= end_; }
  void finish() { at_ = end_; }

  [[nodiscard]] int peek() const {
    require(!done(), ReadError::TruncatedEvent);
    return file_[at_];
  }
  int byte() {
    const int value = peek();
    ++at_;
    return value;
  }
  void skip(std::int64_t count) {
    require(count <= static_cast<std::int64_t>(end_ - at_), ReadError::TruncatedEvent);
    at_ += static_cast<std::size_t>(count);
  }
  // At most four bytes, the fourth of which ends it.
  std::int64_t number() {
    std::int64_t value = 0;
    for (int i = 0; i < 4; ++i) {
      const int next = byte();
      value = value * 128 + next % 128;
      if (next < 128) break;
    }
    return value;
  }
  // A byte of a meta event's data, wherever the event or its chunk ends.
  [[nodiscard]] int data(std::size_t index) const {
    require(at_ + index < file_.size(), ReadError::TruncatedEvent);
    return file_[at_ + index];
  }
  [[nodiscard]] std::size_t position() const { return at_; }

 private:
  std::span<const std::uint8_t> file_;
  std::size_t at_;
  std::size_t end_;
};

class ChunkReader {
 public:
  ChunkReader(Chunk chunk, RawFile& file) : chunk_(chunk), file_(file) {}

  void read() {
    while (!chunk_.done()) event();
    for (auto& [key, group] : groups_) {
      if (!group.notes.empty() || group.has_events) file_.tracks.push_back({key, std::move(group)});
    }
  }

 private:
  struct Open {
    GroupKey key;
    std::size_t note;
  };

  void event() {
    tick_ += chunk_.number();
    require(tick_ <= midi::kMaxTick, ReadError::TooManyTicks);
    const int first = chunk_.peek();
    if (first == 0xFF) {
      chunk_.byte();
      meta();
      return;
    }
    const bool running = first < 0x80;
    require(!running || status_ != 0, ReadError::NoRunningStatus);
    if (!running) status_ = chunk_.byte();
    if (status_ >= 0xF0) {
      system(running);
    } else {
      channel_message(status_ / 16, status_ % 16);
    }
  }

  void system(bool running) {
    if (!running) {
      const bool undefined = status_ == 0xF4 || status_ == 0xF5 || status_ == 0xF9 || status_ == 0xFD;
      require(!undefined, ReadError::UndefinedStatus);
      system_size_ = status_ == 0xF2 ? 2 : status_ == 0xF1 || status_ == 0xF3 ? 1 : 0;
      if (status_ == 0xF0) {
        const std::size_t begin = chunk_.position();
        const std::int64_t length = chunk_.number();
        const auto prefix = static_cast<std::int64_t>(chunk_.position() - begin);
        system_size_ = prefix + length;
        chunk_.skip(length);
        return;
      }
    }
    chunk_.skip(system_size_);
  }

  void channel_message(int kind, int channel) {
    const int first = chunk_.byte();
    const int second = kind == 0xC || kind == 0xD ? 0 : chunk_.byte();
    switch (kind) {
      case 0x8:
      case 0x9:
        require(first < 128 && second < 128, ReadError::DataByte);
        if (kind == 0x9 && second > 0) {
          note_on(channel, first, second);
        } else {
          note_off(channel, first);
        }
        break;
      case 0xB:
        require(first < 128 && second < 128, ReadError::DataByte);
        controller(channel);
        break;
      case 0xC:
        require(first < 128, ReadError::DataByte);
        program_[channel] = first;
        break;
      case 0xE:
        require((first | second << 7) <= 16383, ReadError::PitchBend);
        controller(channel);
        break;
      default:  // aftertouch
        break;
    }
  }

  [[nodiscard]] GroupKey current(int channel) { return {channel, program_[channel]}; }

  // The group of the channel's current program; controllers that waited for it are its events.
  Group& group(int channel) {
    const GroupKey key = current(channel);
    if (!groups_.contains(key)) {
      const std::size_t tracks = file_.tracks.size() + groups_.size();
      require(static_cast<std::int64_t>(tracks) < midi::kMaxTracks, ReadError::TooManyTracks);
      groups_[key].has_events = held_[channel];
      held_[channel] = false;
    }
    return groups_[key];
  }

  void controller(int channel) {
    if (groups_.contains(current(channel))) {
      group(channel).has_events = true;
    } else {
      held_[channel] = true;
    }
  }

  void note_on(int channel, int pitch, int velocity) {
    std::vector<RawNote>& notes = group(channel).notes;
    require(file_.num_notes < midi::kMaxNotes, ReadError::TooManyNotes);
    ++file_.num_notes;
    open_[{channel, pitch}].push_back({current(channel), notes.size()});
    notes.push_back({tick_, -1, pitch, velocity});
  }

  void note_off(int channel, int pitch) {
    std::vector<Open>& open = open_[{channel, pitch}];
    if (open.empty()) return;
    groups_[open.front().key].notes[open.front().note].off = tick_;
    open.erase(open.begin());
    file_.last_tick = std::max(file_.last_tick, tick_);
  }

  void meta() {
    const int type = chunk_.byte();
    const std::int64_t length = chunk_.number();
    Chunk after = chunk_;
    after.skip(length);
    switch (type) {
      case 0x05:
        if (length > 0) {
          group(kLyrics).has_events = true;
        } else {
          group(kLyrics);
        }
        break;
      case 0x7F:
        if (length == 10) silent_track();
        break;
      case 0x2F: after.finish(); break;
      case 0x51: file_.tempos.push_back({tick_, chunk_.data(2) + 256 * chunk_.data(1) + 65536 * chunk_.data(0)}); break;
      case 0x58: {
        const int log2_denominator = chunk_.data(1);
        require(log2_denominator <= 7, ReadError::TimeSignatureDenominator);
        require(static_cast<std::int64_t>(file_.signatures.size()) < midi::kMaxTimeSignatures,
                ReadError::TooManyTimeSignatures);
        file_.signatures.push_back({tick_, chunk_.data(0), log2_denominator});
        file_.last_tick = std::max(file_.last_tick, tick_);
        break;
      }
      default: break;
    }
    chunk_ = after;
  }

  // The non-commercial manufacturer's id, "midigpt", a channel and a program: a track without notes.
  void silent_track() {
    const std::string name = "}midigpt";  // '}' is that id, 0x7D
    for (std::size_t i = 0; i < name.size(); ++i) {
      if (chunk_.data(i) != name[i]) return;
    }
    const GroupKey key{chunk_.data(8), chunk_.data(9)};
    if (key.first >= 16 || key.second >= 128) return;
    if (!groups_.contains(key)) {
      const std::size_t tracks = file_.tracks.size() + groups_.size();
      require(static_cast<std::int64_t>(tracks) < midi::kMaxTracks, ReadError::TooManyTracks);
    }
    groups_[key].has_events = true;
  }

  Chunk chunk_;
  RawFile& file_;
  std::int64_t tick_ = 0;
  int status_ = 0;
  std::int64_t system_size_ = 0;
  std::map<int, int> program_;
  std::map<int, bool> held_;
  std::map<GroupKey, Group> groups_;
  std::map<std::pair<int, int>, std::vector<Open>> open_;  // by channel and pitch, the oldest first
};

std::int64_t big_endian(std::span<const std::uint8_t> bytes, std::size_t at, int count) {
  std::int64_t value = 0;
  for (int i = 0; i < count; ++i) value = value * 256 + bytes[at + static_cast<std::size_t>(i)];
  return value;
}

bool is_named(std::span<const std::uint8_t> bytes, std::size_t at, const std::string& name) {
  return std::equal(name.begin(), name.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at));
}

RawFile read_chunks(std::span<const std::uint8_t> bytes) {
  require(static_cast<std::int64_t>(bytes.size()) <= midi::kMaxFileBytes, ReadError::FileTooLarge);
  require(bytes.size() >= 14 && is_named(bytes, 0, "MThd"), ReadError::NoHeader);
  require(big_endian(bytes, 4, 4) == 6, ReadError::HeaderLength);
  require(big_endian(bytes, 8, 2) <= 2, ReadError::Format);
  RawFile file;
  const std::int64_t division = big_endian(bytes, 12, 2);
  require(division < 32768, ReadError::SmpteDivision);
  if (division > 0) file.ticks_per_quarter = division;

  std::int64_t due = big_endian(bytes, 10, 2);
  bool in_the_middle = false;  // after a chunk that is no track, another must come
  for (std::size_t at = 14; due > 0 && (in_the_middle || at < bytes.size());) {
    require(bytes.size() - at >= 8, ReadError::ChunkHeader);
    const std::int64_t length = big_endian(bytes, at + 4, 4);
    require(length <= static_cast<std::int64_t>(bytes.size() - at - 8), ReadError::ChunkLength);
    const std::size_t begin = at + 8;
    const std::size_t end = begin + static_cast<std::size_t>(length);
    in_the_middle = !is_named(bytes, at, "MTrk");
    if (!in_the_middle) {
      ChunkReader(Chunk(bytes, begin, end), file).read();
      --due;
    }
    at = end;
  }
  return file;
}

// By tick, the last of those at one tick; 4/4 at the start unless one stands there.
std::vector<Signature> effective_signatures(const RawFile& file) {
  std::map<std::int64_t, Signature> by_tick{{0, Signature{}}};
  for (const Signature& signature : file.signatures) by_tick[signature.tick] = signature;
  std::vector<Signature> out;
  out.reserve(by_tick.size());
  for (const auto& [tick, signature] : by_tick) out.push_back(signature);
  return out;
}

struct RawBar {
  std::int64_t tick = 0;
  double start = 0;   // at kResolution, exact
  double length = 0;  // at kResolution, exact and nominal
  Bar bar;
};

std::vector<RawBar> lay_bars(const RawFile& file) {
  const auto quarter = static_cast<double>(file.ticks_per_quarter);
  const std::vector<Signature> signatures = effective_signatures(file);
  std::vector<RawBar> bars;
  double start = 0;
  for (std::size_t i = 0; i < signatures.size(); ++i) {
    const Signature& signature = signatures[i];
    const std::int64_t denominator = std::int64_t{1} << signature.log2_denominator;
    const std::int64_t ticks = 4 * file.ticks_per_quarter * signature.numerator / denominator;
    if (ticks == 0) continue;
    const bool last = i + 1 == signatures.size();
    const std::int64_t end = last ? std::max(file.last_tick, signature.tick + 1) : signatures[i + 1].tick;
    for (std::int64_t tick = signature.tick; tick < end; tick += ticks) {
      require(static_cast<std::int64_t>(bars.size()) < midi::kMaxBars, ReadError::TooManyBars);
      const double length = kResolution * static_cast<double>(ticks) / quarter;
      bars.push_back({tick, start, length, {signature.numerator, denominator, static_cast<double>(ticks) / quarter}});
      start += length;
    }
    // A note could start at the end of all bars and last as long as the whole file.
    const double latest = start + static_cast<double>(file.last_tick) * kResolution / quarter;
    require(latest <= static_cast<double>(midi::kMaxTick), ReadError::TooManyTicks);
  }
  require(!bars.empty(), ReadError::EmptyBars);
  return bars;
}

// The last bar that starts at or before the tick, else the first.
std::size_t bar_of(const std::vector<RawBar>& bars, std::int64_t tick) {
  std::size_t found = 0;
  for (std::size_t bar = 0; bar < bars.size() && bars[bar].tick <= tick; ++bar) found = bar;
  return found;
}

Track place(const RawTrack& raw, const std::vector<RawBar>& bars, std::int64_t ticks_per_quarter) {
  Track track;
  track.program = raw.key.second;
  track.drum = raw.key.first == kDrums;
  const auto scaled = [&](std::int64_t ticks) {
    return static_cast<double>(ticks) / static_cast<double>(ticks_per_quarter) * kResolution;
  };
  for (const RawNote& note : raw.group.notes) {
    if (note.off < 0) continue;
    const std::size_t b = bar_of(bars, note.on);
    const std::size_t e = bar_of(bars, note.off);
    const double exact = std::max(scaled(note.on - bars[b].tick), 0.0);
    const double onset = std::round(exact);
    if (onset >= std::round(bars[b].length)) continue;
    const double end = std::round(bars[e].start) + std::round(scaled(note.off - bars[e].tick));
    const double duration = std::max(1.0, end - (std::round(bars[b].start) + onset));
    track.notes.push_back({static_cast<std::int64_t>(b), static_cast<std::int64_t>(onset),
                           static_cast<std::int64_t>(duration), note.pitch, note.velocity,
                           static_cast<std::int64_t>(std::round((exact - onset) * kResolution))});
  }
  return track;
}

}  // namespace

Score read(std::span<const std::uint8_t> bytes) {
  Score score;
  try {
    RawFile file = read_chunks(bytes);
    std::stable_sort(file.tempos.begin(), file.tempos.end(),
                     [](const Tempo& a, const Tempo& b) { return a.tick < b.tick; });
    if (!file.tempos.empty()) score.tempo = file.tempos.front().value;
    const std::vector<RawBar> bars = lay_bars(file);
    for (const RawTrack& track : file.tracks) score.tracks.push_back(place(track, bars, file.ticks_per_quarter));
    if (!score.tracks.empty()) {
      for (const RawBar& bar : bars) score.bars.push_back(bar.bar);
    }
  } catch (const Refused& refused) {
    score = Score{};
    score.error = refused.error;
  }
  return score;
}

}  // namespace midigpt::fuzz::reference
