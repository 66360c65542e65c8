"""Training: ``run`` is the table of contents, every other module one idea."""
