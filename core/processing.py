"""From loaded samples to the tensors of a tower, by config alone, and the same on every machine."""

from __future__ import annotations

import functools
import hashlib
import html
import json
import re
import string
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from .audio_config import AudioAugmentConfig, AudioProcessing
from .augment import augment
from .config import AugmentConfig, ImageProcessing, ProcessorConfig, TextProcessing, read_config
from .errors import ConfigError, InputError, require
from .files import PROCESSOR_FILE, TOKENIZER_FILE, write_json_atomic, write_text_atomic
from .limits import DEFAULT, Limits
from .pixels import as_unit, fill_missing, resize, set_channels, stretch, to_tensor, trim_box
from .spectrogram import log_mel
from .tokenizer import panics_as_errors, read_tokenizer
from .types import MODALITIES, Sample
from .waves import cut_windows, quantize, to_wave

BERT_SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

if TYPE_CHECKING:
    from PIL import Image as PILImage

    ImageInput = Sample | PILImage.Image | np.ndarray | Tensor


class Processor:
    """Preprocessing that travels with the weights.

    Args:
        config: what to do, per modality.
        tokenizer_json: content of ``tokenizer.json`` for models that ship one.
        augmentation, audio_augmentation: random changes of images and of recordings applied when
            ``train=True``; never saved with the weights.

    Example:
        >>> processor = Processor(ProcessorConfig(image=ImageProcessing(size=8)))
        >>> processor("image", [torch.zeros(1, 20, 30)])["pixels"].shape
        torch.Size([1, 3, 8, 8])
    """

    def __init__(
        self,
        config: ProcessorConfig,
        tokenizer_json: str | None = None,
        *,
        augmentation: AugmentConfig | None = None,
        audio_augmentation: AudioAugmentConfig | None = None,
        limits: Limits = DEFAULT,
    ) -> None:
        self.config = config
        self.augmentation = augmentation
        self.audio_augmentation = audio_augmentation
        self.limits = limits
        self._tokenizer_json = tokenizer_json
        self._encode = _build_tokenizer(config.text, tokenizer_json) if config.text else None
        self._tokenizer: Any = None
        self._special_tokens: tuple[str, ...] = ()
        if config.text is not None and config.text.allow_special is not None and tokenizer_json:
            # Special by their place in the file, or by what BERT's vocabulary calls them.
            added = json.loads(tokenizer_json).get("added_tokens") or []
            self._special_tokens = tuple(
                dict.fromkeys([*(token["content"] for token in added), *BERT_SPECIAL_TOKENS])
            )

    @property
    def fingerprint(self) -> str:
        """First 16 hex digits of the SHA-256 of config and tokenizer; equal means equal tensors."""
        # Settings at their defaults do not count, so that a setting added later changes nothing.
        settings = self.config.model_dump(mode="json", exclude_defaults=True)
        content = json.dumps(settings, sort_keys=True) + (self._tokenizer_json or "")
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def with_augmentation(
        self, images: AugmentConfig | None = None, audio: AudioAugmentConfig | None = None
    ) -> Processor:
        """Return a processor that differs only in what ``train=True`` does."""
        return Processor(
            self.config,
            self._tokenizer_json,
            augmentation=images,
            audio_augmentation=audio,
            limits=self.limits,
        )

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities this processor can prepare."""
        return tuple(name for name in MODALITIES if getattr(self.config, name, None) is not None)

    def __call__(
        self,
        modality: str,
        items: Sequence[Any],
        *,
        train: bool = False,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Return the tower inputs of ``items``.

        Args:
            modality: "image", "audio" or "text".
            items: images (:class:`Sample`, PIL image, array uint8 or float [H, W] or [H, W, C], tensor
                [C, H, W] with floats in [0, 1]), recordings of at most one window (sample, array or
                tensor [T] or [C, T]) or strings.
            train: apply the augmentation; needs ``generator``.

        Returns:
            image: ``pixels`` float32 [B, C, size, size]. audio: ``features`` float32 [B, 1, T, F]. text:
            ``input_ids`` and ``attention_mask`` int64 [B, L], padded to the longest text of the call.

        Raises:
            InputError: an item cannot be used; the message names its position.
        """
        if modality not in self.modalities:
            raise InputError(
                f"This model's processor has no {modality!r}; it prepares: {', '.join(self.modalities)}."
            )
        if not items:
            raise InputError(f"No {modality} to process: the list is empty.")
        if modality == "text":
            empty = cast("TextProcessing", self.config.text).allow_empty
            return self._texts(
                [_text_of(item, position, allow_empty=empty) for position, item in enumerate(items)]
            )
        if modality == "audio":
            return self.finish_audio(self._single_windows(items), train=train, generator=generator)
        fitted = torch.stack(
            [self.fit_image(item, name=f"image {position}") for position, item in enumerate(items)]
        )
        return self.finish_images(fitted, train=train, generator=generator)

    def fit_audio(self, item: Any, *, name: str = "audio") -> Tensor:
        """Return the windows float32 [N, T] of one recording, N = 1 unless it is longer than a window.

        Args:
            item: sample, or array or tensor [T] or [C, T] at the model's sampling rate.
            name: what messages call it.

        Raises:
            InputError: as :func:`verticlip.core.waves.to_wave`.
        """
        config = self._audio_config()
        return cut_windows(to_wave(item, config.sampling_rate, name=name), config)

    def finish_audio(
        self,
        windows: Tensor,
        *,
        train: bool = False,
        generator: torch.Generator | None = None,
        labels: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return ``{"features": float32 [B, 1, frames, n_mels]}`` of windows [B, T] of :meth:`fit_audio`.

        Args:
            windows: float32 in [-1, 1] at the model's rate.
            train: apply the augmentation; needs ``generator``.
            labels: int64 [B] class of each row; without them no two recordings are mixed.
        """
        config = self._audio_config()
        augmentation = self.audio_augmentation if train else None
        if augmentation is not None:
            from .audio_augment import augment_audio, augment_features

            if generator is None:
                raise ConfigError(
                    "Training recordings need a torch.Generator, so that a run can be repeated."
                )
            windows = augment_audio(
                windows, augmentation, config.sampling_rate, generator=generator, labels=labels
            )
        if config.quantize:
            windows = quantize(windows)
        features = log_mel(windows, config.mel, config.sampling_rate)
        if config.standardize is not None:
            center = features.mean(dim=(1, 2), keepdim=True)
            deviation = (features - center).square().mean(dim=(1, 2), keepdim=True).sqrt()
            features = (features - center) / (deviation + config.standardize)
        else:
            features = (features - config.mean) / config.std
        if augmentation is not None and generator is not None:
            features = augment_features(features, augmentation, generator=generator)
        return {"features": features[:, None]}

    def _single_windows(self, items: Sequence[Any]) -> Tensor:
        """Return recordings of at most one window each as [B, T]."""
        fitted = [self.fit_audio(item, name=f"audio {position}") for position, item in enumerate(items)]
        for position, windows in enumerate(fitted):
            if len(windows) > 1:
                raise InputError(
                    f"audio {position} is longer than the {self._audio_config().window_s:g} s that the model "
                    "sees at once. Embed it with Model.embed, which averages its windows, or cut it."
                )
        return torch.cat(fitted)

    def _audio_config(self) -> AudioProcessing:
        if self.config.audio is None:
            raise InputError("This model's processor has no 'audio'.")
        return self.config.audio

    def fit_image(self, item: ImageInput, *, name: str = "image") -> Tensor:
        """Return one image float32 [C, size, size] in [0, 1], before augmentation and normalization."""
        config = self._image_config()
        pixels = to_tensor(item, name=name)
        if isinstance(item, Sample) and item.valid is not None:
            pixels = fill_missing(as_unit(pixels), item.valid, config)
        if config.trim_border or config.stretch is not None:
            pixels = as_unit(pixels)
        if config.trim_border:
            x0, y0, x1, y1 = trim_box(pixels, config.trim_border)
            pixels = pixels[:, y0:y1, x0:x1]
        if config.stretch is not None:
            pixels = stretch(pixels, *config.stretch)
        # 8-bit images are resized as 8 bits: twice as fast, and what the references do.
        return set_channels(as_unit(resize(pixels, config, limits=self.limits, name=name)), config.channels)

    def fit_box(self, item: ImageInput, *, name: str = "image") -> tuple[int, int, int, int]:
        """Return (x0, y0, x1, y1), the pixels of an image that are left once dark margins are trimmed.

        This part is what ``resize`` of the config works on; without ``trim_border`` it is everything.
        """
        config = self._image_config()
        pixels = to_tensor(item, name=name)
        if not config.trim_border:
            return 0, 0, pixels.shape[2], pixels.shape[1]
        return trim_box(as_unit(pixels), config.trim_border)

    def finish_images(
        self, fitted: Tensor, *, train: bool = False, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Return ``{"pixels": float32 [B, C, size, size]}`` of images from :meth:`fit_image`."""
        config = self._image_config()
        if train and self.augmentation is not None:
            if generator is None:
                raise ConfigError("Training images need a torch.Generator, so that a run can be repeated.")
            fitted = augment(fitted, self.augmentation, generator)
        if config.standardize is not None:
            center = fitted.mean(dim=(1, 2, 3), keepdim=True)
            deviation = (fitted - center).square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
            return {"pixels": (fitted - center) / (deviation + config.standardize)}
        shape = (1, config.channels, 1, 1)
        mean, std = torch.tensor(config.mean).view(shape), torch.tensor(config.std).view(shape)
        return {"pixels": (fitted - mean).div_(std)}

    def _image_config(self) -> ImageProcessing:
        if self.config.image is None:
            raise InputError("This model's processor has no 'image'.")
        return self.config.image

    @property
    def tokenizer_json(self) -> str | None:
        """Content of ``tokenizer.json``, or None for a processor without one."""
        return self._tokenizer_json

    def _texts(self, texts: list[str]) -> dict[str, Tensor]:
        config = cast("TextProcessing", self.config.text)
        rows = []
        for text in texts:
            self.limits.check("text_chars", len(text), what="text: characters")
            ids = cast("Any", self._encode)(self.clean_text(text))
            if len(ids) > config.context_length:
                if config.overlong == "error":
                    raise InputError(
                        f"The text {text[:60]!r}... has {len(ids)} tokens; this model takes "
                        f"{config.context_length}. Shorten it."
                    )
                # Keep the closing token: pooling at the end-of-text state depends on it.
                ids = [*ids[: config.context_length - 1], ids[-1]]
            rows.append(ids)
        length = config.context_length if config.padding == "context" else max(map(len, rows))
        input_ids = torch.full((len(rows), length), config.pad_id, dtype=torch.int64)
        mask = torch.zeros_like(input_ids)
        for position, ids in enumerate(rows):
            input_ids[position, : len(ids)] = torch.tensor(ids)
            mask[position, : len(ids)] = 1
        return {"input_ids": input_ids, "attention_mask": mask}

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has before anything is cut, special tokens included."""
        if self._encode is None:
            raise InputError("This model's processor has no 'text'.")
        return [len(self._encode(self.clean_text(text))) for text in texts]

    def clean_text(self, text: str) -> str:
        """Return ``text`` as the tokenizer sees it.

        Raises:
            InputError: a special token of the tokenizer that ``allow_special`` does not have.
        """
        config = cast("TextProcessing", self.config.text)
        if config.clean != "none":
            text = _clean(text)
        if config.clean == "canonicalize":
            text = " ".join(text.replace("_", " ").translate(_NO_PUNCTUATION).lower().split())
        if config.strip_end:
            text = text.rstrip(config.strip_end)
        if config.allow_special is not None:
            for word in self._special_tokens:
                if word in text and word not in config.allow_special:
                    raise InputError(
                        f"The text {text[:60]!r} contains {word!r}, which stands for something else to this "
                        "model. Leave it out."
                    )
        return text

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        """Return the characters [start, end) of :meth:`clean_text` that each token of ``text`` stands for.

        One pair per token before any truncation; (0, 0) for start and end tokens.

        Raises:
            ConfigError: the tokenizer does not say where its tokens come from.
        """
        if self._tokenizer_json is None:
            raise ConfigError(f"Only a model with {TOKENIZER_FILE} knows where its tokens stand in a text.")
        if self._tokenizer is None:
            self._tokenizer = read_tokenizer(self._tokenizer_json)
        with panics_as_errors(f"{TOKENIZER_FILE}: it cannot cut this text into tokens"):
            return list(self._tokenizer.encode(self.clean_text(text)).offsets)

    def save(self, folder: str | Path) -> None:
        """Write ``processor.json`` and, if there is one, ``tokenizer.json`` into ``folder``."""
        folder = Path(folder)
        write_json_atomic(folder / PROCESSOR_FILE, self.config.model_dump(mode="json"))
        if self._tokenizer_json is not None:
            write_text_atomic(folder / TOKENIZER_FILE, self._tokenizer_json)

    @classmethod
    def load(cls, folder: str | Path, *, limits: Limits = DEFAULT) -> Processor:
        """Read a processor that :meth:`save` wrote.

        Raises:
            ConfigError: a file is missing, damaged or has unknown keys.
        """
        folder = Path(folder)
        config = read_config(ProcessorConfig, folder / PROCESSOR_FILE, limits=limits)
        path = folder / TOKENIZER_FILE
        text = None
        if path.is_file():
            limits.check("tokenizer_bytes", path.stat().st_size, what=f"{path.name}: bytes")
            try:
                text = path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                raise ConfigError(f"{path}: not UTF-8 text, so no tokenizer file. Fetch it again.") from None
        return cls(config, text, limits=limits)


def _text_of(item: Any, position: int, *, allow_empty: bool = False) -> str:
    text = item.value if isinstance(item, Sample) else item
    if not isinstance(text, str):
        raise InputError(f"text {position}: {type(text).__name__} is not a string.")
    if not allow_empty and not text.strip():
        raise InputError(f"text {position} is empty. Remove it or write something.")
    return text


_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def _clean(text: str) -> str:
    """Mend encodings, undo HTML escapes and collapse white space, as the published towers were trained."""
    if "&" in text or not text.isascii() or not text.isprintable():
        # Other printable ASCII is nothing that ftfy would mend, and its import takes a moment. It undoes
        # HTML escapes as well, and then straightens the quotes they stood for.
        import ftfy

        text = ftfy.fix_text(text)
    return re.sub(r"\s+", " ", html.unescape(html.unescape(text))).strip()


@functools.cache
def _open_clip_tokenizer() -> Any:
    """Return OpenAI's byte-pair tokenizer: its vocabulary takes as long to read as a small model to load."""
    return require("open_clip.tokenizer", extra="medical").SimpleTokenizer()


def _build_tokenizer(config: TextProcessing, content: str | None) -> Any:
    """Return a function from text to token ids with the start and end tokens in place."""
    if config.tokenizer == "open_clip_bpe":
        tokenizer = _open_clip_tokenizer()
        return lambda text: [tokenizer.sot_token_id, *tokenizer.encode(text), tokenizer.eot_token_id]
    if content is None:
        raise ConfigError(f"processor.json asks for {TOKENIZER_FILE}, which is missing from the folder.")
    fast = read_tokenizer(content)

    def encode(text: str) -> list[int]:
        with panics_as_errors(f"{TOKENIZER_FILE}: it cannot cut this text into tokens"):
            return fast.encode(text).ids

    return encode
