#include "midi/growing_array.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <new>
#include <utility>

namespace {

using midigpt::midi::GrowingArray;

TEST_CASE("a growing array keeps its values while it grows") {
  GrowingArray<std::int32_t> array;
  CHECK(array.empty());
  for (std::int32_t value = 0; value < 1000; ++value) array.push_back(value);
  REQUIRE(array.size() == 1000);
  for (std::int32_t value = 0; value < 1000; ++value) CHECK(array[static_cast<std::size_t>(value)] == value);
  CHECK(array.back() == 999);
  CHECK(array.from(990).size() == 10);
  CHECK(array.from(990)[0] == 990);
}

TEST_CASE("values written into room count once the size says so") {
  GrowingArray<std::int32_t> array;
  std::int32_t* const room = array.make_room(3);
  room[0] = 1;
  room[1] = 2;
  CHECK(array.empty());
  array.set_size(2);
  CHECK(array.end() - array.begin() == 2);
  CHECK(array[1] == 2);
}

TEST_CASE("shrinking and moving keep the values") {
  GrowingArray<std::int32_t> array;
  array.reserve(500);
  array.push_back(7);
  array.shrink_to_fit();
  GrowingArray<std::int32_t> moved(std::move(array));
  REQUIRE(moved.size() == 1);
  CHECK(moved[0] == 7);
  GrowingArray<std::int32_t> assigned;
  assigned = std::move(moved);
  assigned.resize(2);
  CHECK(assigned.size() == 2);
  CHECK(assigned[0] == 7);
  assigned.clear();
  CHECK(assigned.empty());
  assigned.shrink_to_fit();  // nothing to shrink to
  CHECK(assigned.empty());
}

TEST_CASE("large arrays keep their values while they grow and shrink") {
  for (const std::size_t count : {midigpt::midi::kLeastBlock / 12, midigpt::midi::kLeastBlock, std::size_t{3} << 20}) {
    struct Value {
      std::uint32_t parts[3];
    };
    GrowingArray<Value> array;
    for (std::uint32_t value = 0; value < count; ++value) array.push_back({{value, value + 1, value + 2}});
    array.set_size(count / 8);
    array.shrink_to_fit();
    REQUIRE(array.size() == count / 8);
    for (std::uint32_t value = 0; value < count / 8; ++value) REQUIRE(array[value].parts[2] == value + 2);
    array.make_room(count)[0] = {{1, 2, 3}};
    array.set_size(count / 8 + 1);
    CHECK(array.back().parts[1] == 2);
  }
}

TEST_CASE("more than there can be is bad_alloc") {
  GrowingArray<std::int64_t> array;
  CHECK_THROWS_AS(array.reserve(SIZE_MAX / 4), std::bad_alloc);
  CHECK_THROWS_AS(array.reserve(SIZE_MAX / 16), std::bad_alloc);
  CHECK(array.empty());
}

}  // namespace
