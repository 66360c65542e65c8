"""The training loop: model, losses, optimiser, batches, and Lightning's trainer around them."""
