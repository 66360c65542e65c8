// Runs a target over files and folders, without a fuzzer: replay TARGET PATH...
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string_view>
#include <vector>

#include "fuzz/targets.h"

namespace {

using midigpt::fuzz::kTargets;
using midigpt::fuzz::Target;

const Target* find_target(std::string_view name) {
  for (const Target& target : kTargets) {
    if (target.name == name) return &target;
  }
  return nullptr;
}

bool replay(const Target& target, const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) {
    std::fprintf(stderr, "%s cannot be read\n", file.c_str());
    return false;
  }
  std::vector<std::uint8_t> bytes(std::istreambuf_iterator<char>(stream), {});
  bytes.shrink_to_fit();  // so that a sanitizer sees what is read beyond the end
  target.run(bytes);
  return true;
}

}  // namespace

int main(int count, char** arguments) {
  const Target* const target = count > 2 ? find_target(arguments[1]) : nullptr;
  if (target == nullptr) {
    std::fprintf(stderr, "usage: fuzz_replay TARGET PATH...\n");
    return 2;
  }
  int files = 0;
  for (int i = 2; i < count; ++i) {
    if (!std::filesystem::is_directory(arguments[i])) {
      if (!replay(*target, arguments[i])) return 1;
      ++files;
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(arguments[i])) {
      if (!replay(*target, entry.path())) return 1;
      ++files;
    }
  }
  std::printf("%s: %d files\n", arguments[1], files);
  return 0;
}
