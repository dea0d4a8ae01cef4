"""What ``metrics.json`` and the model's card say about the data of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ....core.errors import ConfigError
from ..protocols.entry import Entry
from ..protocols.subjects import is_shot, subject_notes
from ..taxonomy import Taxonomy
from .options import LivenessTrainingConfig

if TYPE_CHECKING:
    from ....core.recipe import Recipe


def data_terms(recipe: Recipe) -> dict[str, str]:
    """Return {source: terms its data are under}; weights that were trained on them inherit these.

    Raises:
        ConfigError: a source that does not say.
    """
    for source in recipe.data.sources:
        if not source.licence.strip():
            raise ConfigError(
                f"Source {source.name!r}: licence missing. Say under what terms the pictures may be used "
                "(most public sets: research only, by agreement); the model inherits them, which "
                "its card says."
            )
    return {source.name: source.licence for source in recipe.data.sources}


def run_facts(
    recipe: Recipe,
    options: LivenessTrainingConfig,
    *,
    taxonomy: Taxonomy,
    presentations: Sequence[Entry],
    rows_per_batch: Mapping[str, int],
    judged_on: Sequence[str],
) -> dict[str, Any]:
    """Return the facts of a run; see :class:`verticlip.core.task_data.RunData`.

    Args:
        recipe: of the run. options: of the task. taxonomy: of the model.
        presentations: of training and development, with the splits of the run.
        rows_per_batch: {part: rows}. judged_on: data sets or sources that the model is chosen by.
    """
    seen = presentations
    subjects = {
        split: len({entry.subject_id for entry in seen if entry.split == split and entry.subject_id})
        for split in ("train", "dev")
    }
    species = {
        split: dict(sorted(Counter(entry.species for entry in seen if entry.split == split).items()))
        for split in ("train", "dev")
    }
    return {
        "score_name": "1 - lowest ACER",
        "chance_name": "accepting everything",
        "command": "verticlip liveness check face.jpg --model MODEL",
        "pipeline_tag": "image-classification",
        "card_header": {
            "training_data_terms": "; ".join(f"{name}: {said}" for name, said in data_terms(recipe).items())
        },
        "taxonomy": {"name": taxonomy.name, "digest": taxonomy.digest},
        "datasets": sorted({entry.dataset for entry in seen}),
        "targets": list(options.target),
        "selected_on": "dev",
        "subjects": subjects,
        "presentations": species,
        "judged_on": list(judged_on),
        "rows_per_batch": dict(rows_per_batch),
        "notes": [*subject_notes(seen), *_few_shot_note(seen)],
    }


def _few_shot_note(seen: Sequence[Entry]) -> list[str]:
    shots = [entry for entry in seen if is_shot(entry)]
    if not shots:
        return []
    names = ", ".join(sorted({entry.dataset for entry in shots}))
    return [
        f"{len({entry.id for entry in shots}):,} training presentations are shots of {names}: results there "
        "are few-shot results, on people who may have been trained on, and no zero-shot ones."
    ]
