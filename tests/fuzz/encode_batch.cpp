// Any columns and windows, however damaged, give tokens of the vocabulary or a message.
#include <cstdint>
#include <string>
#include <vector>

#include "encode/encoder.h"
#include "fuzz/check.h"
#include "fuzz/corpus_input.h"
#include "fuzz/settings_input.h"
#include "fuzz/targets.h"
#include "vocab/codebook.h"

namespace midigpt::fuzz {

namespace {

using encode::Documents;
using encode::Status;

void check_document(const Documents& part, std::size_t index, std::int64_t begin, std::int64_t limit) {
  const std::int64_t length = part.ends[index] - begin;
  FUZZ_CHECK(length >= 0);
  FUZZ_CHECK(limit <= 0 || length <= limit);
  FUZZ_CHECK(part.first_target[index] >= 0 && part.first_target[index] <= length);
  FUZZ_CHECK(part.status[index] <= Status::UnsupportedValue);
  FUZZ_CHECK(part.status[index] <= Status::TracksDropped || length == 0);
}

void check_documents(const vocab::Codebook& book, const std::vector<Documents>& parts, const OwnedWindows& windows) {
  std::size_t window = 0;
  for (const Documents& part : parts) {
    const std::size_t count = part.ends.size();
    FUZZ_CHECK(part.first_target.size() == count && part.status.size() == count);
    const std::size_t first = window;
    std::int64_t begin = 0;
    for (std::size_t index = 0; index < count; ++index, ++window) {
      check_document(part, index, begin, windows.max_tokens[window]);
      begin = part.ends[index];
    }
    FUZZ_CHECK(begin == static_cast<std::int64_t>(part.tokens.size()));
    for (std::size_t i = 0; i < part.tokens.size(); ++i) {
      FUZZ_CHECK(part.tokens.data()[i] >= 0 && part.tokens.data()[i] < book.vocab_size());
    }
    for (const encode::MaskedSpan& span : part.masked_spans) {
      const std::size_t index = static_cast<std::size_t>(span.document) - first;
      FUZZ_CHECK(index < count);
      const std::int64_t length = part.ends[index] - (index == 0 ? 0 : part.ends[index - 1]);
      FUZZ_CHECK(0 <= span.begin && span.begin <= span.end && span.end <= length);
    }
  }
  FUZZ_CHECK(static_cast<std::int64_t>(window) == windows.count);
}

}  // namespace

void encode_batch(Input input) {
  Bytes bytes(input);
  std::string refused;
  const auto book = vocab::Codebook::build(settings_from(bytes), refused);
  if (book == nullptr) return;
  OwnedCorpus corpus = corpus_from(bytes);
  const std::size_t controls = book->controls().size();
  OwnedWindows windows = windows_from(bytes, corpus, controls);
  damage(corpus, bytes);
  damage(windows, bytes);
  const encode::Windows view = windows.view();

  std::vector<Documents> parts;
  const encode::RequestError error =
      encode::encode_batch(*book, corpus.view(), view, windows.max_tokens.data(), 1, parts);
  if (!error) check_documents(*book, parts, windows);

  const std::int64_t places = view.count * view.max_tracks * (1 + view.max_bars);
  std::vector<std::int16_t> values(static_cast<std::size_t>(places) * controls);
  const encode::RequestError attributes_error = encode::compute_attributes(*book, corpus.view(), view, values.data());
  FUZZ_CHECK(attributes_error.message == error.message);
  for (const std::int16_t value : values) FUZZ_CHECK(error || value >= -1);
}

}  // namespace midigpt::fuzz
