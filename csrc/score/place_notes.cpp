#include "score/place_notes.h"

#include <algorithm>
#include <array>
#include <span>

namespace midigpt::score {

namespace {

// Appends the notes of one track to the columns of a store, and a cell for every bar that has some.
//
// Notes go through the steps in groups: first what their times are computed from, a column each, then the times, where
// the compiler divides and rounds several at once.
class TrackPlacer {
 public:
  // A group is written before it is read, and zeroing it for each track would show.
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init)
  TrackPlacer(const midi::File& file, const BarGrid& grid, std::size_t piece_note, std::size_t most_notes,
              ColumnStore& store)
      : grid_(grid),
        ticks_per_quarter_(file.ticks_per_quarter),
        store_(store),
        before_(static_cast<std::int32_t>(store.note_pitch.size() - piece_note)),
        onsets_(store.note_onset.make_room(most_notes)),
        durations_(store.note_duration.make_room(most_notes)),
        pitches_(store.note_pitch.make_room(most_notes)),
        velocities_(store.note_velocity.make_room(most_notes)),
        microtimings_(store.note_microtiming.make_room(most_notes)),
        cell_bars_(store.cell_bar.make_room(std::min(most_notes, grid.size()))),
        cell_ends_(store.cell_note_end.make_room(std::min(most_notes, grid.size()))) {}

  void place(std::span<const midi::Note> notes) {
    while (!notes.empty()) {
      notes = find_bars(notes);
      compute_times();
      drop_rounded_up();
      extend_cells();
      count_ += size_;
    }
    store_.cell_bar.set_size(store_.cell_bar.size() + num_cells_);
    store_.cell_note_end.set_size(store_.cell_bar.size());
    const std::size_t size = store_.note_pitch.size() + count_;
    for_each_column(store_, [&](auto column, auto& array) {
      if constexpr (decltype(column)::kLevel == Level::Note) array.set_size(size);
    });
  }

 private:
  static constexpr std::size_t kGroup = 256;
  // 32 bits are enough: build() refuses files whose ticks, at either resolution, are more.
  using Column = std::array<std::int32_t, kGroup>;

  // Begin a group with the first notes; returns those that remain.
  std::span<const midi::Note> find_bars(std::span<const midi::Note> notes) {
    const Bar* const bars = grid_.bars.data();
    std::uint8_t* const pitches = pitches_ + count_;
    std::uint8_t* const velocities = velocities_ + count_;
    std::size_t bar = bar_;
    std::size_t size = 0;
    std::size_t next = 0;
    for (; next < notes.size() && size < kGroup; ++next) {
      const midi::Note& note = notes[next];
      if (note.duration == midi::kUnclosed) continue;
      const std::int64_t on = note.onset;
      const std::int64_t off = on + note.duration;
      bar = bar_at(grid_, bar, on);
      const std::size_t end_bar = bar_at(grid_, bar, off);
      note_bar_[size] = static_cast<std::int32_t>(bar);
      bar_length_[size] = bars[bar].length;
      // Before the first bar (after a signature whose bars have no length) notes start with it.
      onset_ticks_[size] = static_cast<std::int32_t>(std::max<std::int64_t>(on - bars[bar].first_tick, 0));
      end_ticks_[size] = static_cast<std::int32_t>(off - bars[end_bar].first_tick);
      bars_between_[size] = bars[end_bar].start - bars[bar].start;
      pitches[size] = note.pitch;
      velocities[size] = note.velocity;
      ++size;
    }
    bar_ = bar;
    size_ = size;
    return notes.subspan(next);
  }

  void compute_times() {
    // Divided first, as the reference reader does: another order rounds some onsets the other way.
    const auto scaled = [quarter = static_cast<double>(ticks_per_quarter_)](std::int32_t ticks) {
      return static_cast<double>(ticks) / quarter * kResolution;
    };
    std::int32_t* const onsets = onsets_ + count_;
    std::int32_t* const durations = durations_ + count_;
    std::int32_t* const microtimings = microtimings_ + count_;
    for (std::size_t i = 0; i < size_; ++i) {
      const double exact = scaled(onset_ticks_[i]);
      const std::int32_t onset = round_away<std::int32_t>(exact);
      const std::int32_t end = bars_between_[i] + round_away<std::int32_t>(scaled(end_ticks_[i]));
      onsets[i] = onset;
      durations[i] = std::max(end - onset, 1);
      microtimings[i] = round_away<std::int32_t>((exact - static_cast<double>(onset)) * kResolution);
    }
  }

  // The reference reader drops notes that would round onto the next bar line.
  void drop_rounded_up() {
    const std::int32_t* const onsets = onsets_ + count_;
    std::size_t kept = 0;
    for (std::size_t i = 0; i < size_; ++i) kept += onsets[i] < bar_length_[i] ? 1 : 0;
    if (kept == size_) return;
    kept = 0;
    for (std::size_t i = 0; i < size_; ++i) {
      if (onsets[i] >= bar_length_[i]) continue;
      const auto move = [from = count_ + i, to = count_ + kept](auto* column) { column[to] = column[from]; };
      move(onsets_);
      move(durations_);
      move(pitches_);
      move(velocities_);
      move(microtimings_);
      note_bar_[kept++] = note_bar_[i];
    }
    size_ = kept;
  }

  // Each note ends its bar's cell, until the next one does.
  void extend_cells() {
    std::int32_t note_end = before_ + static_cast<std::int32_t>(count_);
    std::int32_t bar = cell_bar_;
    std::size_t cells = num_cells_;
    for (std::size_t i = 0; i < size_; ++i) {
      cells += note_bar_[i] != bar ? 1 : 0;
      bar = note_bar_[i];
      cell_bars_[cells - 1] = bar;
      cell_ends_[cells - 1] = ++note_end;
    }
    cell_bar_ = bar;
    num_cells_ = cells;
  }

  const BarGrid& grid_;
  const std::int32_t ticks_per_quarter_;
  ColumnStore& store_;
  const std::int32_t before_;  // notes of the piece before this track
  std::int32_t* const onsets_;
  std::int32_t* const durations_;
  std::uint8_t* const pitches_;
  std::uint8_t* const velocities_;
  std::int32_t* const microtimings_;
  std::int32_t* const cell_bars_;
  std::int32_t* const cell_ends_;
  std::size_t count_ = 0;  // notes of the groups before
  std::size_t num_cells_ = 0;
  std::size_t bar_ = 0;  // of the latest note
  std::int32_t cell_bar_ = -1;

  // The group.
  std::size_t size_ = 0;
  Column note_bar_;
  Column bar_length_;    // at kResolution
  Column onset_ticks_;   // the file's, since the bar's start
  Column end_ticks_;     // the file's, since the start of the bar in which the note ends
  Column bars_between_;  // from the one bar's start to the other's, at kResolution
};

}  // namespace

void place_notes(const midi::File& file, const BarGrid& grid, ColumnStore& store) {
  const std::size_t first_cell = store.cell_bar.size();
  const std::size_t first_note = store.note_pitch.size();
  for (const midi::Track& track : file.tracks.from(0)) {
    const std::span<const midi::Note> notes{file.notes.data() + track.first_note, track.num_notes};
    TrackPlacer(file, grid, first_note, notes.size(), store).place(notes);
    store.track_program.push_back(track.program);
    store.track_drum.push_back(track.channel == midi::kDrumChannel ? 1 : 0);
    store.track_nomml.push_back(-1);
    store.track_cell_end.push_back(static_cast<std::int32_t>(store.cell_bar.size() - first_cell));
  }
  // Bars live in tracks: a file without tracks has none.
  for (std::size_t bar = 0; bar < (file.tracks.empty() ? 0 : grid.size()); ++bar) {
    store.bar_numerator.push_back(grid.bars[bar].numerator);
    store.bar_denominator.push_back(grid.bars[bar].denominator);
    store.bar_length.push_back(grid.bars[bar].quarters);
  }
  store.end_piece(file.tempo);
}

}  // namespace midigpt::score
