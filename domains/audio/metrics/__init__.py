"""How far sounds are from what they should be: separation and generation."""
