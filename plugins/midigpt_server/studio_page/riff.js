// MIDI files in a RIFF container (.rmi).

/** The MIDI file in a RIFF container, as far as there is one; all other bytes as they are. */
export function withoutRiff(bytes) {
  if (text(bytes, 0) !== "RIFF" || text(bytes, 8) !== "RMID") return bytes;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 12; at + 8 <= bytes.length; ) {
    const size = view.getUint32(at + 4, true);
    if (text(bytes, at) === "data") return bytes.slice(at + 8, at + 8 + size);
    at += 8 + size + (size % 2);
  }
  return bytes;
}

function text(bytes, at) {
  return String.fromCharCode(...bytes.subarray(at, at + 4));
}
