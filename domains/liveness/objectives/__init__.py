"""Training losses of the liveness models."""
