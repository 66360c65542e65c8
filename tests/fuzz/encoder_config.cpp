// Any settings give a codebook whose tables agree with each other, or a message that names a setting.
#include <cstdint>
#include <limits>
#include <string>

#include "fuzz/check.h"
#include "fuzz/settings_input.h"
#include "fuzz/targets.h"
#include "vocab/codebook.h"

namespace midigpt::fuzz {

namespace {

using vocab::Codebook;
using vocab::TokenType;

void check_ids(const Codebook& book) {
  std::int64_t next = 0;
  for (const vocab::Domain& domain : book.domains()) {
    FUZZ_CHECK(book.has(domain.type));
    FUZZ_CHECK(book.size(domain.type) == domain.size && domain.size >= 1);
    const std::int32_t first = book.first_id(domain.type);
    const std::int32_t last = first + domain.size - 1;
    FUZZ_CHECK(first == next);
    for (const std::int32_t token : {first, last}) FUZZ_CHECK(book.type_of(token) == domain.type);
    FUZZ_CHECK(book.value_of(first) == 0 && book.value_of(last) == domain.size - 1);
    next += domain.size;
  }
  FUZZ_CHECK(book.vocab_size() == next && next >= 1 && next <= vocab::kMaxVocabularySize);
}

void check_lookups(const Codebook& book) {
  for (std::int32_t program = -1; program <= 128; ++program) {
    const std::int32_t instrument = book.instrument(program);
    FUZZ_CHECK(instrument >= 0 && instrument < 128);
    const std::int32_t stands_for = book.representative(instrument);
    // Where merge groups overlap it may stand for another instrument itself.
    FUZZ_CHECK(stands_for >= 0 && stands_for < 128);
  }
  const vocab::Settings& settings = book.settings();
  for (const vocab::TimeSignature& signature : settings.time_signatures) {
    const auto value = book.time_signature(signature);
    FUZZ_CHECK(value.has_value());
    FUZZ_CHECK(settings.time_signatures[static_cast<std::size_t>(*value)].numerator == signature.numerator);
  }
  for (const std::int32_t bars : settings.num_bars_map) {
    const auto value = book.num_bars(bars);
    FUZZ_CHECK(value && settings.num_bars_map[static_cast<std::size_t>(*value)] == bars);
  }
  const std::int32_t levels = std::max(1, book.size(TokenType::VelocityLevel));
  for (std::int32_t velocity = 0; velocity < 256; ++velocity) {
    const std::int32_t level = book.velocity_levels().level(static_cast<std::uint8_t>(velocity));
    FUZZ_CHECK(level >= 0 && level < levels);
    const std::int32_t heard = book.velocity_levels().velocity(level);
    FUZZ_CHECK(heard >= 0 && heard < 128);
  }
}

void check_scales(const Codebook& book) {
  constexpr std::int32_t largest = std::numeric_limits<std::int32_t>::max();
  std::int32_t before = 0;
  for (const std::int32_t duration : {0, 1, 7, book.settings().resolution, 8 * book.settings().resolution, largest}) {
    const std::int32_t level = book.duration_levels().level(duration);
    FUZZ_CHECK(level >= 0 && level <= 5);
    before = level;
  }
  FUZZ_CHECK(before == 5);
  for (const std::int32_t onset : {0, 1, 1023, 1024, largest}) {
    const std::int32_t depth = book.metrical_depth().depth(onset);
    FUZZ_CHECK(depth >= 0 && depth <= vocab::MetricalDepth::kNone);
  }
  FUZZ_CHECK(book.metrical_depth().depth(0) == 0);
}

void check_attributes(const Codebook& book) {
  const auto controls = book.controls();
  for (const vocab::AttributeControl& control : controls) {
    FUZZ_CHECK(!vocab::attribute_name(control).empty());
    FUZZ_CHECK(vocab::token_type(vocab::token_spelling(control)).has_value());
  }
  for (const auto written : {book.track_attributes(), book.bar_attributes()}) {
    for (const vocab::WrittenAttribute& attribute : written) {
      FUZZ_CHECK(attribute.control < controls.size());
      FUZZ_CHECK(book.has(attribute.type));
    }
  }
}

}  // namespace

void encoder_config(Input input) {
  Bytes bytes(input);
  std::string error;
  const auto book = Codebook::build(settings_from(bytes), error);
  FUZZ_CHECK((book == nullptr) == !error.empty());
  if (book == nullptr) return;
  check_ids(*book);
  check_lookups(*book);
  check_scales(*book);
  check_attributes(*book);
}

}  // namespace midigpt::fuzz
