"""Run an exported model with ONNX Runtime or OpenVINO: no torch, and nothing of verticlip.

    pip install onnxruntime numpy pillow tokenizers ftfy  # or openvino for its format

    from reader import Model
    model = Model(".")
    pictures = model.embed_images([PIL.Image.open("photo.jpg")])
    texts = model.embed_texts(["a photo of a dog", "a photo of a cat"])
    print(model.probabilities(pictures, texts))

Everything is read from ``verticlip.json``. Embeddings are float32 [N, D] of length one.
"""

from __future__ import annotations

import html
import json
import re
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

Array = Any
"""A numpy array."""


class Model:
    """The parts of an exported model.

    Args:
        folder: of the export.

    Attributes:
        facts: content of ``verticlip.json``.
    """

    def __init__(self, folder: str | Path = ".") -> None:
        self.folder = Path(folder)
        self.facts: dict[str, Any] = json.loads((self.folder / "verticlip.json").read_text("utf-8"))
        self._sessions: dict[str, Any] = {}
        self._tokenizer: Any = None

    def run(self, part: str, inputs: dict[str, Array]) -> Array:
        """Return what a part gives for inputs that are prepared already."""
        if part not in self.facts["parts"]:
            raise KeyError(f"this export has no part {part!r}; it has: {', '.join(self.facts['parts'])}")
        facts = self.facts["parts"][part]
        if part not in self._sessions:
            self._sessions[part] = self._open(str(self.folder / facts["file"]))
        feed = {name: np.ascontiguousarray(inputs[name]) for name in facts["inputs"]}
        if self.facts["format"] == "openvino":
            return np.array(self._sessions[part](feed)[0])
        return self._sessions[part].run([facts["output"]], feed)[0]

    def _open(self, path: str) -> Any:
        if self.facts["format"] == "openvino":
            import openvino

            # Some processors would compute in bfloat16 otherwise.
            return openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        import onnxruntime

        return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def embed_images(self, images: Sequence[Any]) -> Array:
        """Return unit embeddings [N, D] of PIL images or uint8 arrays [h, w, 3] or [h, w]."""
        return self.run("image", {"pixels": np.stack([self.pixels(image) for image in images])})

    def embed_texts(self, texts: Sequence[str]) -> Array:
        """Return unit embeddings [N, D] of texts."""
        return self.run("text", self.tokens(texts))

    def embed_audio(self, waves: Sequence[Array]) -> Array:
        """Return unit embeddings [N, D] of recordings float [T] in [-1, 1], one channel at the model's rate.

        A recording longer than the model's window gives the mean direction of its windows. A model that
        fuses windows takes no longer one here: prepare its inputs as ``verticlip.json`` says and call run().
        """
        rows = []
        for wave in waves:
            each = self.run("audio", self._fusable(self.features(np.asarray(wave, np.float32))))
            mean = each.astype(np.float64).mean(axis=0)
            rows.append((mean / np.linalg.norm(mean)).astype(np.float32))
        return np.stack(rows)

    def _fusable(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Return inputs of a recording as the graph takes them: one that fuses has a window four times."""
        if "is_longer" not in self.facts["parts"]["audio"]["inputs"]:
            return inputs
        if len(inputs["features"]) > 1:
            window = self.facts["processor"]["audio"]["window_s"]
            raise ValueError(f"a recording is longer than the {window:g} s that are prepared here; cut it")
        return {"features": np.repeat(inputs["features"], 4, axis=1), "is_longer": np.zeros((1, 1), bool)}

    def class_embeddings(self) -> Array:
        """Return one unit vector per class of the model, [K, D]; ``facts["classes"]`` has their names."""
        rows = []
        for entry in self.facts["classes"]:
            mean = np.asarray(entry["weights"]) @ self.embed_texts(entry["texts"]).astype(np.float64)
            rows.append(mean / np.linalg.norm(mean))
        return np.stack(rows).astype(np.float32)

    def probabilities(self, embeddings: Array, classes: Array) -> Array:
        """Return [N, K]: a softmax over the classes, or independent ones where the model has a bias."""
        logits = self.facts["logit_scale"] * (embeddings @ classes.T).astype(np.float64)
        if self.facts["logit_bias"] is not None:
            return 1.0 / (1.0 + np.exp(-(logits + self.facts["logit_bias"])))
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)

    def pixels(self, image: Any) -> Array:
        """Return the tensor float32 [C, size, size] of one picture."""
        config = self.facts["processor"]["image"]
        pixels = _array(image)
        if config["trim_border"] or config["stretch"]:
            pixels = _unit(pixels)
        if config["trim_border"]:
            pixels = _trim(pixels, config["trim_border"])
        if config["stretch"]:
            low, high = np.percentile(pixels, config["stretch"])
            pixels = np.clip((pixels - low) / (high - low), 0.0, 1.0) if high > low else pixels
        if config["resampler"] == "pillow" and pixels.dtype != np.uint8:
            pixels = np.round(pixels * 255).astype(np.uint8)
        pixels = _unit(_fit(pixels, config))
        if pixels.shape[2] != config["channels"]:
            grey = np.array([0.299, 0.587, 0.114], np.float32)
            pixels = pixels @ grey[:, None] if config["channels"] == 1 else np.repeat(pixels, 3, axis=2)
        if config["standardize"] is not None:
            mean, deviation = pixels.mean(), pixels.std() + config["standardize"]
        else:
            mean, deviation = np.array(config["mean"], np.float32), np.array(config["std"], np.float32)
        return ((pixels - mean) / deviation).transpose(2, 0, 1).astype(np.float32)

    def tokens(self, texts: Sequence[str]) -> dict[str, Array]:
        """Return ``input_ids`` and ``attention_mask`` int64 [N, L] of texts."""
        config = self.facts["processor"]["text"]
        if self._tokenizer is None:
            from tokenizers import Tokenizer

            self._tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
            self._tokenizer.no_padding()
            self._tokenizer.no_truncation()
        limit, rows = config["context_length"], []
        for text in texts:
            ids = self._tokenizer.encode(_clean(text, config)).ids
            if len(ids) > limit and config["overlong"] == "error":
                raise ValueError(f"a text has {len(ids)} tokens, the model takes {limit}: {text[:60]!r}")
            rows.append(ids if len(ids) <= limit else [*ids[: limit - 1], ids[-1]])
        fixed = self.facts["parts"]["text"]["inputs"]["input_ids"]["shape"][1]
        longest = limit if config["padding"] == "context" else max(map(len, rows))
        length = fixed if isinstance(fixed, int) else longest
        ids = np.full((len(rows), length), config["pad_id"], np.int64)
        mask = np.zeros_like(ids)
        for place, row in enumerate(rows):
            ids[place, : len(row)], mask[place, : len(row)] = row, 1
        return {"input_ids": ids, "attention_mask": mask}

    def features(self, wave: Array) -> dict[str, Array]:
        """Return ``features`` float32 [windows, 1, frames, mels] of one recording."""
        config = self.facts["processor"]["audio"]
        rate, mel = config["sampling_rate"], config["mel"]
        size = round(config["window_s"] * rate)
        windows = _windows(wave, size, max(1, round((config["hop_s"] or config["window_s"]) * rate)), config)
        if config["quantize"]:
            windows = (np.clip(windows, -1, 1) * np.float32(32767)).astype(np.int16) / np.float32(32767)
        spectrum = _power(windows, mel) @ np.load(self.folder / "mel_filters.npy").astype(np.float64).T
        if mel["log"] != "none":
            spectrum = np.maximum(spectrum, mel["floor"])
            spectrum = 10 * np.log10(spectrum) if mel["log"] == "db" else np.log(spectrum)
        if config["standardize"] is not None:
            mean = spectrum.mean(axis=(1, 2), keepdims=True)
            deviation = spectrum.std(axis=(1, 2), keepdims=True) + config["standardize"]
        else:
            mean, deviation = config["mean"], config["std"]
        return {"features": ((spectrum - mean) / deviation)[:, None].astype(np.float32)}


def _array(image: Any) -> Array:
    """Return the pixels [h, w, 1 or 3] of a PIL image or array; alpha goes onto black."""
    if not isinstance(image, np.ndarray):
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            rgba = np.asarray(image.convert("RGBA"), np.uint16)
            image = ((rgba[..., :3] * rgba[..., 3:] + 127) // 255).astype(np.uint8)
        elif image.mode.startswith(("I", "F")):
            raise ValueError(f"pictures of mode {image.mode} have no known range; scale them to 8 bits")
        else:
            image = np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
    return image[..., None] if image.ndim == 2 else image


def _unit(pixels: Array) -> Array:
    return pixels.astype(np.float32) / 255 if pixels.dtype == np.uint8 else pixels.astype(np.float32)


def _trim(pixels: Array, level: float) -> Array:
    """Return what lies inside the dark margins."""
    grey = pixels.mean(axis=2)
    bright = grey > max(12 / 255, level * float(np.percentile(grey, 99)))
    rows = np.flatnonzero(bright.mean(axis=1) > 0.04)
    columns = np.flatnonzero(bright.mean(axis=0) > 0.04)
    if len(rows) < 10 or len(columns) < 10:
        return pixels
    return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _fit(pixels: Array, config: dict[str, Any]) -> Array:
    """Return [size, size, C]: squashed, or the whole padded to a square, or the middle."""
    size, height, width = config["size"], pixels.shape[0], pixels.shape[1]
    if config["resize"] == "squash":
        return _resize(pixels, size, size, config)
    if config["resize"] == "longest":
        ratio = size / max(height, width)
        return _pad(
            _resize(pixels, max(1, round(height * ratio)), max(1, round(width * ratio)), config), size
        )
    short = config["short_side"] or size
    long = int(short * max(height, width) / min(height, width))
    new = (short, long) if height <= width else (long, short)
    pixels = _pad(_resize(pixels, *new, config), size)
    spare = (pixels.shape[0] - size, pixels.shape[1] - size)
    top, left = (each // 2 if config["center"] == "floor" else round(each / 2) for each in spare)
    return pixels[top : top + size, left : left + size]


def _pad(pixels: Array, size: int) -> Array:
    down, right = max(0, size - pixels.shape[0]), max(0, size - pixels.shape[1])
    return np.pad(pixels, ((down // 2, down - down // 2), (right // 2, right - right // 2), (0, 0)))


def _resize(pixels: Array, height: int, width: int, config: dict[str, Any]) -> Array:
    from PIL import Image

    if pixels.shape[:2] == (height, width):
        return pixels
    way = Image.Resampling[config["interpolation"].upper()]
    if pixels.dtype == np.uint8:
        image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))
        return _array(image.resize((width, height), way))
    planes = [Image.fromarray(np.ascontiguousarray(plane)) for plane in pixels.transpose(2, 0, 1)]
    resized = np.stack([np.asarray(plane.resize((width, height), way)) for plane in planes], axis=2)
    return np.clip(resized, 0.0, 1.0)


def _clean(text: str, config: dict[str, Any]) -> str:
    """Return a text as the tokenizer sees it."""
    if not text.strip() and not config["allow_empty"]:
        raise ValueError("a text is empty")
    if config["clean"] != "none":
        if "&" in text or not text.isascii() or not text.isprintable():
            import ftfy

            text = ftfy.fix_text(text)
        text = re.sub(r"\s+", " ", html.unescape(html.unescape(text))).strip()
    if config["clean"] == "canonicalize":
        bare = text.replace("_", " ").translate(str.maketrans("", "", string.punctuation))
        text = " ".join(bare.lower().split())
    return text.rstrip(config["strip_end"]) if config["strip_end"] else text


def _windows(wave: Array, size: int, hop: int, config: dict[str, Any]) -> Array:
    """Return the windows [N, size] of a recording; the last one ends with it."""
    if len(wave) > size:
        starts = [*range(0, len(wave) - size, hop), len(wave) - size]
        return np.stack([wave[start : start + size] for start in starts])
    if config["padding"] == "repeat":
        wave = np.tile(wave, size // len(wave))
    return np.pad(wave, (0, size - len(wave)))[None]


def _power(waves: Array, mel: dict[str, Any]) -> Array:
    """Return magnitudes to the configured power [N, frames, bins] of windows [N, T]."""
    size, hop = mel["n_fft"], mel["hop_length"]
    length = mel["win_length"] or size
    pad = (size - hop) // 2 if mel["padding"] == "half_reflect" else size // 2
    mode: Any = "constant" if mel["padding"] == "constant" else "reflect"
    padded = np.pad(waves.astype(np.float64), ((0, 0), (pad, pad)), mode=mode)
    window = np.zeros(size)
    start = (size - length) // 2
    window[start : start + length] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size, axis=1)[:, ::hop]
    squared = np.abs(np.fft.rfft(frames * window, axis=2)) ** 2 + mel["magnitude_offset"]
    return squared if mel["power"] == 2 else np.sqrt(squared)
