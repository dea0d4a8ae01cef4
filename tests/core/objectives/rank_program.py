"""One rank of test_distributed: ``python rank_program.py RANK SIZE FOLDER``.

Reads ``jobs.json`` and ``inputs.safetensors``, writes ``rank<RANK>.safetensors`` and, for the refused
job, ``rank<RANK>.txt``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from verticlip.core.errors import InputError
from verticlip.core.objectives.base import build_objective, file_process_group
from verticlip.core.objectives.gradcache import cached_backward
from verticlip.core.types import Batch, Outputs


class Towers(torch.nn.Module):
    """Two linear towers that differ by the rank's data only."""

    def __init__(self, weights):
        super().__init__()
        self.image, self.text = (torch.nn.Parameter(weights[name].clone()) for name in ("image", "text"))
        self.logit_scale = torch.nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

    def forward(self, batch):
        embeddings = {
            name: F.normalize(batch.inputs[name]["x"] @ getattr(self, name), dim=1)
            for name in ("image", "text")
        }
        return Outputs(embeddings, self.logit_scale.exp())


def run_objective(name, options, mine):
    leaves = {key: mine[key].clone().requires_grad_() for key in ("image", "text", "scale", "bias")}
    bias = leaves["bias"] if name == "sigmoid" else None
    outputs = Outputs({"image": leaves["image"], "text": leaves["text"]}, leaves["scale"], bias)
    teacher = {"teacher_image": mine["teacher_image"], "teacher_text": mine["teacher_text"]}
    loss = build_objective(name, options)(outputs, Batch({}, labels=mine["labels"], extras=teacher))["loss"]
    loss.backward()
    return {
        "loss": loss.detach(),
        **{key: leaf.grad for key, leaf in leaves.items() if leaf.grad is not None},
    }


def main(rank, size, folder):
    torch.set_num_threads(1)
    inputs = load_file(folder / "inputs.safetensors")
    mine = {name: tensor[rank] if tensor.ndim else tensor for name, tensor in inputs.items()}
    results = {}
    with file_process_group(rank, size, folder / "rendezvous"):
        for job, (name, options) in json.loads((folder / "jobs.json").read_text()).items():
            for key, tensor in run_objective(name, options, mine).items():
                results[f"{job}/{key}"] = tensor.clone()
        model = Towers(load_file(folder / "weights.safetensors"))
        batch = Batch({name: {"x": mine[name]} for name in ("image", "text")})
        cached_backward(model, build_objective("infonce"), batch=batch, micro_batch=2)
        results.update({f"cached/{name}": p.grad.clone() for name, p in model.named_parameters()})
        try:
            build_objective("infonce")(
                Outputs({name: mine[name][: 3 - rank] for name in ("image", "text")}, mine["scale"]),
                Batch({}),
            )
        except InputError as error:
            (folder / f"rank{rank}.txt").write_text(str(error))
    save_file(results, folder / f"rank{rank}.safetensors")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
