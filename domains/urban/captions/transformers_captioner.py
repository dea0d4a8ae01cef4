"""Captions by any image-to-text model of the transformers library: BLIP, GIT, LLaVA-like models ..."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from ....core.errors import ConfigError, WeightsError, nearest
from ....core.files import read_json, sha256_of
from ....core.names import is_commit, is_repository
from .captioner import to_pil

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
"""What is fetched of a repository: weights without pickled objects, settings, vocabularies, templates."""
_PROMPT = (
    "Describe this satellite image in a few short sentences: land use, buildings, roads, water and plants."
)
"""What a model that answers questions is asked."""


@dataclass(frozen=True)
class WritingOptions:
    """How a captioner writes.

    Attributes:
        prompt: the beginning of each caption ("a satellite image of"), or the question for a model that
            answers questions; None leaves it out, or asks our own question.
        method: ``greedy`` takes the likeliest word each time, ``beam`` searches, ``top_p`` draws.
        max_tokens, min_tokens: of the new text. beams: of ``beam``.
        top_p, temperature: of ``top_p``.

    Raises:
        ConfigError: a value out of range.
    """

    prompt: str | None = None
    method: Literal["greedy", "beam", "top_p"] = "greedy"
    max_tokens: int = 128
    min_tokens: int = 0
    beams: int = 4
    top_p: float = 0.75
    temperature: float = 0.1

    def __post_init__(self) -> None:
        if self.method not in ("greedy", "beam", "top_p"):
            raise ConfigError(
                f"method {self.method!r} is not one of greedy, beam, top_p."
                f"{nearest(self.method, ('greedy', 'beam', 'top_p'))}"
            )
        if not (0 <= self.min_tokens <= self.max_tokens and self.max_tokens >= 1 and self.beams >= 1):
            raise ConfigError(
                f"min_tokens {self.min_tokens}, max_tokens {self.max_tokens}, beams {self.beams}: expected "
                "0 <= min_tokens <= max_tokens, and at least one token and one beam."
            )
        if not (0 < self.top_p <= 1 and self.temperature > 0):
            raise ConfigError(
                f"top_p {self.top_p:g} is over 0 and at most 1, temperature {self.temperature:g} is over 0."
            )


class TransformersCaptioner:
    """An image-to-text model of transformers, from a folder or from a pinned commit of the Hub.

    Only code of the library runs and only safetensors are read. A model with a chat template is asked a
    question; any other continues the prompt, or begins by itself.

    Args:
        source: folder, or repository ``org/name``.
        revision: 40 hex digits of the commit; needed for a repository.
        options: how it writes.
        device: ``auto`` takes a GPU when there is one.

    Raises:
        ConfigError: no such folder, no commit, or a model that writes no texts for images.
        WeightsError: no safetensors, or weights that do not fit the model.

    Example:
        >>> captioner = TransformersCaptioner("models/blip-base")  # doctest: +SKIP
        >>> captioner.caption([picture])  # doctest: +SKIP
        ['an aerial view of a city with a river']
    """

    def __init__(
        self,
        source: str | Path,
        *,
        revision: str | None = None,
        options: WritingOptions | None = None,
        device: str = "auto",
    ) -> None:
        self.options = options or WritingOptions()
        folder, self._name, self._revision = _located(source, revision)
        _check_folder(folder, self._name)
        self._network = _load_model(folder, self._name)
        self._processor = _Processor(folder, self._name, cuts_end=_continues(self._network))
        chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self._device = torch.device(chosen)
        self._network.to(self._device).eval()

    @property
    def identity(self) -> Mapping[str, str]:
        """Model, commit or hash of the weights, and how it writes."""
        return {"captioner": self._name, "revision": self._revision, "options": repr(self.options)}

    def caption(
        self, images: Sequence[Image | Tensor], *, names: Sequence[str] = (), seed: int = 0
    ) -> list[str]:
        """Return one text per picture; see :class:`.captioner.Captioner`."""
        if not images:
            return []
        pictures = [to_pil(image) for image in images]
        inputs, asked = self._processor.inputs(pictures, self.options.prompt)
        moved = {
            key: value.to(self._device) if isinstance(value, torch.Tensor) else value
            for key, value in inputs.items()
        }
        with _seeded(seed, self._device), torch.inference_mode():
            ids = self._network.generate(**moved, **self._settings())
        if asked:
            # The answer stands behind the question.
            ids = ids[:, moved["input_ids"].shape[1] :]
        return [" ".join(text.split()) for text in self._processor.texts(ids)]

    def _settings(self) -> dict[str, Any]:
        options = self.options
        settings: dict[str, Any] = {
            "max_new_tokens": options.max_tokens,
            "do_sample": options.method == "top_p",
            "num_beams": options.beams if options.method == "beam" else 1,
        }
        if options.min_tokens:
            settings["min_new_tokens"] = options.min_tokens
        if options.method == "top_p":
            settings |= {"top_p": options.top_p, "top_k": 0, "temperature": options.temperature}
        return settings


class _Processor:
    """Pictures and prompts to what a network takes, and ids back to text."""

    def __init__(self, folder: Path, name: str, *, cuts_end: bool) -> None:
        from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer

        local = {"local_files_only": True, "trust_remote_code": False}
        try:
            whole: Any = AutoProcessor.from_pretrained(folder, **local)
            if getattr(whole, "image_processor", None) is None:
                # A folder without a processor of both kinds gives the one it has.
                whole = None
                self._images: Any = AutoImageProcessor.from_pretrained(folder, **local)
                self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, **local)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise ConfigError(
                f"{name}: its preprocessing cannot be read ({_first_line(error)}). A captioner's folder "
                "holds preprocessor_config.json and the files of its tokenizer."
            ) from None
        self._whole = whole
        if whole is not None:
            self.tokenizer = whole.tokenizer
        self._cuts_end = cuts_end
        self._chat = whole is not None and getattr(whole, "chat_template", None) is not None
        if self._chat:
            # Answers of a batch begin at the same place.
            self.tokenizer.padding_side = "left"

    def inputs(self, pictures: list[Image], prompt: str | None) -> tuple[Mapping[str, Any], bool]:
        """Return the arguments of ``generate``, and whether the texts begin with a question."""
        if self._chat:
            content = [{"type": "text", "text": _PROMPT if prompt is None else prompt}]
            turns = [
                [{"role": "user", "content": [{"type": "image", "image": picture}, *content]}]
                for picture in pictures
            ]
            settings = {"add_generation_prompt": True, "tokenize": True, "return_dict": True}
            asked = self._whole.apply_chat_template(
                turns, return_tensors="pt", processor_kwargs={"padding": True}, **settings
            )
            return asked, True
        if self._whole is not None and prompt is None:
            return self._whole(images=pictures, return_tensors="pt"), False
        if self._whole is not None:
            inputs = dict(self._whole(images=pictures, text=[prompt] * len(pictures), return_tensors="pt"))
            if self._cuts_end and self._is_closed(str(prompt)):
                # Behind a closing token the caption would end where it begins.
                inputs |= {
                    key: inputs[key][:, :-1] for key in ("input_ids", "attention_mask") if key in inputs
                }
            return inputs, False
        if prompt is not None:
            raise ConfigError("This captioner takes no prompt. Leave it out.")
        return self._images(pictures, return_tensors="pt"), False

    def _is_closed(self, prompt: str) -> bool:
        """Whether the tokenizer puts a token behind a prompt that is not of the prompt itself."""
        ids = self.tokenizer(prompt)["input_ids"]
        return ids[-1:] != self.tokenizer(prompt, add_special_tokens=False)["input_ids"][-1:]

    def texts(self, ids: Any) -> list[str]:
        return self.tokenizer.batch_decode(ids, skip_special_tokens=True)


def _located(source: str | Path, revision: str | None) -> tuple[Path, str, str]:
    """Return the folder of a captioner, the name that results carry, and its commit or hash."""
    folder = Path(source)
    if folder.is_dir():
        if revision is not None:
            raise ConfigError(f"revision {revision!r} is for a repository, and {folder.name} is a folder.")
        weights = sorted(folder.glob("*.safetensors"))
        digest = "+".join(sha256_of(file)[:16] for file in weights)
        return folder, folder.resolve().name, f"sha256:{digest}"
    name = str(source)
    if not is_repository(name):
        raise ConfigError(f"{name}: no such folder, and not a repository org/name. Name one of the two.")
    if not is_commit(revision):
        raise ConfigError(
            f"{name}: a captioner from the Hub is pinned to a commit of 40 hex digits, got "
            f"{'none' if revision is None else repr(revision)}. Its page lists the commits; a folder of this "
            "name does not exist."
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        found = snapshot_download(name, revision=revision, allow_patterns=list(_FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise WeightsError(
            f"{name} at {revision} cannot be fetched ({_first_line(error)}). Look at its name, the commit "
            "and the network, or download it once and name the folder."
        ) from None
    return Path(found), name, revision


def _check_folder(folder: Path, name: str) -> None:
    """Refuse a folder whose model the library does not know, or whose weights may hold code."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KNOWN

    if not (folder / "config.json").is_file():
        raise ConfigError(f"{name}: no config.json; this is not the folder of a model of transformers.")
    config = read_json(folder / "config.json")
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind not in KNOWN:
        raise ConfigError(
            f"{name}: a model of kind {kind!r} writes no texts for images in this version of transformers."
            f"{nearest(str(kind), KNOWN)} Kinds that do: blip, git, vision-encoder-decoder, llava and others."
        )
    if not any(folder.glob("*.safetensors")):
        raise WeightsError(
            f"{name}: no weights in safetensors. Pickled weights (.bin, .pt) are not read, since they may "
            "run code; convert them once with transformers' save_pretrained."
        )


def _continues(network: Any) -> bool:
    """Whether a network goes on where its prompt ends. BLIP takes the closing token off by itself."""
    text = getattr(network.config, "text_config", None)
    reads_prompt = network.config.is_encoder_decoder or bool(getattr(text, "is_encoder_decoder", False))
    return network.config.model_type != "blip" and not reads_prompt


def _load_model(folder: Path, name: str) -> Any:
    """Return the network; every tensor of it comes from the file."""
    from safetensors import SafetensorError
    from transformers import AutoModelForImageTextToText
    from transformers.utils import logging as chatter

    had_bar = chatter.is_progress_bar_enabled()
    chatter.disable_progress_bar()
    try:
        found: Any = AutoModelForImageTextToText.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError) as error:
        raise WeightsError(f"{name}: the model cannot be read ({_first_line(error)}).") from None
    finally:
        if had_bar:
            chatter.enable_progress_bar()
    network, loading = found
    missing = sorted([*loading["missing_keys"], *(str(one) for one in loading["mismatched_keys"])])
    if missing:
        raise WeightsError(
            f"{name}: {len(missing)} tensors of the model are not in its file or have another shape, first "
            f"{missing[0]}. The file belongs to another model."
        )
    return network


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Draw from ``seed`` in the body of a ``with``, and leave the process's own draws as they were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
