"""Plays along over OSC, with the messages of midigpt 0.4.2: a player sends bars, an agent answers with its own."""
