#include "encode/encoder.h"

#include <algorithm>
#include <atomic>
#include <new>
#include <string>

#include "encode/attributes.h"
#include "encode/window.h"
#include "encode/writer.h"
#include "threads/team.h"
#include "vocab/document_positions.h"

namespace midigpt::encode {

namespace {

// Encodes one window after another; buffers are kept from window to window.
class WindowEncoder {
 public:
  WindowEncoder(const vocab::Codebook& book, const Corpus& corpus, const Windows& windows, Documents& out)
      : book_(book),
        windows_(windows),
        out_(out),
        loader_(book, corpus, windows),
        computer_(book),
        writer_(book, out.tokens, out.masked_spans),
        positions_(book) {}

  // False if the columns of the window's piece contradict themselves.
  bool encode(std::int64_t window, std::int64_t document, std::int64_t limit);

 private:
  bool write(std::int64_t window, std::int64_t document, std::int64_t limit);
  void discard(std::size_t first_token, std::size_t first_span);
  void number(std::size_t first_token);
  [[nodiscard]] DocumentRequest request(std::int64_t window) const;
  bool drop_tracks(const DocumentRequest& request, std::int64_t excess);
  [[nodiscard]] bool has_infill(const DocumentRequest& request, std::size_t index) const;

  const vocab::Codebook& book_;
  const Windows& windows_;
  Documents& out_;
  WindowLoader loader_;
  AttributeComputer computer_;
  DocumentWriter writer_;
  vocab::DocumentPositions positions_;
  LoadedWindow loaded_;
  AttributeValues values_;
  std::vector<std::int64_t> slots_;
  WrittenDocument written_;
};

void collect_slots(const Windows& windows, std::int64_t window, std::vector<std::int64_t>& slots) {
  slots.clear();
  for (std::int64_t t = 0; t < windows.max_tracks && windows.tracks[window * windows.max_tracks + t] >= 0; ++t) {
    slots.push_back(t);
  }
}

RequestError damaged(std::int64_t window) {
  return {"window " + std::to_string(window) + ": the columns of its piece contradict themselves"};
}

bool WindowEncoder::encode(std::int64_t window, std::int64_t document, std::int64_t limit) {
  const std::size_t first_token = out_.tokens.size();
  const std::size_t first_span = out_.masked_spans.size();
  collect_slots(windows_, window, slots_);
  if (!write(window, document, limit)) return false;
  if (written_.status == Status::Ok && limit > 0 && written_.length > limit) {
    const bool fits = drop_tracks(request(window), written_.length - limit);
    discard(first_token, first_span);
    if (!fits) {
      written_.status = Status::TooLong;
    } else {
      if (!write(window, document, limit)) return false;
      written_.status = written_.length <= limit ? Status::TracksDropped : Status::TooLong;
    }
  }
  if (written_.status > Status::TracksDropped) {
    discard(first_token, first_span);
    written_.first_target = 0;
  }
  if (book_.settings().placeholder_positions) number(first_token);
  out_.ends.push_back(static_cast<std::int64_t>(out_.tokens.size()));
  out_.first_target.push_back(written_.first_target);
  out_.status.push_back(written_.status);
  return true;
}

bool WindowEncoder::write(std::int64_t window, std::int64_t document, std::int64_t limit) {
  if (!loader_.load(window, slots_, loaded_)) return false;
  values_.reset(loaded_.tracks().size(), loaded_.num_bars(), book_.controls().size());
  if (windows_.compute_attributes) computer_.compute(loaded_, values_);
  written_ = writer_.write(loaded_, values_, request(window), document, limit);
  return true;
}

void WindowEncoder::discard(std::size_t first_token, std::size_t first_span) {
  out_.tokens.truncate(first_token);
  out_.masked_spans.resize(first_span);
}

// Writes the positions of the document whose tokens begin at `first_token`.
void WindowEncoder::number(std::size_t first_token) {
  positions_.restart();
  for (std::size_t i = first_token; i < out_.tokens.size(); ++i) {
    out_.positions.push_back(positions_.next(out_.tokens.data()[i]));
  }
}

DocumentRequest WindowEncoder::request(std::int64_t window) const {
  const Windows& w = windows_;
  const std::int64_t cells = w.max_tracks * w.max_bars;
  const auto controls = static_cast<std::int64_t>(book_.controls().size());
  DocumentRequest out;
  out.infill = w.infill + window * cells;
  out.masked = w.masked + window * cells;
  out.max_bars = w.max_bars;
  if (w.attributes_kept != nullptr) out.attributes_kept = w.attributes_kept + window * controls;
  if (w.attribute_values != nullptr) {
    out.attribute_values = w.attribute_values + window * w.max_tracks * (1 + w.max_bars) * controls;
  }
  out.window_bars = w.window_bars[window];
  out.genre = w.genre[window];
  out.use_velocity = w.use_velocity[window] != 0;
  out.use_microtiming = w.use_microtiming[window] != 0;
  out.partial_track = w.partial_track[window];
  out.partial_bars = w.partial_bars[window];
  out.masked_as = static_cast<MaskedAs>(w.masked_as[window]);
  return out;
}

bool WindowEncoder::has_infill(const DocumentRequest& request, std::size_t index) const {
  const Track& track = loaded_.tracks()[index];
  for (std::size_t bar = 0; bar < track.num_bars; ++bar) {
    if (request.infilled(track.slot, bar)) return true;
  }
  return false;
}

// Takes tracks out of slots_, from the last on, first those without infill cells, then all but one of those with them,
// until `excess` tokens are saved. False if that is not enough.
bool WindowEncoder::drop_tracks(const DocumentRequest& request, std::int64_t excess) {
  std::size_t infill_tracks = 0;
  for (std::size_t index = 0; index < slots_.size(); ++index) infill_tracks += has_infill(request, index);
  std::vector<bool> dropped(slots_.size(), false);
  for (const bool with_infill : {false, true}) {
    for (std::size_t index = slots_.size(); index-- > 0 && excess > 0;) {
      if (has_infill(request, index) != with_infill || (with_infill && infill_tracks == 1)) continue;
      infill_tracks -= with_infill;
      dropped[index] = true;
      excess -= written_.track_lengths[index];
    }
  }
  std::size_t kept = 0;
  for (std::size_t index = 0; index < slots_.size(); ++index) {
    if (!dropped[index]) slots_[kept++] = slots_[index];
  }
  slots_.resize(kept);
  return excess <= 0;
}

// Windows that a thread of several takes at a time.
constexpr std::int64_t kPartWindows = 64;

// A consecutive range of the windows, encoded into one Documents.
struct Part {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  RequestError error;
  bool lacks_memory = false;
};

void encode_part(const vocab::Codebook& book, const Corpus& corpus, const Windows& windows,
                 const std::int32_t* max_tokens, Part& part, Documents& out) {
  try {
    WindowEncoder encoder(book, corpus, windows, out);
    for (std::int64_t n = part.begin; n < part.end; ++n) {
      if (encoder.encode(n, n, max_tokens[n])) continue;
      part.error = damaged(n);
      return;
    }
  } catch (const std::bad_alloc&) {
    part.lacks_memory = true;  // a message would take some
  }
}

}  // namespace

RequestError encode_batch(const vocab::Codebook& book, const Corpus& corpus, const Windows& windows,
                          const std::int32_t* max_tokens, int threads, std::vector<Documents>& out) {
  if (RequestError error = check_windows(corpus, windows)) return error;
  // One thread needs no parts. Several take the next one each, so that none waits for a slower one.
  const std::int64_t size = threads > 1 ? kPartWindows : std::max<std::int64_t>(windows.count, 1);
  const std::int64_t count = std::max<std::int64_t>((windows.count + size - 1) / size, 1);
  std::vector<Part> parts;
  for (std::int64_t begin = 0; std::ssize(parts) < count; begin += size) {
    parts.push_back({begin, std::min(begin + size, windows.count), {}, false});
  }
  out.clear();
  out.resize(parts.size());
  std::atomic<std::size_t> next{0};
  const auto work = [&] {
    for (std::size_t i = next++; i < parts.size(); i = next++) {
      encode_part(book, corpus, windows, max_tokens, parts[i], out[i]);
    }
  };
  const auto most = static_cast<std::size_t>(std::min<std::int64_t>(threads, count));
  threads::run(most, work, work, [&] { next = parts.size(); });
  for (const Part& part : parts) {
    if (part.error) return part.error;
    if (part.lacks_memory) {
      return {"not enough memory for windows " + std::to_string(part.begin) + ".." + std::to_string(part.end)};
    }
  }
  return {};
}

RequestError compute_attributes(const vocab::Codebook& book, const Corpus& corpus, const Windows& windows,
                                std::int16_t* out) {
  if (RequestError error = check_windows(corpus, windows)) return error;
  WindowLoader loader(book, corpus, windows);
  AttributeComputer computer(book);
  LoadedWindow loaded;
  AttributeValues values;
  std::vector<std::int64_t> slots;
  const auto rows = static_cast<std::size_t>(1 + windows.max_bars);
  const std::size_t controls = book.controls().size();
  const std::size_t per_window = static_cast<std::size_t>(windows.max_tracks) * rows * controls;
  std::fill(out, out + static_cast<std::size_t>(windows.count) * per_window, std::int16_t{-1});
  for (std::int64_t n = 0; n < windows.count; ++n) {
    collect_slots(windows, n, slots);
    if (!loader.load(n, slots, loaded)) return damaged(n);
    values.reset(loaded.tracks().size(), loaded.num_bars(), controls);
    computer.compute(loaded, values);
    std::int16_t* window_out = out + static_cast<std::size_t>(n) * per_window;
    for (std::size_t t = 0; t < slots.size(); ++t) {
      for (std::size_t row = 0; row <= loaded.num_bars(); ++row) {
        std::int16_t* to = window_out + (static_cast<std::size_t>(slots[t]) * rows + row) * controls;
        for (std::size_t k = 0; k < controls; ++k) to[k] = values.at(t, row, k);
      }
    }
  }
  return {};
}

RequestError collect_notes(const vocab::Codebook& book, const Corpus& corpus, const Windows& windows,
                           WindowNotes& out) {
  if (RequestError error = check_windows(corpus, windows)) return error;
  WindowLoader loader(book, corpus, windows);
  LoadedWindow loaded;
  std::vector<std::int64_t> slots;
  const auto bars = static_cast<std::size_t>(windows.max_bars);
  const auto tracks = static_cast<std::size_t>(windows.count * windows.max_tracks);
  out.num_bars.assign(tracks, -1);
  out.program.assign(tracks, 0);
  out.drum.assign(tracks, 0);
  out.cell_ends.resize(tracks * bars);
  out.numerator.assign(tracks * bars, 0);
  out.denominator.assign(tracks * bars, 1);
  std::size_t total = 0;
  for (std::int64_t n = 0; n < windows.count; ++n) {
    collect_slots(windows, n, slots);
    if (!loader.load(n, slots, loaded)) return damaged(n);
    for (std::size_t t = 0; t < static_cast<std::size_t>(windows.max_tracks); ++t) {
      const std::size_t row = static_cast<std::size_t>(n * windows.max_tracks) + t;
      const Track* track = t < loaded.tracks().size() ? &loaded.tracks()[t] : nullptr;
      const std::size_t written = track != nullptr ? track->num_bars : 0;
      if (track != nullptr) {
        out.num_bars[row] = static_cast<std::int32_t>(written);
        out.program[row] = static_cast<std::uint8_t>(std::clamp(track->program, 0, 127));
        out.drum[row] = track->drum ? 1 : 0;
        const std::span<const Note> notes = loaded.notes(*track);
        const std::size_t first = total;
        total += notes.size();
        out.onset.resize(total);
        out.duration.resize(total);
        out.pitch.resize(total);
        out.velocity.resize(total);
        for (std::size_t i = 0; i < notes.size(); ++i) {
          out.onset[first + i] = notes[i].onset;
          out.duration[first + i] = notes[i].duration;
          out.pitch[first + i] = notes[i].pitch;
          out.velocity[first + i] = notes[i].velocity;
        }
        std::size_t end = first;
        for (std::size_t bar = 0; bar < written; ++bar) {
          end += loaded.notes(*track, bar).size();
          out.cell_ends[row * bars + bar] = static_cast<std::int64_t>(end);
          out.numerator[row * bars + bar] = loaded.bars(*track)[bar].signature.numerator;
          out.denominator[row * bars + bar] = loaded.bars(*track)[bar].signature.denominator;
        }
      }
      std::fill(out.cell_ends.begin() + static_cast<std::ptrdiff_t>(row * bars + written),
                out.cell_ends.begin() + static_cast<std::ptrdiff_t>((row + 1) * bars),
                static_cast<std::int64_t>(total));
    }
  }
  return {};
}

}  // namespace midigpt::encode
