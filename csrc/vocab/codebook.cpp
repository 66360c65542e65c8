#include "vocab/codebook.h"

#include <algorithm>
#include <utility>

namespace midigpt::vocab {

namespace {

std::string check(const Settings& s) {
  const auto bounded = [](std::int32_t value) { return value >= 1 && value <= kMaxResolution; };
  if (!bounded(s.resolution)) return "resolution: must be 1.." + std::to_string(kMaxResolution);
  if (!bounded(s.decode_resolution)) return "decode_resolution: must be 1.." + std::to_string(kMaxResolution);
  if (!bounded(s.velocity_levels)) return "velocity_levels: must be 1.." + std::to_string(kMaxResolution);
  if (s.note_duration_max_beats < 1) return "note_duration_max_beats: must be at least 1";
  if (s.pitch_min < 0 || s.pitch_max > 127 || s.pitch_min > s.pitch_max) {
    return "pitch_range: must be two pitches 0..127, the lower first";
  }
  for (const TimeSignature& t : s.time_signatures) {
    if (t.numerator < 0 || t.numerator > kMaxResolution || !bounded(t.denominator)) {
      return "time_signatures: " + std::to_string(t.numerator) + "/" + std::to_string(t.denominator) +
             " is out of range";
    }
  }
  for (const auto& group : s.instrument_merge_groups) {
    for (const std::int32_t program : group) {
      if (program < 0 || program > 127) return "instrument_merge_groups: programs are 0..127";
    }
  }
  for (const AttributeControl& control : s.attribute_controls) {
    if (token_spelling(control).empty()) {
      return "attribute_controls: " + std::string(info(control.control).name) + " has no token at this level";
    }
  }
  return {};
}

// The bar positions that the longest signature of the list needs.
std::int64_t longest_bar(const Settings& s) {
  std::int64_t longest = 0;
  for (const TimeSignature& t : s.time_signatures) {
    const std::int64_t quarters = std::int64_t{4} * t.numerator * s.resolution;
    longest = std::max(longest, (quarters + t.denominator - 1) / t.denominator);
  }
  return longest;
}

// The token domains of a configuration without an explicit list (docs/encoder-specification.md, B.2). A size too large
// to be told apart from any other too large size is cut, not wrapped: the total is refused all the same.
std::vector<Domain> derive_domains(const Settings& s, std::size_t num_instruments) {
  std::vector<Domain> domains;
  const auto add = [&domains](bool wanted, TokenType type, std::int64_t size) {
    constexpr std::int64_t too_large = kMaxVocabularySize + 1;
    if (wanted) domains.push_back({type, static_cast<std::int32_t>(std::min(size, too_large))});
  };
  const auto length = [](const auto& list) { return static_cast<std::int64_t>(list.size()); };
  add(true, TokenType::PieceStart, s.supports_infill ? 2 : 1);
  add(true, TokenType::Track, 2);
  add(true, TokenType::TrackEnd, 1);
  add(true, TokenType::Bar, 1);
  add(true, TokenType::BarEnd, 1);
  add(!s.time_signatures.empty(), TokenType::TimeSig, length(s.time_signatures));
  add(true, TokenType::Instrument, static_cast<std::int64_t>(num_instruments));
  add(!s.num_bars_map.empty(), TokenType::NumBars, length(s.num_bars_map));
  add(true, TokenType::NoteOnset, s.pitch_max - s.pitch_min + 1);
  add(true, TokenType::NoteDuration, std::int64_t{s.note_duration_max_beats} * s.resolution);
  add(!s.time_signatures.empty(), TokenType::TimeAbsolutePos, longest_bar(s));
  add(s.switchable_velocity, TokenType::UseVelocity, 2);
  add(s.switchable_microtiming, TokenType::UseMicrotiming, 2);
  add(s.num_genres > 0, TokenType::Genre, s.num_genres);
  add(true, TokenType::VelocityLevel, s.velocity_levels);
  add(s.emit_delta_tokens, TokenType::DeltaDirection, 2);
  // Signed deltas reach half a cell either way, and a whole one after the last cell of a bar.
  add(s.emit_delta_tokens, TokenType::Delta, s.signed_deltas ? s.resolution + 1 : std::max(1, s.resolution / 2));
  add(s.supports_infill, TokenType::FillInPlaceholder, 1);
  add(s.supports_infill, TokenType::FillInStart, 1);
  add(s.supports_infill, TokenType::FillInEnd, 1);
  add(s.supports_mask_bar_token, TokenType::MaskBar, 1);
  return domains;
}

}  // namespace

std::shared_ptr<Codebook> Codebook::build(Settings settings, std::string& error) {
  error = check(settings);
  if (!error.empty()) return nullptr;
  if (settings.switchable_microtiming) settings.emit_delta_tokens = true;
  std::shared_ptr<Codebook> book(new Codebook(std::move(settings)));
  book->index_instruments();
  error = book->check_external_attributes();
  if (error.empty()) error = book->index_domains();
  if (error.empty()) error = book->check_signed_deltas();
  if (error.empty() && book->settings().placeholder_positions && !book->can_infill()) {
    error = "infill_positions: placeholder positions need the FillIn tokens, which supports_infill adds";
  }
  if (!error.empty()) return nullptr;
  book->velocity_levels_ = VelocityLevels(std::max(1, book->size(TokenType::VelocityLevel)));
  book->index_attributes();
  return book;
}

void Codebook::index_instruments() {
  std::array<std::int32_t, 128> representative{};
  for (std::int32_t program = 0; program < 128; ++program) representative[static_cast<std::size_t>(program)] = program;
  for (const auto& group : settings_.instrument_merge_groups) {
    for (const std::int32_t program : group) representative[static_cast<std::size_t>(program)] = group.front();
  }
  representatives_.assign(representative.begin(), representative.end());
  std::sort(representatives_.begin(), representatives_.end());
  representatives_.erase(std::unique(representatives_.begin(), representatives_.end()), representatives_.end());
  for (std::size_t program = 0; program < representative.size(); ++program) {
    const auto found = std::lower_bound(representatives_.begin(), representatives_.end(), representative[program]);
    instrument_of_[program] = static_cast<std::int32_t>(found - representatives_.begin());
  }
}

std::string Codebook::index_domains() {
  domains_ =
      settings_.token_domains.empty() ? derive_domains(settings_, representatives_.size()) : settings_.token_domains;
  std::vector<TokenType> types;
  for (const Domain& domain : domains_) types.push_back(domain.type);
  controls_ = register_controls(types, settings_.attribute_controls);
  for (const AttributeControl& control : controls_) {
    const TokenType type = *token_type(token_spelling(control));
    if (std::find(types.begin(), types.end(), type) != types.end()) continue;
    types.push_back(type);
    domains_.push_back({type, info(control.control).size});
  }
  std::int64_t total = 0;
  for (const Domain& domain : domains_) {
    const std::string name(canonical_name(domain.type));
    if (domain.size < 1) return "token_domains: the size of " + name + " must be at least 1";
    if (has(domain.type)) return "token_domains: " + name + " is listed twice";
    if (total + domain.size > kMaxVocabularySize) {
      return "token_domains: more than " + std::to_string(kMaxVocabularySize) + " tokens in all";
    }
    add_type(domain.type, domain.size, total);
  }
  for (std::size_t i = 0; i < settings_.external_attributes.size(); ++i) {
    const ExternalAttribute& attribute = settings_.external_attributes[i];
    if (total + attribute.size > kMaxVocabularySize) {
      return "attributes: more than " + std::to_string(kMaxVocabularySize) + " tokens in all";
    }
    controls_.push_back({Control::External, attribute.level, attribute.kind, Mode::None});
    add_type(external_type(i), attribute.size, total);
  }
  vocab_size_ = static_cast<std::int32_t>(total);
  return {};
}

void Codebook::add_type(TokenType type, std::int32_t size, std::int64_t& total) {
  sizes_[index_of(type)] = size;
  offsets_[index_of(type)] = static_cast<std::int32_t>(total);
  types_.insert(types_.end(), static_cast<std::size_t>(size), type);
  total += size;
}

std::string Codebook::check_external_attributes() const {
  const auto& attributes = settings_.external_attributes;
  if (attributes.size() > kMaxExternal) {
    return "attributes: " + std::to_string(attributes.size()) + " of plugins, at most " + std::to_string(kMaxExternal);
  }
  for (auto attribute = attributes.begin(); attribute != attributes.end(); ++attribute) {
    if (attribute->size < 2 || attribute->size > kMaxExternalLevels) {
      return "attributes: " + attribute->name + " has " + std::to_string(attribute->size) +
             " levels, it must have 2.." + std::to_string(kMaxExternalLevels);
    }
    const auto same = [&attribute](const ExternalAttribute& other) { return other.name == attribute->name; };
    if (std::any_of(attributes.begin(), attribute, same)) return "attributes: " + attribute->name + " is listed twice";
  }
  return {};
}

std::string Codebook::name_of(std::size_t control) const {
  const std::size_t first = controls_.size() - settings_.external_attributes.size();
  return control < first ? attribute_name(controls_[control]) : settings_.external_attributes[control - first].name;
}

// Signed deltas are there to say every onset, so nothing that they need may be missing or too small.
std::string Codebook::check_signed_deltas() const {
  if (!settings_.signed_deltas) return {};
  if (settings_.time_signatures.empty()) {
    return "emit_delta_tokens: signed deltas need time_signatures, which say where a bar's last position is";
  }
  for (const TokenType type : {TokenType::TimeAbsolutePos, TokenType::DeltaDirection, TokenType::Delta}) {
    const std::int32_t least = type == TokenType::Delta ? settings_.resolution + 1 : 1;
    if (size(type) >= least) continue;
    return "token_domains: signed deltas need " + std::string(canonical_name(type)) + " of at least " +
           std::to_string(least);
  }
  return {};
}

void Codebook::index_attributes() {
  const auto position = [this](std::string_view name, Level level) -> std::optional<std::size_t> {
    for (std::size_t k = 0; k < controls_.size(); ++k) {
      const AttributeControl& control = controls_[k];
      if (control.level != level || control.control == Control::External) continue;
      if (level == Level::Bar ? token_spelling(control) == name : attribute_name(control) == name) return k;
    }
    return std::nullopt;
  };
  const auto add = [&](std::span<const AttributeToken> rows, Level level, std::vector<WrittenAttribute>& written) {
    for (const AttributeToken& row : rows) {
      const auto control = position(row.name, level);
      if (control && has(row.type)) written.push_back({*control, row.name, row.type});
    }
  };
  add(kTrackAttributeTokens, Level::Track, track_attributes_);
  add(kCorrectedTrackTokens, Level::Track, track_attributes_);
  add(kBarAttributeTokens, Level::Bar, bar_attributes_);
  add(kCorrectedBarTokens, Level::Bar, bar_attributes_);
  const std::size_t first = controls_.size() - settings_.external_attributes.size();
  for (std::size_t i = 0; i < settings_.external_attributes.size(); ++i) {
    const ExternalAttribute& attribute = settings_.external_attributes[i];
    auto& written = attribute.level == Level::Bar ? bar_attributes_ : track_attributes_;
    written.push_back({first + i, attribute.name, external_type(i)});
  }
}

std::int32_t Codebook::instrument(std::int32_t program) const {
  return program >= 0 && program < 128 ? instrument_of_[static_cast<std::size_t>(program)] : 0;
}

std::int32_t Codebook::representative(std::int32_t instrument) const {
  const auto index = static_cast<std::size_t>(instrument);
  return instrument >= 0 && index < representatives_.size() ? representatives_[index] : 0;
}

std::optional<std::int32_t> Codebook::time_signature(TimeSignature signature) const {
  if (settings_.time_signatures.empty()) return 0;
  for (std::size_t i = settings_.time_signatures.size(); i-- > 0;) {
    const TimeSignature& row = settings_.time_signatures[i];
    if (row.numerator == signature.numerator && row.denominator == signature.denominator) {
      return static_cast<std::int32_t>(i);
    }
  }
  return std::nullopt;
}

std::optional<std::int32_t> Codebook::num_bars(std::int32_t window_bars) const {
  for (std::size_t i = settings_.num_bars_map.size(); i-- > 0;) {
    if (settings_.num_bars_map[i] == window_bars) return static_cast<std::int32_t>(i);
  }
  return std::nullopt;
}

}  // namespace midigpt::vocab
