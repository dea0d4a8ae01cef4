"""Results as pages of pictures."""
