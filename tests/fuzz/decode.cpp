// Any tokens decode to a score that can be written to a MIDI file and read again, or are refused with a message.
#include "decode/decoder.h"

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "fuzz/check.h"
#include "fuzz/columns_check.h"
#include "fuzz/settings_input.h"
#include "fuzz/targets.h"
#include "score/read_batch.h"
#include "score/write_midi.h"

namespace midigpt::fuzz {

namespace {

// The rest of the input: two bytes a token, taken into the vocabulary or, with `foreign`, as they are.
std::vector<std::int32_t> tokens_from(Bytes& bytes, std::int32_t vocab_size, bool foreign) {
  std::vector<std::int32_t> tokens;
  while (!bytes.empty()) {
    const std::int32_t number = bytes.take<std::uint16_t>();
    tokens.push_back(foreign ? number - 16 : number % vocab_size);
  }
  tokens.shrink_to_fit();
  return tokens;
}

void write_and_read(const score::Columns& columns) {
  std::vector<std::uint8_t> file;
  if (score::write_midi(columns, file) != nullptr) return;
  const std::array<std::int64_t, 2> offsets{0, static_cast<std::int64_t>(file.size())};
  check_columns(score::read_batch(file, offsets, 1).columns, 1);
}

}  // namespace

void decode(Input input) {
  Bytes bytes(input);
  std::string refused;
  const auto book = vocab::Codebook::build(settings_from(bytes), refused);
  if (book == nullptr) return;
  const auto options = bytes.take<std::uint8_t>();
  const std::vector<std::int32_t> tokens = tokens_from(bytes, book->vocab_size(), (options & 2) != 0);
  const midigpt::decode::DecodeResult result = midigpt::decode::decode(*book, tokens, (options & 1) == 0);
  if (!result.error.empty()) {
    FUZZ_CHECK(result.score.track_program.empty());
    return;
  }
  check_decoded(result.score);
  write_and_read(result.score.bounded().columns);
}

}  // namespace midigpt::fuzz
