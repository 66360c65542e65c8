#include "score/splice_midi.h"

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <utility>

#include "midi/events.h"
#include "midi/reader.h"
#include "midi/silent_track.h"
#include "score/bar_grid.h"
#include "score/chunk_rewriter.h"
#include "score/edited_bars.h"

namespace midigpt::score {

namespace {

using midi::Event;

constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
constexpr std::int32_t kMaxTempo = 0xFFFFFF;
constexpr std::size_t kMaxChunks = 0xFFFF;
constexpr std::size_t kHeaderBytes = 14;
constexpr std::size_t kChunkHeaderBytes = 8;
constexpr unsigned kChannels = 16;
constexpr std::size_t kKeys = std::size_t{kChannels} * 128;
constexpr int kMaxPort = 127;
constexpr const char* kCannotStand =
    "two events would be too far apart, or a malformed event relies on the bytes around it";

std::size_t key_of(unsigned channel, std::uint8_t pitch) { return channel << 7 | pitch; }

// A note that was asked for, in ticks of the edited file.
struct AddedNote {
  std::int32_t track;
  std::int64_t on;
  std::int64_t off;
  std::uint8_t pitch;
  std::uint8_t velocity;
};

bool starts_earlier(const AddedNote& a, const AddedNote& b) { return a.on < b.on; }

// A note that stays, of one channel and pitch; kNever: it is not closed.
struct KeptNote {
  std::int64_t on;
  std::int64_t off;
};

// Places of inserted messages among the events of one tick: the first two before those of the file, the last after. An
// end that comes first closes the oldest note of its pitch, and the end of that note, at the same tick, this one.
enum class Place : std::uint8_t { First, NoteEnd, NoteStart };

struct Insertion {
  std::int64_t tick;
  Place place;
  std::uint8_t size;
  std::array<std::uint8_t, 3 + midi::kSilentTrackBytes> bytes;

  [[nodiscard]] std::span<const std::uint8_t> message() const { return {bytes.data(), size}; }
};

class Insertions {
 public:
  void add(std::int64_t tick, Place place, std::initializer_list<std::uint8_t> message) {
    Insertion& added = all_.emplace_back();
    added.tick = tick;
    added.place = place;
    added.size = static_cast<std::uint8_t>(message.size());
    std::copy(message.begin(), message.end(), added.bytes.begin());
  }

  void add_silent_track(std::uint8_t channel, std::uint8_t program) {
    const auto& name = midi::kSilentTrack;
    add(0, Place::First,
        {midi::kMeta, midi::kSequencerSpecific, static_cast<std::uint8_t>(midi::kSilentTrackBytes), name[0], name[1],
         name[2], name[3], name[4], name[5], name[6], name[7], channel, program});
  }

  void add_note(const AddedNote& note, unsigned channel) {
    add(note.on, Place::NoteStart, {static_cast<std::uint8_t>(0x90 | channel), note.pitch, note.velocity});
    add(note.off, Place::NoteEnd, {static_cast<std::uint8_t>(0x80 | channel), note.pitch, note.velocity});
  }

  void sort() {
    std::stable_sort(all_.begin(), all_.end(), [](const Insertion& a, const Insertion& b) {
      return std::pair(a.tick, a.place) < std::pair(b.tick, b.place);
    });
  }

  [[nodiscard]] const std::vector<Insertion>& all() const { return all_; }
  [[nodiscard]] bool empty() const { return all_.empty(); }

 private:
  std::vector<Insertion> all_;
};

// Where the notes of one channel and pitch are that others of it must not disturb.
struct KeptNotes {
  std::vector<KeptNote> in_chunk;    // ascending by start
  std::vector<std::int64_t> strays;  // ends in the chunk that close no note
  std::vector<KeptNote> elsewhere;   // in other chunks; ascending by start, each end the latest so far
};

// Set the ends of `added` (one channel and pitch, ascending by start). Readers close the notes of a chunk in the order
// in which they are opened, so an added note must end before the next one of its chunk does, and not before an earlier
// one. Synthesisers do not distinguish chunks on one channel, so where there is a choice the end of an added note does
// not cut a note of another chunk. Returns how many are left out, which are moved to the end: a note cannot be closed
// while an earlier one of its chunk stays open.
std::size_t order_ends(std::span<AddedNote> added, const KeptNotes& kept) {
  std::size_t placed = 0;
  const auto starts_later = [](std::int64_t tick, const KeptNote& note) { return tick < note.on; };
  for (const AddedNote& candidate : added) {
    AddedNote note = candidate;
    const auto next = std::upper_bound(kept.in_chunk.begin(), kept.in_chunk.end(), note.on, starts_later);
    const std::int64_t earliest = next == kept.in_chunk.begin() ? 0 : (next - 1)->off;
    if (earliest == kNever) continue;
    const auto stray = std::upper_bound(kept.strays.begin(), kept.strays.end(), note.on);
    std::int64_t latest = stray == kept.strays.end() ? kNever : *stray;
    if (next != kept.in_chunk.end()) latest = std::min(latest, next->on);
    const auto other = std::upper_bound(kept.elsewhere.begin(), kept.elsewhere.end(), note.on, starts_later);
    const std::int64_t others_end = other == kept.elsewhere.begin() ? 0 : (other - 1)->off;
    if (other != kept.elsewhere.end()) note.off = std::min(note.off, other->on);
    note.off = std::max(std::min(std::max(note.off, others_end), latest), earliest);
    // Of two added notes the later one ends the earlier, unless that must wait for a kept one.
    if (placed > 0 && added[placed - 1].off > note.off) {
      if (added[placed - 1].on < note.on && std::max(earliest, others_end) <= note.on) {
        for (std::size_t i = placed; i-- > 0 && added[i].off > note.on;) added[i].off = note.on;
      } else {
        note.off = added[placed - 1].off;
      }
    }
    added[placed++] = note;
  }
  return added.size() - placed;
}

class Splicer {
 public:
  Splicer(std::span<const std::uint8_t> bytes, const Edit& edit, Spliced& out)
      : bytes_(bytes), edit_(edit), out_(out), file_(scratch_.file) {}

  const char* splice();

 private:
  struct ChunkNote {
    std::size_t start;  // index of its event, as is `end`
    std::size_t end;    // kNoEvent: never closed
    std::size_t key;
    std::int32_t track;
    bool removed;
  };
  // The notes of one channel and pitch where some are added.
  struct NotesOfKey {
    std::vector<AddedNote> added;
    KeptNotes kept;
  };
  // A note that stays, anywhere in the file.
  struct NoteOfFile {
    KeptNote note;
    std::size_t chunk;
    int port;
  };
  struct ProgramChange {
    std::int64_t tick;
    std::uint8_t program;
  };
  static constexpr std::size_t kNoEvent = std::numeric_limits<std::size_t>::max();

  void number_score_notes();
  void look_at_all_events();
  void place_added_notes();
  void add_conductor_events();
  const char* splice_chunks();
  bool splice_chunk(std::size_t first, std::size_t end);
  void read_chunk(std::size_t first, std::size_t end);
  void read_notes();
  void add_to_chunk();
  void look_for_notes_of_added_keys();
  bool next_tracks(std::size_t chunk);
  void add_notes_elsewhere(std::size_t key, std::vector<KeptNote>& notes) const;
  [[nodiscard]] KeptNote kept_note(const ChunkNote& note) const;
  [[nodiscard]] int port() const;
  [[nodiscard]] std::span<const AddedNote> added_to(std::size_t first, std::size_t last) const;
  void add_start(const AddedNote& note, unsigned channel);
  [[nodiscard]] bool is_replaced(const Event& event) const;
  bool rewrite(std::size_t end);
  bool write_new_track(std::size_t index);
  unsigned choose_channel(bool drum, int& port);
  void copy_until(std::size_t end);

  [[nodiscard]] bool is_note_start(const Event& event) const {
    return (event.status & 0xF0U) == 0x90 && bytes_[event.data + 1] > 0;
  }
  [[nodiscard]] bool is_note_end(const Event& event) const {
    return (event.status & 0xF0U) == 0x80 || ((event.status & 0xF0U) == 0x90 && bytes_[event.data + 1] == 0);
  }

  const std::span<const std::uint8_t> bytes_;
  const Edit& edit_;
  Spliced& out_;
  midi::Scratch scratch_;
  const midi::File& file_;
  BarGrid grid_;
  EditedBars bars_;

  std::vector<std::int32_t> score_note_;  // by note of the file, -1: the score does not have it
  std::size_t num_score_notes_ = 0;
  std::vector<AddedNote> added_;           // by track
  std::array<bool, kChannels> used_{};     // channels of the file, then of the port in use
  int last_port_ = 0;                      // the highest that is in use
  int opened_port_ = 0;                    // of added tracks, 0: that of the file
  std::uint32_t tempo_tick_ = UINT32_MAX;  // of the earliest tempo event
  bool changes_tempo_ = false;
  Insertions conductor_;                                          // for the first chunk
  std::map<std::size_t, std::vector<NoteOfFile>> notes_of_file_;  // by key, of those that notes are added to
  std::size_t copied_ = 0;                                        // of bytes_
  std::size_t num_chunks_ = 0;

  // The chunk at hand.
  std::vector<Event> events_;
  std::vector<bool> dropped_;  // by event
  std::vector<ChunkNote> notes_;
  std::vector<std::pair<std::size_t, std::int64_t>> strays_;  // key and tick of note ends that close nothing
  std::array<std::vector<ProgramChange>, kChannels> programs_;
  std::size_t events_end_ = 0;
  std::size_t chunk_ = 0;        // its number
  std::size_t track_begin_ = 0;  // of its tracks in file_.tracks
  std::size_t track_end_ = 0;
  Insertions insertions_;
};

const char* Splicer::splice() {
  if (midi::read(bytes_, scratch_).failed() || build(file_, grid_).failed()) return "the file cannot be read";
  if (edit_.tempo < 0 || edit_.tempo > kMaxTempo) return "its tempo is not within 0..16777215";
  number_score_notes();
  if (edit_.removed.size() != num_score_notes_) return "the file has other notes than the score that was edited";
  if (const char* const problem = bars_.build(file_, grid_, edit_.numerator, edit_.denominator)) return problem;
  const auto num_tracks = static_cast<std::int64_t>(file_.tracks.size() + edit_.new_program.size());
  for (const std::int32_t track : edit_.track) {
    if (track >= num_tracks) return "a note belongs to a track that there is not";
  }
  look_at_all_events();
  place_added_notes();
  look_for_notes_of_added_keys();
  add_conductor_events();
  return splice_chunks();
}

// Which note of the score each note of the file became: those that are never closed, and those that would round onto
// the next bar line, became none (see place_notes.cpp).
void Splicer::number_score_notes() {
  score_note_.assign(file_.notes.size(), -1);
  std::int32_t count = 0;
  for (const midi::Track& track : file_.tracks.from(0)) {
    std::size_t bar = 0;
    for (std::size_t i = track.first_note; i < std::size_t{track.first_note} + track.num_notes; ++i) {
      const midi::Note& note = file_.notes[i];
      if (note.duration == midi::kUnclosed) continue;
      bar = bar_at(grid_, bar, note.onset);
      const Bar& in = grid_.bars[bar];
      const std::int64_t ticks = std::max<std::int64_t>(note.onset - in.first_tick, 0);
      const double exact = static_cast<double>(ticks) / static_cast<double>(file_.ticks_per_quarter) * kResolution;
      if (round_away<std::int32_t>(exact) < in.length) score_note_[i] = count++;
    }
  }
  num_score_notes_ = static_cast<std::size_t>(count);
}

void Splicer::look_at_all_events() {
  std::size_t position = kHeaderBytes;
  std::size_t end = 0;
  std::size_t due = std::size_t{bytes_[10]} << 8 | bytes_[11];
  for (; due > 0 && position < bytes_.size(); --due, position = end) {
    if (midi::find_track(bytes_, position, end).failed()) return;
    midi::EventCursor cursor(bytes_, position, end);
    Event event;
    while (cursor.next(event)) {
      if (event.is_channel_message()) used_[event.channel()] = true;
      if (event.is_meta(midi::kTempo)) tempo_tick_ = std::min(tempo_tick_, event.tick);
      if (event.is_meta(midi::kPort) && event.end > event.data) {
        last_port_ = std::max(last_port_, static_cast<int>(bytes_[event.data]));
      }
    }
    ++num_chunks_;
  }
}

void Splicer::place_added_notes() {
  for (std::size_t i = 0; i < edit_.track.size(); ++i) {
    const std::int32_t bar = edit_.bar[i];
    AddedNote note{.track = edit_.track[i],
                   .on = bars_.onset(bar, edit_.onset[i], edit_.microtiming[i]),
                   .off = 0,
                   .pitch = edit_.pitch[i],
                   // Velocity 0 would end a note.
                   .velocity = std::max<std::uint8_t>(edit_.velocity[i], 1)};
    if (note.on == EditedBars::kBeyond) {
      ++out_.beyond_bar;
      continue;
    }
    note.off = std::max(bars_.end(bar, edit_.onset[i], edit_.duration[i]), note.on + 1);
    added_.push_back(note);
  }
  std::stable_sort(added_.begin(), added_.end(), [](const AddedNote& a, const AddedNote& b) {
    return std::pair(a.track, a.on) < std::pair(b.track, b.on);
  });
}

void Splicer::add_conductor_events() {
  for (const EditedBars::Signature& signature : bars_.added()) {
    constexpr std::uint8_t kClocksPerClick = 24;
    constexpr std::uint8_t k32ndsPerQuarter = 8;
    conductor_.add(signature.tick, Place::First,
                   {midi::kMeta, midi::kTimeSignature, 4, signature.numerator, signature.log2_denominator,
                    kClocksPerClick, k32ndsPerQuarter});
  }
  changes_tempo_ = edit_.tempo != file_.tempo;
  if (!changes_tempo_) return;
  const std::int64_t tick = tempo_tick_ == UINT32_MAX ? 0 : bars_.moved(tempo_tick_);
  conductor_.add(tick, Place::First,
                 {midi::kMeta, midi::kTempo, 3, static_cast<std::uint8_t>(edit_.tempo >> 16),
                  static_cast<std::uint8_t>(edit_.tempo >> 8), static_cast<std::uint8_t>(edit_.tempo)});
}

void Splicer::copy_until(std::size_t end) {
  out_.bytes.insert(out_.bytes.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(copied_),
                    bytes_.begin() + static_cast<std::ptrdiff_t>(end));
  copied_ = end;
}

const char* Splicer::splice_chunks() {
  out_.bytes.reserve(bytes_.size() + 8 * added_.size());
  std::size_t position = kHeaderBytes;
  std::size_t end = kHeaderBytes;
  for (std::size_t chunk = 0; chunk < num_chunks_; ++chunk, position = end) {
    if (midi::find_track(bytes_, position, end).failed()) return "the file cannot be read";
    next_tracks(chunk);
    insertions_ = chunk == 0 ? conductor_ : Insertions();
    if (!splice_chunk(position, end)) return kCannotStand;
  }
  copy_until(end);
  insertions_ = num_chunks_ == 0 ? conductor_ : Insertions();
  const std::size_t num_new = edit_.new_program.size();
  if (num_chunks_ + num_new > kMaxChunks) return "it would have more than 65535 tracks";
  for (std::size_t index = 0; index < num_new; ++index) {
    if (!write_new_track(index)) return last_port_ > kMaxPort ? "no port is left for its tracks" : kCannotStand;
    insertions_ = Insertions();
  }
  copy_until(bytes_.size());
  if (num_new > 0) {
    const std::size_t count = num_chunks_ + num_new;
    out_.bytes[10] = static_cast<std::uint8_t>(count >> 8);
    out_.bytes[11] = static_cast<std::uint8_t>(count);
    out_.became_format_1 = out_.bytes[9] == 0 && count > 1;
    if (out_.became_format_1) out_.bytes[9] = 1;
  }
  return nullptr;
}

bool Splicer::splice_chunk(std::size_t first, std::size_t end) {
  read_chunk(first, end);
  if (track_begin_ < track_end_) {
    read_notes();
    add_to_chunk();
  }
  const bool drops = std::find(dropped_.begin(), dropped_.end(), true) != dropped_.end();
  if (!drops && insertions_.empty() && !bars_.moves()) return true;
  copy_until(first - kChunkHeaderBytes);
  copied_ = end;
  return rewrite(end);
}

void Splicer::read_chunk(std::size_t first, std::size_t end) {
  events_.clear();
  midi::EventCursor cursor(bytes_, first, end);
  Event event;
  while (cursor.next(event)) events_.push_back(event);
  events_end_ = cursor.position();
  dropped_.assign(events_.size(), false);
  for (std::size_t i = 0; i < events_.size(); ++i) dropped_[i] = is_replaced(events_[i]);
}

bool Splicer::is_replaced(const Event& event) const {
  return (event.is_meta(midi::kTimeSignature) && bars_.replaces(event.tick)) ||
         (changes_tempo_ && event.is_meta(midi::kTempo) && event.tick == tempo_tick_);
}

// Pair the chunk's note starts and ends as the reader does, and drop those of removed notes.
void Splicer::read_notes() {
  notes_.clear();
  strays_.clear();
  for (auto& changes : programs_) changes.clear();
  std::array<std::uint8_t, kChannels> program{};
  std::vector<std::int32_t> track_of_program(kKeys, -1);
  std::vector<std::uint32_t> next_note;
  for (std::size_t track = track_begin_; track < track_end_; ++track) {
    const midi::Track& of = file_.tracks[track];
    track_of_program[key_of(of.channel, of.program)] = static_cast<std::int32_t>(track - track_begin_);
    next_note.push_back(of.first_note);
  }
  std::vector<std::vector<std::size_t>> open(kKeys);  // by key: its notes, and how many are closed
  std::vector<std::size_t> closed(kKeys, 0);
  for (std::size_t i = 0; i < events_.size(); ++i) {
    const Event& event = events_[i];
    if (!event.is_channel_message()) continue;
    const unsigned channel = event.channel();
    const std::uint8_t data = bytes_[event.data];
    if ((event.status & 0xF0U) == 0xC0) {
      program[channel] = data;
      programs_[channel].push_back({bars_.moved(event.tick), data});
    } else if (is_note_start(event)) {
      const std::int32_t track = track_of_program[key_of(channel, program[channel])];
      if (track < 0) continue;
      const std::uint32_t note = next_note[static_cast<std::size_t>(track)]++;
      const std::int32_t number = score_note_[note];
      const bool removed = number >= 0 && edit_.removed[static_cast<std::size_t>(number)] != 0;
      const std::size_t key = key_of(channel, data);
      open[key].push_back(notes_.size());
      notes_.push_back({i, kNoEvent, key, static_cast<std::int32_t>(track_begin_) + track, removed});
      dropped_[i] = dropped_[i] || removed;
    } else if (is_note_end(event)) {
      const std::size_t key = key_of(channel, data);
      if (closed[key] == open[key].size()) {
        strays_.emplace_back(key, bars_.moved(event.tick));
        continue;
      }
      ChunkNote& note = notes_[open[key][closed[key]++]];
      note.end = i;
      dropped_[i] = dropped_[i] || note.removed;
    }
  }
}

void Splicer::add_to_chunk() {
  std::vector<std::int64_t> remaining(track_end_ - track_begin_, 0);
  std::map<std::size_t, NotesOfKey> keys;
  for (const AddedNote& note : added_to(track_begin_, track_end_)) {
    keys[key_of(file_.tracks[static_cast<std::size_t>(note.track)].channel, note.pitch)].added.push_back(note);
  }
  for (const ChunkNote& note : notes_) {
    if (note.removed) continue;
    ++remaining[static_cast<std::size_t>(note.track) - track_begin_];
    if (const auto key = keys.find(note.key); key != keys.end()) {
      key->second.kept.in_chunk.push_back(kept_note(note));
    }
  }
  for (const auto& [key, tick] : strays_) {
    if (const auto of = keys.find(key); of != keys.end()) of->second.kept.strays.push_back(tick);
  }
  for (auto& [key, notes] : keys) {
    std::stable_sort(notes.added.begin(), notes.added.end(), starts_earlier);
    add_notes_elsewhere(key, notes.kept.elsewhere);
    const std::size_t left_out = order_ends(notes.added, notes.kept);
    out_.after_unclosed += static_cast<std::int64_t>(left_out);
    notes.added.resize(notes.added.size() - left_out);
    for (const AddedNote& note : notes.added) {
      add_start(note, static_cast<unsigned>(key >> 7));
      ++remaining[static_cast<std::size_t>(note.track) - track_begin_];
    }
  }
  for (std::size_t i = 0; i < remaining.size(); ++i) {
    const midi::Track& track = file_.tracks[track_begin_ + i];
    if (track.num_notes > 0 && remaining[i] == 0) insertions_.add_silent_track(track.channel, track.program);
  }
}

KeptNote Splicer::kept_note(const ChunkNote& note) const {
  return {bars_.moved(events_[note.start].tick), note.end == kNoEvent ? kNever : bars_.moved(events_[note.end].tick)};
}

// The port that the chunk at hand plays on.
int Splicer::port() const {
  const auto found = std::find_if(events_.begin(), events_.end(), [](const Event& event) {
    return event.is_meta(midi::kPort) && event.end > event.data;
  });
  return found == events_.end() ? 0 : bytes_[found->data];
}

// The notes of every channel and pitch that notes are added to, in all chunks.
void Splicer::look_for_notes_of_added_keys() {
  for (const AddedNote& note : added_to(0, file_.tracks.size())) {
    notes_of_file_[key_of(file_.tracks[static_cast<std::size_t>(note.track)].channel, note.pitch)];
  }
  if (notes_of_file_.empty()) return;
  std::size_t position = kHeaderBytes;
  std::size_t end = kHeaderBytes;
  track_end_ = 0;
  for (std::size_t chunk = 0; chunk < num_chunks_; ++chunk, position = end) {
    if (midi::find_track(bytes_, position, end).failed()) return;
    if (!next_tracks(chunk)) continue;
    read_chunk(position, end);
    read_notes();
    for (const ChunkNote& note : notes_) {
      const auto key = notes_of_file_.find(note.key);
      // One that is never closed is no measure of how long another should last.
      if (note.removed || note.end == kNoEvent || key == notes_of_file_.end()) continue;
      key->second.push_back({kept_note(note), chunk, port()});
    }
  }
  track_end_ = 0;
}

// Go to the tracks of the next chunk. False: it has none.
bool Splicer::next_tracks(std::size_t chunk) {
  track_begin_ = track_end_;
  while (track_end_ < file_.tracks.size() && file_.tracks[track_end_].chunk == chunk) ++track_end_;
  chunk_ = chunk;
  return track_begin_ < track_end_;
}

void Splicer::add_notes_elsewhere(std::size_t key, std::vector<KeptNote>& notes) const {
  const int here = port();
  for (const NoteOfFile& other : notes_of_file_.at(key)) {
    if (other.chunk != chunk_ && other.port == here) notes.push_back(other.note);
  }
  std::stable_sort(notes.begin(), notes.end(), [](const KeptNote& a, const KeptNote& b) { return a.on < b.on; });
  for (std::size_t i = 1; i < notes.size(); ++i) notes[i].off = std::max(notes[i].off, notes[i - 1].off);
}

// The notes of tracks first <= track < last.
std::span<const AddedNote> Splicer::added_to(std::size_t first, std::size_t last) const {
  const auto of_earlier = [](const AddedNote& note, std::size_t track) {
    return note.track < static_cast<std::int64_t>(track);
  };
  const auto begin = std::lower_bound(added_.begin(), added_.end(), first, of_earlier);
  return {begin, std::lower_bound(begin, added_.end(), last, of_earlier)};
}

// The note, under the program of its track.
void Splicer::add_start(const AddedNote& note, unsigned channel) {
  const std::uint8_t wanted = file_.tracks[static_cast<std::size_t>(note.track)].program;
  const auto& changes = programs_[channel];
  const auto after =
      std::upper_bound(changes.begin(), changes.end(), note.on,
                       [](std::int64_t tick, const ProgramChange& change) { return tick < change.tick; });
  const std::uint8_t current = after == changes.begin() ? 0 : (after - 1)->program;
  const auto status = static_cast<std::uint8_t>(0xC0 | channel);
  if (current != wanted) insertions_.add(note.on, Place::NoteStart, {status, wanted});
  insertions_.add_note(note, channel);
  if (current != wanted) insertions_.add(note.on, Place::NoteStart, {status, current});
}

bool Splicer::rewrite(std::size_t end) {
  insertions_.sort();
  ChunkRewriter chunk(bytes_, out_.bytes);
  auto next = insertions_.all().begin();
  const auto last = insertions_.all().end();
  for (std::size_t i = 0; i < events_.size(); ++i) {
    const Event& event = events_[i];
    const bool is_end = event.is_meta(midi::kEndOfTrack);
    std::int64_t tick = bars_.moved(event.tick);
    for (; next != last; ++next) {
      const bool before = next->tick < tick || (next->tick == tick && next->place != Place::NoteStart);
      if (!before && !is_end) break;
      if (!chunk.insert(next->message(), next->tick)) return false;
    }
    if (is_end) tick = std::max(tick, chunk.tick());
    if (dropped_[i]) {
      chunk.skip();
    } else if (!chunk.keep(event, tick)) {
      return false;
    }
  }
  for (; next != last; ++next) {
    if (!chunk.insert(next->message(), next->tick)) return false;
  }
  return chunk.finish(bytes_.subspan(events_end_, end - events_end_));
}

// The first channel that nothing uses, on a port of its own when there is none.
unsigned Splicer::choose_channel(bool drum, int& port) {
  port = 0;
  if (drum) return midi::kDrumChannel;
  used_[midi::kDrumChannel] = true;
  auto free = std::find(used_.begin(), used_.end(), false);
  if (free == used_.end()) {
    ++last_port_;
    opened_port_ = last_port_;
    used_.fill(false);
    used_[midi::kDrumChannel] = true;
    free = used_.begin();
  }
  port = opened_port_;
  *free = true;
  return static_cast<unsigned>(free - used_.begin());
}

bool Splicer::write_new_track(std::size_t index) {
  int port = 0;
  const unsigned channel = choose_channel(edit_.new_drum[index] != 0, port);
  if (port > kMaxPort) return false;
  const auto track = static_cast<std::int32_t>(file_.tracks.size() + index);
  if (port > 0) {
    insertions_.add(0, Place::First, {midi::kMeta, midi::kPort, 1, static_cast<std::uint8_t>(port)});
    out_.tracks_on_ports.push_back(track);
  }
  insertions_.add(0, Place::First, {static_cast<std::uint8_t>(0xC0 | channel), edit_.new_program[index]});
  std::map<std::uint8_t, std::vector<AddedNote>> by_pitch;
  for (const AddedNote& note : added_to(file_.tracks.size() + index, file_.tracks.size() + index + 1)) {
    by_pitch[note.pitch].push_back(note);
  }
  if (by_pitch.empty()) insertions_.add_silent_track(static_cast<std::uint8_t>(channel), edit_.new_program[index]);
  for (auto& [pitch, notes] : by_pitch) {
    order_ends(notes, {});
    for (const AddedNote& note : notes) insertions_.add_note(note, channel);
  }
  insertions_.sort();
  ChunkRewriter chunk(bytes_, out_.bytes);
  for (const Insertion& insertion : insertions_.all()) {
    if (!chunk.insert(insertion.message(), insertion.tick)) return false;
  }
  constexpr std::array<std::uint8_t, 3> kEnd{midi::kMeta, midi::kEndOfTrack, 0};
  return chunk.insert(kEnd, chunk.tick() + 1) && chunk.finish({});
}

}  // namespace

const char* splice_midi(std::span<const std::uint8_t> bytes, const Edit& edit, Spliced& out) {
  return Splicer(bytes, edit, out).splice();
}

}  // namespace midigpt::score
