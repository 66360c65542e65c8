#include "midi/track_reader.h"

#include <algorithm>
#include <cstring>

#include "midi/events.h"
#include "midi/limits.h"
#include "midi/silent_track.h"

namespace midigpt::midi {

namespace {

constexpr unsigned kLyricChannel = 15;

// A base-128 number of at most four bytes: a fourth byte ends it whatever its top bit says. Null: it crosses `end`.
const std::uint8_t* read_number(const std::uint8_t* p, const std::uint8_t* end, std::uint32_t& number) {
  number = 0;
  for (int i = 0; i < 4; ++i) {
    if (p == end) return nullptr;
    const std::uint8_t byte = *p++;
    number = number << 7 | (byte & 0x7FU);
    if (byte < 0x80) break;
  }
  return p;
}

std::size_t key(unsigned channel, std::uint8_t pitch_or_program) { return channel << 7 | pitch_or_program; }

}  // namespace

Outcome TrackReader::read(std::size_t first, std::size_t last) {
  start();
  // A note on takes at least three bytes, so notes never outgrow this room.
  const std::size_t most = std::min((last - first) / 3, static_cast<std::size_t>(kMaxNotes) - first_note_);
  file_.notes.make_room(most);
  const Outcome outcome = read_events(begin_ + first, begin_ + last);
  finish();
  ++chunk_;
  return outcome;
}

void TrackReader::start() {
  first_track_ = file_.tracks.size();
  first_note_ = file_.notes.size();
  open_notes_ = 0;
  last_note_end_ = 0;
  system_size_ = 0;
  program_.fill(0);
  track_.fill(-1);
  marked_.fill(false);
  held_.fill(false);
}

// Notes and controllers are most of a file: these functions precede the loop so that they are inlined.
inline bool TrackReader::note_on(std::uint32_t tick, unsigned channel, std::uint8_t pitch, std::uint8_t velocity) {
  if (track_[channel] < 0 && !create_track(channel)) return false;
  const std::size_t index = file_.notes.size();
  if (index == static_cast<std::size_t>(kMaxNotes)) return refuse(ReadError::TooManyNotes);
  file_.notes.set_size(index + 1);
  Note& note = file_.notes[index];
  note = {tick, kUnclosed, -1, static_cast<std::uint16_t>(track_[channel]), pitch, velocity};

  const auto id = static_cast<std::int32_t>(index);
  std::int32_t& oldest = scratch_.oldest_open[key(channel, pitch)];
  std::int32_t& newest = scratch_.newest_open[key(channel, pitch)];
  if (oldest < 0) {
    oldest = id;
  } else {
    file_.notes[static_cast<std::size_t>(newest)].next = id;
  }
  newest = id;
  ++open_notes_;
  return true;
}

inline void TrackReader::note_off(std::uint32_t tick, unsigned channel, std::uint8_t pitch) {
  std::int32_t& oldest = scratch_.oldest_open[key(channel, pitch)];
  if (oldest < 0) return;
  Note& note = file_.notes[static_cast<std::size_t>(oldest)];
  note.duration = static_cast<std::int32_t>(tick - note.onset);
  oldest = note.next;
  last_note_end_ = tick;
  --open_notes_;
}

inline TrackReader::Position TrackReader::channel_event(Position p, Position end, std::uint8_t status) {
  const unsigned kind = status & 0xF0U;
  const unsigned channel = status & 0x0FU;
  const std::ptrdiff_t size = kind == 0xC0 || kind == 0xD0 ? 1 : 2;
  if (end - p < size) return fail(ReadError::TruncatedEvent);
  switch (kind) {
    case 0xB0:
      if (((p[0] | p[1]) & 0x80) != 0) return fail(ReadError::DataByte);
      marked_[channel] = true;
      break;
    case 0xC0:
      if (p[0] >= 0x80) return fail(ReadError::DataByte);
      set_program(channel, p[0]);
      break;
    case 0xE0:
      if ((p[0] | p[1] << 7) > 16383) return fail(ReadError::PitchBend);
      marked_[channel] = true;
      break;
    default:  // aftertouch: of no consequence, and its bytes are not checked
      break;
  }
  return p + size;
}

Outcome TrackReader::read_events(Position p, Position end) {
  std::uint32_t tick = 0;
  std::uint8_t status = 0;
  while (p < end) {
    const Position event = p;
    const auto failure = [&](ReadError error) { return Outcome{error, event - begin_}; };
    std::uint32_t delta = *p;
    if (delta < 0x80) {
      ++p;
    } else {
      p = read_number(p, end, delta);
      if (p == nullptr) return failure(ReadError::TruncatedEvent);
    }
    tick += delta;
    if (tick > kMaxTick) return failure(ReadError::TooManyTicks);
    if (p == end) return failure(ReadError::TruncatedEvent);

    if (*p == kMeta) {
      p = meta_event(p + 1, end, tick);
    } else {
      if (*p >= 0x80) {
        status = *p++;
        system_size_ = -1;
      } else if (status == 0) {
        return failure(ReadError::NoRunningStatus);
      }
      const unsigned channel = status & 0x0FU;
      if (status >= 0xA0) {
        p = status < 0xF0 ? channel_event(p, end, status) : system_event(p, end);
      } else if (end - p < 2) {
        p = fail(ReadError::TruncatedEvent);
      } else if (((p[0] | p[1]) & 0x80) != 0) {
        p = fail(ReadError::DataByte);
      } else {
        if (status < 0x90 || p[1] == 0) {
          note_off(tick, channel, p[0]);
        } else if (!note_on(tick, channel, p[0], p[1])) {
          return failure(error_);
        }
        p += 2;
      }
    }
    if (p == nullptr) return failure(error_);
  }
  return {};
}

TrackReader::Position TrackReader::system_event(Position p, Position end) {
  // Under running status the last message repeats with the size it had.
  if (system_size_ < 0) {
    switch (p[-1]) {
      case 0xF0: {
        std::uint32_t length = 0;
        const Position data = read_number(p, end, length);
        if (data == nullptr) return fail(ReadError::TruncatedEvent);
        system_size_ = data - p + static_cast<std::ptrdiff_t>(length);
        break;
      }
      case 0xF1:
      case 0xF3: system_size_ = 1; break;
      case 0xF2: system_size_ = 2; break;
      case 0xF4:
      case 0xF5:
      case 0xF9:
      case 0xFD: return fail(ReadError::UndefinedStatus);
      default: system_size_ = 0;
    }
  }
  return end - p < system_size_ ? fail(ReadError::TruncatedEvent) : p + system_size_;
}

TrackReader::Position TrackReader::meta_event(Position p, Position end, std::uint32_t tick) {
  if (p == end) return fail(ReadError::TruncatedEvent);
  const std::uint8_t type = *p++;
  std::uint32_t length = 0;
  p = read_number(p, end, length);
  if (p == nullptr || end - p < static_cast<std::ptrdiff_t>(length)) return fail(ReadError::TruncatedEvent);
  bool good = true;
  switch (type) {
    case kEndOfTrack: return end;
    case kTempo: good = tempo_event(p, tick); break;
    case kTimeSignature: good = time_signature_event(p, tick); break;
    case kLyric: good = lyric_event(length > 0); break;
    case kSequencerSpecific: good = silent_track_event(p, length); break;
    default: break;
  }
  return good ? p + length : nullptr;
}

bool TrackReader::refuse(ReadError error) {
  error_ = error;
  return false;
}

TrackReader::Position TrackReader::fail(ReadError error) {
  refuse(error);
  return nullptr;
}

// Tempo and time signature are taken from the first data bytes whatever the event's length says.
bool TrackReader::tempo_event(Position data, std::uint32_t tick) {
  if (file_end_ - data < 3) return refuse(ReadError::TruncatedEvent);
  if (tick < tempo_tick_) {
    tempo_tick_ = tick;
    file_.tempo = data[0] << 16 | data[1] << 8 | data[2];
  }
  return true;
}

bool TrackReader::time_signature_event(Position data, std::uint32_t tick) {
  if (file_end_ - data < 2) return refuse(ReadError::TruncatedEvent);
  if (data[1] > 7) return refuse(ReadError::TimeSignatureDenominator);
  if (file_.time_signatures.size() == static_cast<std::size_t>(kMaxTimeSignatures)) {
    return refuse(ReadError::TooManyTimeSignatures);
  }
  file_.time_signatures.push_back({tick, data[0], data[1]});
  file_.last_tick = std::max(file_.last_tick, tick);
  return true;
}

// Lyrics open a track of their own even in a chunk whose notes are on other channels.
bool TrackReader::lyric_event(bool has_text) {
  if (track_[kLyricChannel] < 0 && !create_track(kLyricChannel)) return false;
  Track& track = file_.tracks[static_cast<std::size_t>(track_[kLyricChannel])];
  track.has_events = track.has_events || has_text;
  return true;
}

// A track of the file without a note; see silent_track.h.
bool TrackReader::silent_track_event(Position data, std::uint32_t length) {
  if (length != kSilentTrackBytes || std::memcmp(data, kSilentTrack.data(), kSilentTrack.size()) != 0) return true;
  const std::uint8_t channel = data[kSilentTrack.size()];
  const std::uint8_t program = data[kSilentTrack.size() + 1];
  if (channel >= kChannels || program >= 0x80) return true;
  std::int32_t& index = scratch_.track_of_program[key(channel, program)];
  if (index < 0) {
    if (file_.tracks.size() == static_cast<std::size_t>(kMaxTracks)) return refuse(ReadError::TooManyTracks);
    settle_marks(channel);
    index = static_cast<std::int32_t>(file_.tracks.size());
    file_.tracks.push_back({channel, program, true, chunk_, 0, 0});
    if (program_[channel] == program) track_[channel] = index;
  }
  file_.tracks[static_cast<std::size_t>(index)].has_events = true;
  return true;
}

void TrackReader::set_program(unsigned channel, std::uint8_t program) {
  settle_marks(channel);
  program_[channel] = program;
  track_[channel] = scratch_.track_of_program[key(channel, program)];
}

// Controllers and pitch bends keep their track from being dropped as empty: the current one, else the channel's next.
void TrackReader::settle_marks(unsigned channel) {
  if (!marked_[channel]) return;
  marked_[channel] = false;
  if (track_[channel] < 0) {
    held_[channel] = true;
  } else {
    file_.tracks[static_cast<std::size_t>(track_[channel])].has_events = true;
  }
}

bool TrackReader::create_track(unsigned channel) {
  const std::size_t index = file_.tracks.size();
  if (index == static_cast<std::size_t>(kMaxTracks)) return refuse(ReadError::TooManyTracks);
  const std::uint8_t program = program_[channel];
  settle_marks(channel);
  file_.tracks.push_back({static_cast<std::uint8_t>(channel), program, held_[channel], chunk_, 0, 0});
  held_[channel] = false;
  track_[channel] = static_cast<std::int32_t>(index);
  scratch_.track_of_program[key(channel, program)] = track_[channel];
  return true;
}

void TrackReader::finish() {
  for (unsigned channel = 0; channel < kChannels; ++channel) settle_marks(channel);
  file_.last_tick = std::max(file_.last_tick, last_note_end_);
  if (open_notes_ > 0) scratch_.oldest_open.fill(-1);
  for (const Track& track : file_.tracks.from(first_track_)) {
    scratch_.track_of_program[key(track.channel, track.program)] = -1;
  }
  group_notes();
}

// Bring the chunk's tracks into the order of channel and program and their notes together; drop tracks without events.
void TrackReader::group_notes() {
  const std::size_t num_tracks = file_.tracks.size() - first_track_;
  const std::size_t num_notes = file_.notes.size() - first_note_;
  Track* const tracks = file_.tracks.data() + first_track_;
  if (num_tracks == 1) {
    tracks->first_note = static_cast<std::uint32_t>(first_note_);
    tracks->num_notes = static_cast<std::uint32_t>(num_notes);
  } else if (num_tracks > 1) {
    sort_notes(tracks, num_tracks, num_notes);
  }
  Track* const kept = std::remove_if(tracks, tracks + num_tracks,
                                     [](const Track& track) { return track.num_notes == 0 && !track.has_events; });
  file_.tracks.set_size(first_track_ + static_cast<std::size_t>(kept - tracks));
}

// A counting sort: `first_note` holds a track's old index while tracks are sorted, then where its next note goes.
void TrackReader::sort_notes(Track* tracks, std::size_t num_tracks, std::size_t num_notes) {
  Note* const notes = file_.notes.data() + first_note_;
  for (std::size_t i = 0; i < num_notes; ++i) ++tracks[notes[i].track - first_track_].num_notes;

  scratch_.sorted_tracks.resize(num_tracks);
  Track* const sorted = scratch_.sorted_tracks.data();
  std::copy_n(tracks, num_tracks, sorted);
  for (std::size_t i = 0; i < num_tracks; ++i) sorted[i].first_note = static_cast<std::uint32_t>(i);
  std::sort(sorted, sorted + num_tracks,
            [](const Track& a, const Track& b) { return key(a.channel, a.program) < key(b.channel, b.program); });
  auto position = static_cast<std::uint32_t>(first_note_);
  for (std::size_t i = 0; i < num_tracks; ++i) {
    tracks[sorted[i].first_note].first_note = position;
    sorted[i].first_note = position;
    position += sorted[i].num_notes;
  }

  scratch_.sorted_notes.resize(num_notes);
  for (std::size_t i = 0; i < num_notes; ++i) {
    const std::uint32_t place = tracks[notes[i].track - first_track_].first_note++;
    scratch_.sorted_notes[place - first_note_] = notes[i];
  }
  std::copy_n(scratch_.sorted_notes.data(), num_notes, notes);
  std::copy_n(sorted, num_tracks, tracks);
}

}  // namespace midigpt::midi
