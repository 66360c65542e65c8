#include "score/read_batch.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "midi/limits.h"
#include "midi/reader.h"
#include "score/bar_grid.h"
#include "score/place_notes.h"

namespace midigpt::score {

namespace {

constexpr std::int32_t kTempoOfFailed = 500'000;

// Threads take runs of files of about this many bytes, whose columns fit in a core's own cache.
constexpr std::int64_t kRunBytes = 128 << 10;

// A note takes at least three bytes to start and three to end.
constexpr std::int64_t kLeastNoteBytes = 6;

// What one thread works with.
struct Scratch {
    midi::Scratch midi;
    BarGrid grid;
};

// Call `work(i, scratch)` for each i below `count`, on several threads; rethrows the last std::bad_alloc.
template <class Work>
void for_each_on(int threads, std::size_t count, const Work& work) {
    std::atomic<std::size_t> next{0};
    std::mutex mutex;
    std::exception_ptr failure;
    const auto take = [&] {
        try {
            Scratch scratch;
            for (std::size_t i = next++; i < count; i = next++) work(i, scratch);
        } catch (...) {
            next = count;
            const std::lock_guard lock(mutex);
            failure = std::current_exception();
        }
    };
    std::vector<std::thread> helpers;
    try {
        while (helpers.size() + 1 < std::min(static_cast<std::size_t>(threads), count)) helpers.emplace_back(take);
    } catch (const std::system_error&) {
        // The system gives no more threads: fewer do the same work.
    }
    take();
    for (std::thread& helper : helpers) helper.join();
    if (failure) std::rethrow_exception(failure);
}

class BatchReader {
   public:
    BatchReader(std::span<const std::uint8_t> data, std::span<const std::int64_t> offsets, BatchResult& result)
        : data_(data), offsets_(offsets), result_(result) {
        result.status.resize(offsets.size() - 1);
        result.error_offset.resize(offsets.size() - 1);
    }

    void read_on_one_thread() {
        std::int64_t most_notes = 0;
        for (std::size_t file = 0; file + 1 < offsets_.size(); ++file) {
            const std::int64_t bytes = offsets_[file + 1] - offsets_[file];
            if (bytes <= midi::kMaxFileBytes) most_notes += std::min(bytes / kLeastNoteBytes, midi::kMaxNotes);
        }
        result_.columns.reserve_notes(static_cast<std::size_t>(most_notes));
        Scratch scratch;
        read_files(0, offsets_.size() - 1, scratch, result_.columns);
        result_.columns.shrink_to_fit();
    }

    // Runs are read into columns of their own, which are then brought together.
    void read_on(int threads) {
        std::vector<std::size_t> starts;
        for (std::size_t file = 0; file + 1 < offsets_.size(); ++file) {
            if (starts.empty() || offsets_[file + 1] - offsets_[starts.back()] > kRunBytes) starts.push_back(file);
        }
        std::vector<ColumnStore> runs(starts.size());
        starts.push_back(offsets_.size() - 1);
        for_each_on(threads, runs.size(), [&](std::size_t run, Scratch& scratch) {
            read_files(starts[run], starts[run + 1], scratch, runs[run]);
        });

        std::size_t num_notes = 0;
        for (const ColumnStore& run : runs) num_notes += run.note_pitch.size();
        result_.columns.reserve_notes(num_notes);
        std::vector<std::size_t> positions;
        for (const ColumnStore& run : runs) positions.push_back(result_.columns.append_without_notes(run));
        for_each_on(threads, runs.size(), [&](std::size_t run, Scratch&) {
            result_.columns.copy_notes(runs[run], positions[run]);
        });
    }

   private:
    void read_files(std::size_t first, std::size_t last, Scratch& scratch, ColumnStore& columns) {
        for (std::size_t file = first; file < last; ++file) {
            const auto bytes = data_.subspan(static_cast<std::size_t>(offsets_[file]),
                                             static_cast<std::size_t>(offsets_[file + 1] - offsets_[file]));
            midi::Outcome outcome = midi::read(bytes, scratch.midi);
            if (!outcome.failed()) outcome = build(scratch.midi.file, scratch.grid);
            if (outcome.failed()) {
                columns.end_piece(kTempoOfFailed);
            } else {
                place_notes(scratch.midi.file, scratch.grid, columns);
            }
            result_.status[file] = static_cast<std::uint8_t>(outcome.error);
            result_.error_offset[file] = outcome.offset;
        }
    }

    const std::span<const std::uint8_t> data_;
    const std::span<const std::int64_t> offsets_;
    BatchResult& result_;
};

}  // namespace

BatchResult read_batch(std::span<const std::uint8_t> data, std::span<const std::int64_t> offsets, int threads) {
    BatchResult result;
    BatchReader reader(data, offsets, result);
    if (threads > 1 && offsets.size() > 2) {
        reader.read_on(threads);
    } else {
        reader.read_on_one_thread();
    }
    return result;
}

}  // namespace midigpt::score
