"""Shared contrastive core: towers, objectives, training, zero-shot, evaluation. Knows no domain."""
