"""Replay of the stored reference cases of BioViL and BioViL-T, through the code that users run."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ....core.checkpoint import load_strict, read_weights
from ....core.config import ImageProcessing, ProcessorConfig
from ....core.conversion import Converted, build_empty, wordpiece_tokenizer
from ....core.errors import InputError, require
from ....core.heatmaps import gaussian_smooth, to_input_pixels
from ....core.limits import DEFAULT
from ....core.processing import Processor
from ..loaders.himl import remap_to_uint8
from ..loaders.image import load_image
from .convert import ConversionOptions, convert_states
from .model import BioViL
from .temporal import TemporalEncoder, sine_positions

_IMAGE, _TEXT = "image_model.", "text_model."


def _convert(
    config: Mapping[str, Any], states: Mapping[str, Mapping[str, Tensor]], case_dir: Path
) -> tuple[BioViL, Processor]:
    """Return the case's model in evaluation mode, converted as a published one, and its processor."""
    bert, vit = config.get("bert", {}), config.get("vit", {})
    transform = config.get("transform", {})
    values: dict[str, Any] = {
        "text_heads": bert.get("num_attention_heads"),
        "layer_norm_eps": bert.get("layer_norm_eps"),
        "text_dropout": bert.get("hidden_dropout_prob"),
        "grid": vit.get("grid_shape"),
        "temporal_heads": vit.get("num_heads"),
        "short_side": transform.get("resize"),
        "crop": transform.get("center_crop"),
    }
    settings = ConversionOptions.model_validate(
        {name: value for name, value in values.items() if value is not None}
    )
    tokenizer = wordpiece_tokenizer(case_dir / "vocab.txt") if "text" in states else None
    sources = dict.fromkeys(states, "weights.safetensors")
    done = convert_states("medical/golden", states, settings, sources=sources, tokenizer=tokenizer)
    return _built(done), Processor(done.processor, done.tokenizer_json)


def _built(done: Converted) -> BioViL:
    network = build_empty(done.config)
    load_strict(network, done.state, source="weights.safetensors")
    return cast("BioViL", network.eval())


def replay_image_encoder(
    config: Mapping[str, Any], inputs: Mapping[str, Tensor], case_dir: Path
) -> dict[str, Tensor]:
    """Return every output of the single-image encoder, the dilated variant and the classifier."""
    network, _ = _convert(config, {"image": read_weights(case_dir / "weights.safetensors")}, case_dir)
    given = {"pixels": inputs["image"]}
    with torch.inference_mode():
        states = network.image_states(given)
        outputs = {
            "patch_embeddings": states.patches,
            "img_embedding": states.pooled,
            "projected_patch_embeddings": states.projected,
            "projected_global_embedding": states.embedding,
            "global_embedding_normalised": network.encode("image", given),
            "patch_embeddings_bhwd_normalised": network.encode_patches(given),
            **_stage_means(network, inputs["image"]),
        }
        if config.get("dilation_variant") is not None:
            stages = _dilated_stages(config)
            dilated = (network.dilated(stages) if stages else network).image_states(given)
            outputs["patch_embeddings_dilated"] = dilated.patches
            outputs["projected_global_embedding_dilated"] = dilated.embedding
        if network.options.classifier is not None:
            outputs["class_logits"] = network.class_logits(given)
    return outputs


def _dilated_stages(config: Mapping[str, Any]) -> int:
    """Return how many of the last stages a case dilates."""
    flags = [bool(flag) for flag in config["dilation_variant"]]
    if flags != sorted(flags) or sum(flags) > 2:
        raise InputError(
            f"dilation_variant {config['dilation_variant']}: only the last one or two stages can be dilated."
        )
    return sum(flags)


def _stage_means(network: BioViL, pixels: Tensor) -> dict[str, Tensor]:
    """Return the spatial means after the stem and after each stage, float [B, C]."""
    trunk = network.image_tower.trunk
    stages = {
        "stem_x0": trunk.maxpool,
        "layer1": trunk.layer1,
        "layer2": trunk.layer2,
        "layer3": trunk.layer3,
    }
    # Several calls, where the tower takes a batch image by image.
    seen: dict[str, list[Tensor]] = {name: [] for name in stages}
    hooks = [
        stage.register_forward_hook(lambda _, __, maps, name=name: seen[name].append(maps.mean(dim=(2, 3))))
        for name, stage in stages.items()
    ]
    try:
        network.image_states({"pixels": pixels})
    finally:
        for hook in hooks:
            hook.remove()
    return {f"{name}_mean": torch.cat(means) for name, means in seen.items()}


def replay_image_encoder_temporal(
    config: Mapping[str, Any], inputs: Mapping[str, Tensor], case_dir: Path
) -> dict[str, Tensor]:
    """Return every output of the multi-image encoder with and without the previous image."""
    network, _ = _convert(config, {"image": read_weights(case_dir / "weights.safetensors")}, case_dir)
    current, previous = inputs["current_image"], inputs["previous_image"]
    given = {
        "with_prior": {"pixels": current, "previous": previous},
        "no_prior": {"pixels": current},
    }
    options = cast("TemporalEncoder", network.image_tower.temporal).options
    outputs: dict[str, Tensor] = {"pos_embed": sine_positions(options.grid, options.dim)}
    with torch.inference_mode():
        for name, pair in given.items():
            states = network.image_states(pair)
            outputs |= {
                f"{name}_patch_embeddings": states.patches,
                f"{name}_img_embedding": states.pooled,
                f"{name}_projected_patch_embeddings": states.projected,
                f"{name}_projected_global_embedding": states.embedding,
            }
        outputs["with_prior_block0_attention"] = _first_attention(network, given["with_prior"])
    return outputs


def _first_attention(network: BioViL, pair: Mapping[str, Tensor]) -> Tensor:
    """Return what block 0 attends to in a real pass, float [B, heads, 2 L, 2 L]."""
    block = cast("TemporalEncoder", network.image_tower.temporal).first_block()
    seen: list[tuple[Tensor, ...]] = []
    hook = block.register_forward_hook(lambda _, given, __: seen.append(given))
    try:
        network.image_states(pair)
    finally:
        hook.remove()
    return block.attention_weights(*seen[0])


def replay_text_encoder(
    config: Mapping[str, Any], inputs: Mapping[str, Tensor], case_dir: Path
) -> dict[str, Tensor]:
    """Return states, masked-word scores and embeddings of the texts, tokenized by our processor.

    Raises:
        InputError: our tokens or masked words differ from the stored ones.
    """
    network, processor = _convert(config, {"text": read_weights(case_dir / "weights.safetensors")}, case_dir)
    texts = _tokens(processor, config["prompts"], inputs, prefix="")
    masked = _tokens(processor, config["masked_prompts"], inputs, prefix="masked_")
    with torch.inference_mode():
        raw = network.encode("text", texts, normalize=False)
        outputs = {
            "last_hidden_state": network.encode_tokens("text", texts).tokens,
            "logits": network.word_logits(texts),
            "cls_projected_embedding": raw,
            "embeddings_raw": raw,
            "embeddings_normalised": network.encode("text", texts),
            "masked_logits": network.word_logits(masked),
        }
        if config.get("similarity_pairs"):
            left, right = (
                network.encode("text", processor("text", list(side)))
                for side in zip(*config["similarity_pairs"], strict=True)
            )
            outputs["pairwise_similarities"] = (left * right).sum(dim=1)
    _check_masks(config, outputs["masked_logits"], masked, processor)
    return outputs


def _tokens(processor: Processor, texts: list[str], stored: Mapping[str, Tensor], *, prefix: str) -> Any:
    tokens = processor("text", texts)
    for name, ours in tokens.items():
        if not torch.equal(ours, stored[f"{prefix}{name}"]):
            raise InputError(f"{prefix}{name} of our tokenizer differs from the stored one.")
    return tokens


def _check_masks(
    config: Mapping[str, Any], logits: Tensor, masked: Mapping[str, Tensor], processor: Processor
) -> None:
    words = json.loads(processor.tokenizer_json or "{}")["model"]["vocab"]
    by_id = {number: word for word, number in words.items()}
    for row, expected in enumerate(config.get("masked_predictions", ())):
        places = (masked["input_ids"][row] == words["[MASK]"]).nonzero().flatten()
        found = [by_id[number] for number in logits[row, places].argmax(dim=-1).tolist()]
        if found != list(expected):
            raise InputError(f"masked text {row}: predicted {found}, stored {list(expected)}.")


def replay_phrase_grounding(
    config: Mapping[str, Any], inputs: Mapping[str, Tensor], case_dir: Path
) -> dict[str, Tensor]:
    """Return the way of one 16-bit image and one phrase from file to heat map."""
    weights = read_weights(case_dir / "weights.safetensors")
    states = {
        part: {name.removeprefix(start): tensor for name, tensor in weights.items() if name.startswith(start)}
        for part, start in (("image", _IMAGE), ("text", _TEXT))
    }
    network, processor = _convert(config, states, case_dir)
    transform = config["transform"]
    raw = inputs["image_uint16"].numpy().astype(np.uint16)
    given = processor("image", [_through_file(raw, ".png", {}, processor.config.image)])
    prompt, texts = config["prompt"], config["prompt_list"]
    tokens = _tokens(processor, [prompt], inputs, prefix="")
    with torch.inference_mode():
        maps, scores = network.phrase_maps(given, tokens, phrases=[prompt], processor=processor)
        smooth = gaussian_smooth(maps[0, 0], float(config["gaussian"]["sigma"]))
        several = network.encode("text", processor("text", texts), normalize=False).mean(dim=0)
        outputs = {
            "image_tensor_channel0": given["pixels"][0, 0],
            "patch_embeddings_hwd": network.encode_patches(given)[0],
            "text_embedding": network.encode("text", tokens),
            "similarity_raw": maps[0, 0],
            "similarity_smoothed": smooth,
            "global_score_single": scores[0],
            "global_score_prompt_list": network.encode("image", given) @ F.normalize(several, dim=0),
        }
    sizes = {"resize": transform["resize"], "crop": transform["center_crop"]}
    shape = (raw.shape[0], raw.shape[1])
    outputs["heatmap_nearest"] = to_input_pixels(smooth, shape, **sizes, mode="nearest")
    outputs["heatmap_bilinear"] = to_input_pixels(smooth, shape, **sizes, mode="bilinear")
    for name, variant in config.get("variants", {}).items():
        mode = name.rpartition("_")[2]
        size = (variant["height"], variant["width"])
        outputs[name] = to_input_pixels(
            smooth, size, resize=variant["resize"], crop=variant["crop"], mode=mode
        )
    return outputs


def replay_preprocess(
    config: Mapping[str, Any], inputs: Mapping[str, Tensor], case_dir: Path
) -> dict[str, Tensor]:
    """Return grey levels and tensors of files that are written from the stored pixels and read again."""
    outputs: dict[str, Tensor] = {}
    for name, item in config["items"].items():
        raw = inputs[f"{name}.raw"].numpy().astype(item["raw_dtype"])
        processing = ImageProcessing(
            size=item["center_crop"],
            short_side=item["resize"],
            interpolation="bilinear",
            resampler="pillow",
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            load={"normalize": "hi-ml", "parity": True},
        )
        image = _through_file(raw, item["suffix"], item, processing)
        pixels = Processor(ProcessorConfig(image=processing))("image", [image])["pixels"]
        outputs[f"{name}.uint8_L"] = (image.pixels[0] * 255).round().to(torch.uint8)
        outputs[f"{name}.tensor_channel0"] = pixels[0, 0]
        for low, high in config.get("percentiles", ()):
            outputs[f"{name}.remap_p{low:g}_{high:g}"] = torch.from_numpy(remap_to_uint8(raw, (low, high)))
    return outputs


def _through_file(raw: np.ndarray, suffix: str, item: Mapping[str, Any], processing: Any) -> Any:
    """Return stored pixels written as a real file and loaded with the model's own loader options."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image"
        # Lossless whatever the suffix: the stored pixels are the decoded ones. PNG holds no signed values.
        if suffix == ".dcm" or raw.dtype not in (np.uint8, np.uint16):
            _write_dicom(path, raw, item)
        else:
            require("PIL.Image", extra="medical").fromarray(raw).save(path, format="PNG")
        return load_image(path, limits=DEFAULT, **processing.load)


def _write_dicom(path: Path, raw: np.ndarray, item: Mapping[str, Any]) -> None:
    require("pydicom", extra="medical")
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    file = Dataset()
    file.SOPClassUID, file.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    file.Modality = "OT"
    file.Rows, file.Columns = raw.shape[:2]
    file.SamplesPerPixel = 1 if raw.ndim == 2 else int(raw.shape[2])
    if raw.ndim == 3:
        file.PlanarConfiguration = 0
    file.PhotometricInterpretation = item.get("photometric", "MONOCHROME2" if raw.ndim == 2 else "RGB")
    bits = raw.dtype.itemsize * 8
    file.BitsAllocated, file.BitsStored = bits, int(item.get("bits_stored", bits))
    file.HighBit = file.BitsStored - 1
    file.PixelRepresentation = int(item.get("pixel_representation", raw.dtype.kind == "i"))
    file.RescaleSlope = str(item.get("rescale_slope", 1))
    file.RescaleIntercept = str(item.get("rescale_intercept", 0))
    file.PixelData = raw.astype(raw.dtype.newbyteorder("<")).tobytes()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.save_as(path, enforce_file_format=True)


def replay_any(config: Mapping[str, Any], inputs: Mapping[str, Tensor], case_dir: Path) -> dict[str, Tensor]:
    """Return the outputs of a case of another name, told by the settings that it has."""
    kinds = {
        "items": replay_preprocess,
        "vit": replay_image_encoder_temporal,
        "prompt": replay_phrase_grounding,
        "bert": replay_text_encoder,
        "resnet": replay_image_encoder,
    }
    found = next((kind for key, kind in kinds.items() if key in config), None)
    if found is None:
        raise InputError(
            f"{case_dir.name}: config.json has none of {', '.join(kinds)}; not a case of BioViL."
        )
    return found(config, inputs, case_dir)


ANY_CASE = "any"

CASES = {
    "image_encoder": replay_image_encoder,
    "image_encoder_temporal": replay_image_encoder_temporal,
    "text_encoder": replay_text_encoder,
    "phrase_grounding": replay_phrase_grounding,
    "preprocess": replay_preprocess,
    ANY_CASE: replay_any,
}
"""Golden cases by name."""

_UNIT = (
    "normalised",
    "pairwise_similarities",
    "hwd",
    "text_embedding",
    "similarity_",
    "heatmap_",
    "global_score",
)


def tolerance(case: str, name: str, expected: Tensor) -> float:
    """Return the largest absolute difference allowed for an output.

    1e-4 of the largest magnitude; 1e-5 of it, or 1e-6 where that is more, for unit embeddings and
    cosines, which may all be next to zero; 1e-6 for preprocessed tensors and 0 for grey levels.
    """
    if name.endswith("tensor_channel0"):
        return 1e-6
    if not expected.is_floating_point():
        return 0.0
    largest = float(expected.double().abs().nan_to_num(0.0).max())
    return max(1e-5 * largest, 1e-6) if any(word in name for word in _UNIT) else 1e-4 * largest
