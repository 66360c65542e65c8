#include "score/read_batch.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
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

// Files are worked on in runs of about this many bytes, whose columns fit in a core's own cache.
constexpr std::int64_t kRunBytes = 128 << 10;

// A note takes at least three bytes to start and three to end.
constexpr std::int64_t kLeastNoteBytes = 6;

class BatchReader {
   public:
    BatchReader(std::span<const std::uint8_t> data, std::span<const std::int64_t> offsets, BatchResult& result)
        : data_(data), offsets_(offsets), result_(result) {
        std::int64_t most_notes = 0;
        for (std::size_t file = 0; file + 1 < offsets.size(); ++file) {
            if (runs_.empty() || offsets[file + 1] - offsets[runs_.back()] > kRunBytes) runs_.push_back(file);
            const std::int64_t bytes = offsets[file + 1] - offsets[file];
            if (bytes <= midi::kMaxFileBytes) most_notes += std::min(bytes / kLeastNoteBytes, midi::kMaxNotes);
        }
        runs_.push_back(offsets.size() - 1);
        result.status.resize(offsets.size() - 1);
        result.error_offset.resize(offsets.size() - 1);
        result.columns.reserve_notes(static_cast<std::size_t>(most_notes));
    }

    void read(int threads) {
        const std::size_t wanted = std::min(static_cast<std::size_t>(std::max(threads, 1)), runs_.size() - 1);
        std::vector<std::thread> helpers;
        try {
            while (helpers.size() + 1 < wanted) helpers.emplace_back([this] { take_runs(); });
        } catch (const std::system_error&) {
            // The system gives no more threads: fewer do the same work.
        }
        take_runs();
        for (std::thread& helper : helpers) helper.join();
        if (failure_) std::rethrow_exception(failure_);
    }

   private:
    // What one thread works with.
    struct Scratch {
        midi::Scratch midi;
        BarGrid grid;
        ColumnStore columns;
    };

    void take_runs() {
        try {
            Scratch scratch;
            for (std::size_t run = next_run_++; run + 1 < runs_.size(); run = next_run_++) {
                scratch.columns.clear();
                for (std::size_t file = runs_[run]; file < runs_[run + 1]; ++file) read_file(file, scratch);
                if (!collect(run, scratch.columns)) return;
            }
        } catch (...) {  // std::bad_alloc: to be rethrown on the calling thread
            const std::lock_guard lock(order_);
            failure_ = std::current_exception();
            collected_.notify_all();
        }
    }

    void read_file(std::size_t file, Scratch& scratch) {
        const auto bytes = data_.subspan(static_cast<std::size_t>(offsets_[file]),
                                         static_cast<std::size_t>(offsets_[file + 1] - offsets_[file]));
        midi::Outcome outcome = midi::read(bytes, scratch.midi);
        if (!outcome.failed()) outcome = build(scratch.midi.file, scratch.grid);
        if (outcome.failed()) {
            scratch.columns.end_piece(kTempoOfFailed);
        } else {
            place_notes(scratch.midi.file, scratch.grid, scratch.columns);
        }
        result_.status[file] = static_cast<std::uint8_t>(outcome.error);
        result_.error_offset[file] = outcome.offset;
    }

    // Append a run's columns after those of all earlier runs. False: another thread failed.
    bool collect(std::size_t run, const ColumnStore& columns) {
        std::size_t position = 0;
        {
            std::unique_lock lock(order_);
            collected_.wait(lock, [&] { return num_collected_ == run || failure_; });
            if (failure_) return false;
            position = result_.columns.append_without_notes(columns);
            ++num_collected_;
        }
        collected_.notify_all();
        result_.columns.copy_notes(columns, position);
        return true;
    }

    const std::span<const std::uint8_t> data_;
    const std::span<const std::int64_t> offsets_;
    BatchResult& result_;
    std::vector<std::size_t> runs_;  // first file of each run, and the number of files
    std::atomic<std::size_t> next_run_{0};
    std::mutex order_;
    std::condition_variable collected_;
    std::size_t num_collected_ = 0;
    std::exception_ptr failure_;
};

}  // namespace

BatchResult read_batch(std::span<const std::uint8_t> data, std::span<const std::int64_t> offsets, int threads) {
    BatchResult result;
    BatchReader(data, offsets, result).read(threads);
    result.columns.shrink_to_fit();
    return result;
}

}  // namespace midigpt::score
