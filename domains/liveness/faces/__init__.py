"""Faces in a picture: detectors as plug-ins, alignment, crops, pose."""
