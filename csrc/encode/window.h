// The notes of one window on the encoder's grid: the form in which attributes are computed and tokens written.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "encode/request.h"
#include "vocab/codebook.h"

namespace midigpt::encode {

struct Note {
  std::int32_t onset = 0;  // ticks of the encoder's grid within the bar
  std::int32_t duration = 0;
  std::int32_t delta = 0;
  std::uint8_t pitch = 0;
  std::uint8_t velocity = 0;
};

struct Bar {
  vocab::TimeSignature signature;
  double length = 4.0;  // quarter notes
};

struct Track {
  std::int64_t slot = 0;  // position on the T axis of the request
  std::int32_t program = 0;
  bool drum = false;
  std::int32_t nomml = -1;  // -1: unknown
  // The same, or where unknown the median metrical depth of onsets as the columns have them, before they were moved
  // onto the encoder's grid.
  std::int32_t fine_nomml = vocab::MetricalDepth::kNone;
  std::size_t first_bar = 0;  // into LoadedWindow::bars
  std::size_t num_bars = 0;
  std::size_t first_end = 0;  // into LoadedWindow::note_ends
  std::size_t first_note = 0;
  std::int32_t duration_mode = 3;  // value of note_duration_dist, which depends on the stored order of notes
};

// Buffers are reused from window to window: loading allocates only while they still grow.
class LoadedWindow {
 public:
  [[nodiscard]] std::span<const Track> tracks() const { return tracks_; }
  // The largest bar count of the tracks.
  [[nodiscard]] std::size_t num_bars() const { return num_bars_; }
  [[nodiscard]] std::span<const Bar> bars(const Track& track) const {
    return {bars_.data() + track.first_bar, track.num_bars};
  }
  // Notes of one bar: by onset, and among equal onsets by pitch.
  [[nodiscard]] std::span<const Note> notes(const Track& track, std::size_t bar) const {
    const std::size_t begin = bar == 0 ? track.first_note : note_ends_[track.first_end + bar - 1];
    return {notes_.data() + begin, note_ends_[track.first_end + bar] - begin};
  }
  [[nodiscard]] std::span<const Note> notes(const Track& track) const {
    if (track.num_bars == 0) return {};
    return {notes_.data() + track.first_note, note_ends_[track.first_end + track.num_bars - 1] - track.first_note};
  }

 private:
  friend class WindowLoader;

  std::vector<Note> notes_;
  std::vector<std::size_t> note_ends_;
  std::vector<Bar> bars_;
  std::vector<Track> tracks_;
  std::size_t num_bars_ = 0;
};

// Reads windows out of columns, transposed, scaled and resampled. Every index found in the columns is checked before
// it is followed.
class WindowLoader {
 public:
  WindowLoader(const vocab::Codebook& book, const Corpus& corpus, const Windows& windows);

  // The tracks in `slots` of window `window`, which check_windows has accepted. False if the columns of its piece
  // contradict themselves.
  bool load(std::int64_t window, std::span<const std::int64_t> slots, LoadedWindow& out);

 private:
  struct Source;

  void prepare_maps(std::int64_t window);
  bool load_track(const Source& source, std::int64_t slot, LoadedWindow& out) const;
  static bool load_bars(const Source& source, Track& track, LoadedWindow& out);
  bool load_notes(const Source& source, Track& track, LoadedWindow& out) const;
  void sort_bar(std::span<Note> notes);

  const vocab::Codebook& book_;
  const Corpus& corpus_;
  const Windows& windows_;
  bool wants_duration_mode_ = false;
  bool wants_fine_nomml_ = false;
  std::array<std::uint8_t, 256> melodic_pitch_{};
  std::array<std::uint8_t, 256> drum_pitch_{};
  std::array<std::uint8_t, 256> velocity_{};
  std::vector<Note> unsorted_;
  std::vector<std::uint64_t> order_;
};

// Whether every window names a piece, bars and tracks that exist. `message` of the answer names the window and field.
RequestError check_windows(const Corpus& corpus, const Windows& windows);

}  // namespace midigpt::encode
