#include "score/place_notes.h"

#include <algorithm>
#include <span>

namespace midigpt::score {

namespace {

// Appends the notes of one track to the columns of a store, and a cell for every bar that has some.
class TrackAppender {
   public:
    TrackAppender(ColumnStore& store, std::size_t most_notes, std::size_t most_cells, std::size_t piece_note)
        : store_(store),
          first_(store.note_pitch.size()),
          before_(static_cast<std::int32_t>(first_ - piece_note)),
          onsets_(store.note_onset.make_room(most_notes)),
          durations_(store.note_duration.make_room(most_notes)),
          pitches_(store.note_pitch.make_room(most_notes)),
          velocities_(store.note_velocity.make_room(most_notes)),
          microtimings_(store.note_microtiming.make_room(most_notes)) {
        store.cell_bar.make_room(most_cells);
        store.cell_note_end.make_room(most_cells);
    }

    // Bars ascend from call to call.
    void add(std::size_t bar, const midi::Note& note, std::int64_t onset, std::int64_t duration, std::int64_t microtiming) {
        if (static_cast<std::int64_t>(bar) != bar_) {
            end_cell();
            bar_ = static_cast<std::int64_t>(bar);
            store_.cell_bar.push_back(static_cast<std::int32_t>(bar));
        }
        onsets_[count_] = static_cast<std::int32_t>(onset);
        durations_[count_] = static_cast<std::int32_t>(duration);
        pitches_[count_] = note.pitch;
        velocities_[count_] = note.velocity;
        microtimings_[count_] = static_cast<std::int32_t>(microtiming);
        ++count_;
    }

    void finish() {
        end_cell();
        const std::size_t size = first_ + static_cast<std::size_t>(count_);
        for_each_array(kNoteArrays, [&](const char*, auto array) { (store_.*array).set_size(size); });
    }

   private:
    void end_cell() {
        if (bar_ >= 0) store_.cell_note_end.push_back(before_ + count_);
    }

    ColumnStore& store_;
    const std::size_t first_;
    const std::int32_t before_;  // notes of the piece before this track
    std::int32_t* const onsets_;
    std::int32_t* const durations_;
    std::uint8_t* const pitches_;
    std::uint8_t* const velocities_;
    std::int32_t* const microtimings_;
    std::int32_t count_ = 0;
    std::int64_t bar_ = -1;
};

void place_track(std::span<const midi::Note> notes, std::int32_t ticks_per_quarter, const BarGrid& grid,
                 TrackAppender& out) {
    const Bar* const bars = grid.bars.data();
    // Divided first, as the reference reader does: another order rounds some onsets the other way.
    const auto scaled = [quarter = static_cast<double>(ticks_per_quarter)](std::int64_t ticks) {
        return static_cast<double>(ticks) / quarter * kResolution;
    };
    std::size_t bar = 0;
    for (const midi::Note& note : notes) {
        if (note.duration == midi::kUnclosed) continue;
        const std::int64_t on = note.onset;
        const std::int64_t off = on + note.duration;
        bar = bar_at(grid, bar, on);
        const std::size_t end_bar = bar_at(grid, bar, off);
        // Before the first bar (after a signature whose bars have no length) notes start with it.
        const double exact = std::max(scaled(on - bars[bar].first_tick), 0.0);
        const std::int64_t onset = round_away(exact);
        // Such a note would round onto the next bar line: the reference reader drops it.
        if (onset >= bars[bar].length) continue;
        const std::int64_t end = bars[end_bar].start + round_away(scaled(off - bars[end_bar].first_tick));
        const std::int64_t duration = std::max<std::int64_t>(end - (bars[bar].start + onset), 1);
        out.add(bar, note, onset, duration, round_away((exact - static_cast<double>(onset)) * kResolution));
    }
}

}  // namespace

void place_notes(const midi::File& file, const BarGrid& grid, ColumnStore& store) {
    const std::size_t first_cell = store.cell_bar.size();
    const std::size_t first_note = store.note_pitch.size();
    for (const midi::Track& track : file.tracks.from(0)) {
        const std::span<const midi::Note> notes{file.notes.data() + track.first_note, track.num_notes};
        TrackAppender appender(store, notes.size(), std::min(notes.size(), grid.size()), first_note);
        place_track(notes, file.ticks_per_quarter, grid, appender);
        appender.finish();
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
