"""Zero-shot results on public evaluation sets, by the protocol of the published tables.

Each prompt of a class is encoded and normalized, the prompts are averaged, and the mean is normalized;
an image belongs to the class with the largest cosine. Nothing is scaled and nothing is trained.

A ConceptCLIP can be measured by its own protocol instead: ``scoring=Weights(local_weight=0.5, topk=128)``
mixes the probabilities of the whole picture with those of the patches that fit the class words best.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....core.data.labelled import LabelledRow
from ....core.embed_each import Progress
from ....core.errors import DataError, InputError
from ....core.files import write_json_atomic
from ....core.labelled_sets import find_rows, missing_files
from ....core.limits import DEFAULT, Limits
from ....core.metrics.classification import auc, confusion_matrix
from ....core.prompts import PromptSet, prompt_set
from ....core.set_results import FIGURE_CLASSES, SetResult, SetTable, set_notes
from .evaluation_catalogue import SETS, EvaluationSet, evaluation_set, names
from .evaluation_protocol import Ensemble, part_accuracies, read_prompt_bank, set_metrics
from .evaluation_scoring import SetProtocol, patch_scoring, score_rows

if TYPE_CHECKING:
    from ....core.handle import ModelHandle
    from ..conceptclip.scoring import Weights

__all__ = [
    "SETS",
    "EvaluationSet",
    "SetResult",
    "SetTable",
    "evaluate_all",
    "evaluate_set",
    "evaluation_set",
    "names",
    "patch_scoring",
    "read_prompt_bank",
    "read_set",
]


def read_set(name: str, root: str | Path, *, limits: Limits = DEFAULT) -> tuple[list[LabelledRow], str]:
    """Return (rows, layout) of a set below ``root``, which may also hold it in a folder of its name.

    Raises:
        ConfigError: no such set. DataError: none of the layouts is there, or a table is damaged.
    """
    found = _find(evaluation_set(name), Path(root), limits, shared=False)
    if found is None:
        raise DataError(missing_files(evaluation_set(name), Path(root)))
    return found


def evaluate_set(
    model: ModelHandle,
    name: str,
    root: str | Path | tuple[list[LabelledRow], str],
    *,
    out: str | Path | None = None,
    prompts: PromptSet | None = None,
    scoring: Ensemble | Weights = "unit",
    batch_size: int = 8,
    progress: Progress | None = None,
    **options: Any,
) -> SetResult:
    """Measure a model on a public set.

    Args:
        model: with an image and a text tower.
        name: one of :func:`names`, for example ``chexpert-5x200``.
        root: folder with the set's files, or one that holds them in a folder called ``name``; or what
            :func:`read_set` found there.
        out: folder for ``report.json`` and ``confusion.png``; None writes nothing.
        prompts: one class per class of the set, in any order; None takes the shipped ones.
        scoring: how the prompts of a class become one vector that images are compared with; or, for a
            ConceptCLIP, the share and number of the patches in its own score.
        batch_size: images per call of the network.
        progress: told (done, all) of the images.
        options: of the domain's loader.

    Raises:
        ConfigError: no such set, or prompts for other classes.
        InputError: weights of patches for another model than a ConceptCLIP.
        DataError: no files of the set; the message names those that are looked for.

    Example:
        >>> result = evaluate_set(model, "rsna_pneumonia", "data/rsna")  # doctest: +SKIP
        >>> result.percent()  # doctest: +SKIP

    Reference: Khattak et al. 2024, "UniMed-CLIP", zero-shot evaluation.
    """
    found = root if isinstance(root, tuple) else read_set(name, root, limits=model.limits)
    chosen = prompts if prompts is not None else prompt_set(name)
    protocol = SetProtocol(scoring, batch_size)
    return _measure(model, evaluation_set(name), found, chosen, protocol, out, progress=progress, **options)


def evaluate_all(
    model: ModelHandle,
    root: str | Path,
    *,
    sets: Sequence[str] | None = None,
    out: str | Path | None = None,
    scoring: Ensemble | Weights = "unit",
    batch_size: int = 8,
    progress: Progress | None = None,
    **options: Any,
) -> SetTable:
    """Measure a model on every set whose files are below ``root``.

    Args:
        root: holds the sets in folders of their names, or the files of their tables directly.
        sets: which; None takes the 21 of the published average.
        out: folder for one folder per set and ``table.json``.
        scoring, batch_size: as in :func:`evaluate_set`.
        progress: told (done, all) of the images of each set.
        options: of the domain's loader.

    Returns:
        Results and, for sets without files or with damaged ones, why they are missing.

    Raises:
        DataError: no set has files.
    """
    wanted = sets if sets is not None else [one.name for one in SETS.values() if one.averaged]
    protocol = SetProtocol(scoring, batch_size)
    results: dict[str, SetResult] = {}
    missing: dict[str, str] = {}
    for one in map(evaluation_set, wanted):
        place = None if out is None else Path(out) / one.name
        try:
            found = _find(one, Path(root), model.limits, shared=True)
            if found is None:
                missing[one.name] = missing_files(one, Path(root))
                continue
            prompts = prompt_set(one.name)
            results[one.name] = _measure(
                model, one, found, prompts, protocol, place, progress=progress, **options
            )
        except (DataError, InputError) as error:
            # Also sentences longer than this model reads: the other sets can be measured.
            missing[one.name] = str(error)
    if not results:
        raise DataError(
            f"{root}: no set could be measured. {next(iter(missing.values()), 'None was asked for.')}"
        )
    table = SetTable(results, missing)
    if out is not None:
        write_json_atomic(Path(out) / "table.json", table.to_dict())
    return table


def _find(
    one: EvaluationSet, root: Path, limits: Limits, *, shared: bool
) -> tuple[list[LabelledRow], str] | None:
    """Return rows and layout; ``shared`` says that the root holds other sets too."""
    # Segmentation masks that lie beside the images (BUSI) are no images of a set.
    return find_rows(one, root, limits, shared=shared, leave_out="_mask")


def _measure(
    model: ModelHandle,
    one: EvaluationSet,
    found: tuple[list[LabelledRow], str],
    prompts: PromptSet,
    protocol: SetProtocol,
    out: str | Path | None,
    **options: Any,
) -> SetResult:
    rows, layout = found
    if out is not None:
        # An unusable output folder should show before the work, not after it.
        Path(out).mkdir(parents=True, exist_ok=True)
    scored = score_rows(model, one, rows, prompts, protocol, **options)
    if not scored.kept:
        raise DataError(
            f"{one.name}: none of {len(rows)} images could be used. First: {scored.failures[0].error}"
        )
    used = [rows[position] for position in scored.kept]
    targets = np.array([one.classes.index(row["label"]) for row in used])
    groups = [row["group"] for row in used] if one.group else None
    metrics = set_metrics(scored.scores, targets, groups, binary=one.metrics == "binary")
    metrics |= part_accuracies(scored.scores, targets, one, groups)
    if not isinstance(protocol.scoring, str) and one.metrics != "binary" and len(np.unique(targets)) > 1:
        # The statistic is slow for the 165 classes of RadImageNet; 100 resamples give its interval.
        resamples = 1000 if len(one.classes) <= FIGURE_CLASSES else 100
        metrics["macro_auc"] = auc(scored.scores, targets, groups=groups, resamples=resamples)
    table = confusion_matrix(scored.scores.argmax(axis=1), targets, len(one.classes))
    result = SetResult(
        one.name, one.modality, one.classes, len(used), metrics, tuple(map(tuple, table.tolist())), layout,
        set_notes(one, used, targets), tuple(scored.failures), scored.origin,
    )  # fmt: skip
    if out is not None:
        result.write(out)
    return result
