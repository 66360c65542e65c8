"""The MIDI-GPT encoder: windows of multitrack music to tokens and back, in C++. Component ``midigpt``."""
