// The instruments of General MIDI, by family.

export const FAMILIES = [
  [
    "Piano",
    [
      "Acoustic Grand Piano",
      "Bright Acoustic Piano",
      "Electric Grand Piano",
      "Honky-tonk Piano",
      "Electric Piano 1",
      "Electric Piano 2",
      "Harpsichord",
      "Clavi",
    ],
  ],
  [
    "Mallets and bells",
    [
      "Celesta",
      "Glockenspiel",
      "Music Box",
      "Vibraphone",
      "Marimba",
      "Xylophone",
      "Tubular Bells",
      "Dulcimer",
    ],
  ],
  [
    "Organ",
    [
      "Drawbar Organ",
      "Percussive Organ",
      "Rock Organ",
      "Church Organ",
      "Reed Organ",
      "Accordion",
      "Harmonica",
      "Tango Accordion",
    ],
  ],
  [
    "Guitar",
    [
      "Acoustic Guitar (nylon)",
      "Acoustic Guitar (steel)",
      "Electric Guitar (jazz)",
      "Electric Guitar (clean)",
      "Electric Guitar (muted)",
      "Overdriven Guitar",
      "Distortion Guitar",
      "Guitar Harmonics",
    ],
  ],
  [
    "Bass",
    [
      "Acoustic Bass",
      "Electric Bass (finger)",
      "Electric Bass (pick)",
      "Fretless Bass",
      "Slap Bass 1",
      "Slap Bass 2",
      "Synth Bass 1",
      "Synth Bass 2",
    ],
  ],
  [
    "Strings",
    [
      "Violin",
      "Viola",
      "Cello",
      "Contrabass",
      "Tremolo Strings",
      "Pizzicato Strings",
      "Orchestral Harp",
      "Timpani",
    ],
  ],
  [
    "Ensemble",
    [
      "String Ensemble 1",
      "String Ensemble 2",
      "SynthStrings 1",
      "SynthStrings 2",
      "Choir Aahs",
      "Voice Oohs",
      "Synth Voice",
      "Orchestra Hit",
    ],
  ],
  [
    "Brass",
    [
      "Trumpet",
      "Trombone",
      "Tuba",
      "Muted Trumpet",
      "French Horn",
      "Brass Section",
      "SynthBrass 1",
      "SynthBrass 2",
    ],
  ],
  [
    "Reed",
    [
      "Soprano Sax",
      "Alto Sax",
      "Tenor Sax",
      "Baritone Sax",
      "Oboe",
      "English Horn",
      "Bassoon",
      "Clarinet",
    ],
  ],
  [
    "Pipe",
    [
      "Piccolo",
      "Flute",
      "Recorder",
      "Pan Flute",
      "Blown Bottle",
      "Shakuhachi",
      "Whistle",
      "Ocarina",
    ],
  ],
  [
    "Synth lead",
    [
      "Lead 1 (square)",
      "Lead 2 (sawtooth)",
      "Lead 3 (calliope)",
      "Lead 4 (chiff)",
      "Lead 5 (charang)",
      "Lead 6 (voice)",
      "Lead 7 (fifths)",
      "Lead 8 (bass + lead)",
    ],
  ],
  [
    "Synth pad",
    [
      "Pad 1 (new age)",
      "Pad 2 (warm)",
      "Pad 3 (polysynth)",
      "Pad 4 (choir)",
      "Pad 5 (bowed)",
      "Pad 6 (metallic)",
      "Pad 7 (halo)",
      "Pad 8 (sweep)",
    ],
  ],
  [
    "Synth effects",
    [
      "FX 1 (rain)",
      "FX 2 (soundtrack)",
      "FX 3 (crystal)",
      "FX 4 (atmosphere)",
      "FX 5 (brightness)",
      "FX 6 (goblins)",
      "FX 7 (echoes)",
      "FX 8 (sci-fi)",
    ],
  ],
  [
    "World",
    [
      "Sitar",
      "Banjo",
      "Shamisen",
      "Koto",
      "Kalimba",
      "Bag pipe",
      "Fiddle",
      "Shanai",
    ],
  ],
  [
    "Percussive",
    [
      "Tinkle Bell",
      "Agogo",
      "Steel Drums",
      "Woodblock",
      "Taiko Drum",
      "Melodic Tom",
      "Synth Drum",
      "Reverse Cymbal",
    ],
  ],
  [
    "Sound effects",
    [
      "Guitar Fret Noise",
      "Breath Noise",
      "Seashore",
      "Bird Tweet",
      "Telephone Ring",
      "Helicopter",
      "Applause",
      "Gunshot",
    ],
  ],
];

export const PROGRAMS = FAMILIES.flatMap(([, names]) => names);

/** What a musician calls the sound of a track. */
export function instrumentName({ program, drum }) {
  return drum ? "Drum kit" : PROGRAMS[program];
}

// What a track without a name is called, by the family of its instrument.
const SHORT = [
  ...["Piano", "Mallets", "Organ", "Guitar", "Bass", "Strings", "Strings", "Brass"],
  ...["Reed", "Flute", "Lead", "Pad", "Effects", "World", "Percussion", "Sounds"],
];
const VOICES = new Set([52, 53, 54]);

function shortName({ program, drum }) {
  if (drum) return "Drums";
  return VOICES.has(program) ? "Voices" : SHORT[Math.floor(program / 8)];
}

/** What each track is called: its own name, else its kind, numbered where there are several: "Guitar 2". */
export function trackNames(tracks) {
  let names = namesOfTracks.get(tracks);
  if (!names) {
    const plain = tracks.map((track) => track.name || shortName(track));
    names = plain.map((name, index) => {
      const same = plain.slice(0, index).filter((other) => other === name).length;
      return same ? `${name} ${same + 1}` : name;
    });
    namesOfTracks.set(tracks, names);
  }
  return names;
}
const namesOfTracks = new WeakMap();

const SHARPS = ["C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B"];

/** The twelve pitch classes from C on. */
export const PITCH_CLASSES = SHARPS;

/** "C4" for 60. */
export function pitchName(pitch) {
  return `${SHARPS[pitch % 12]}${Math.floor(pitch / 12) - 1}`;
}
