// A decoded score as the columns of one piece, as Python's encoder puts them together.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "decode/decoder.h"
#include "encode/request.h"

namespace midigpt::fuzz {

class DecodedColumns {
 public:
  explicit DecodedColumns(const decode::DecodedScore& score);
  DecodedColumns(const DecodedColumns&) = delete;
  DecodedColumns& operator=(const DecodedColumns&) = delete;
  DecodedColumns(DecodedColumns&&) = delete;
  DecodedColumns& operator=(DecodedColumns&&) = delete;
  ~DecodedColumns() = default;

  [[nodiscard]] const score::Columns& columns() const { return shard_.columns; }
  // A corpus of this one piece.
  [[nodiscard]] encode::Corpus corpus() const { return {{&shard_, 1}, pieces_.data()}; }

 private:
  static constexpr std::int32_t kTempo = 500'000;  // tempo has no token

  std::array<std::int64_t, 2> pieces_{0, 1};
  std::array<std::int64_t, 2> tracks_{};
  std::array<std::int64_t, 2> bars_{};
  std::array<std::int64_t, 2> cells_{};
  std::array<std::int64_t, 2> notes_{};
  std::vector<std::int8_t> nomml_;
  encode::Shard shard_;
};

// Checks every run and value that the binding relies on; the score's columns must be `columns`.
void check_decoded(const decode::DecodedScore& score, const DecodedColumns& columns);

}  // namespace midigpt::fuzz
