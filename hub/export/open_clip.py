"""A folder that open_clip loads: ``open_clip_config.json``, weights and, where it needs one, a tokenizer.

``open_clip.create_model_and_transforms("local-dir:FOLDER")`` and ``open_clip.get_tokenizer`` of the same
name read it; published to the Hub it goes by ``hf-hub:org/name``.

Reference: open_clip 3.3, ``factory.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...core.config import ImageProcessing, ModelConfig, ProcessorConfig, TextProcessing
from ...core.errors import ConfigError
from ...core.files import write_json_atomic
from ...core.layouts.exported import NotExpressible
from ...core.layouts.to_open_clip import open_clip_layout
from ...core.names import is_repository
from ...core.provenance import versions_of
from ...core.verify import OutputCheck
from .comparing import (
    NETWORK,
    TURN,
    compare_embeddings,
    compare_logits,
    compare_pixels,
    crop_notes,
    cropped_alike,
    embed,
    padded,
    pictures,
    quiet,
    resized_alike,
    sentences,
)
from .report import ExportReport, compare, file_hashes, stage, write_report
from .tensors import need_image, refuse_picture, write_tensors
from .tokens import refuse_text, write_own_tokenizer
from .usage import picture_notes, text_notes, write_readme

if TYPE_CHECKING:
    from .dispatch import Subject

FORMAT = "open_clip"
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
NO_REPOSITORY = "(none: export again with repo_id)"
"""Stands for the tokenizer's repository in a folder that was exported for none. No repository can be called
that, so that loading it from the Hub fails instead of taking somebody else's tokenizer."""


def reason(config: ModelConfig, processor: ProcessorConfig | None = None) -> str:
    """Return why open_clip has no words for a model, or an empty text."""
    try:
        open_clip_layout(config, _image_size(processor))
        if processor is not None:
            _preprocess_cfg(need_image(processor.image))
            _tokenizer_cfg(processor.text, "")
    except NotExpressible as error:
        return str(error)
    return ""


def export(model: Subject, out: str | Path, *, repo_id: str | None = None) -> ExportReport:
    """Write a folder for open_clip and return how far open_clip's answers are from the model's.

    Args:
        model: that is exported.
        out: folder that is missing or empty.
        repo_id: ``org/name`` that the folder will be published as. open_clip looks for the tokenizer of a
            model from the Hub by that name; without one such a folder loads by ``local-dir:`` only. Models
            with OpenAI's vocabulary need none.

    Raises:
        ConfigError: open_clip has no words for the model, or ``repo_id`` is no repository.
        WeightsError: open_clip answers otherwise than the model; nothing is left behind.
    """
    if repo_id is not None and not is_repository(repo_id):
        raise ConfigError(f"repo_id {repo_id!r} is no repository of the Hub. Give 'org/name'.")
    processing = model.processor.config
    layout = open_clip_layout(model.config, _image_size(processing))
    settings = {
        "model_cfg": {
            **layout.settings,
            "text_cfg": {
                **layout.settings["text_cfg"],
                **_tokenizer_cfg(processing.text, repo_id or NO_REPOSITORY),
            },
        },
        "preprocess_cfg": _preprocess_cfg(need_image(processing.image)),
    }
    with stage(out) as folder:
        write_json_atomic(folder / CONFIG, settings)
        write_tensors(layout.rename(model.network.state_dict()), folder / WEIGHTS)
        if _has_own_tokenizer(processing.text):
            write_own_tokenizer(folder, model.processor, cleaned=True)
        checks, found = _checks(model, folder)
        notes = (*picture_notes(processing.image, FORMAT), *found, *text_notes(processing.text, FORMAT))
        write_readme(folder, model, FORMAT, notes, repo_id)
        report = ExportReport(
            format=FORMAT,
            files=file_hashes(folder),
            checks=tuple(checks),
            tolerance=NETWORK,
            versions=versions_of(("verticlip", "open_clip_torch", "timm", "transformers", "torch")),
            model=model.id,
            revision=model.revision,
            notes=notes,
        )
        report.require_passed()
        write_report(folder, report)
    return report


def _checks(model: Subject, folder: Path) -> tuple[list[OutputCheck], tuple[str, ...]]:
    """Return how far open_clip's answers are from the model's, by inputs of ours and its own, and notes."""
    import open_clip

    with quiet():
        theirs, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
        tokenize: Any = open_clip.get_tokenizer(f"local-dir:{folder}")
    network: Any = theirs.eval()
    picture = need_image(model.processor.config.image)
    processor, images = model.processor, pictures(picture.size)
    words = processor.config.text
    as_they_come = words is not None and words.clean == "none"
    texts = [text for text in sentences(processor) if not as_they_come or text == " ".join(text.split())]
    exact = resized_alike(picture, FORMAT)
    alike = torch.tensor([cropped_alike(picture, image, FORMAT) for image in images])
    ours = processor("image", images)
    pixels = torch.stack([transform(image) for image in images])  # pyright: ignore[reportCallIssue, reportArgumentType]
    ids, own = tokenize(texts), processor("text", texts)
    with torch.no_grad():
        same_pixels = network.encode_image(ours["pixels"], normalize=True)
        own_pixels = network.encode_image(pixels, normalize=True)
        own_ids = network.encode_text(ids, normalize=True)
    image, text = embed(model.network, "image", ours), embed(model.network, "text", own)
    length, pad = (words.context_length, words.pad_id) if words else (ids.shape[1], 0)
    there, here = pixels[alike], ours["pixels"][alike]
    checks = [
        compare_pixels("pixels of its preprocessing", there, here, picture.std, exact=exact),
        compare("image embedding, our pixels", same_pixels, image, NETWORK),
        compare_embeddings(
            "image embedding, its pixels", own_pixels[alike], image[alike], turn=None if exact else TURN
        ),
        compare("token ids of its tokenizer", ids, padded(own, length, pad), 0.0),
        compare("text embedding, its tokens", own_ids, text, NETWORK),
        compare_logits(model.network, image, text, network.logit_scale, network.logit_bias),
    ]
    return checks, crop_notes(picture, FORMAT, own_pixels[~alike], image[~alike])


def _image_size(processor: ProcessorConfig | None) -> int | None:
    return processor.image.size if processor is not None and processor.image is not None else None


def _preprocess_cfg(config: ImageProcessing) -> dict[str, Any]:
    """Return our settings of pictures as open_clip has them.

    Raises:
        NotExpressible: a step that open_clip does not have.
    """
    refuse_picture(config, FORMAT)
    if config.short_side not in (None, config.size):
        raise NotExpressible(
            f"it resizes pictures to {config.short_side} pixels and crops {config.size}; open_clip crops "
            "what it resizes to."
        )
    return {
        "size": config.size,
        "mode": "RGB",
        "mean": list(config.mean),
        "std": list(config.std),
        "interpolation": config.interpolation,
        "resize_mode": config.resize,
        "fill_color": 0,
    }


def _has_own_tokenizer(config: TextProcessing | None) -> bool:
    return config is not None and config.tokenizer == "tokenizer_json"


def _tokenizer_cfg(config: TextProcessing | None, repository: str) -> dict[str, Any]:
    """Return what ``text_cfg`` says of the tokenizer: nothing for OpenAI's."""
    if config is None:
        raise NotExpressible("its processor prepares no texts.")
    refuse_text(config)
    if not _has_own_tokenizer(config):
        return {}
    # open_clip mends texts in any case: one that leaves them as they come gets the least of it, and a note.
    clean = "whitespace" if config.clean == "none" else config.clean
    return {"hf_tokenizer_name": repository, "tokenizer_kwargs": {"clean": clean}}
