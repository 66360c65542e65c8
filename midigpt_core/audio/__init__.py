"""MIDI files as sound: OGG and WAV files, played by FluidSynth with a SoundFont bank (extra ``audio``)."""
