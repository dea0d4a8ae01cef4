"""CLIPSonic: sounds from a text or an image."""
