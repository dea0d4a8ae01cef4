"""From a model in memory to the folder that ``from_pretrained`` reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import ConfigError, VerticlipError
from ..core.files import CONFIG_FILE, PROMPTS_FILE, WEIGHTS_FILE, write_json_atomic, write_text_atomic
from .loading import ResolvedModel, load_model

if TYPE_CHECKING:
    from ..core.model import ContrastiveModel
    from ..core.processing import Processor
    from ..core.prompts import PromptSet


def save_model(
    folder: str | Path,
    network: ContrastiveModel,
    processor: Processor,
    prompts: PromptSet | None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write a model folder and return it.

    Each file appears whole or not at all, the weights last. Saving the same model again is fine.

    Raises:
        ConfigError: the folder holds another model and ``overwrite`` is False.
        WeightsError: a weight is not finite.
    """
    from ..core.checkpoint import save_weights

    folder = Path(folder)
    weights = folder / WEIGHTS_FILE
    if weights.exists() and not _is_stored(folder, network, processor, prompts):
        if not overwrite:
            raise ConfigError(f"{folder} holds another model. Choose another folder or pass overwrite=True.")
        # Old weights beside a new config would load when their shapes happen to agree.
        weights.unlink()
    write_json_atomic(folder / CONFIG_FILE, network.config.model_dump(mode="json"))
    processor.save(folder)
    if prompts is not None:
        import yaml

        content = prompts.model_dump(mode="json")
        write_text_atomic(folder / PROMPTS_FILE, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    save_weights(network, weights)
    return folder


def _is_stored(
    folder: Path, network: ContrastiveModel, processor: Processor, prompts: PromptSet | None
) -> bool:
    """Return whether ``folder`` holds this config, processor and prompt set and these values."""
    import torch

    try:
        stored, stored_processor, stored_prompts = load_model(ResolvedModel(folder, str(folder)))
    except VerticlipError:
        return False
    mine, theirs = network.state_dict(), stored.state_dict()
    return (
        stored.config == network.config
        and stored_processor.fingerprint == processor.fingerprint
        and stored_prompts == prompts
        and all(torch.equal(value.cpu(), theirs[name]) for name, value in mine.items())
    )
