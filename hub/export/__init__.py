"""Models in the formats of other libraries, each checked against the model it was made from.

>>> from verticlip.hub.export import export
>>> export("urban/remoteclip-vit-b32", "remoteclip", "open_clip").passed  # doctest: +SKIP
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .dispatch import FORMATS, ModelLike, Subject, export, exportable, subject_of

__all__ = ["FORMATS", "ModelLike", "Subject", "export", "exportable", "subject_of"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from . import dispatch

        return getattr(dispatch, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
