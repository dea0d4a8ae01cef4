"""Comparisons of verticlip with its peers: ``python -m verticlip.benchmarks``."""
