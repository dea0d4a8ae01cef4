"""A few inputs and the answers a model gave for them, stored beside its weights.

Whoever loads the weights elsewhere replays them: the same answers mean the same model, preprocessing and
tokenizer included. The inputs are tensors and texts that no decoder touches; they are made up, so a probe
holds no data of anybody. ``probe.json`` says what was run, ``probe.safetensors`` holds the tensors.

A probe also names the SHA-256 of every file that loading reads, as they were when it was made.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from pydantic import Field
from torch import Tensor

from ..core import registry
from ..core.checkpoint import read_weights
from ..core.config import Config, read_config
from ..core.errors import ConfigError, VerticlipError, WeightsError
from ..core.files import (
    OPTIONAL_FILES,
    PROBE_FILE,
    PROBE_TENSORS,
    REQUIRED_FILES,
    atomic_path,
    sha256_of,
    write_json_atomic,
)
from ..core.limits import DEFAULT, Limits
from ..core.probe_inputs import ProbeInputs, tower_answers
from ..core.provenance import now, version
from ..core.verify import OutputCheck, largest_error
from .loading import ResolvedModel, load_model
from .probe_samples import choose_texts, draw_inputs
from .probe_values import thinned

if TYPE_CHECKING:
    from ..core.model import ContrastiveModel
    from ..core.processing import Processor
    from ..core.prompts import PromptSet

FORMAT = 1
LARGEST_BYTES = DEFAULT.probe_bytes
"""A larger ``probe.safetensors`` is refused: probes are a few hundred kilobytes."""
RELATIVE = 2e-5
"""Largest error of an output, as a share of its largest value; no probe may allow more."""
REASON = (
    "float32: other instruction sets, thread counts and the packed towers of inference moved outputs by "
    "up to 1.5e-6 of their largest value, in networks of up to 24 layers; thirteen times that is allowed, "
    "for processors that were not tried. Logits of unit vectors are held to a share of their scale where "
    "that is larger: near zero they are what is left of sums that cancel. A weight that was changed by "
    "enough to matter moves some output further"
)
_ABSOLUTE = 1e-7


class Loaded(Protocol):
    """A loaded model: ``verticlip.Model`` is one."""

    @property
    def network(self) -> ContrastiveModel: ...  # noqa: D102
    @property
    def processor(self) -> Processor: ...  # noqa: D102
    @property
    def prompts(self) -> PromptSet | None: ...  # noqa: D102


Parts = tuple["ContrastiveModel", "Processor", "PromptSet | None"]
"""What ``hub.loading.load_model`` returns."""


class FileRecord(Config):
    """What a file was when a probe was made."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class Tolerance(Config):
    """How far an output may be off, and why that much."""

    relative: float = Field(default=RELATIVE, gt=0, le=RELATIVE)
    """Of the largest absolute value of the output; who checks sets the ceiling, not who made the probe."""
    reason: str = Field(default=REASON, max_length=2000)


class ProbeRecord(Config):
    """Content of ``probe.json``.

    Attributes:
        format: of these two files. model: name in its config. architecture, domain: likewise.
        seed: of drawn inputs. texts: what the text tower was asked.
        outputs: {name: shape before thinning}. files: what loading reads, as it was then.
        tensors: SHA-256 of ``probe.safetensors``, so that the two files belong together.
        made_with: versions. device: it ran on. date: UTC.
    """

    format: int = Field(default=FORMAT, ge=1)
    model: str = Field(max_length=200)
    architecture: str = Field(max_length=100)
    domain: str | None = None
    seed: int = 0
    texts: tuple[str, ...] = Field(default=(), max_length=64)
    outputs: dict[str, tuple[int, ...]] = Field(min_length=1, max_length=256)
    files: dict[str, FileRecord] = Field(default_factory=dict, max_length=64)
    tensors: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    tolerance: Tolerance = Tolerance()
    made_with: dict[str, str] = Field(default_factory=dict, max_length=32)
    device: str = Field(default="cpu", max_length=100)
    date: str = Field(default="", max_length=40)


@dataclass(frozen=True)
class StoredProbe:
    """A probe in memory.

    Attributes:
        record: what ``probe.json`` says.
        inputs: ``images`` uint8 [B, H, W, 3], ``waves`` float32 [B, T], and what an architecture drew.
        outputs: {name: float32 tensor, or [n] of a large one: every k-th value, then a few sums of all}.
    """

    record: ProbeRecord
    inputs: Mapping[str, Tensor] = field(repr=False)
    outputs: Mapping[str, Tensor] = field(repr=False)


@dataclass(frozen=True)
class ProbeReport:
    """The outputs of a replayed probe, in name order."""

    checks: tuple[OutputCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether there was something to compare and nothing differed."""
        return bool(self.checks) and all(check.status == "ok" for check in self.checks)

    @property
    def worst(self) -> OutputCheck | None:
        """The output that used up most of its tolerance; one that could not be compared comes first."""
        return max(self.checks, key=_strain, default=None)


def _strain(check: OutputCheck) -> float:
    if check.error is None or not check.tolerance:
        return float("inf")
    return check.error / check.tolerance


def make_probe(model: Loaded | Parts, *, seed: int = 0) -> StoredProbe:
    """Return a probe of a loaded model; it names no files, see :func:`write_probe`.

    Args:
        model: ``verticlip.Model`` in float32, or what ``load_model`` returns.
        seed: of the pictures, recordings and vectors that are drawn.

    Raises:
        ConfigError: the model is not in float32, or has nothing that a probe could ask.
        VerticlipError: an answer is not finite.
    """
    network, processor, prompts = _parts(model)
    given = draw_inputs(processor, seed)
    texts = choose_texts(processor, prompts)
    with torch.no_grad():
        inputs = _prepare(network, processor, given, texts, seed=seed)
        answers = _answers(network, inputs)
    for name, tensor in answers.items():
        if not torch.isfinite(tensor).all():
            raise VerticlipError(f"{network.config.name}: its answer {name!r} is not finite; no probe.")
    config = network.config
    record = ProbeRecord(
        model=config.name,
        architecture=config.architecture,
        domain=config.domain,
        seed=seed,
        texts=texts,
        outputs={name: tuple(tensor.shape) for name, tensor in answers.items()},
        made_with={"verticlip": version(), "torch": torch.__version__, "python": platform.python_version()},
        device=f"{network.device.type} ({platform.machine()})",
        date=now(),
    )
    return StoredProbe(record, {**given, **inputs.drawn}, {name: thinned(t) for name, t in answers.items()})


def write_probe(folder: str | Path, *, seed: int = 0) -> StoredProbe:
    """Run a probe on the model in a folder and write ``probe.json`` and ``probe.safetensors`` there.

    A probe that is there and still holds stays as it is, so that doing this twice changes nothing.

    Raises:
        ConfigError, WeightsError: the folder holds no model that loads.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    parts = load_model(ResolvedModel(folder, str(folder)))
    files = _records_of(folder)
    existing = _still_good(folder, parts, files, seed)
    if existing is not None:
        return existing
    probe = make_probe(parts, seed=seed)
    tensors = {f"input.{name}": tensor for name, tensor in probe.inputs.items()}
    tensors |= {f"output.{name}": tensor for name, tensor in probe.outputs.items()}
    # An old probe.json beside new tensors says so itself: it names the hash of its own.
    with atomic_path(folder / PROBE_TENSORS) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary)
    record = probe.record.model_copy(update={"files": files, "tensors": sha256_of(folder / PROBE_TENSORS)})
    write_json_atomic(folder / PROBE_FILE, record.model_dump(mode="json"))
    return StoredProbe(record, probe.inputs, probe.outputs)


def has_probe(folder: str | Path) -> bool:
    """Return whether a folder has a stored probe, or a part of one."""
    return any((Path(folder) / name).is_file() for name in (PROBE_FILE, PROBE_TENSORS))


def read_probe(folder: str | Path, *, limits: Limits = DEFAULT) -> StoredProbe:
    """Return the stored probe of a model folder.

    Raises:
        ConfigError: there is none, it is damaged, of a later format, or its two files do not belong together.
    """
    folder = Path(folder)
    record = read_config(ProbeRecord, folder / PROBE_FILE, limits=limits)
    if record.format > FORMAT:
        raise ConfigError(
            f"{PROBE_FILE} has format {record.format}; this version of verticlip reads up to {FORMAT}. "
            "Install a newer one."
        )
    path = folder / PROBE_TENSORS
    if not path.is_file():
        raise ConfigError(f"{PROBE_FILE} has no {PROBE_TENSORS} beside it. Fetch both, or make a new probe.")
    size = path.stat().st_size
    if size > limits.probe_bytes:
        raise ConfigError(f"{PROBE_TENSORS} has {size:,} bytes; a probe has at most {limits.probe_bytes:,}.")
    if record.tensors and sha256_of(path) != record.tensors:
        raise ConfigError(
            f"{PROBE_TENSORS} is not the file that {PROBE_FILE} was written with. Fetch both again, or make "
            "a new probe."
        )
    try:
        tensors = read_weights(path)
    except WeightsError as error:
        raise ConfigError(str(error)) from None
    inputs, outputs = (
        {name.removeprefix(kind): tensor for name, tensor in tensors.items() if name.startswith(kind)}
        for kind in ("input.", "output.")
    )
    if set(outputs) != set(record.outputs):
        raise ConfigError(f"{PROBE_TENSORS} does not hold the outputs that {PROBE_FILE} names.")
    return StoredProbe(record, inputs, outputs)


def replay_probe(model: Loaded | Parts | str | Path, probe: StoredProbe | None = None) -> ProbeReport:
    """Ask a model again what a probe asked, and compare every output.

    Args:
        model: a model folder, ``verticlip.Model`` in float32, or what ``load_model`` returns.
        probe: None reads that of the folder.

    Raises:
        ConfigError: no probe, a damaged one, or one of another kind of model.
    """
    if isinstance(model, (str, Path)):
        folder = Path(model)
        probe = read_probe(folder) if probe is None else probe
        model = load_model(ResolvedModel(folder, str(model)))
    if probe is None:
        raise ConfigError("A loaded model needs the probe to replay: pass read_probe(folder).")
    network, processor, _ = _parts(model)
    record = probe.record
    if record.architecture != network.config.architecture:
        raise ConfigError(
            f"The probe is of architecture {record.architecture!r}, the model of "
            f"{network.config.architecture!r}. They do not belong together."
        )
    with torch.inference_mode():
        inputs = _prepare(network, processor, probe.inputs, record.texts, seed=record.seed, stored=True)
        answers = _answers(network, inputs)
    # What the model answers and the probe does not name is unchecked, and so no pass.
    unknown = [
        OutputCheck(name, "not replayed", note="the probe lacks it: make it again")
        for name in sorted(answers.keys() - record.outputs.keys())
    ]
    return ProbeReport(
        (
            *(_check(name, probe, answers.get(name)) for name in sorted(record.outputs)),
            *unknown,
        )
    )


def changed_files(folder: str | Path, probe: StoredProbe) -> list[str]:
    """Return the names of files that are not, or no longer, what they were when the probe was made."""
    here = _records_of(Path(folder))
    return sorted(
        name for name in {*here, *probe.record.files} if here.get(name) != probe.record.files.get(name)
    )


def _parts(model: Loaded | Parts) -> Parts:
    if isinstance(model, tuple):
        return model
    dtype = getattr(model, "dtype", "float32")
    if dtype != "float32":
        raise ConfigError(f"A probe compares float32 outputs and the model is in {dtype}. Use float32.")
    return model.network, model.processor, model.prompts


def _records_of(folder: Path) -> dict[str, FileRecord]:
    return {
        name: FileRecord(sha256=sha256_of(folder / name), bytes=(folder / name).stat().st_size)
        for name in (*REQUIRED_FILES, *OPTIONAL_FILES)
        if (folder / name).is_file()
    }


def _still_good(folder: Path, parts: Parts, files: Mapping[str, FileRecord], seed: int) -> StoredProbe | None:
    try:
        probe = read_probe(folder)
        record = probe.record
        same = (record.files, record.seed, record.tolerance) == (files, seed, Tolerance())
        return probe if same and replay_probe(parts, probe).passed else None
    except VerticlipError:
        return None


def _prepare(
    network: ContrastiveModel,
    processor: Processor,
    given: Mapping[str, Tensor],
    texts: Iterable[str],
    *,
    seed: int,
    stored: bool = False,
) -> ProbeInputs:
    images, waves, texts = given.get("images"), given.get("waves"), tuple(texts)
    if images is not None and (images.dtype != torch.uint8 or images.ndim != 4 or images.shape[-1] != 3):
        raise ConfigError(
            f"The probe's images are {images.dtype} {list(images.shape)}, not uint8 [B, H, W, 3]."
        )
    if waves is not None and (waves.dtype != torch.float32 or waves.ndim != 2):
        raise ConfigError(f"The probe's waves are {waves.dtype} {list(waves.shape)}, not float32 [B, T].")
    items: dict[str, list[Any]] = {}
    if images is not None:
        items["image"] = [picture.numpy() for picture in images]
    if waves is not None:
        items["audio"] = list(waves)
    if texts:
        items["text"] = list(texts)
    lacking = sorted({*network.modalities} & {*processor.modalities} - {*items})
    if lacking:
        raise ConfigError(f"The probe asks nothing of {lacking[0]!r}, which this model takes. Make it again.")
    prepared = {
        modality: {name: tensor.to(network.device) for name, tensor in processor(modality, own).items()}
        for modality, own in items.items()
        if modality in processor.modalities
    }
    drawn = {name: tensor for name, tensor in given.items() if name not in ("images", "waves")}
    return ProbeInputs(
        processor, prepared, texts, images, waves, seed, drawn if stored else None, device=network.device
    )


def _answers(network: ContrastiveModel, inputs: ProbeInputs) -> dict[str, Tensor]:
    """Return every answer, float32 on the CPU."""
    config = network.config
    home = registry.room(config.domain) if config.domain else None
    if home is not None and config.architecture in home.probes:
        answers = home.function("probes", config.architecture)(network, inputs)
    elif network.modalities:
        answers = tower_answers(network, inputs)
    else:
        raise ConfigError(
            f"{config.name} embeds nothing and its domain says not what a probe of architecture "
            f"{config.architecture!r} is: name a function under PROBES."
        )
    return {name: tensor.detach().float().cpu().clone() for name, tensor in answers.items()}


def _magnitude(name: str, probe: StoredProbe) -> float:
    """Return the size of number that the error of an output goes with."""
    expected = probe.outputs[name]
    largest = float(expected.abs().max()) if expected.numel() else 0.0
    # Logits of a network without towers come from a last layer and not from unit vectors.
    compares = any(one.endswith(".embedding") for one in probe.outputs)
    scale = probe.outputs.get("scale")
    if scale is None or not compares or not name.endswith(".logits"):
        return largest
    return max(largest, float(scale.abs().max()))


def _check(name: str, probe: StoredProbe, got: Tensor | None) -> OutputCheck:
    shape, expected = probe.record.outputs[name], probe.outputs[name]
    if got is None:
        return OutputCheck(name, "not replayed")
    if tuple(got.shape) != shape or (kept := thinned(got)).shape != expected.shape:
        return OutputCheck(name, "shape", note=f"got {list(got.shape)}, expected {list(shape)}")
    error = largest_error(kept, expected)
    allowed = probe.record.tolerance.relative * _magnitude(name, probe) + _ABSOLUTE
    return OutputCheck(name, "ok" if error <= allowed else "over", error, allowed)
