// The tempo changes of a MIDI file, which the server's scores leave out. The server has read the file before, so it is
// known to be well formed; anything else ends the map where it is met.

const META = 0xff;
const SET_TEMPO = 0x51;
// 120 beats per minute, as the standard says.
const BEFORE_ANY = 500_000;

/** [{quarter, tempo}] in order, tempo in microseconds per quarter; empty if there is at most one, at the start. */
export function tempoMap(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  // As in the reader, 0 is 480.
  const division = view.getUint16(12) || 480;
  const marks = [];
  for (let at = 8 + view.getUint32(4); at + 8 <= view.byteLength; ) {
    const end = at + 8 + view.getUint32(at + 4);
    if (view.getUint32(at) === 0x4d54726b) readChunk(view, at + 8, Math.min(end, view.byteLength), division, marks);
    at = end;
  }
  marks.sort((one, other) => one.quarter - other.quarter);
  // Of several at one place the last counts.
  const map = marks.filter((mark, index) => marks[index + 1]?.quarter !== mark.quarter);
  if (map.length && map[0].quarter > 0) map.unshift({ quarter: 0, tempo: BEFORE_ANY });
  return map.length > 1 ? map : [];
}

function readChunk(view, at, end, division, marks) {
  let tick = 0;
  let status = 0;
  const number = () => {
    let value = 0;
    for (;;) {
      const byte = view.getUint8(at++);
      value = (value << 7) | (byte & 0x7f);
      if (byte < 0x80) return value;
    }
  };
  try {
    while (at < end) {
      tick += number();
      if (view.getUint8(at) >= 0x80) status = view.getUint8(at++);
      if (status === META) {
        const kind = view.getUint8(at++);
        const size = number();
        if (kind === SET_TEMPO && size === 3) {
          const tempo = (view.getUint8(at) << 16) | view.getUint16(at + 1);
          if (tempo) marks.push({ quarter: tick / division, tempo });
        }
        at += size;
      } else if (status === 0xf0 || status === 0xf7) {
        at += number();
      } else {
        at += status >= 0xc0 && status < 0xe0 ? 1 : 2;
      }
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
}
