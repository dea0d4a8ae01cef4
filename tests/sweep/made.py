"""From a specimen to a model folder and what loading makes of it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import verticlip
from sweep.specimens.by_room import specimens_of
from sweep.specimens.specimen import Specimen
from torch import Tensor
from verticlip.core import registry
from verticlip.core.files import read_json
from verticlip.core.registry import ModelSpec, WeightsRef
from verticlip.hub.conversions import convert_files
from verticlip.hub.probe_samples import choose_texts, draw_inputs
from verticlip.hub.stored_probe import StoredProbe, write_probe


@dataclass
class Made:
    """One model of the sweep.

    Attributes:
        spec: what the registry says. specimen: what stands for it.
        folder: its model folder, ours to change.
        model: loaded from there.
        report: of the conversion, {part: what became of its tensors}; empty for a packaged model.
    """

    spec: ModelSpec
    specimen: Specimen
    folder: Path
    model: verticlip.Model
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def dimension(self) -> int:
        """Width of its joint space."""
        return self.specimen.dimension or self.spec.embed_dim

    @property
    def has_joint_space(self) -> bool:
        """Whether it embeds at all; a language model and the parts of other models do not."""
        config = self.model.config
        return bool(config.towers) and config.options.get("joint_space", True)

    @cached_property
    def probe(self) -> StoredProbe:
        """Its stored probe, written into the folder at first use; a packaged model has one already."""
        return write_probe(self.folder)

    @property
    def items(self) -> dict[str, list[Any]]:
        """Two inputs of every modality that it takes."""
        given: dict[str, Tensor] = draw_inputs(self.model.processor, 0)
        found: dict[str, list[Any]] = {}
        if "images" in given:
            found["image"] = [picture.numpy() for picture in given["images"]]
        if "waves" in given:
            found["audio"] = list(given["waves"])
        texts = choose_texts(self.model.processor, self.model.prompts)[:2]
        return {**found, "text": list(texts)} if texts else found


def make(name: str, folder: Path) -> Made:
    """Return a registered model at reduced size, its files below ``folder``."""
    spec, home = registry.model_spec(name), folder / "model"
    specimen = specimens_of(spec.domain)[name]
    if specimen.make is None:
        assert isinstance(spec.weights, WeightsRef), f"{name} is not part of the package: say how to make it"
        assert spec.weights.packaged, name
        shutil.copytree(registry.room(spec.domain).folder / spec.weights.packaged, home)
    else:
        files = folder / "published"
        files.mkdir()
        sizes = dict(specimen.sizes) or None
        convert_files(spec, specimen.make(spec, files), home, any_file=True, options=sizes)
        shutil.rmtree(files)
    source = name if specimen.make is None else home
    model = verticlip.from_pretrained(source, device="cpu")
    stored = home / "conversion.json"
    return Made(spec, specimen, home, model, read_json(stored).get("report", {}) if stored.is_file() else {})


def write_sample(path: Path) -> None:
    """Write a small picture or a recording of a second, as the ending of the name says."""
    noise = np.random.default_rng(0)
    if path.suffix == ".wav":
        import soundfile

        soundfile.write(path, noise.normal(0, 0.1, 16_000), 16_000)
    else:
        from PIL import Image

        Image.fromarray(noise.integers(0, 256, (72, 64, 3), dtype=np.uint8)).save(path)
