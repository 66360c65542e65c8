"""The decisions before torch is needed: settings, components, corpora, what to start or continue from.

Nothing in this package imports torch, so a wrong flag is reported within a second.
"""
