"""A base class for encoders in Python, and the tokens of one part of a piece."""
