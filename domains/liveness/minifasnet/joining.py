"""Networks that were trained one by one, put together as the model that is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor

from ....core.checkpoint import load_strict
from ....core.config import ModelConfig
from ....core.conversion import build_empty
from ....core.errors import ConfigError
from .model import MiniFASNetModel, MiniFASNetOptions
from .shapes import inference_part


def join_networks(models: Sequence[MiniFASNetModel], *, name: str) -> MiniFASNetModel:
    """Return one model of the networks of all ``models``, without the Fourier branches of training.

    A single model comes back as it is used: smaller, with the same answers. The preprocessing of any of
    them goes with the result.

    Args:
        models: with the same categories; each network keeps its crop.
        name: of the result, as in ``config.json``.

    Raises:
        ConfigError: no model, or categories that differ.

    Example:
        >>> near, far = from_pretrained("runs/near"), from_pretrained("runs/far")  # doctest: +SKIP
        >>> joined = join_networks([near.network, far.network], name="mine/both")  # doctest: +SKIP
        >>> Model(joined, near.processor).save("both")  # doctest: +SKIP
    """
    if not models:
        raise ConfigError("There is no network to join. Give at least one model.")
    first = models[0]
    crops, networks = [], []
    state: dict[str, Tensor] = {"logit_scale": first.logit_scale.detach()}
    for model in models:
        if model.taxonomy != first.taxonomy:
            raise ConfigError(
                f"{model.config.name} tells {', '.join(model.taxonomy.ids)} apart, {first.config.name} "
                f"{', '.join(first.taxonomy.ids)}. Only networks with the same taxonomy can be averaged."
            )
        options = cast("MiniFASNetOptions", model.options)
        for network, crop, module in zip(options.networks, options.crops, model.networks, strict=True):
            part = inference_part({key: value.detach() for key, value in module.state_dict().items()})
            state |= {f"networks.{len(networks)}.{key}": value for key, value in part.items()}
            networks.append(network.model_copy(update={"fourier": False}).model_dump(mode="json"))
            crops.append(crop.model_dump(mode="json"))
    options = {**first.config.options, "crops": crops, "networks": networks}
    config = ModelConfig.model_validate({**first.config.model_dump(), "name": name, "options": options})
    joined = cast("MiniFASNetModel", build_empty(config))
    copied = {key: value.cpu().clone() for key, value in state.items()}
    load_strict(joined, copied, source=name)
    return joined.eval()
