#include "score/edited_bars.h"

#include <algorithm>
#include <bit>

#include "midi/limits.h"

namespace midigpt::score {

namespace {

struct Meter {
  std::int32_t numerator;
  std::int32_t denominator;

  bool operator==(const Meter&) const = default;
  [[nodiscard]] bool can_be_written() const {
    return numerator >= 0 && numerator <= 255 && denominator >= 1 && denominator <= 128 &&
           std::has_single_bit(static_cast<unsigned>(denominator));
  }
  [[nodiscard]] std::int64_t ticks(std::int64_t per_quarter) const { return 4 * per_quarter * numerator / denominator; }
};

// Why a bar cannot change to `meter`, or nullptr.
const char* change_problem(const Meter& meter, bool gaps) {
  if (gaps) return "a time signature of the file leaves ticks without bars, between which none can be placed";
  if (meter.can_be_written()) return nullptr;
  return "a time signature has a numerator above 255 or a denominator that is no power of two up to 128";
}

// The ticks of the file's signatures, asked for in their order.
class SignatureTicks {
 public:
  explicit SignatureTicks(const BarGrid& grid) : rest_(grid.signatures.from(0)) {}

  bool stands_at(std::int64_t tick) {
    while (!rest_.empty() && rest_.front().tick < tick) rest_ = rest_.subspan(1);
    return !rest_.empty() && rest_.front().tick == tick;
  }

 private:
  std::span<const midi::TimeSignature> rest_;
};

// Whether a signature must be added at a bar. One of the file stays with a bar that stays; after a changed bar the old
// one must be said again.
bool needs_signature(bool stays, bool has_signature, bool first, bool as_before) {
  return stays ? !has_signature && !first && !as_before : has_signature || first || !as_before;
}

// Ticks to the next bar of a bar whose signature makes it `nominal` ticks long, which took `old_ticks` of
// `old_nominal`: a bar that was cut short stays so, and what the file has between this bar and the next stays there.
std::int64_t changed_span(std::int64_t nominal, std::int64_t old_ticks, std::int64_t old_nominal) {
  return old_ticks < old_nominal ? std::min(nominal, old_ticks) : nominal + (old_ticks - old_nominal);
}

// Whether signatures of the file leave ticks without bars.
bool has_gaps(const midi::File& file, const BarGrid& grid) {
  const auto signatures = grid.signatures.from(0);
  return std::any_of(signatures.begin(), signatures.end(), [&](const midi::TimeSignature& signature) {
    return std::int64_t{4} * file.ticks_per_quarter * signature.numerator >> signature.log2_denominator == 0;
  });
}

// `numerator / denominator` to the nearest integer, halves up.
std::int64_t divide_rounded(std::int64_t numerator, std::int64_t denominator) {
  const std::int64_t doubled = 2 * numerator + denominator;
  const std::int64_t quotient = doubled / (2 * denominator);
  return quotient - (doubled < 0 && quotient * 2 * denominator != doubled ? 1 : 0);
}

}  // namespace

const char* EditedBars::build(const midi::File& file, const BarGrid& grid, std::span<const std::int32_t> numerators,
                              std::span<const std::int32_t> denominators) {
  ticks_per_quarter_ = file.ticks_per_quarter;
  num_file_bars_ = grid.size();
  const std::size_t count = std::max(grid.size(), numerators.size());
  bars_.reserve(count);
  std::int64_t tick = grid.bars[0].first_tick;
  double start = 0;
  Meter before{};
  SignatureTicks signatures(grid);
  const bool gaps = has_gaps(file, grid);
  for (std::size_t i = 0; i < count; ++i) {
    const bool in_file = i < grid.size();
    const Meter old = in_file ? Meter{grid.bars[i].numerator, grid.bars[i].denominator} : before;
    const Meter meter = i < numerators.size() ? Meter{numerators[i], denominators[i]} : old;
    const bool stays = in_file && meter == old;
    if (const char* const problem = stays ? nullptr : change_problem(meter, gaps)) return problem;
    const std::int64_t nominal = meter.ticks(ticks_per_quarter_);
    if (nominal < 1) return "a bar would be shorter than a tick";
    const std::int64_t old_tick = in_file ? grid.bars[i].first_tick : -1;
    const std::int64_t span = in_file ? span_in_file(grid, i, nominal, stays) : nominal;
    const bool has_signature = in_file && signatures.stands_at(old_tick);
    if (needs_signature(stays, has_signature, i == 0, meter == before)) {
      added_.push_back({tick, static_cast<std::uint8_t>(meter.numerator),
                        static_cast<std::uint8_t>(std::countr_zero(static_cast<unsigned>(meter.denominator)))});
    }
    if (!stays && has_signature) replaced_.push_back(old_tick);
    const double length = static_cast<double>(kResolution * nominal) / static_cast<double>(ticks_per_quarter_);
    bars_.push_back({old_tick, tick, span, std::min(nominal, span), round_away<std::int64_t>(start),
                     round_away<std::int64_t>(length)});
    start += length;
    tick += span;
    before = meter;
    if (tick > midi::kMaxTick || start > static_cast<double>(midi::kMaxTick)) {
      return "the piece would become longer than 2147483646 ticks";
    }
  }
  return nullptr;
}

std::int64_t EditedBars::span_in_file(const BarGrid& grid, std::size_t bar, std::int64_t nominal, bool stays) {
  const auto& old = grid.bars[bar];
  const std::int64_t old_nominal = Meter{old.numerator, old.denominator}.ticks(ticks_per_quarter_);
  const bool last = bar + 1 == grid.size();
  const std::int64_t old_ticks = last ? old_nominal : grid.bars[bar + 1].first_tick - old.first_tick;
  const std::int64_t span = stays ? old_ticks : changed_span(nominal, old_ticks, old_nominal);
  moves_ = moves_ || span != old_ticks;
  if (last) old_end_ = old.first_tick + old_ticks;
  return span;
}

bool EditedBars::replaces(std::uint32_t tick) const {
  return std::binary_search(replaced_.begin(), replaced_.end(), static_cast<std::int64_t>(tick));
}

std::int64_t EditedBars::moved(std::int64_t tick) const {
  if (!moves_ || tick < bars_[0].old_tick) return tick;
  const auto later = [](std::int64_t wanted, const Bar& bar) { return wanted < bar.old_tick; };
  const auto file_end = bars_.begin() + static_cast<std::ptrdiff_t>(num_file_bars_);
  const Bar& bar = *(std::upper_bound(bars_.begin(), file_end, tick, later) - 1);
  if (tick >= old_end_) {
    const Bar& last = *(file_end - 1);
    return last.first_tick + last.span + (tick - old_end_);
  }
  return bar.first_tick + std::min(tick - bar.old_tick, bar.span);
}

std::int64_t EditedBars::onset(std::int32_t bar, std::int32_t onset, std::int32_t microtiming) const {
  const Bar& in = bars_[static_cast<std::size_t>(bar)];
  if (onset * ticks_per_quarter_ >= in.ticks * kResolution) return kBeyond;
  constexpr std::int64_t kFine = std::int64_t{kResolution} * kResolution;
  const std::int64_t exact = std::int64_t{onset} * kResolution + microtiming;
  std::int64_t tick = std::clamp<std::int64_t>(divide_rounded(exact * ticks_per_quarter_, kFine), 0, in.ticks - 1);
  // The reader drops notes that round onto the next bar line.
  const auto read = [&](std::int64_t at) {
    return round_away<std::int64_t>(static_cast<double>(at) / static_cast<double>(ticks_per_quarter_) * kResolution);
  };
  while (tick > 0 && read(tick) >= in.length) --tick;
  return in.first_tick + tick;
}

std::int64_t EditedBars::end(std::int32_t bar, std::int32_t onset, std::int32_t duration) const {
  const std::int64_t target = bars_[static_cast<std::size_t>(bar)].start + onset + duration;
  const auto later = [](std::int64_t wanted, const Bar& candidate) { return wanted < candidate.start; };
  const auto after = std::upper_bound(bars_.begin(), bars_.end(), target, later);
  const Bar& in = *(after - 1);
  const std::int64_t ticks = divide_rounded((target - in.start) * ticks_per_quarter_, kResolution);
  return in.first_tick + (after == bars_.end() ? ticks : std::min(ticks, in.ticks));
}

}  // namespace midigpt::score
