"""Figures of generated music that answer a musician's questions."""
