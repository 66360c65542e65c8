#include "sample/packing.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

namespace {

using namespace midigpt::sample;

std::vector<std::int32_t> pack(const std::vector<std::int64_t>& lengths, std::int64_t rows, std::int64_t length) {
  std::vector<std::int32_t> row(lengths.size(), -7);
  best_fit_decreasing(lengths.data(), static_cast<std::int64_t>(lengths.size()), rows, length, row.data());
  return row;
}

TEST_CASE("the longest documents go first, each where the least room is left") {
  CHECK(pack({4, 7, 3, 6}, 2, 10) == std::vector<std::int32_t>{1, 0, 0, 1});
  CHECK(pack({10, 1}, 1, 10) == std::vector<std::int32_t>{0, -1});
  CHECK(pack({11, 0}, 1, 10) == std::vector<std::int32_t>{-1, 0});
  CHECK(pack({}, 0, 10).empty());
}

struct Packed {
  std::vector<std::int64_t> input_ids, labels, position_ids;
  std::vector<std::int32_t> document_ids;
  std::vector<std::uint8_t> role;

  explicit Packed(std::size_t size)
      : input_ids(size, -1), labels(size, -1), position_ids(size, -1), document_ids(size, -2), role(size, 9) {}
  Rows rows(std::int64_t count, std::int64_t length) {
    return {input_ids.data(), labels.data(), position_ids.data(), document_ids.data(), role.data(), count, length};
  }
};

TEST_CASE("a row holds its documents, labels shifted within each, then padding") {
  const std::vector<std::int32_t> tokens{5, 6, 7, 8, 9};
  const std::vector<std::uint8_t> roles{0, 1, 0, 1, 1};
  const std::vector<std::int64_t> offsets{0, 2, 2, 3, 5};
  const std::vector<std::int32_t> row{0, 0, -1, 0};
  const Documents documents{tokens.data(), nullptr, roles.data(), offsets.data(), row.data(), 4};
  Packed packed(6);
  const Rows rows = packed.rows(1, 6);
  REQUIRE(documents_fit(documents, 5, rows));
  fill_rows(documents, rows);
  CHECK(packed.input_ids == std::vector<std::int64_t>{5, 6, 8, 9, 0, 0});
  CHECK(packed.labels == std::vector<std::int64_t>{6, -100, 9, -100, -100, -100});
  CHECK(packed.position_ids == std::vector<std::int64_t>{0, 1, 0, 1, 0, 0});
  CHECK(packed.document_ids == std::vector<std::int32_t>{0, 0, 1, 1, -1, -1});
  CHECK(packed.role == std::vector<std::uint8_t>{0, 1, 1, 1, 0, 0});
}

TEST_CASE("positions that are given are those of the rows, and padding stands at 0") {
  const std::vector<std::int32_t> tokens{10, 11, 12, 20, 21};
  const std::vector<std::int32_t> positions{0, 1, 1, 0, 7};
  const std::vector<std::uint8_t> roles(5, 0);
  const std::vector<std::int64_t> offsets{0, 3, 5};
  const std::vector<std::int32_t> row{1, 1};
  Packed packed(12);
  const Rows rows = packed.rows(2, 6);
  fill_rows({tokens.data(), positions.data(), roles.data(), offsets.data(), row.data(), 2}, rows);
  CHECK(packed.position_ids == std::vector<std::int64_t>{0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 7, 0});
  CHECK(packed.input_ids == std::vector<std::int64_t>{0, 0, 0, 0, 0, 0, 10, 11, 12, 20, 21, 0});
}

TEST_CASE("documents that leave the tokens or a row do not fit") {
  Packed packed(4);
  const Rows rows = packed.rows(2, 2);
  const auto fits = [&](std::vector<std::int64_t> offsets, std::vector<std::int32_t> row) {
    return documents_fit({nullptr, nullptr, nullptr, offsets.data(), row.data(), 1}, 3, rows);
  };
  CHECK(fits({0, 2}, {1}));
  CHECK(fits({0, 3}, {-1}));
  CHECK_FALSE(fits({0, 3}, {0}));
  CHECK_FALSE(fits({0, 4}, {-1}));
  CHECK_FALSE(fits({-1, 1}, {0}));
  CHECK_FALSE(fits({2, 1}, {0}));
  CHECK_FALSE(fits({1, INT64_MIN}, {0}));
  CHECK_FALSE(fits({0, 1}, {2}));
  CHECK_FALSE(fits({0, 1}, {-2}));
}

}  // namespace
