"""Tokenizer files of other libraries as one ``tokenizer.json``, and what stands around it.

Roles of files: ``tokenizer`` (tokenizer.json), ``tokenizer_config``, ``special_tokens``
(special_tokens_map.json), ``vocab`` and ``merges`` of byte pairs, ``pieces`` (spiece.model).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import ConfigError
from ..files import read_json, unique_keys
from ..limits import DEFAULT
from ..sentencepiece import siglip_tokenizer
from ..tokenizer import panics_as_errors, read_tokenizer
from .foreign_config import refuse_code

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_PADS = {
    "Bert": "[PAD]", "DistilBert": "[PAD]", "Roberta": "<pad>", "XLMRoberta": "<pad>", "T5": "<pad>",
    "Gemma": "<pad>", "Siglip2": "<pad>", "Siglip": "</s>", "CLIP": "<|endoftext|>",
}  # fmt: skip
"""{class of transformers, without Tokenizer: what it pads with unless a file says otherwise}."""
_BYTE_PAIRS = (
    r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
)
"""How CLIP cuts a text before byte pairs are joined."""


@dataclass(frozen=True)
class Words:
    """A tokenizer and what its files say around it.

    Attributes:
        content: ``tokenizer.json``. file: what messages call it. pad: what fills a text up, or None.
        longest: most tokens of a text, or None. kind: class of transformers without ``Tokenizer``, or "".
    """

    content: str
    file: str
    pad: str | None = None
    longest: int | None = None
    kind: str = ""

    @property
    def closes(self) -> bool:
        """Whether a special token ends every text, so that a cut text keeps one."""
        tokenizer = self._tokenizer()
        with panics_as_errors(f"{self.file}: it cannot cut a text into tokens"):
            mask = tokenizer.encode("a").special_tokens_mask
        return bool(mask and mask[-1])

    def pad_id(self) -> int:
        """Return the number of the token that fills a text up.

        Raises:
            ConfigError: no file says which, or the vocabulary lacks it.
        """
        number = None if self.pad is None else self._tokenizer().token_to_id(self.pad)
        if number is None:
            raise ConfigError(
                f"{self.file}: no token for filling texts up is known ({self.pad!r}). It is named by "
                "pad_token in tokenizer_config.json or special_tokens_map.json of the same repository."
            )
        return number

    def check(self, rows: int, *, source: str) -> None:
        """Raise ``ConfigError`` where a token has no row in the word table of ``source``."""
        largest = max(self._tokenizer().get_vocab().values(), default=-1)
        if largest >= rows:
            raise ConfigError(
                f"{self.file} has tokens up to number {largest}; the word table of {source} has {rows} rows. "
                "Take both from the same repository."
            )

    def _tokenizer(self) -> Tokenizer:
        return read_tokenizer(self.content, source=self.file)


def read_words(files: Mapping[str, Path], *, name: str, siglip: bool = False) -> Words:
    """Return the tokenizer among the files of a checkpoint.

    Args:
        files: {role: path}; see the module.
        name: of the checkpoint, for messages.
        siglip: whether ``spiece.model`` alone stands for a SigLIP's own tokenizer.

    Raises:
        ConfigError: no tokenizer that can be read as data, a damaged one, or one that runs code.
        LimitError: a file over its limit.
    """
    settings = _settings(files)
    kind = str(settings.get("tokenizer_class") or "").removesuffix("Fast").removesuffix("Tokenizer")
    if settings.get("padding_side", "right") != "right":
        raise ConfigError(f"{name}: its tokenizer fills texts up on the left, which is not supported.")
    length = settings.get("model_max_length")
    longest = int(length) if isinstance(length, (int, float)) and 0 < length <= 1_000_000 else None
    own_siglip = kind == "Siglip" or (siglip and not kind and "tokenizer" not in files)
    pad = _token(settings.get("pad_token"))
    if own_siglip and "pieces" in files:
        content = siglip_tokenizer(files["pieces"], lowercase=bool(settings.get("do_lower_case", True)))
        return Words(content, files["pieces"].name, pad or "</s>", longest, "Siglip")
    if "tokenizer" in files:
        path = files["tokenizer"]
        raw = _tokenizer_json(path)
        pad = pad or _token((raw.get("padding") or {}).get("pad_token")) or _PADS.get(kind)
        changed = _as_class(raw, kind, settings)
        content = json.dumps(changed, ensure_ascii=False) if changed else path.read_text(encoding="utf-8")
        return Words(content, path.name, pad, longest, kind)
    if "vocab" in files and "merges" in files and kind in ("CLIP", ""):
        content = clip_tokenizer(files["vocab"], files["merges"])
        return Words(content, files["vocab"].name, pad or _PADS["CLIP"], longest, "CLIP")
    raise ConfigError(
        f"{name}: no tokenizer that can be read as data; it needs tokenizer.json"
        + (" or spiece.model." if siglip else ", or vocab.json and merges.txt of a CLIP.")
        + " Other repositories that a config names are not followed."
    )


def _settings(files: Mapping[str, Path]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for role in ("special_tokens", "tokenizer_config"):
        if role in files:
            raw = read_json(files[role])
            refuse_code(raw, files[role].name)
            if not isinstance(raw, Mapping):
                raise ConfigError(f"{files[role].name} holds {type(raw).__name__}, not settings.")
            found |= {key: value for key, value in raw.items() if value is not None}
    return found


def _token(raw: Any) -> str | None:
    content = raw.get("content") if isinstance(raw, Mapping) else raw
    return content if isinstance(content, str) else None


def _tokenizer_json(path: Path) -> dict[str, Any]:
    DEFAULT.check("tokenizer_bytes", path.stat().st_size, what=f"{path.name}: bytes")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path.name}: not valid JSON ({str(error)[:120]}).") from None
    if not isinstance(raw, dict) or not isinstance(raw.get("model"), dict):
        raise ConfigError(f"{path.name}: not a tokenizer file: it has no 'model'.")
    return raw


def _as_class(raw: dict[str, Any], kind: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the content as its class in transformers would have it, or None where it is that already."""
    steps: list[dict[str, Any]] = []
    if kind == "Siglip2":
        steps = [{"type": "Lowercase"}]
    elif kind == "Siglip":
        steps = [
            {"type": "Lowercase"},
            {"type": "Replace", "pattern": {"Regex": r"[!-/:-@\[-`{-~]"}, "content": ""},
            {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
            {"type": "Strip", "strip_left": True, "strip_right": True},
        ]
    changed = with_steps(raw, steps) if steps else None
    said = [key for key in ("add_bos_token", "add_eos_token") if key in settings]
    if kind in ("Gemma", "Siglip2") and said:
        changed = _with_ends(changed or raw, settings)
    return changed


def with_steps(raw: dict[str, Any], steps: list[dict[str, Any]]) -> dict[str, Any]:
    """Return ``tokenizer.json`` with normalizers in front of its own."""
    own = raw.get("normalizer")
    return {**raw, "normalizer": {"type": "Sequence", "normalizers": [*steps, *([own] if own else [])]}}


def _with_ends(raw: dict[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``tokenizer.json`` whose texts begin and end as ``add_bos_token`` and ``add_eos_token`` say."""
    numbers = {token["content"]: token["id"] for token in raw.get("added_tokens") or []}
    numbers |= {token: raw["model"].get("vocab", {}).get(token) for token in ("<bos>", "<eos>")
                if token not in numbers and isinstance(raw["model"].get("vocab"), dict)}  # fmt: skip
    first, last = (
        _token(settings.get(token)) or default if settings.get(key) else None
        for key, token, default in (
            ("add_bos_token", "bos_token", "<bos>"), ("add_eos_token", "eos_token", "<eos>"),
        )
    )  # fmt: skip
    ends = [token for token in (first, last) if token]
    missing = [token for token in ends if numbers.get(token) is None]
    if missing:
        raise ConfigError(f"tokenizer_config.json adds {missing[0]!r}, which tokenizer.json does not have.")

    def special(token: str | None) -> list[dict[str, Any]]:
        return [{"SpecialToken": {"id": token, "type_id": 0}}] if token else []

    text = [{"Sequence": {"id": "A", "type_id": 0}}]
    processor = {
        "type": "TemplateProcessing",
        "single": [*special(first), *text, *special(last)],
        "pair": [*text, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            token: {"id": token, "ids": [numbers[token]], "tokens": [token]} for token in ends
        },
    }
    return {**raw, "post_processor": processor}


def cleaned(words: Words, clean: str, *, name: str) -> tuple[Words, Literal["whitespace", "canonicalize"]]:
    """Return (tokenizer, our ``clean``) for a cleaning of open_clip.

    Raises:
        ConfigError: a cleaning that open_clip does not have.
    """
    if clean == "lower":
        raw = with_steps(json.loads(words.content), [{"type": "Lowercase"}])
        return replace(words, content=json.dumps(raw, ensure_ascii=False)), "whitespace"
    if clean not in ("whitespace", "canonicalize"):
        raise ConfigError(
            f"{name}: tokenizer_kwargs.clean {clean!r} is unknown; there are whitespace, lower, canonicalize."
        )
    return words, "canonicalize" if clean == "canonicalize" else "whitespace"


def without_closing(words: Words, *, name: str) -> Words:
    """Return a BERT's tokenizer whose texts end in token 0 instead of ``[SEP]``: ``strip_sep_token``.

    Raises:
        ConfigError: another tokenizer than BERT's.
    """
    raw = json.loads(words.content)
    numbers = {token["content"]: token["id"] for token in raw.get("added_tokens") or []}
    if numbers.get("[PAD]") != 0 or "[CLS]" not in numbers:
        raise ConfigError(f"{name}: tokenizer_kwargs.strip_sep_token is supported for BERT's tokenizer only.")
    raw["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "[PAD]", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            token: {"id": token, "ids": [numbers[token]], "tokens": [token]} for token in ("[CLS]", "[PAD]")
        },
    }  # fmt: skip
    return replace(words, content=json.dumps(raw, ensure_ascii=False))


def clip_tokenizer(vocab: Path, merges: Path) -> str:
    """Return ``tokenizer.json`` that splits text as CLIP's own tokenizer does with these files.

    Raises:
        ConfigError: not the vocabulary and the byte pairs of a CLIP.
    """
    start, end = "<|startoftext|>", "<|endoftext|>"
    for path in (vocab, merges):
        DEFAULT.check("tokenizer_bytes", path.stat().st_size, what=f"{path.name}: bytes")
    try:
        words = json.loads(vocab.read_text(encoding="utf-8"), object_pairs_hook=unique_keys)
        lines = merges.read_text(encoding="utf-8").split("\n")
        pairs = [line.split(" ") for line in lines if line and not line.startswith("#version")]
        numbers = {token: int(words[token]) for token in (start, end)}
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{vocab.name} and {merges.name}: not the vocabulary of a CLIP ({type(error).__name__}: {error})."
        ) from None
    content = {
        "version": "1.0",
        "added_tokens": [
            {
                "id": number, "content": token, "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": token == start, "special": True,
            }
            for token, number in numbers.items()
        ],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "NFC"}, {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
                {"type": "Lowercase"},
            ],
        },
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": _BYTE_PAIRS}, "behavior": "Removed", "invert": True},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            ],
        },
        "post_processor": {
            "type": "RobertaProcessing", "sep": [end, numbers[end]], "cls": [start, numbers[start]],
            "trim_offsets": False, "add_prefix_space": False,
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": end, "continuing_subword_prefix": "",
            "end_of_word_suffix": "</w>", "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": words, "merges": pairs,
        },
    }  # fmt: skip
    text = json.dumps(content, ensure_ascii=False)
    Words(text, vocab.name).check(2**31, source="itself")
    return text
