"""Published checkpoints, converted."""
