"""Loaders of the room, as the registry names them."""
