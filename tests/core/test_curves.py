"""The curves of a training run."""

from __future__ import annotations

from verticlip.core.curves import run_curves


def row(step: int, score: float, loss: float | None) -> dict:
    sources = {
        "a": {"score": score, "chance": 0.25, "balanced_accuracy": score / 2},
        "b": {"score": score / 2, "chance": 0.75},
    }
    return {"step": step, "sources": sources, "train_loss": loss, "valid_loss": 1.0, "chance": 0.1}


def test_retrieval_is_drawn_beside_its_own_chance():
    panels = run_curves([row(0, 0.2, None), row(5, 0.8, 2.0)])
    retrieval = panels["mean recall of retrieval, validation"]
    assert retrieval["a"] == ([0, 5], [0.2, 0.8])
    assert retrieval["chance"] == ([0, 5], [0.5, 0.5]), "of both sources, not of everything the run measures"
    assert list(panels["balanced accuracy, validation"]) == ["a"]
    assert panels["loss"]["training"] == ([5], [2.0])


def test_a_run_without_a_loss_has_no_loss_panel():
    assert list(run_curves([row(0, 0.2, None)])) == [
        "balanced accuracy, validation",
        "mean recall of retrieval, validation",
    ]


def test_a_validation_part_without_a_loss_has_no_curve():
    rows = [{**one, "valid_loss": None} for one in (row(0, 0.2, None), row(4, 0.3, 2.0))]
    panels = run_curves(rows)
    assert set(panels["loss"]) == {"training"}
