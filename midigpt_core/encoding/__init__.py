"""Scores to tokens by the contract of encoders: a base class for those in Python, the tokens of one part of a piece."""
