"""Two processes give what one process gives on the joined batch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from verticlip.core.objectives.base import build_objective
from verticlip.core.types import Batch, Outputs

pytestmark = pytest.mark.slow  # starting two processes

RANKS, ROWS, WIDTH = 2, 5, 6
JOBS = {
    **{
        f"infonce {positives} local={local} chunk={chunk}": (
            "infonce",
            {"positives": positives, "local_loss": local, "chunk": chunk},
        )
        for positives in ("pairs", "labels", "masked")
        for local in (True, False)
        for chunk in (None, 3)
    },
    "infonce smoothed": ("infonce", {"label_smoothing": 0.2}),
    "infonce smoothed labels": (
        "infonce",
        {"label_smoothing": 0.2, "positives": "labels", "local_loss": False},
    ),
    "infonce audio keys": ("infonce", {"modalities": ["text", "image"]}),
    **{
        f"sigmoid {positives} {exchange} chunk={chunk}": (
            "sigmoid",
            {"positives": positives, "exchange": exchange, "chunk": chunk},
        )
        for positives in ("pairs", "labels", "masked")
        for exchange in ("bidir", "shift", "reduce", "gather")
        for chunk in (None, 3)
    },
    "cwcl": ("cwcl", {}),
    "distill": ("distill", {"teacher_scale": 7.0}),
}


def make_inputs():
    generator = torch.Generator().manual_seed(0)
    inputs = {
        name: F.normalize(torch.randn(RANKS, ROWS, WIDTH, generator=generator, dtype=torch.float64), dim=2)
        for name in ("image", "text", "teacher_image", "teacher_text")
    }
    inputs["labels"] = torch.randint(3, (RANKS, ROWS), generator=generator)
    inputs["scale"] = torch.tensor(8.0, dtype=torch.float64)
    inputs["bias"] = torch.tensor(-2.0, dtype=torch.float64)
    return inputs


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Folder with what two processes wrote, started once for all jobs."""
    folder = tmp_path_factory.mktemp("ranks")
    save_file(make_inputs(), folder / "inputs.safetensors")
    jobs = {**JOBS, "detached": ("infonce", {"gather_with_grad": False, "local_loss": False})}
    (folder / "jobs.json").write_text(json.dumps(jobs))
    generator = torch.Generator().manual_seed(1)
    weights = {
        name: torch.randn(WIDTH, 4, generator=generator, dtype=torch.float64) for name in ("image", "text")
    }
    save_file(weights, folder / "weights.safetensors")
    program = Path(__file__).with_name("rank_program.py")
    ranks = [
        subprocess.Popen([sys.executable, str(program), str(rank), str(RANKS), str(folder)])
        for rank in range(RANKS)
    ]
    try:
        assert [process.wait(timeout=90) for process in ranks] == [0, 0]
    finally:
        for process in ranks:
            process.kill()
    return folder


def joined(results, job, key):
    return torch.stack(
        [load_file(results / f"rank{rank}.safetensors")[f"{job}/{key}"] for rank in range(RANKS)]
    )


def one_process(name, options):
    inputs = make_inputs()
    leaves = {key: inputs[key].clone().requires_grad_() for key in ("image", "text", "scale", "bias")}
    flat = {
        key: tensor.flatten(0, 1) if tensor.ndim > 1 else tensor
        for key, tensor in {**inputs, **leaves}.items()
    }
    outputs = Outputs(
        {"image": flat["image"], "text": flat["text"]},
        flat["scale"],
        flat["bias"] if name == "sigmoid" else None,
    )
    teacher = {"teacher_image": flat["teacher_image"], "teacher_text": flat["teacher_text"]}
    loss = build_objective(name, options)(outputs, Batch({}, labels=flat["labels"], extras=teacher))["loss"]
    loss.backward()
    return loss.detach(), {key: leaf.grad for key, leaf in leaves.items() if leaf.grad is not None}


@pytest.mark.parametrize("job", JOBS)
def test_mean_over_ranks_equals_one_process(results, job):
    loss, gradients = one_process(*JOBS[job])
    torch.testing.assert_close(joined(results, job, "loss").mean(), loss, rtol=1e-10, atol=1e-12)
    for key, expected in gradients.items():
        got = joined(results, job, key)
        # Data-parallel training averages over ranks: a rank's own features then count 1 / RANKS.
        got = got / RANKS if key in ("image", "text") else got.mean(0)
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12, msg=key)


def test_without_gathered_gradients_own_rows_get_the_plain_gradient(results):
    loss, gradients = one_process("infonce", {})
    torch.testing.assert_close(joined(results, "detached", "loss"), loss.expand(RANKS))
    for key in ("image", "text"):
        torch.testing.assert_close(joined(results, "detached", key), gradients[key])


def test_gradient_cache_over_ranks_equals_one_process(results):
    inputs = make_inputs()
    weights = {
        name: tensor.requires_grad_() for name, tensor in load_file(results / "weights.safetensors").items()
    }
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    embeddings = {
        name: F.normalize(inputs[name].flatten(0, 1) @ weight, dim=1) for name, weight in weights.items()
    }
    build_objective("infonce")(Outputs(embeddings, scale.exp()), Batch({}))["loss"].backward()
    for name, weight in weights.items():
        torch.testing.assert_close(joined(results, "cached", name).mean(0), weight.grad)
    torch.testing.assert_close(joined(results, "cached", "logit_scale").mean(0), scale.grad)


def test_unequal_batches_are_refused_on_every_rank(results):
    for rank in range(RANKS):
        message = (results / f"rank{rank}.txt").read_text()
        assert message.startswith(
            "Ranks hold batches of different sizes [3, 2]; drop the last incomplete batch"
        )
