"""From a model to the encoder of a catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ....core.errors import ConfigError
from ..encoders.product import ProductEncoder
from ..encoders.views import ProductModel

if TYPE_CHECKING:
    from ....core.handle import ModelHandle
    from ..encoders.fusing import Fusion
    from .encode import ProductEncoding


def encoder_of(
    model: ModelHandle | ProductEncoding, fusion: Fusion | None
) -> tuple[ProductEncoding, Fusion | None]:
    """Return the encoder of a model and its fusion; None where the model puts sides together by itself.

    Args:
        model: a loaded model, or an encoder, which is taken as it is.
        fusion: None takes the usual shares, or those of the encoder.

    Raises:
        ConfigError: the model lacks pictures or texts, or the model or encoder has a fusion of its own and
            another is given.
    """
    if hasattr(model, "prepare_image"):
        encoder = cast("ProductEncoding", model)
        own: Fusion | None = getattr(encoder, "fusion", None)
        if fusion not in (None, own):
            raise ConfigError(
                "The encoder mixes pictures and texts by shares of its own, not by those that are given. "
                "Make it with these: ProductEncoder(model, fusion=...), or give the model instead."
            )
        return encoder, own
    handle = cast("ModelHandle", model)
    made = ProductEncoder(handle, fusion=fusion)
    return made, None if isinstance(handle.network, ProductModel) else made.fusion
