"""Image, text and image with text of a product in one space."""
