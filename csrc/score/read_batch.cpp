#include "score/read_batch.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <memory>
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
        finished_.resize(runs_.size());
        runs_.push_back(offsets.size() - 1);
        result.status.resize(offsets.size() - 1);
        result.error_offset.resize(offsets.size() - 1);
        result.columns.reserve_notes(static_cast<std::size_t>(most_notes));
    }

    void read(int threads) {
        const std::size_t wanted = std::min(static_cast<std::size_t>(std::max(threads, 1)), finished_.size());
        if (wanted <= 1) return read_in_order();
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
    };

    void read_in_order() {
        Scratch scratch;
        for (std::size_t file = 0; file + 1 < offsets_.size(); ++file) read_file(file, scratch, result_.columns);
    }

    void take_runs() {
        try {
            Scratch scratch;
            auto columns = std::make_unique<ColumnStore>();
            for (std::size_t run = next_run_++; run < finished_.size(); run = next_run_++) {
                columns->clear();
                for (std::size_t file = runs_[run]; file < runs_[run + 1]; ++file) read_file(file, scratch, *columns);
                columns = collect(run, std::move(columns));
            }
        } catch (...) {  // std::bad_alloc: to be rethrown on the calling thread
            next_run_ = finished_.size();
            const std::lock_guard lock(order_);
            failure_ = std::current_exception();
        }
    }

    void read_file(std::size_t file, Scratch& scratch, ColumnStore& columns) {
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

    // Hand in a run's columns and append what is next in order, this run or others that had to wait for it. Nobody
    // waits, and notes, the bulk of it, are copied without the lock. Returns columns for the next run.
    std::unique_ptr<ColumnStore> collect(std::size_t run, std::unique_ptr<ColumnStore> columns) {
        std::unique_lock lock(order_);
        finished_[run] = std::move(columns);
        while (num_collected_ < finished_.size() && finished_[num_collected_]) {
            std::unique_ptr<ColumnStore> part = std::move(finished_[num_collected_]);
            const std::size_t position = result_.columns.append_without_notes(*part);
            ++num_collected_;
            lock.unlock();
            result_.columns.copy_notes(*part, position);
            lock.lock();
            spare_.push_back(std::move(part));
        }
        if (spare_.empty()) return std::make_unique<ColumnStore>();
        columns = std::move(spare_.back());
        spare_.pop_back();
        return columns;
    }

    const std::span<const std::uint8_t> data_;
    const std::span<const std::int64_t> offsets_;
    BatchResult& result_;
    std::vector<std::size_t> runs_;  // first file of each run, and the number of files
    std::atomic<std::size_t> next_run_{0};
    std::mutex order_;  // guards everything below and the result's columns, notes aside
    std::vector<std::unique_ptr<ColumnStore>> finished_;  // by run
    std::vector<std::unique_ptr<ColumnStore>> spare_;
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
