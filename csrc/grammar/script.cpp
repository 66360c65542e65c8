#include "grammar/script.h"

#include <algorithm>
#include <utility>

#include "vocab/quantisers.h"

namespace midigpt::grammar {

using vocab::Codebook;
using vocab::TokenType;

namespace {

// A bar without a time signature is in 4/4.
constexpr double kDefaultBeats = 4.0;

// Finds the choices of a script.
class ScriptReader {
 public:
  ScriptReader(const Codebook& book, const Request& request) : book_(book), request_(request) {}

  // What is wrong with the script, or nothing.
  std::string read();
  Script take() { return std::move(script_); }

 private:
  struct Bar {
    bool drum = false;
    double beats = kDefaultBeats;
    std::int64_t track = -1;  // of its cell
    std::int64_t index = -1;
  };

  void open_bar();
  std::string close_bar(std::size_t at);
  void choose_missing(std::span<const vocab::WrittenAttribute> attributes, std::size_t from, std::size_t to);
  [[nodiscard]] bool is_cell(std::int64_t track, std::int64_t bar) const;
  [[nodiscard]] bool asked(std::int64_t bar) const;
  [[nodiscard]] bool writes_track() const;
  void add_body(std::size_t at, const Bar& bar);

  const Codebook& book_;
  const Request& request_;
  Script script_;
  std::int64_t track_ = -1;
  std::int64_t bar_index_ = -1;
  std::size_t header_ = 0;  // first token that may be an attribute of the open track or bar
  bool in_header_ = false;
  Bar bar_;
  bool empty_ = true;  // no token of the open bar's body yet
  bool placeholder_ = false;
  std::vector<Bar> placeholders_;
  std::size_t blocks_ = 0;
  bool in_block_ = false;
};

std::string ScriptReader::read() {
  for (std::size_t i = 0; i < request_.script.size(); ++i) {
    const std::int32_t token = request_.script[i];
    if (token < 0 || token >= book_.vocab_size()) return "token " + std::to_string(i) + " is outside the vocabulary";
    const TokenType type = book_.type_of(token);
    const std::int32_t value = book_.value_of(token);
    switch (type) {
      case TokenType::UseVelocity: script_.use_velocity = value != 0; break;
      case TokenType::UseMicrotiming: script_.use_microtiming = value != 0; break;
      case TokenType::Track:
        ++track_;
        bar_index_ = -1;
        bar_.drum = value == 1;
        header_ = i + 1;
        in_header_ = true;
        break;
      case TokenType::Instrument: header_ = i + 1; break;
      case TokenType::TrackEnd:
      case TokenType::Bar:
        if (in_header_ && request_.choose_attributes && writes_track()) {
          choose_missing(book_.track_attributes(), header_, i);
        }
        in_header_ = false;
        if (type == TokenType::TrackEnd) break;
        open_bar();
        header_ = i + 1;
        break;
      case TokenType::TimeSig: {
        const auto& signatures = book_.settings().time_signatures;
        if (static_cast<std::size_t>(value) >= signatures.size()) break;
        const vocab::TimeSignature& signature = signatures[static_cast<std::size_t>(value)];
        bar_.beats = 4.0 * signature.numerator / signature.denominator;
        break;
      }
      case TokenType::FillInPlaceholder:
        placeholder_ = true;
        placeholders_.push_back(bar_);
        break;
      case TokenType::BarEnd:
        if (std::string problem = close_bar(i); !problem.empty()) return problem;
        break;
      case TokenType::FillInStart:
        if (blocks_ == placeholders_.size()) return "there are more fill blocks than placeholders";
        in_block_ = true;
        empty_ = true;
        break;
      case TokenType::FillInEnd:
        if (!in_block_ || !empty_) return "fill block " + std::to_string(blocks_) + " is not empty";
        add_body(i, placeholders_[blocks_++]);
        in_block_ = false;
        break;
      case TokenType::NoteOnset:
      case TokenType::MaskBar: empty_ = false; break;
      default: break;
    }
  }
  std::int64_t cells = 0;
  for (std::int64_t cell = 0; cell < request_.max_tracks * request_.max_bars; ++cell) {
    cells += request_.cells[cell] != 0;
  }
  const auto bodies =
      std::count_if(script_.choices.begin(), script_.choices.end(), [](const Choice& choice) { return choice.body; });
  if (bodies != cells) {
    return std::to_string(cells) + " bars are to be written, the prompt has room for " + std::to_string(bodies);
  }
  if (cells == 0) return "no bar is to be written";
  // Attributes after the last bar would have no bar.
  while (!script_.choices.back().body) script_.choices.pop_back();
  return {};
}

void ScriptReader::open_bar() {
  ++bar_index_;
  bar_.beats = kDefaultBeats;
  bar_.track = track_;
  bar_.index = bar_index_;
  empty_ = true;
  placeholder_ = false;
}

std::string ScriptReader::close_bar(std::size_t at) {
  if (placeholder_ || !asked(bar_index_)) return {};
  if (!empty_) {
    return "bar " + std::to_string(bar_index_) + " of track " + std::to_string(track_) +
           " is to be written and not empty";
  }
  if (request_.choose_attributes) choose_missing(book_.bar_attributes(), header_, at);
  add_body(at, bar_);
  return {};
}

// Attributes that apply to the track and that the tokens [from, to) of its header lack are chosen, each in its place.
void ScriptReader::choose_missing(std::span<const vocab::WrittenAttribute> attributes, std::size_t from,
                                  std::size_t to) {
  std::size_t at = from;
  for (const vocab::WrittenAttribute& attribute : attributes) {
    if (at < to && book_.type_of(request_.script[at]) == attribute.type) {
      ++at;
    } else if (book_.controls()[attribute.control].applies_to(bar_.drum)) {
      script_.choices.push_back({at, false, attribute.type, bar_.drum, 0, {}});
    }
  }
}

bool ScriptReader::is_cell(std::int64_t track, std::int64_t bar) const {
  return track >= 0 && track < request_.max_tracks && bar >= 0 && bar < request_.max_bars;
}

bool ScriptReader::asked(std::int64_t bar) const {
  return is_cell(track_, bar) && request_.cells[track_ * request_.max_bars + bar] != 0;
}

bool ScriptReader::writes_track() const {
  for (std::int64_t bar = 0; bar < request_.max_bars; ++bar) {
    if (asked(bar)) return true;
  }
  return false;
}

void ScriptReader::add_body(std::size_t at, const Bar& bar) {
  Choice choice{at, true, TokenType::None, bar.drum, vocab::saturate(bar.beats * book_.settings().resolution + 0.5),
                {}};
  if (request_.controls != nullptr && is_cell(bar.track, bar.index)) {
    choice.controls = request_.controls[bar.track * request_.max_bars + bar.index];
  }
  script_.choices.push_back(choice);
  script_.end = at + 1;
}

}  // namespace

std::string read_script(const Codebook& book, const Request& request, Script& script) {
  ScriptReader reader(book, request);
  std::string problem = reader.read();
  script = reader.take();
  return problem;
}

}  // namespace midigpt::grammar
