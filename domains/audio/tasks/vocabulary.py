"""Words that a model's texts were never trained with; see ``core/vocabulary.py``."""

from ....core.vocabulary import unfamiliar_words

__all__ = ["unfamiliar_words"]
