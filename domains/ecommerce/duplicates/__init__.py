"""The same product listed twice."""
