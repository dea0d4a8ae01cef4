"""UniMed-CLIP: published checkpoints, captions from labels, training shards."""
