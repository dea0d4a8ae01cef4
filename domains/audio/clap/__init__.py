"""LAION-CLAP: audio and text in one space."""
