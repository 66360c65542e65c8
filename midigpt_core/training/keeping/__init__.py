"""Saving a run: checkpoints, their retention, and the check that a checkpoint belongs to a run."""
