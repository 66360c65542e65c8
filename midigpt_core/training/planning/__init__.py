"""What is settled before torch is needed: settings, components, corpora, what to start or continue from.

Nothing in this room imports torch, so that a wrong flag is an error within a second.
"""
