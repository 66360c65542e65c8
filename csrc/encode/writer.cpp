#include "encode/writer.h"

#include <algorithm>

namespace midigpt::encode {

using vocab::TokenType;

WrittenDocument DocumentWriter::write(const LoadedWindow& window, const AttributeValues& values,
                                      const DocumentRequest& request, std::int64_t document, std::int64_t limit) {
  window_ = &window;
  values_ = &values;
  request_ = &request;
  document_ = document;
  start_ = tokens_.size();
  last_end_ = 0;
  track_lengths_.assign(window.tracks().size(), 0);
  infill_ = false;
  for (const Track& track : window.tracks()) {
    for (std::size_t bar = 0; bar < track.num_bars; ++bar) infill_ |= request.infilled(track.slot, bar);
  }
  limit_ = infill_ ? 0 : std::max<std::int64_t>(limit, 0);

  WrittenDocument out;
  out.infill = infill_;
  Progress progress = infill_ && !book_.settings().supports_infill ? Progress::UnsupportedValue : write_header();
  for (std::size_t index = 0; index < window.tracks().size() && progress == Progress::Ok; ++index) {
    progress = write_track(index);
  }
  if (progress == Progress::Ok && infill_) {
    out.first_target = position();
    progress = write_fills();
  }
  if (progress == Progress::Ok) {
    write_clamped(TokenType::None, 0);  // the piece's end
    if (limit_ > 0 && position() > limit_) progress = Progress::Full;
  }
  switch (progress) {
    case Progress::Ok: break;
    case Progress::Full:
      out.status = last_end_ > 0 ? Status::Cut : Status::TooLong;
      tokens_.truncate(start_ + static_cast<std::size_t>(last_end_));
      while (!spans_.empty() && spans_.back().document == document && spans_.back().end > last_end_) spans_.pop_back();
      break;
    case Progress::UnsupportedSignature: out.status = Status::UnsupportedSignature; break;
    case Progress::UnsupportedValue: out.status = Status::UnsupportedValue; break;
  }
  out.length = position();
  out.track_lengths = track_lengths_;
  return out;
}

DocumentWriter::Progress DocumentWriter::write_header() {
  write_clamped(TokenType::PieceStart, infill_ ? 1 : 0);
  if (write_switch(TokenType::UseVelocity, request_->use_velocity) != Progress::Ok ||
      write_switch(TokenType::UseMicrotiming, request_->use_microtiming) != Progress::Ok) {
    return Progress::UnsupportedValue;
  }
  if (request_->genre >= 0) write_clamped(TokenType::Genre, request_->genre);
  if (!book_.has(TokenType::NumBars)) return Progress::Ok;
  std::int32_t bars = request_->window_bars;
  if (bars <= 0) bars = window_->num_bars() > 0 ? static_cast<std::int32_t>(window_->num_bars()) : 4;
  if (book_.settings().num_bars_map.empty()) {
    write_clamped(TokenType::NumBars, bars);
    return Progress::Ok;
  }
  const auto value = book_.num_bars(bars);
  if (!value) return Progress::UnsupportedValue;
  write_clamped(TokenType::NumBars, *value);
  return Progress::Ok;
}

DocumentWriter::Progress DocumentWriter::write_track(std::size_t index) {
  const std::int64_t begin = position();
  const Track& track = window_->tracks()[index];
  const bool partial = track.slot == request_->partial_track && request_->partial_bars >= 0;
  write_clamped(TokenType::Track, track.drum ? 1 : 0);
  write_clamped(TokenType::Instrument, book_.instrument(track.program));
  write_attributes(book_.track_attributes(), index, 0);
  const std::size_t bars = partial ? static_cast<std::size_t>(std::min<std::int64_t>(
                                         request_->partial_bars, static_cast<std::int64_t>(track.num_bars)))
                                   : track.num_bars;
  for (std::size_t bar = 0; bar < bars; ++bar) {
    if (const Progress progress = write_bar(index, bar); progress != Progress::Ok) return progress;
  }
  Progress progress = Progress::Ok;
  if (!partial) {
    write_clamped(TokenType::TrackEnd, 0);
    progress = end_of_unit();
  }
  track_lengths_[index] += position() - begin;
  return progress;
}

DocumentWriter::Progress DocumentWriter::write_bar(std::size_t index, std::size_t bar) {
  const Track& track = window_->tracks()[index];
  const std::int64_t begin = position();
  const BodyKind body = body_kind(track, bar);
  write_clamped(TokenType::Bar, 0);
  if (body != BodyKind::Removed) write_attributes(book_.bar_attributes(), index, 1 + bar);
  if (book_.has(TokenType::TimeSig)) {
    const std::int32_t value = time_signature(window_->bars(track)[bar].signature);
    if (value < 0) return Progress::UnsupportedSignature;
    write_clamped(TokenType::TimeSig, value);
  }
  if (body == BodyKind::Placeholder) write_clamped(TokenType::FillInPlaceholder, 0);
  if (body == BodyKind::MaskToken) write_clamped(TokenType::MaskBar, 0);
  if (body == BodyKind::Notes) {
    if (const Progress progress = write_notes(window_->notes(track, bar), track.drum); progress != Progress::Ok) {
      return progress;
    }
  }
  write_clamped(TokenType::BarEnd, 0);
  if (body == BodyKind::Span) spans_.push_back({document_, begin, position()});
  return end_of_unit();
}

// The first rule that applies decides (docs/encoder-specification.md, C.4).
DocumentWriter::BodyKind DocumentWriter::body_kind(const Track& track, std::size_t bar) const {
  const bool masked = request_->is_masked(track.slot, bar);
  if (masked && request_->masked_as == MaskedAs::Removed) return BodyKind::Removed;
  const bool infilled = request_->infilled(track.slot, bar);
  if (infilled && book_.has(TokenType::FillInPlaceholder)) return BodyKind::Placeholder;
  if (masked && request_->masked_as == MaskedAs::Span) return BodyKind::Span;
  if (masked && book_.has(TokenType::MaskBar)) return BodyKind::MaskToken;
  return infilled ? BodyKind::Nothing : BodyKind::Notes;
}

DocumentWriter::Progress DocumentWriter::write_fills() {
  for (std::size_t index = 0; index < window_->tracks().size(); ++index) {
    const Track& track = window_->tracks()[index];
    const std::int64_t begin = position();
    for (std::size_t bar = 0; bar < track.num_bars; ++bar) {
      if (!request_->infilled(track.slot, bar)) continue;
      write_clamped(TokenType::FillInStart, 0);
      if (const Progress progress = write_notes(window_->notes(track, bar), track.drum); progress != Progress::Ok) {
        return progress;
      }
      write_clamped(TokenType::FillInEnd, 0);
    }
    track_lengths_[index] += position() - begin;
  }
  return Progress::Ok;
}

DocumentWriter::Progress DocumentWriter::write_notes(std::span<const Note> notes, bool drum) {
  if (notes.empty()) return Progress::Ok;
  const auto last = [this](TokenType type) { return book_.size(type) - 1; };
  const bool positions = book_.has(TokenType::TimeAbsolutePos);
  const bool velocities = book_.has(TokenType::VelocityLevel) && request_->use_velocity;
  const bool microtiming = book_.settings().emit_delta_tokens && request_->use_microtiming;
  const bool deltas = microtiming && book_.has(TokenType::Delta);
  const bool directions = microtiming && book_.has(TokenType::DeltaDirection);
  const bool durations = !drum && book_.has(TokenType::NoteDuration);
  if (!book_.has(TokenType::NoteOnset) || (velocities && last(TokenType::VelocityLevel) == 0)) {
    return Progress::UnsupportedValue;
  }
  const std::int32_t first_position = book_.first_id(TokenType::TimeAbsolutePos);
  const std::int32_t last_position = last(TokenType::TimeAbsolutePos);
  const std::int32_t first_velocity = book_.first_id(TokenType::VelocityLevel);
  const std::int32_t first_pitch = book_.first_id(TokenType::NoteOnset);
  const std::int32_t last_pitch = last(TokenType::NoteOnset);
  const std::int32_t first_duration = book_.first_id(TokenType::NoteDuration);
  const std::int32_t last_duration = last(TokenType::NoteDuration);
  const bool sticky = book_.settings().velocity_sticky;

  constexpr std::size_t tokens_per_note = 6;
  std::int32_t* out = tokens_.reserve(notes.size() * tokens_per_note);
  std::int32_t onset = 0;  // onset 0 has no position token
  std::int32_t level = 0;  // level 0 is never written
  for (const Note& note : notes) {
    if (note.onset != onset) {
      onset = note.onset;
      if (positions) *out++ = first_position + std::min(onset, last_position);
    }
    if (velocities) {
      const std::int32_t new_level = book_.velocity_levels().level(note.velocity);
      if (new_level > 0 && (new_level != level || !sticky)) {
        level = new_level;
        *out++ = first_velocity + level;
      }
    }
    if (microtiming && note.delta != 0) {
      std::int64_t delta = note.delta;
      if (delta < 0 && directions) {
        *out++ = book_.first_id(TokenType::DeltaDirection);
        delta = -delta;
      }
      if (delta > 0 && deltas) {
        const std::int64_t largest = last(TokenType::Delta);
        *out++ = book_.first_id(TokenType::Delta) + static_cast<std::int32_t>(std::min(delta, largest));
      }
    }
    *out++ = first_pitch + std::min<std::int32_t>(note.pitch, last_pitch);
    if (durations) *out++ = first_duration + std::clamp(note.duration - 1, 0, last_duration);
  }
  tokens_.commit(out);
  return Progress::Ok;
}

void DocumentWriter::write_attributes(std::span<const vocab::WrittenAttribute> attributes, std::size_t index,
                                      std::size_t row) {
  const std::int64_t slot = window_->tracks()[index].slot;
  for (const vocab::WrittenAttribute& attribute : attributes) {
    if (request_->attributes_kept != nullptr && request_->attributes_kept[attribute.control] == 0) continue;
    std::int16_t value = -1;
    if (request_->attribute_values != nullptr) {
      const std::int64_t given = slot * (1 + request_->max_bars) + static_cast<std::int64_t>(row);
      const auto controls = static_cast<std::int64_t>(book_.controls().size());
      value = request_->attribute_values[given * controls + static_cast<std::int64_t>(attribute.control)];
    }
    if (value < 0) value = values_->at(index, row, attribute.control);
    if (value >= 0) write_clamped(attribute.type, value);
  }
}

void DocumentWriter::write_clamped(TokenType type, std::int64_t value) {
  if (!book_.has(type)) return;
  const std::int64_t last = book_.size(type) - 1;
  tokens_.push(book_.first_id(type) + static_cast<std::int32_t>(std::clamp<std::int64_t>(value, 0, last)));
}

DocumentWriter::Progress DocumentWriter::write_switch(TokenType type, bool on) {
  if (!book_.has(type)) return Progress::Ok;
  if (on && book_.size(type) < 2) return Progress::UnsupportedValue;
  write_clamped(type, on ? 1 : 0);
  return Progress::Ok;
}

std::int32_t DocumentWriter::time_signature(const vocab::TimeSignature& signature) {
  // Neighbouring bars mostly share their signature.
  if (last_signature_value_ < 0 || signature.numerator != last_signature_.numerator ||
      signature.denominator != last_signature_.denominator) {
    last_signature_ = signature;
    last_signature_value_ = book_.time_signature(signature).value_or(-1);
  }
  return last_signature_value_;
}

DocumentWriter::Progress DocumentWriter::end_of_unit() {
  if (limit_ > 0 && position() > limit_) return Progress::Full;
  last_end_ = position();
  return Progress::Ok;
}

}  // namespace midigpt::encode
