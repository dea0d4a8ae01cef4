"""Presentations of data sets, and who trains, chooses a threshold and is tested on them."""
