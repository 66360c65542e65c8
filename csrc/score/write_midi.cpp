#include "score/write_midi.h"

#include <algorithm>
#include <bit>
#include <string_view>

#include "score/bar_grid.h"

namespace midigpt::score {

namespace {

constexpr std::int64_t kMaxDelta = 0x0FFFFFFF;  // what four base-128 bytes hold
constexpr std::int32_t kMaxTempo = 0xFFFFFF;
constexpr std::int64_t kMaxTracks = 0xFFFF;
constexpr std::uint8_t kDrumChannel = 9;
constexpr std::int64_t kMaxPort = 127;

using Bytes = std::vector<std::uint8_t>;

void append(Bytes& out, std::string_view text) { out.insert(out.end(), text.begin(), text.end()); }

void append_number(Bytes& out, std::int64_t value, int bytes) {
  for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8) out.push_back(static_cast<std::uint8_t>(value >> shift));
}

// One chunk, event by event in the order of time.
class ChunkWriter {
 public:
  explicit ChunkWriter(Bytes& out) : out_(out), length_at_(out.size() + kName.size()) {
    append(out_, kName);
    append_number(out_, 0, 4);
  }

  void meta(std::int64_t tick, std::uint8_t type, std::initializer_list<std::uint8_t> data) {
    delta(tick);
    out_.push_back(0xFF);
    out_.push_back(type);
    out_.push_back(static_cast<std::uint8_t>(data.size()));
    out_.insert(out_.end(), data);
    running_status_ = 0;  // the standard: a meta event ends it
  }

  void channel(std::int64_t tick, std::uint8_t status, std::initializer_list<std::uint8_t> data) {
    delta(tick);
    if (status != running_status_) out_.push_back(status);
    running_status_ = status;
    out_.insert(out_.end(), data);
  }

  // End the chunk. False: an event was too far from the one before.
  bool finish() {
    meta(last_tick_ + 1, 0x2F, {});
    const std::size_t length = out_.size() - length_at_ - 4;
    for (std::size_t i = 0; i < 4; ++i) out_[length_at_ + i] = static_cast<std::uint8_t>(length >> (24 - 8 * i));
    return fits_ && length <= UINT32_MAX;
  }

 private:
  static constexpr std::string_view kName = "MTrk";

  void delta(std::int64_t tick) {
    const std::int64_t ticks = tick - last_tick_;
    last_tick_ = tick;
    fits_ = fits_ && ticks <= kMaxDelta;
    for (int shift = 21; shift > 0; shift -= 7) {
      if (ticks >> shift > 0) out_.push_back(static_cast<std::uint8_t>(ticks >> shift | 0x80));
    }
    out_.push_back(static_cast<std::uint8_t>(ticks & 0x7F));
  }

  Bytes& out_;
  std::size_t length_at_;
  std::int64_t last_tick_ = 0;
  std::uint8_t running_status_ = 0;
  bool fits_ = true;
};

struct SignatureChange {
  std::int64_t tick;
  std::uint8_t numerator;
  std::uint8_t log2_denominator;
};

struct Event {
  std::int64_t tick;
  std::uint8_t pitch;
  std::uint8_t velocity;
};

class Writer {
 public:
  Writer(const Columns& columns, Bytes& out) : columns_(columns), piece_(columns, 0), out_(out) {}

  const char* write();

 private:
  const char* find_signature_changes();
  void place_bars(Run bars);
  void place_notes(std::int64_t track);
  bool write_track(std::int64_t track);

  const Columns& columns_;
  PieceView piece_;
  Bytes& out_;
  std::vector<SignatureChange> changes_;
  std::vector<std::int64_t> bar_starts_;
  std::vector<Event> starts_;
  std::vector<Event> ends_;
};

const char* Writer::write() {
  const std::int64_t num_tracks = piece_.num_tracks();
  if (columns_.resolution < 1 || columns_.resolution > INT16_MAX) return "its resolution is not within 1..32767";
  if (columns_.tempo[0] < 0 || columns_.tempo[0] > kMaxTempo) return "its tempo is not within 0..16777215";
  if (num_tracks > kMaxTracks) return "it has more than 65535 tracks";
  if (const char* const problem = find_signature_changes()) return problem;

  append(out_, "MThd");
  append_number(out_, 6, 4);
  append_number(out_, 1, 2);
  append_number(out_, std::max<std::int64_t>(num_tracks, 1), 2);
  append_number(out_, columns_.resolution, 2);
  // Without tracks one chunk holds the tempo.
  for (std::int64_t track = 0; track < std::max<std::int64_t>(num_tracks, 1); ++track) {
    if (!write_track(track)) return "two events of a track are more than 268435455 ticks apart";
  }
  return nullptr;
}

// From the first track with the most bars: a time signature wherever a bar's differs from the one before.
const char* Writer::find_signature_changes() {
  Run bars;
  for (std::int64_t track = 0; track < piece_.num_tracks(); ++track) {
    if (piece_.bars(track).size() > bars.size()) bars = piece_.bars(track);
  }
  place_bars(bars);
  for (std::int64_t bar = bars.begin; bar < bars.end; ++bar) {
    const std::int32_t numerator = columns_.bar_numerator[bar];
    const std::int32_t denominator = columns_.bar_denominator[bar];
    if (bar > bars.begin && numerator == columns_.bar_numerator[bar - 1] &&
        denominator == columns_.bar_denominator[bar - 1]) {
      continue;
    }
    if (numerator < 0 || numerator > 255 || denominator < 1 ||
        !std::has_single_bit(static_cast<unsigned>(denominator))) {
      return "a time signature has a numerator above 255 or a denominator that is no power of two";
    }
    changes_.push_back({bar_starts_[static_cast<std::size_t>(bar - bars.begin)], static_cast<std::uint8_t>(numerator),
                        static_cast<std::uint8_t>(std::countr_zero(static_cast<unsigned>(denominator)))});
  }
  return nullptr;
}

void Writer::place_bars(Run bars) {
  bar_starts_.clear();
  double start = 0;
  for (std::int64_t bar = bars.begin; bar < bars.end; ++bar) {
    bar_starts_.push_back(round_away<std::int64_t>(start));
    start += columns_.resolution * columns_.bar_length[bar];
  }
}

void Writer::place_notes(std::int64_t track) {
  starts_.clear();
  ends_.clear();
  place_bars(piece_.bars(track));
  const Run cells = piece_.cells(track);
  for (std::int64_t cell = cells.begin; cell < cells.end; ++cell) {
    const std::int64_t bar_start = bar_starts_[static_cast<std::size_t>(columns_.cell_bar[cell])];
    const Run notes = piece_.notes(cell);
    for (std::int64_t note = notes.begin; note < notes.end; ++note) {
      const std::int64_t start = bar_start + columns_.note_onset[note];
      const Event event{start, columns_.note_pitch[note], columns_.note_velocity[note]};
      starts_.push_back(event);
      ends_.push_back({start + columns_.note_duration[note], event.pitch, event.velocity});
    }
  }
  const auto earlier = [](const Event& a, const Event& b) { return a.tick < b.tick; };
  std::stable_sort(starts_.begin(), starts_.end(), earlier);
  std::stable_sort(ends_.begin(), ends_.end(), earlier);
}

// At one tick: time signatures, tempo and program, then ends of notes, then starts.
bool Writer::write_track(std::int64_t track) {
  ChunkWriter chunk(out_);
  const bool has_notes = track < piece_.num_tracks();
  std::size_t change = 0;
  const auto write_changes = [&](std::int64_t until) {
    for (; track == 0 && change < changes_.size() && changes_[change].tick <= until; ++change) {
      constexpr std::uint8_t kClocksPerClick = 24;
      constexpr std::uint8_t k32ndsPerQuarter = 8;
      chunk.meta(changes_[change].tick, 0x58,
                 {changes_[change].numerator, changes_[change].log2_denominator, kClocksPerClick, k32ndsPerQuarter});
    }
  };
  write_changes(0);
  if (track == 0) {
    const auto tempo = static_cast<std::uint32_t>(columns_.tempo[0]);
    chunk.meta(0, 0x51,
               {static_cast<std::uint8_t>(tempo >> 16), static_cast<std::uint8_t>(tempo >> 8),
                static_cast<std::uint8_t>(tempo)});
  }
  if (has_notes) {
    const std::int64_t index = piece_.track_index(track);
    constexpr std::int64_t kMelodicChannels = 15;
    const auto melodic = static_cast<std::uint8_t>(track % kMelodicChannels);
    const std::int64_t port = track / kMelodicChannels;
    // Ports keep tracks apart that would share a channel.
    if (port > 0 && port <= kMaxPort && columns_.track_drum[index] == 0) {
      chunk.meta(0, 0x21, {static_cast<std::uint8_t>(port)});
    }
    const std::uint8_t channel = columns_.track_drum[index] != 0 ? kDrumChannel
                                 : melodic < kDrumChannel        ? melodic
                                                                 : melodic + 1;
    chunk.channel(0, static_cast<std::uint8_t>(0xC0 | channel), {columns_.track_program[index]});
    place_notes(track);
    std::size_t end = 0;
    const auto write_ends = [&](std::int64_t until) {
      for (; end < ends_.size() && ends_[end].tick <= until; ++end) {
        write_changes(ends_[end].tick);
        chunk.channel(ends_[end].tick, static_cast<std::uint8_t>(0x80 | channel),
                      {ends_[end].pitch, ends_[end].velocity});
      }
    };
    for (const Event& start : starts_) {
      write_ends(start.tick);
      write_changes(start.tick);
      chunk.channel(start.tick, static_cast<std::uint8_t>(0x90 | channel), {start.pitch, start.velocity});
    }
    write_ends(INT64_MAX);
  }
  write_changes(INT64_MAX);
  return chunk.finish();
}

}  // namespace

const char* write_midi(const Columns& columns, std::vector<std::uint8_t>& out) { return Writer(columns, out).write(); }

}  // namespace midigpt::score
