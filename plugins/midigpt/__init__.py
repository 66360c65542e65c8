"""The documented front door: re-exports only."""
