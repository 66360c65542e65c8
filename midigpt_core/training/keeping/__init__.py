"""What a run keeps: checkpoints, which of them stay, and what makes a checkpoint belong to a run."""
