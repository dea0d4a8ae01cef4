"""Thresholds with their provenance, and probabilities calibrated apart from them."""
