"""Replay of the stored UrbanCLIP cases of the indicators: the regressor, the table and its coordinates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ....core.files import read_json
from .metrics import reference_metrics
from .mlp import IndicatorMLP, make_optimizer, training_step
from .preparation import prepare_urbanclip
from .transforms import TargetTransform

Config = Mapping[str, Any]
Tensors = Mapping[str, Tensor]


def replay_mlp_probe(config: Config, inputs: Tensors, case_dir: Path) -> dict[str, Any]:
    """Replay the frozen encoder, the regressor on its unit embeddings, and one step of the regressor."""
    from safetensors.torch import load_file

    from ..coca.goldens import load_coca_from_golden

    weights = load_file(case_dir / "weights.safetensors")
    arguments = {**read_json(case_dir / "config.json"), "case": config["case"]}
    backbone = load_coca_from_golden(arguments, weights)
    probe, run = config["probe"], config["run"]
    network = IndicatorMLP(probe["in_dim"], probe["project_dim"], probe["dropout"])
    network.load_state_dict({name: weights[name] for name in network.state_dict()})
    train = slice(0, run["n_train"])
    judged = slice(run["n_train"], run["n_train"] + run["n_val"])
    transform = TargetTransform.fit(inputs["target_raw"][train].numpy(), "standardize")
    targets = torch.from_numpy(transform.forward(inputs["target_raw"].numpy())).float()
    with torch.no_grad():
        features = backbone.encode("image", {"pixels": inputs["images"]}, normalize=True)
        predictions = network.eval()(features)
        got: dict[str, Any] = {
            "image_features": features,
            "project": network.project(features),
            "predictions": predictions,
            "predictions_destandardized": torch.from_numpy(transform.inverse(predictions.numpy())),
            "target_mean": torch.tensor(transform.mean, dtype=torch.float64),
            "target_std": torch.tensor(transform.deviation, dtype=torch.float64),
            "targets_standardized": targets,
            "train_mse": F.mse_loss(predictions[train], targets[train]),
        }
    got |= _metrics("val_metrics", targets[judged], predictions[judged])
    optimizer = make_optimizer(network, run["lr"], run["weight_decay"])
    training_step(network.train(), optimizer, features[train], targets[train])
    with torch.no_grad():
        after = network.eval()(features[judged])
    got |= _metrics("val_metrics_after_step", targets[judged], after)
    got |= {f"after_step.{name}": value.detach() for name, value in network.state_dict().items()}
    return got | _metrics("fixed_metrics", inputs["fixed_y_true"], inputs["fixed_y_pred"])


def replay_indicator_table(config: Config, inputs: Tensors, case_dir: Path) -> dict[str, Any]:
    """Replay the preparation of an indicator table and the conversions of its coordinates."""
    from ..geometry.baidu import tile_corner
    from ..geometry.china import gcj02_to_bd09

    columns = {name: inputs[f"raw.{name}"].numpy() for name in config["columns"]}
    split = config["split"]
    prepared = prepare_urbanclip(
        columns, train_ratio=split["train_ratio"], random_state=split["random_state"]
    )
    got: dict[str, Any] = {
        "kept_rows": prepared.kept_rows,
        "train_rows": prepared.train_rows,
        "test_rows": prepared.test_rows,
    }
    for name in columns:
        got[f"log.{name}"] = prepared.log[name]
        got[f"refined.{name}"] = prepared.refined[name]
        got[f"z.{name}"] = prepared.z[name]
        # The case stores means through a float32 number, deviations and z values do not pass through it.
        got[f"train80_mean.{name}"] = np.float64(np.float32(prepared.mean[name]))
        got[f"train80_std.{name}"] = np.float64(prepared.deviation[name])
    got["bd_lon"], got["bd_lat"] = gcj02_to_bd09(inputs["gcj_lon"].numpy(), inputs["gcj_lat"].numpy())
    for name, xy in inputs.items():
        if name.startswith("bd_tile_xy_z"):
            zoom = int(name.removeprefix("bd_tile_xy_z"))
            lon, lat = tile_corner(xy[:, 0].numpy(), xy[:, 1].numpy(), zoom)
            got["bd_tile_latlon_lower_left"] = np.stack([lat, lon], axis=1)
    return {name: torch.as_tensor(value) for name, value in got.items()}


def tolerance(case: str, name: str, expected: Tensor) -> float:
    """Return the largest absolute error of an output, as the README of each case says."""
    largest = float(expected.double().abs().max()) if expected.numel() else 0.0
    if case == "indicator_table":
        return 0.0 if name.endswith("_rows") else 1e-9 * max(largest, 1e-300)
    if "metrics" in name or name == "train_mse":
        return 1e-5 * largest
    return 1e-6 if name.startswith("after_step.") else 1e-5


def _metrics(prefix: str, targets: Tensor, predictions: Tensor) -> dict[str, Tensor]:
    found = reference_metrics(targets.numpy(), predictions.detach().numpy())
    return {f"{prefix}.{name}": torch.tensor(value, dtype=torch.float64) for name, value in found.items()}


CASES = {"mlp_probe": replay_mlp_probe, "indicator_table": replay_indicator_table}
