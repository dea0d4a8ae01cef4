"""Pairs of products for training."""
