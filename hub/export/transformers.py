"""A folder that transformers loads: ``CLIPModel``, ``SiglipModel`` or ``ClapModel`` with its processor.

``AutoModel.from_pretrained(FOLDER)`` and ``AutoProcessor.from_pretrained(FOLDER)`` read it, without code of
the folder's own. sentence-transformers 6 loads CLIP and SigLIP from it as well.

Reference: transformers 5.23.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.audio_config import AudioProcessing
from ...core.config import ImageProcessing, ModelConfig, ProcessorConfig, TextProcessing
from ...core.errors import WeightsError
from ...core.files import CONFIG_FILE, WEIGHTS_FILE, write_json_atomic
from ...core.graph_trials import recordings
from ...core.layouts.exported import NotExpressible
from ...core.layouts.to_transformers import transformers_layout
from ...core.provenance import versions_of
from ...core.verify import OutputCheck
from .comparing import (
    NETWORK,
    SOUND_TURN,
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
from .tokens import refuse_text, write_openai_tokenizer, write_own_tokenizer
from .usage import picture_notes, text_notes, write_readme

if TYPE_CHECKING:
    from .dispatch import Subject

FORMAT = "transformers"
PREPROCESSOR = "preprocessor_config.json"
_RESAMPLE = {"bilinear": 2, "bicubic": 3}
"""Pillow's numbers."""
_PROCESSORS = {
    "clip": ("CLIPProcessor", "CLIPImageProcessor"),
    "siglip": ("SiglipProcessor", "SiglipImageProcessor"),
    "clap": ("ClapProcessor", "ClapFeatureExtractor"),
}
"""{model type: (processor, what prepares pictures or sound)}."""
_MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"}
]
_EMBEDS = {
    "transformer_task": "feature-extraction",
    "modality_config": {
        modality: {"method": f"get_{modality}_features", "method_output_name": "pooler_output"}
        for modality in ("text", "image")
    },
    "module_output_name": "sentence_embedding",
    # Left to itself, sentence-transformers fills texts up to the longest of a call; a SigLIP then reads them
    # at another token than it was trained at.
    "processing_kwargs": {"text": {"padding": "max_length"}},
}
"""``modules.json`` and ``sentence_bert_config.json`` of sentence-transformers 6."""
_POWER = 1e-5
"""Largest difference of power, of float32 here and float64 there, as a share of the loudest place."""


def reason(config: ModelConfig, processor: ProcessorConfig | None = None) -> str:
    """Return why transformers has no words for a model, or an empty text."""
    try:
        kind = transformers_layout(config, processor.text if processor else None).settings["model_type"]
        if processor is not None:
            _preprocessing(kind, processor)
            _check_text(kind, processor.text)
    except NotExpressible as error:
        return str(error)
    return ""


def export(model: Subject, out: str | Path) -> ExportReport:
    """Write a folder for transformers and return how far its answers are from the model's.

    Args:
        model: that is exported.
        out: folder that is missing or empty.

    Raises:
        ConfigError: transformers has no words for the model.
        WeightsError: transformers answers otherwise than the model; nothing is left behind.
    """
    processing = model.processor.config
    layout = transformers_layout(model.config, processing.text)
    kind = layout.settings["model_type"]
    words = _check_text(kind, processing.text)
    with stage(out) as folder:
        write_json_atomic(folder / CONFIG_FILE, layout.settings)
        write_tensors(layout.rename(model.network.state_dict()), folder / WEIGHTS_FILE)
        write_json_atomic(folder / PREPROCESSOR, _preprocessing(kind, processing))
        if words.tokenizer == "open_clip_bpe":
            write_openai_tokenizer(folder, words.context_length)
        else:
            write_own_tokenizer(folder, model.processor, cleaned=False, needs_mask=kind != "siglip")
        if kind != "clap":
            write_json_atomic(folder / "modules.json", _MODULES)
            write_json_atomic(folder / "sentence_bert_config.json", _EMBEDS)
        checks, found = _checks(model, folder, kind)
        notes = (
            *picture_notes(processing.image if kind != "clap" else None, FORMAT),
            *found,
            *text_notes(words, FORMAT),
        )
        write_readme(folder, model, FORMAT, notes)
        report = ExportReport(
            format=FORMAT,
            files=file_hashes(folder),
            checks=tuple(checks),
            tolerance=NETWORK,
            versions=versions_of(("verticlip", "transformers", "torchvision", "torch")),
            model=model.id,
            revision=model.revision,
            notes=notes,
        )
        report.require_passed()
        write_report(folder, report)
    return report


def _preprocessing(kind: str, processor: ProcessorConfig) -> dict[str, Any]:
    """Return ``preprocessor_config.json`` of a model of type ``kind``.

    Raises:
        NotExpressible: a step that transformers does not have.
    """
    whole, part = _PROCESSORS[kind]
    if kind == "clap":
        return {"processor_class": whole, "feature_extractor_type": part, **_sound(processor.audio)}
    return {"processor_class": whole, "image_processor_type": part, **_picture(need_image(processor.image))}


def _picture(config: ImageProcessing) -> dict[str, Any]:
    refuse_picture(config, FORMAT)
    if config.resize == "longest":
        raise NotExpressible("it fits pictures into a square with bars; that of transformers cannot.")
    side = {"height": config.size, "width": config.size}
    crops = config.resize == "shortest"
    short = config.short_side or config.size
    if short < config.size:
        raise NotExpressible(f"it resizes to {short} pixels, less than the {config.size} that it crops.")
    return {
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": short} if crops else side,
        "resample": _RESAMPLE[config.interpolation],
        "do_center_crop": crops,
        "crop_size": side,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(config.mean),
        "image_std": list(config.std),
    }


def _sound(config: AudioProcessing | None) -> dict[str, Any]:
    """Return our settings of recordings as ``ClapFeatureExtractor`` has them."""
    if config is None:
        raise NotExpressible("its processor prepares no recordings.")
    mel = config.mel
    filters = {("htk", "none"): "fusion", ("slaney", "slaney"): "rand_trunc"}
    usual = (
        mel.win_length in (None, mel.n_fft)
        and (mel.power, mel.padding, mel.log, mel.floor, mel.magnitude_offset)
        == (2, "reflect", "db", 1e-10, 0)
        and (config.mean, config.std, config.standardize, config.quantize) == (0.0, 1.0, None, False)
        and (mel.scale, mel.norm) in filters
    )
    if not usual or config.window_s != int(config.window_s):
        raise NotExpressible("its spectrograms are made in a way that ClapFeatureExtractor does not know.")
    return {
        "sampling_rate": config.sampling_rate,
        "max_length_s": int(config.window_s),
        "nb_max_samples": config.window_samples,
        "fft_window_size": mel.n_fft,
        "nb_frequency_bins": mel.n_fft // 2 + 1,
        "hop_length": mel.hop_length,
        "feature_size": mel.n_mels,
        "frequency_min": mel.f_min,
        "frequency_max": config.sampling_rate / 2 if mel.f_max is None else mel.f_max,
        "truncation": filters[mel.scale, mel.norm],
        "padding": "repeatpad" if config.padding == "repeat" else "pad",
        "padding_value": 0.0,
        "padding_side": "right",
        "return_attention_mask": False,
        "top_db": None,
    }


def _check_text(kind: str, config: TextProcessing | None) -> TextProcessing:
    """Return the text settings of a model that transformers can prepare texts for."""
    if config is None:
        raise NotExpressible("its processor prepares no texts.")
    refuse_text(config)
    if kind == "siglip" and config.tokenizer != "tokenizer_json":
        raise NotExpressible("its tokenizer is OpenAI's, which fills texts up otherwise than a SiglipModel.")
    return config


def _checks(model: Subject, folder: Path, kind: str) -> tuple[list[OutputCheck], tuple[str, ...]]:
    """Return how far the answers of transformers are from the model's, and notes on what was found."""
    network, processor, _ = loaded = _load(folder)
    texts, words = sentences(model.processor), model.processor.config.text
    own = model.processor("text", texts)
    tokens = processor.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
    with torch.no_grad():
        text_there = F.normalize(network.get_text_features(**tokens).pooler_output, dim=-1)
    text = embed(model.network, "text", own)
    length = words.context_length if words else 0
    expected_ids = padded(own, length, processor.tokenizer.pad_token_id)
    checks = [
        compare("token ids of its tokenizer", tokens["input_ids"], expected_ids, 0.0),
        compare("text embedding, its tokens", text_there, text, NETWORK),
    ]
    if kind == "clap":
        more, notes, first = _sound_checks(model, network, processor)
        bias, scale = None, network.logit_scale_a
        turned = getattr(model.network, "logit_scale_text", None)
        if isinstance(turned, Tensor):
            checks.append(compare("scale of texts", network.logit_scale_t, turned, 0.0))
    else:
        more, notes, first = _picture_checks(model, *loaded)
        bias, scale = getattr(network, "logit_bias", None), network.logit_scale
    checks += [*more, compare_logits(model.network, first, text, scale, bias)]
    return checks, notes


def _picture_checks(
    model: Subject, network: Any, processor: Any, by_pillow: Any
) -> tuple[list[OutputCheck], tuple[str, ...], Tensor]:
    config = need_image(model.processor.config.image)
    exact = resized_alike(config, FORMAT)
    images = pictures(config.size)
    alike = torch.tensor([cropped_alike(config, image, FORMAT) for image in images])
    ours = model.processor("image", images)["pixels"]
    colors = [image.convert("RGB") for image in images]
    pixels = processor.image_processor(colors, return_tensors="pt").pixel_values
    image = embed(model.network, "image", {"pixels": ours})
    with torch.no_grad():
        same, own = (
            F.normalize(network.get_image_features(pixel_values=one).pooler_output, dim=-1)
            for one in (ours, pixels)
        )
    name, there, here = "pixels of its preprocessing", pixels[alike], ours[alike]
    checks = [
        compare_pixels(name, there, here, config.std, exact=exact),
        compare("image embedding, our pixels", same, image, NETWORK),
        compare_embeddings(
            "image embedding, its pixels", own[alike], image[alike], turn=None if exact else TURN
        ),
    ]
    if not exact and by_pillow is not None:
        there = by_pillow(colors, return_tensors="pt").pixel_values[alike]
        checks.append(compare_pixels(f"{name}, Pillow backend", there, here, config.std, exact=True))
    return checks, crop_notes(config, FORMAT, own[~alike], image[~alike]), image


def _sound_checks(
    model: Subject, network: Any, processor: Any
) -> tuple[list[OutputCheck], tuple[str, ...], Tensor]:
    config = model.processor.config.audio
    if config is None:
        raise NotExpressible("its processor prepares no recordings.")
    waves = recordings(config.sampling_rate, config.window_s)
    ours = model.processor("audio", waves)
    made = processor.feature_extractor(waves, sampling_rate=config.sampling_rate, return_tensors="pt")
    fuses = bool(network.config.audio_config.enable_fusion)
    # With fusion the extractor gives four spectrograms of each recording, here equal ones.
    channels = 4 if fuses else 1
    whole = torch.zeros(len(waves), 1, dtype=torch.bool)
    same_features = ours["features"].expand(-1, channels, -1, -1)
    features = made["input_features"].float()
    audio = embed(model.network, "audio", ours)
    with torch.no_grad():
        same, own = (
            F.normalize(network.get_audio_features(input_features=one, is_longer=whole).pooler_output, dim=-1)
            for one in (same_features, features)
        )
    there, here = _powers(features, same_features)
    checks = [
        compare("spectrograms of its preprocessing, power", there, here, _POWER),
        compare("audio embedding, our spectrograms", same, audio, NETWORK),
        compare_embeddings("audio embedding, its spectrograms", own, audio, turn=SOUND_TURN),
    ]
    notes = [
        f"Of recordings over {config.window_s:g} s transformers takes random parts; the model sees all of "
        "them, window by window."
    ]
    if fuses:
        notes.append(
            "transformers marks one recording of a batch at random as a longer one where none is; pass "
            "is_longer of zeros, with which the embeddings were compared."
        )
    return checks, tuple(notes), audio


def _powers(*decibels: Tensor) -> list[Tensor]:
    """Return spectrograms as power, the loudest place of each recording of the last being 1."""
    top = decibels[-1].amax(dim=(1, 2, 3), keepdim=True)
    # In dB the rounding of all but silent places would count most.
    return [10 ** ((one - top) / 10) for one in decibels]


def _load(folder: Path) -> tuple[Any, Any, Any]:
    """Return model, processor and what prepares pictures with Pillow, as read from a folder, offline.

    Raises:
        WeightsError: tensors that transformers misses, or that it does not know.
    """
    from transformers import AutoImageProcessor, AutoModel, AutoProcessor

    with quiet(), _silence():
        network, info = AutoModel.from_pretrained(folder, local_files_only=True, output_loading_info=True)
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
        by_pillow = None
        if hasattr(processor, "image_processor"):
            found = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
            # Releases that do not know the word pass over it.
            by_pillow = found if type(found).__name__.endswith("Pil") else None
    wrong = {kind: sorted(map(str, info[kind])) for kind in info if info[kind]}
    if wrong:
        kind, names = next(iter(wrong.items()))
        raise WeightsError(
            f"transformers reads the export with {len(names)} {kind.replace('_', ' ')} ({names[0]}). Nothing "
            "was written."
        )
    return network.eval(), processor, by_pillow


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep transformers from drawing bars and tables: what they would tell is compared here."""
    from transformers.utils import logging

    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
