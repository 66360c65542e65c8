#include "support/owned_windows.h"

namespace midigpt::tests {

encode::Windows OwnedWindows::view() const {
  encode::Windows w;
  w.count = count;
  w.max_tracks = max_tracks;
  w.max_bars = max_bars;
  w.piece = piece.data();
  w.start_bar = start_bar.data();
  w.num_bars = num_bars.data();
  w.tracks = tracks.data();
  w.infill = infill.data();
  w.masked = masked.data();
  w.window_bars = window_bars.data();
  w.transpose = transpose.data();
  w.velocity_scale = velocity_scale.data();
  w.genre = genre.data();
  w.use_velocity = use_velocity.data();
  w.use_microtiming = use_microtiming.data();
  w.partial_track = partial_track.data();
  w.partial_bars = partial_bars.data();
  w.masked_as = masked_as.data();
  w.attributes_kept = keeps_some ? attributes_kept.data() : nullptr;
  w.attribute_values = gives_values ? attribute_values.data() : nullptr;
  w.compute_attributes = compute_attributes;
  return w;
}

void OwnedWindows::shrink_to_fit() {
  std::apply([](auto&... array) { (array.shrink_to_fit(), ...); }, arrays());
}

}  // namespace midigpt::tests
