"""Queries of a picture with words."""
