"""Scores of presentations to a report with curves."""
