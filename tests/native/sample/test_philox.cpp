#include "sample/philox.h"

#include <doctest/doctest.h>

namespace {

using namespace midigpt::sample;

// Known answers of Random123 (kat_vectors, philox4x32 10).
TEST_CASE("Philox gives the published words") {
  const PhiloxWords zeros = philox({0, 0}, 0);
  CHECK(zeros.first == 0xe169c58d6627e8d5U);
  CHECK(zeros.second == 0x9b00dbd8bc57ac4cU);
  const PhiloxWords ones = philox({~0ULL, ~0ULL}, ~0ULL);
  CHECK(ones.first == 0x41c83b0e408f276dU);
  CHECK(ones.second == 0x6d5451fda20bc7c6U);
  const PhiloxWords pi = philox({0x85a308d3243f6a88U, 0x0370734413198a2eU}, 0x299f31d0a4093822U);
  CHECK(pi.first == 0x94fdccebd16cfe09U);
  CHECK(pi.second == 0x24126ea15001e420U);
}

TEST_CASE("numbers of a key lie in their range and repeat") {
  Uniforms uniforms(42);
  Uniforms again(42);
  for (int i = 0; i < 1000; ++i) {
    const double value = uniforms.next();
    CHECK(value == again.next());
    CHECK(value >= 0.0);
    CHECK(value < 1.0);
  }
  bool reached[3]{};
  for (int i = 0; i < 100; ++i) {
    const std::int64_t value = uniforms.below(3);
    REQUIRE(value >= 0);
    REQUIRE(value < 3);
    reached[value] = true;
  }
  CHECK(reached[0]);
  CHECK(reached[1]);
  CHECK(reached[2]);
  CHECK(uniforms.below(1) == 0);
}

}  // namespace
