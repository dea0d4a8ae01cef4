"""One rank of test_losses: ``python rank_program.py RANK SIZE FOLDER``."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from verticlip.core.objectives.base import build_objective, file_process_group
from verticlip.core.types import Batch, Outputs

LEAVES = ("image_concepts", "text_concepts", "concept_scale", "concept_bias")


def main(rank, size, folder):
    torch.set_num_threads(1)
    stored = load_file(folder / "inputs.safetensors")
    mine = {name.removeprefix(f"{rank}/"): one for name, one in stored.items() if name.startswith(f"{rank}/")}
    kinds = [name.removeprefix("spans/") for name in mine if name.startswith("spans/")]
    results = {}
    with file_process_group(rank, size, folder / "rendezvous"):
        for job in itertools.product(sorted(kinds), ("max", "lse"), ("bidir", "shift", "reduce", "gather")):
            kind, reduction, exchange = job
            leaves = {name: mine[name].clone().requires_grad_() for name in LEAVES}
            options = {"reduction": reduction, "exchange": exchange}
            outputs = Outputs(
                {"image": mine["emb_image"], "text": mine["emb_text"]},
                mine["scale"],
                mine["bias"],
                extras=leaves,
            )
            batch = Batch({}, extras={"concept_spans": mine[f"spans/{kind}"]})
            loss = build_objective("pc_align", options, domain="medical")(outputs, batch)["loss"]
            loss.backward()
            results["/".join((*job, "loss"))] = loss.detach()
            for name in ("image_concepts", "text_concepts"):
                results["/".join((*job, name))] = leaves[name].grad.clone()
    save_file(results, folder / f"rank{rank}.safetensors")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
