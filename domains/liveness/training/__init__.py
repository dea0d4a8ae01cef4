"""Training runs of liveness models."""
