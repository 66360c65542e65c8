#include "score/read_batch.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <optional>
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
constexpr std::int64_t kRunBytes = 256 << 10;

// A note takes at least six bytes of a file, in most files ten or more.
constexpr std::int64_t kUsualNoteBytes = 10;

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
        reserve();
        Scratch scratch;
        read_files(0, offsets_.size() - 1, scratch, result_.columns);
        result_.columns.shrink_to_fit();
    }

    // Runs are read into columns of their own. Whoever has read one appends all that are next in order, while they are
    // in the processor's cache.
    void read_on(int threads) {
        std::vector<std::size_t> starts;
        for (std::size_t file = 0; file + 1 < offsets_.size(); ++file) {
            if (starts.empty() || offsets_[file + 1] - offsets_[starts.back()] > kRunBytes) starts.push_back(file);
        }
        std::vector<std::optional<ColumnStore>> read(starts.size());
        starts.push_back(offsets_.size() - 1);
        reserve();
        std::mutex mutex;
        std::size_t next = 0;
        for_each_on(threads, read.size(), [&](std::size_t run, Scratch& scratch) {
            ColumnStore columns;
            read_files(starts[run], starts[run + 1], scratch, columns);
            const std::lock_guard lock(mutex);
            read[run] = std::move(columns);
            for (; next < read.size() && read[next]; ++next) {
                result_.columns.append(*read[next]);
                read[next].reset();
            }
        });
        result_.columns.shrink_to_fit();
    }

   private:
    void reserve() {
        std::int64_t notes = 0;
        for (std::size_t file = 0; file + 1 < offsets_.size(); ++file) {
            const std::int64_t bytes = offsets_[file + 1] - offsets_[file];
            if (bytes <= midi::kMaxFileBytes) notes += std::min(bytes / kUsualNoteBytes, midi::kMaxNotes);
        }
        result_.columns.reserve_notes(static_cast<std::size_t>(notes));
    }

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
