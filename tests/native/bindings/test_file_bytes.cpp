// The way without mmap, which the extension modules of systems that have it do not take.
#define MIDIGPT_WITHOUT_MMAP
#include "bindings/file_bytes.h"

#include <doctest/doctest.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

using midigpt::bindings::FileBytes;

namespace {

// An unnamed file with this content.
class Temporary {
 public:
  explicit Temporary(const std::vector<std::uint8_t>& content) : file_(std::tmpfile()) {
    REQUIRE(file_ != nullptr);
    CHECK(std::fwrite(content.data(), 1, content.size(), file_) == content.size());
    CHECK(std::fflush(file_) == 0);
  }
  ~Temporary() { std::fclose(file_); }
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;
  Temporary(Temporary&&) = delete;
  Temporary& operator=(Temporary&&) = delete;
  [[nodiscard]] int descriptor() const { return fileno(file_); }

 private:
  std::FILE* file_;
};

}  // namespace

TEST_CASE("without mmap a file's bytes are read") {
  std::vector<std::uint8_t> content(3 << 16);
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<std::uint8_t>(i * 7);
  const Temporary file(content);
  FileBytes bytes;
  REQUIRE(bytes.open(file.descriptor()));
  CHECK(std::vector<std::uint8_t>(static_cast<std::uint8_t*>(bytes.data()),
                                  static_cast<std::uint8_t*>(bytes.data()) + bytes.size()) == content);
  // Cut afterwards, nothing of the copy is lost.
  CHECK(ftruncate(file.descriptor(), 0) == 0);
  CHECK(static_cast<std::uint8_t*>(bytes.data())[1] == 7);
  CHECK_FALSE(bytes.lost());
  CHECK(midigpt::bindings::losses().load() == 0);
}

TEST_CASE("without mmap an empty file has no bytes, and a closed one is an error") {
  const Temporary file({});
  FileBytes bytes;
  REQUIRE(bytes.open(file.descriptor()));
  CHECK(bytes.size() == 0);
  CHECK(bytes.data() == nullptr);
  FileBytes other;
  CHECK_FALSE(other.open(-1));
  CHECK(errno == EBADF);
}
