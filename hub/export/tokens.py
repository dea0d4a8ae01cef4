"""Tokenizer files that transformers, and open_clip through it, read from a folder."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.config import TextProcessing
from ...core.errors import ConfigError
from ...core.files import TOKENIZER_FILE, write_json_atomic, write_text_atomic
from ...core.layouts.exported import NotExpressible
from ...core.processing import Processor
from ...core.tokenizer import read_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_CONFIG = "tokenizer_config.json"
_START, _END = "<|startoftext|>", "<|endoftext|>"
_NAMES = {"<start_of_text>": _START, "<end_of_text>": _END}
"""open_clip's names of OpenAI's special tokens and those of transformers."""
_MERGES = slice(1, 49152 - 256 - 2 + 1)
"""Lines of OpenAI's file that are merges in use."""
_PUNCTUATION = r"[!-/:-@\[-`{-~]"


def openai_tokenizer(context_length: int) -> str:
    """Return OpenAI's byte-pair tokenizer as ``tokenizer.json``."""
    from open_clip.tokenizer import SimpleTokenizer, default_bpe
    from transformers import CLIPTokenizer

    lines = gzip.decompress(Path(default_bpe()).read_bytes()).decode("utf-8").split("\n")[_MERGES]
    words = {_NAMES.get(word, word): place for word, place in SimpleTokenizer().encoder.items()}
    # Any: it takes pairs as well, which its annotation does not say.
    pairs: Any = [tuple(line.split()) for line in lines]
    tokenizer = CLIPTokenizer(vocab=words, merges=pairs, model_max_length=context_length)
    return tokenizer.backend_tokenizer.to_str()


def write_openai_tokenizer(folder: Path, context_length: int) -> None:
    """Write OpenAI's byte-pair tokenizer as ``tokenizer.json`` and its settings into ``folder``."""
    write_text_atomic(folder / TOKENIZER_FILE, openai_tokenizer(context_length))
    special = {"bos_token": _START, "eos_token": _END, "pad_token": _END, "unk_token": _END}
    _write_settings(folder, "CLIPTokenizer", context_length, special)


def write_own_tokenizer(
    folder: Path, processor: Processor, *, cleaned: bool, needs_mask: bool = True
) -> None:
    """Write the model's ``tokenizer.json``, and what transformers wants to know beside it, into ``folder``.

    Args:
        processor: with a ``tokenizer.json``.
        cleaned: whether texts arrive cleaned already. Else what ``clean`` of the processor does becomes part
            of the tokenizer, but for the mending of encodings and of HTML escapes.
        needs_mask: whether the network asks which tokens are padding.

    Raises:
        ConfigError: the vocabulary has no token of the number that fills texts up.
    """
    config, content = processor.config.text, processor.tokenizer_json
    if config is None or content is None:
        raise ConfigError("The model has no tokenizer file.")
    tokenizer = read_tokenizer(content)
    pad = tokenizer.id_to_token(config.pad_id)
    if pad is None:
        raise ConfigError(f"Texts are filled up by token {config.pad_id}, which the tokenizer does not have.")
    if not cleaned:
        clean_inside(tokenizer, config.clean)
    write_text_atomic(folder / TOKENIZER_FILE, tokenizer.to_str())
    special = {"pad_token": pad}
    unknown = json.loads(content).get("model", {}).get("unk_token")
    if isinstance(unknown, str):
        special["unk_token"] = unknown
    extra = {} if needs_mask else {"model_input_names": ["input_ids"]}
    _write_settings(folder, "PreTrainedTokenizerFast", config.context_length, special, **extra)


def clean_inside(tokenizer: Tokenizer, clean: str) -> None:
    """Put the cleaning of :class:`verticlip.core.config.TextProcessing` in front of a tokenizer's own."""
    from tokenizers import Regex, normalizers

    if clean == "none":
        return
    steps: list[Any] = []
    if clean == "canonicalize":
        steps += [
            normalizers.Replace("_", " "),
            normalizers.Replace(Regex(_PUNCTUATION), ""),
            normalizers.Lowercase(),
        ]
    steps += [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    own = tokenizer.normalizer
    tokenizer.normalizer = normalizers.Sequence(steps if own is None else [*steps, own])


def refuse_text(config: TextProcessing) -> None:
    """Raise :class:`NotExpressible` for text settings that no other library has."""
    if config.strip_end:
        raise NotExpressible(f"it takes {config.strip_end!r} off the end of texts before it cuts them up.")
    if config.tokenizer == "open_clip_bpe" and config.clean == "canonicalize":
        raise NotExpressible("it takes punctuation out of texts before OpenAI's tokenizer sees them.")


def _write_settings(
    folder: Path, kind: str, context_length: int, special: dict[str, str], **extra: Any
) -> None:
    settings = {
        "tokenizer_class": kind,
        "model_max_length": context_length,
        "clean_up_tokenization_spaces": False,
        "padding_side": "right",
        **special,
        **extra,
    }
    write_json_atomic(folder / TOKENIZER_CONFIG, settings)
