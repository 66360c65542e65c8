#include "score/place_notes.h"

#include <algorithm>
#include <span>

namespace midigpt::score {

namespace {

class TrackPlacer {
   public:
    TrackPlacer(const midi::File& file, const BarGrid& grid, ColumnStore& store)
        : grid_(grid), ticks_per_quarter_(file.ticks_per_quarter), store_(store), piece_note_(store.note_pitch.size()) {}

    // Append the notes of one track, bar by bar.
    void place(std::span<const midi::Note> notes);

   private:
    const BarGrid& grid_;
    const double ticks_per_quarter_;
    ColumnStore& store_;
    const std::size_t piece_note_;  // the piece's first note
};

void TrackPlacer::place(std::span<const midi::Note> notes) {
    // Locals: stores to the byte columns could otherwise change any member as far as the compiler knows.
    const Bar* const bars = grid_.bars.data();
    const double ticks_per_quarter = ticks_per_quarter_;
    const auto scaled = [ticks_per_quarter](std::int64_t ticks) {
        return static_cast<double>(ticks) / ticks_per_quarter * kResolution;
    };
    std::int32_t* const onsets = store_.note_onset.make_room(notes.size());
    std::int32_t* const durations = store_.note_duration.make_room(notes.size());
    std::uint8_t* const pitches = store_.note_pitch.make_room(notes.size());
    std::uint8_t* const velocities = store_.note_velocity.make_room(notes.size());
    std::int32_t* const residuals = store_.note_microtiming.make_room(notes.size());
    const std::size_t most_cells = std::min(notes.size(), grid_.size());
    store_.cell_bar.make_room(most_cells);
    store_.cell_note_end.make_room(most_cells);

    const std::size_t first = store_.note_pitch.size();
    const auto before = static_cast<std::int32_t>(first - piece_note_);
    std::int32_t count = 0;
    std::size_t bar = 0;
    std::int64_t cell_bar = -1;
    for (const midi::Note& note : notes) {
        if (note.duration == midi::kUnclosed) continue;
        const std::int64_t on = note.onset;
        const std::int64_t off = on + note.duration;
        bar = bar_at(grid_, bar, on);
        const std::size_t end_bar = bar_at(grid_, bar, off);
        // Before the first bar (after a signature whose bars have no length) notes start with it.
        const double exact = std::max(scaled(on - bars[bar].first_tick), 0.0);
        const std::int64_t onset = round_away(exact);
        // Such a note would round onto the next bar line: the reference reader drops it.
        if (onset >= bars[bar].length) continue;

        const std::int64_t end = bars[end_bar].start + round_away(scaled(off - bars[end_bar].first_tick));
        onsets[count] = static_cast<std::int32_t>(onset);
        durations[count] = static_cast<std::int32_t>(std::max<std::int64_t>(end - (bars[bar].start + onset), 1));
        pitches[count] = note.pitch;
        velocities[count] = note.velocity;
        residuals[count] = static_cast<std::int32_t>(round_away((exact - static_cast<double>(onset)) * kResolution));
        if (static_cast<std::int64_t>(bar) != cell_bar) {
            if (cell_bar >= 0) store_.cell_note_end.push_back(before + count);
            cell_bar = static_cast<std::int64_t>(bar);
            store_.cell_bar.push_back(static_cast<std::int32_t>(bar));
        }
        ++count;
    }
    if (cell_bar >= 0) store_.cell_note_end.push_back(before + count);

    const std::size_t size = first + static_cast<std::size_t>(count);
    store_.note_onset.set_size(size);
    store_.note_duration.set_size(size);
    store_.note_pitch.set_size(size);
    store_.note_velocity.set_size(size);
    store_.note_microtiming.set_size(size);
}

}  // namespace

void place_notes(const midi::File& file, const BarGrid& grid, ColumnStore& store) {
    const auto first_cell = store.cell_bar.size();
    TrackPlacer placer(file, grid, store);
    for (const midi::Track& track : file.tracks.from(0)) {
        placer.place({file.notes.data() + track.first_note, track.num_notes});
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
