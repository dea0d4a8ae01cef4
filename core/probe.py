"""Linear probes: embed everything once with frozen weights, fit, judge with intervals, save the head.

Run folder::

    run.json recipe.yaml manifest.jsonl metrics.json   what was run, resolved, and how good it is
    embeddings.safetensors                             unit embeddings of the manifest's rows, in its order
    head/                                              the head, and which model it belongs to
"""

from __future__ import annotations

import logging
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .checkpoint import read_weights
from .data import Manifest, Record, split
from .data.recorded import source_files
from .errors import ConfigError, DataError
from .files import atomic_path, read_json, write_json_atomic, write_text_atomic
from .gather import GatheredData, gather_data
from .heads.classifiers import LinearProbe
from .heads.pointer import HeadPointer, save_pointed_head
from .metrics.classification import classification_report
from .provenance import describe_device, environment, now
from .recipe import LoadedRecipe, ProbeConfig, dump_recipe
from .start import Resolver, Start, find_start, primary_modality
from .stores import noun_of
from .validation import encode_records

if TYPE_CHECKING:
    from .train import TrainResult

_log = logging.getLogger(__name__)
INNER_SHARE = 0.2
"""Share of the training rows on which the regularization is chosen."""


@dataclass(frozen=True)
class _Embedded:
    """Rows of one split: records, unit embeddings float32 [N, D] and class indices int64 [N]."""

    records: list[Record]
    vectors: Tensor
    targets: np.ndarray

    def rows(self, chosen: Sequence[int]) -> _Embedded:
        index = list(chosen)
        return _Embedded([self.records[i] for i in index], self.vectors[index], self.targets[index])


def run_probe(
    loaded: LoadedRecipe, data: Path, out: Path, *, start: Resolver | None, resume: bool = True
) -> TrainResult:
    """Fit and judge linear probes by recipe; ``model`` of the result is the folder of the head.

    Each share of the training labels below 1 is drawn once per seed: whole groups, the same share of
    every class. The head that is saved is that of the largest share and the first seed.

    Raises:
        ConfigError: no start, or ``out`` holds something else.
        DataError: unusable data, or a class without training rows.
    """
    from .train import TrainResult

    recipe, began = loaded.recipe, time.monotonic()
    beginning = find_start(recipe, start)
    if beginning is None or recipe.start is None:
        raise ConfigError(f"{recipe.name}: a probe needs start, the model whose embeddings it reads.")
    processing = beginning.processor.config
    modality = primary_modality(beginning.network.config)
    if getattr(recipe, modality, None) not in (None, getattr(processing, modality)):
        raise ConfigError(
            f"A probe reads {noun_of(modality)} as its model does. Leave {modality} out of the recipe."
        )
    gathered = gather_data(loaded, data, beginning, processing=processing, modality=modality)
    fingerprint = beginning.processor.fingerprint
    identity = {
        "recipe": recipe.digest,
        "start": beginning.revision,
        "data": gathered.digest(fingerprint),
    }
    _claim(out, identity, resume=resume)
    path = out / "metrics.json"
    if path.is_file():
        return TrainResult(out, out / "head", read_json(path), steps=0, resumed_from=0)
    write_text_atomic(out / "recipe.yaml", dump_recipe(recipe))
    gathered.manifest.save(out / "manifest.jsonl")
    parts = _parts(gathered, _embeddings(out, beginning, gathered))
    noun = gathered.store.noun
    head, results = _fit_all(parts, gathered.class_names, recipe.probe, noun=noun)
    _refuse_chance(results, len(gathered.class_names), recipe.evaluation.min_above_chance)
    pointer = HeadPointer(model=recipe.start.model, revision=beginning.revision, processor=fingerprint)
    save_pointed_head(head, pointer, out / "head")
    facts = {
        **identity,
        "start": {"id": beginning.id, "revision": beginning.revision},
        "modality": modality,
        "classes": list(gathered.class_names),
        "chance": 1 / len(gathered.class_names),
        "source_splits": {
            source.name: Counter(str(r.split) for r in gathered.manifest if r.source == source.name)
            for source in recipe.data.sources
        },
        "probes": results,
        "source_files": source_files(gathered.manifest, [source.name for source in recipe.data.sources]),
        "seconds": round(time.monotonic() - began, 1),
        "run": {
            "device": describe_device(beginning.network.device),
            "date": now(),
            "versions": environment(),
        },
    }
    write_json_atomic(path, facts)
    return TrainResult(out, out / "head", facts, steps=0, resumed_from=0)


def _claim(out: Path, identity: dict[str, str], *, resume: bool) -> None:
    """Make ``out`` this probe's folder, or find it already is."""
    path = out / "run.json"
    if path.is_file() and resume:
        before = read_json(path)
        for word, value in identity.items():
            if before.get(word) != value:
                raise ConfigError(
                    f"{out} holds a run of another {word} ({before.get(word)}, now {value}). "
                    "Choose another --out, or start again with --no-resume."
                )
    elif out.exists() and any(out.iterdir()):
        if not path.is_file():
            raise ConfigError(f"{out} is not empty and not a run folder. Choose another --out.")
        shutil.rmtree(out / "head", ignore_errors=True)
        for name in ("metrics.json", "embeddings.safetensors"):
            (out / name).unlink(missing_ok=True)
    write_json_atomic(path, identity)


def _embeddings(out: Path, start: Start, gathered: GatheredData) -> Tensor:
    """Return unit embeddings float32 [N, D] of all rows, from the folder when an earlier call wrote them."""
    from safetensors.torch import save_file

    path = out / "embeddings.safetensors"
    if path.is_file():
        return read_weights(path)["embeddings"]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = start.network.to(device).eval()
    with torch.inference_mode():
        vectors = encode_records(model, gathered.store, start.processor, gathered.manifest.records)
    with atomic_path(path) as temporary:
        save_file({"embeddings": vectors.contiguous()}, temporary)
    return vectors.clone()


def _parts(gathered: GatheredData, vectors: Tensor) -> dict[str, _Embedded]:
    """Return the rows of train and val with their embeddings."""
    index = {name: number for number, name in enumerate(gathered.class_names)}
    parts = {}
    for name in ("train", "val"):
        rows = [i for i, record in enumerate(gathered.manifest.records) if record.split == name]
        records = [gathered.manifest.records[i] for i in rows]
        targets = np.array([index[str(record.label)] for record in records], dtype=np.int64)
        parts[name] = _Embedded(records, vectors[rows], targets)
    if not parts["val"].records:
        raise DataError("There are no validation rows to judge the probe on.")
    return parts


def _fit_all(
    parts: dict[str, _Embedded], names: Sequence[str], config: ProbeConfig, *, noun: str
) -> tuple[LinearProbe, list[dict[str, Any]]]:
    """Return the head to keep and, per share, the scores of every seed and the full report of the first."""
    val = parts["val"]
    groups = [record.group or record.id for record in val.records]
    kept: LinearProbe | None = None
    results = []
    for fraction in sorted(config.fractions):
        scores: dict[str, list[float]] = defaultdict(list)
        report: dict[str, Any] = {}
        heads = []
        # The whole training part is the same for every seed.
        for seed in config.seeds if fraction < 1 else config.seeds[:1]:
            training = _share(parts["train"], names, fraction=fraction, seed=seed)
            head = _fit(training, names, config, seed=seed)
            probabilities = head.scores(val.vectors).numpy()
            full = classification_report(probabilities, val.targets, names, groups=groups)
            scores["balanced_accuracy"].append(full.balanced_accuracy.value)
            if full.auc is not None:
                scores["auc"].append(full.auc.value)
            report = report or full.to_dict()
            heads.append((head, len(training.records)))
        kept = heads[0][0]
        results.append(
            {
                "fraction": fraction,
                f"training_{noun}": heads[0][1],
                "c": [head.c for head, _ in heads],
                "seeds": dict(scores),
                "mean": {key: sum(values) / len(values) for key, values in scores.items()},
                "report": report,
            }
        )
        score = results[-1]["mean"]["balanced_accuracy"]
        _log.info("%g of the labels: balanced accuracy %.4f", fraction, score)
    if kept is None:
        raise ConfigError("probe.fractions is empty. Give at least one share of the labels.")
    return kept, results


def _share(training: _Embedded, names: Sequence[str], *, fraction: float, seed: int) -> _Embedded:
    """Return a share of the training rows, of every class at least one row.

    Groups are drawn class by class and come whole, with their rows of other classes, so that a class may
    have more than its share.
    """
    if fraction >= 1:
        return training
    generator = np.random.default_rng(seed)
    groups = [record.group or record.id for record in training.records]
    taken: set[str] = set()
    for number in range(len(names)):
        sizes = Counter(groups[row] for row in np.flatnonzero(training.targets == number))
        wanted = max(1, round(fraction * sizes.total()))
        have = sum(count for group, count in sizes.items() if group in taken)
        ordered = sorted(sizes)
        for group in (ordered[place] for place in generator.permutation(len(ordered))):
            if have < wanted and group not in taken:
                taken.add(group)
                have += sizes[group]
    return training.rows([row for row, group in enumerate(groups) if group in taken])


def _fit(training: _Embedded, names: Sequence[str], config: ProbeConfig, *, seed: int) -> LinearProbe:
    """Return a probe; its strength is the recipe's, or chosen on a part that it is then fitted with again."""
    counts = np.bincount(training.targets, minlength=len(names))
    if counts.min() == 0:
        raise DataError(f"Class {names[int(counts.argmin())]!r} has no training rows.")
    strength = config.c
    if strength is None:
        strength = _choose(training, names, config, seed=seed) if counts.min() >= 5 else 1.0
    return LinearProbe.fit(training.vectors, training.targets, names, c=strength, balanced=config.balanced)


def _choose(training: _Embedded, names: Sequence[str], config: ProbeConfig, *, seed: int) -> float:
    """Return the best strength on a fifth of the training rows; 1 where a class would be missing."""
    manifest = Manifest(Path(), tuple(replace(record, split=None) for record in training.records))
    try:
        cut = split(manifest, {"fit": 1 - INNER_SHARE, "choose": INNER_SHARE}, seed=seed)
    except DataError:
        # One large group holds nearly everything: nothing to choose on.
        return 1.0
    fit, choose = (
        training.rows([i for i, record in enumerate(cut.records) if record.split == name])
        for name in ("fit", "choose")
    )
    if np.bincount(fit.targets, minlength=len(names)).min() == 0:
        return 1.0
    probe = LinearProbe.fit(
        fit.vectors,
        fit.targets,
        names,
        validation=(choose.vectors, choose.targets),
        balanced=config.balanced,
    )
    return probe.c


def _refuse_chance(results: list[dict[str, Any]], classes: int, least: float) -> None:
    score = results[-1]["mean"]["balanced_accuracy"]
    if least and score < 1 / classes + least:
        raise DataError(
            f"The probe scores {score:.3f} on validation; chance is {1 / classes:.3f} and the recipe asks "
            f"for {least:g} more. Look at the labels and the data."
        )
