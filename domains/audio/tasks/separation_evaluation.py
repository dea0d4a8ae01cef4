"""How well a model separates mixtures whose sources are known, in dB gained over the mixture.

Reference: Le Roux et al. 2019, arXiv 1811.02508 (SI-SDR); Vincent et al. 2006 and Stoter et al. 2018 (SDR,
SIR, SAR); Dong et al. 2023, CLIPSep, section 4.2 (mixtures of a target and one interference).
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ....core.data import Manifest
from ....core.data.files import inside
from ....core.data.tables import read_table
from ....core.errors import ConfigError, DataError, InputError
from ....core.metrics.bootstrap import Bootstrap, Estimate
from ....core.prompts import PromptSet, prompt_words
from ..loaders.audio import load_audio
from ..metrics.separation import bss_eval, is_silent, si_sdr
from .separation import AudioSeparator
from .separation_queries import separator_of

if TYPE_CHECKING:
    from ....core.handle import ModelHandle

_LIMIT_DB = 60.0
"""Beyond this, a ratio counts as this: one perfect estimate would outweigh all others."""
_COLUMNS = (
    "si_sdr_improvement",
    "sdr_improvement",
    "sir_improvement",
    "si_sdr",
    "sdr",
    "sir",
    "sar",
)
"""What is reported, in this order. A mixture has no artifacts, so that ratio cannot improve on it."""
_LEVEL = 0.05
"""Root mean square of a source in a mixture that is made here (-26 dB)."""


@dataclass(frozen=True)
class MixingOptions:
    """How mixtures are made of a labelled folder.

    Attributes:
        level_db: level of the first source over the second, after both were made equally loud.
        seconds: longest mixture; of longer recordings the middle is taken, shorter ones are repeated.
        limit: at most so many mixtures, spread over the recordings; None takes each recording once.
        seed: of the choice of partners.
    """

    level_db: float = 0.0
    seconds: float = 5.0
    limit: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not (
            0 < self.seconds <= 600 and abs(self.level_db) <= 60 and (self.limit is None or self.limit > 0)
        ):
            raise ConfigError(
                "A mixture is over 0 and up to 600 seconds, its level within 60 dB and limit at least 1; got "
                f"{self}."
            )


@dataclass(frozen=True)
class KnownMixture:
    """A mixture and the sources that queries ask for in it.

    Attributes:
        id: for messages. rate: Hz. mixture: float32 [T]. sources: [K, T]. queries, labels: K each.
    """

    id: str
    rate: int
    mixture: Tensor
    sources: Tensor
    queries: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class SeparationReport:
    """What was measured.

    Attributes:
        overall: {measure: mean and interval} over all sources. classes: the same by label.
        counts: sources by label, and "all". low: share of the queries that got a low confidence.
        rows: every source with its numbers. failures: what was left out, and why.
        model, revision: what was measured. settings: how.
    """

    overall: Mapping[str, Estimate]
    classes: Mapping[str, Mapping[str, Estimate]]
    counts: Mapping[str, int]
    low: float
    rows: tuple[Mapping[str, Any], ...]
    failures: tuple[str, ...]
    model: str
    revision: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def words(estimate: Estimate) -> str:
        """Return an estimate in dB as a table shows it."""
        if not np.isfinite(estimate.low):
            return f"{estimate.value:+.2f}"
        return f"{estimate.value:+.2f} ({estimate.low:+.2f} to {estimate.high:+.2f})"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "model": self.model,
            "revision": self.revision,
            "unit": "dB",
            "baseline": "the mixture itself: 0 dB of every improvement",
            "settings": dict(self.settings),
            "overall": {key: one.to_dict() for key, one in self.overall.items()},
            "classes": {
                label: {key: one.to_dict() for key, one in found.items()}
                for label, found in self.classes.items()
            },
            "sources": dict(self.counts),
            "low_confidence": self.low,
            "rows": [dict(row) for row in self.rows],
            "failures": list(self.failures),
        }


def mixtures_of(
    data: str | Path,
    model: ModelHandle,
    options: MixingOptions | None = None,
    *,
    words: Mapping[str, str] | None = None,
) -> Iterator[KnownMixture | str]:
    """Return mixtures with known sources, one at a time; a text is one that had to be left out, and why.

    Args:
        data: folder with a folder of recordings for each class: each recording is mixed with one of another
            class, drawn by its name. Or a table (CSV, TSV, JSON lines) with the columns ``mixture``,
            ``target`` and ``query``, files relative to it, and ``label`` where it differs from the query.
        model: whose rate the recordings are brought to.
        options: for folders. words: {class folder: query}; otherwise the name of the folder is the query.

    Raises:
        DataError: nothing there to mix, or a table without those columns.
    """
    path, rate = Path(data), separator_of(model).options.sampling_rate
    if path.is_dir():
        return _made(path, rate, options or MixingOptions(), words or {}, model)
    return _listed(path, rate, model)


def _made(
    path: Path, rate: int, options: MixingOptions, words: Mapping[str, str], model: ModelHandle
) -> Iterator[KnownMixture | str]:
    manifest = Manifest.from_folder(path, check=None)
    unknown = sorted(set(words) - {str(record.label) for record in manifest})
    if unknown:
        raise ConfigError(f"There is no class folder {unknown[0]!r} to give a query to.")
    records = sorted(manifest, key=lambda record: _number(f"{options.seed} {record.id}"))
    if len({record.label for record in records}) < 2:
        raise DataError(f"{path}: mixtures need recordings of at least two classes.")

    def source(file: Path) -> Tensor:
        wave = load_audio(file, rate=rate, limits=model.limits).value[0]
        size = round(options.seconds * rate)
        wave = wave.repeat(-(-size // len(wave)))
        start = (len(wave) - size) // 2
        wave = wave[start : start + size]
        level = float(wave.square().mean().sqrt())
        return wave if level == 0 else wave * (_LEVEL / level)

    for record in records[: options.limit]:
        others = [other for other in records if other.label != record.label]
        other = others[_number(f"{options.seed} {record.id} with") % len(others)]
        labels = (str(record.label), str(other.label))
        try:
            sources = torch.stack([source(manifest.file_of(one)) for one in (record, other)])
        except (InputError, OSError) as error:
            yield f"{record.id} with {other.id}: {error}"
            continue
        gains = torch.tensor([options.level_db / 40, -options.level_db / 40])
        sources = sources * (10**gains)[:, None]
        asked = tuple(words.get(label, prompt_words(label)) for label in labels)
        yield KnownMixture(f"{record.id} with {other.id}", rate, sources.sum(dim=0), sources, asked, labels)


def _listed(path: Path, rate: int, model: ModelHandle) -> Iterator[KnownMixture | str]:
    for where, row in read_table(path, ("mixture", "target", "query"), limits=model.limits):
        try:
            files = [path.parent / inside(path.parent, str(row[column])) for column in ("mixture", "target")]
            mixture, target = (load_audio(file, rate=rate, limits=model.limits).value[0] for file in files)
            if abs(len(mixture) - len(target)) > rate // 100:
                raise InputError(
                    f"the mixture has {len(mixture) / rate:.3f} s and the target {len(target) / rate:.3f} s"
                )
        except (InputError, OSError) as error:
            yield f"{where}: {error}"
            continue
        length = min(len(mixture), len(target))
        query = str(row["query"])
        label = str(row.get("label") or query)
        yield KnownMixture(where, rate, mixture[:length], target[None, :length], (query,), (label,))


def measure_separation(
    model: ModelHandle,
    mixtures: Iterator[KnownMixture | str] | Sequence[KnownMixture],
    *,
    mask: str = "soft",
    templates: PromptSet | Sequence[str] | None = None,
    filters: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> SeparationReport:
    """Return how close estimates come to known sources, and how much closer than the mixture.

    Args:
        model: a separator.
        mixtures: from :func:`mixtures_of`, or made by hand.
        mask, templates: as for :func:`.separation.separate`.
        filters: also SDR, SIR and SAR of BSS Eval 4 (512 taps, over the whole length).
        progress: called with (done, done) after each mixture.

    Raises:
        DataError: nothing could be measured.
    """
    rows: list[dict[str, Any]] = []
    failures: list[str] = []
    for number, mixture in enumerate(mixtures, 1):
        if isinstance(mixture, str):
            failures.append(mixture)
            continue
        try:
            separator = AudioSeparator.of(model, list(mixture.queries), mask=mask, templates=templates)
        except InputError as error:
            failures.append(f"{mixture.id}: {error}")
            continue
        found = separator.separate(mixture.mixture, array_rate=mixture.rate)
        measured = _measured(mixture, found.targets[:, 0], filters=filters)
        for row, answer in zip(measured, found.answers, strict=True):
            if "si_sdr" not in row:
                failures.append(f"{mixture.id}: the source {row['label']!r} is silent")
                continue
            rows.append({**row, "confidence": answer.confidence, "verdict": answer.verdict})
        if progress is not None:
            progress(number, number)
    if not rows:
        raise DataError(f"Nothing could be measured. {failures[0] if failures else 'There are no mixtures.'}")
    columns = [name for name in _COLUMNS if all(name in row for row in rows)]
    by_label: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_label[str(row["label"])].append(row)
    return SeparationReport(
        overall=_means(rows, columns),
        classes={label: _means(by_label[label], columns) for label in sorted(by_label)},
        counts={"all": len(rows), **{label: len(by_label[label]) for label in sorted(by_label)}},
        low=sum(row["verdict"] != "ok" for row in rows) / len(rows),
        rows=tuple(rows),
        failures=tuple(failures),
        model=model.id,
        revision=model.revision,
        settings={"mask": mask, "filters": filters},
    )


def _measured(mixture: KnownMixture, estimates: Tensor, *, filters: bool) -> list[dict[str, Any]]:
    """Return the numbers of each source; none for a silent one."""
    sources, whole = mixture.sources.numpy(), mixture.mixture.numpy()
    wholes = np.broadcast_to(whole, sources.shape)
    rest = whole - sources.sum(axis=0)
    # What no query asks for is a source too, or the filters would have nothing to tell interference by.
    has_rest = float(np.square(rest).sum()) > 1e-6 * float(np.square(whole).sum())
    references = np.concatenate([sources, rest[None]]) if has_rest else sources
    rows: list[dict[str, Any]] = []
    after: dict[str, Any] = {"si_sdr": si_sdr(sources, estimates.numpy())}
    before: dict[str, Any] = {"si_sdr": si_sdr(sources, wholes)}
    if filters and references.shape[1] >= 512:
        remainder = (whole - estimates.numpy().sum(axis=0))[None]
        made = np.concatenate([estimates.numpy(), remainder]) if has_rest else estimates.numpy()
        for into, one in ((after, made), (before, np.broadcast_to(whole, references.shape))):
            scores = bss_eval(references, one)
            into |= {name: scores[name][: len(sources)] for name in ("sdr", "sir", "sar")}
    for index, silent in enumerate(is_silent(sources)):
        row: dict[str, Any] = {
            "id": mixture.id,
            "label": mixture.labels[index],
            "query": mixture.queries[index],
        }
        if not silent:
            for name, values in after.items():
                value = _bounded(float(values[index]))
                row[name] = value
                if f"{name}_improvement" in _COLUMNS:
                    row[f"{name}_improvement"] = value - _bounded(float(before[name][index]))
        rows.append(row)
    return rows


def _bounded(value: float) -> float:
    """Return a ratio within bounds; an estimate of nothing at all is worth the lower one."""
    return float(np.clip(np.nan_to_num(value, nan=-_LIMIT_DB), -_LIMIT_DB, _LIMIT_DB))


def _means(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> dict[str, Estimate]:
    plan = Bootstrap(len(rows), groups=[row["id"] for row in rows])
    return {column: plan.mean([row[column] for row in rows]) for column in columns}


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
