"""Bundled plugin ``optimizers``: Muon and AdamW."""
