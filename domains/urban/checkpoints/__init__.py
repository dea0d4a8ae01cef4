"""Converters of published satellite CLIP models."""
