"""Training losses for products."""
