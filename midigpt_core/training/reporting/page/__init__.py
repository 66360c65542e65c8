"""A run as one HTML page that needs no network: curves, samples, evaluations, data, settings, provenance."""
