"""Loaders of medical image files; the public names are in :mod:`verticlip.domains.medical.io`."""
