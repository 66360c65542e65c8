#include "score/read_batch.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <vector>

#include "midi/limits.h"
#include "midi/reader.h"
#include "score/bar_grid.h"
#include "score/place_notes.h"
#include "threads/team.h"

namespace midigpt::score {

namespace {

constexpr std::int32_t kTempoOfFailed = 500'000;

// Threads take runs of files of about this many bytes: a tenth of a millisecond, so that all end at about one time.
constexpr std::int64_t kRunBytes = 64 << 10;

// A note takes at least six bytes of a file, in most files ten or more.
constexpr std::int64_t kUsualNoteBytes = 10;

// What one thread works with.
struct Scratch {
  midi::Scratch midi;
  BarGrid grid;
};

// The numbers below `count` that no thread has taken, from either end.
class Untaken {
 public:
  explicit Untaken(std::size_t count) : end_(count) {}

  std::optional<std::size_t> first() {
    const std::lock_guard lock(mutex_);
    return begin_ < end_ ? std::optional(begin_++) : std::nullopt;
  }

  std::optional<std::size_t> last() {
    const std::lock_guard lock(mutex_);
    return begin_ < end_ ? std::optional(--end_) : std::nullopt;
  }

  // Nobody takes any more.
  void stop() {
    const std::lock_guard lock(mutex_);
    end_ = begin_;
  }

 private:
  std::mutex mutex_;
  std::size_t begin_ = 0;
  std::size_t end_;
};

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

  // This thread reads runs from the front to where they stay, the others from the back into columns of their own. What
  // those have read when they meet is then put behind the rest, by all of them.
  void read_on(std::size_t threads) {
    std::vector<std::size_t> starts;
    for (std::size_t file = 0; file + 1 < offsets_.size(); ++file) {
      if (starts.empty() || offsets_[file + 1] - offsets_[starts.back()] > kRunBytes) starts.push_back(file);
    }
    std::vector<std::optional<ColumnStore>> apart(starts.size());
    threads = std::min(threads, starts.size());
    Untaken runs(starts.size());
    starts.push_back(offsets_.size() - 1);
    reserve();
    const auto from_the_front = [&] {
      Scratch scratch;
      while (const auto run = runs.first()) {
        read_files(starts[*run], starts[*run + 1], scratch, result_.columns);
      }
    };
    const auto from_the_back = [&] {
      Scratch scratch;
      while (const auto run = runs.last()) {
        read_files(starts[*run], starts[*run + 1], scratch, apart[*run].emplace());
      }
    };
    threads::run(threads, from_the_front, from_the_back, [&] { runs.stop(); });
    append(apart, threads);
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

  void append(std::vector<std::optional<ColumnStore>>& parts, std::size_t threads) {
    std::vector<ColumnStore::Sizes> starts(parts.size());
    ColumnStore::Sizes end = result_.columns.sizes();
    for (std::size_t i = 0; i < parts.size(); ++i) {
      if (!parts[i]) continue;
      starts[i] = end;
      const ColumnStore::Sizes more = parts[i]->sizes();
      for (std::size_t array = 0; array < end.size(); ++array) end[array] += more[array];
      result_.columns.append_offsets(*parts[i]);
    }
    result_.columns.resize_values(end);
    Untaken untaken(parts.size());
    const auto put = [&] {
      while (const auto i = untaken.last()) {
        if (!parts[*i]) continue;
        result_.columns.put(*parts[*i], starts[*i]);
        parts[*i].reset();
      }
    };
    threads::run(threads, put, put, [&] { untaken.stop(); });
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
    reader.read_on(static_cast<std::size_t>(threads));
  } else {
    reader.read_on_one_thread();
  }
  return result;
}

}  // namespace midigpt::score
