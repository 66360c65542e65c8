"""The MIDI-GPT encoder, component ``midigpt``: converts windows of multitrack music to tokens and back, in C++."""
