"""Rows of a catalogue: fields, files they come from, and the text that is made of them."""
