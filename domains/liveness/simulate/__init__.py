"""Simulated recapture: prints, screens and other attacks made from ordinary photos."""
