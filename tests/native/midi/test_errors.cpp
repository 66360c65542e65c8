#include "midi/errors.h"

#include <doctest/doctest.h>

#include <set>
#include <string>

namespace {

using namespace midigpt::midi;

TEST_CASE("every reason stands at its number and has a name of its own") {
  std::set<std::string> names;
  for (std::size_t code = 0; code < kReadErrors.size(); ++code) {
    CHECK(static_cast<std::size_t>(kReadErrors[code].code) == code);
    names.insert(kReadErrors[code].name);
  }
  CHECK(names.size() == kReadErrors.size());
  CHECK(kReadErrors.back().code == ReadError::TooManyTicks);
}

TEST_CASE("an outcome has failed if it names a reason") {
  CHECK(!Outcome{}.failed());
  CHECK(Outcome{ReadError::Format, 8}.failed());
}

}  // namespace
