"""A torchaudio that refuses the installed torch is told with the versions that fit."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib import metadata

import pytest
import torch
from verticlip.core import torchaudio_fit
from verticlip.core.errors import DependencyError


@pytest.fixture
def installed(monkeypatch):
    """Pretend versions: (torchaudio or None, torch, CUDA of torch)."""

    def pretend(own: str | None, other: str, cuda: str | None) -> None:
        def version(name: str) -> str:
            assert name == "torchaudio"
            if own is None:
                raise metadata.PackageNotFoundError
            return own

        monkeypatch.setattr(torchaudio_fit.metadata, "version", version)
        monkeypatch.setattr(torch, "__version__", other)
        monkeypatch.setattr(torch.version, "cuda", cuda)

    return pretend


@pytest.mark.parametrize(
    ("own", "other", "cuda", "fits", "words"),
    [
        ("2.11.0", "2.14.1", "13.0", True, "fits (CUDA 13.0)"),
        ("2.11.0", "2.15.0", "13.2", False, "built for CUDA 13.0 and torch for 13.2"),
        ("2.11.0", "2.15.0+cpu", None, True, "fits"),
        ("2.11.0+cu128", "2.12.0", "12.8", True, "fits"),
        ("2.11.0+cpu", "2.15.0", "13.2", True, "fits"),
        ("2.10.0", "2.10.0", "12.8", True, "fits"),
        ("2.9.1", "2.14.1", "13.0", False, "torchaudio 2.11 fits torch 2.11 to 2.14"),
        ("2.12.0", "2.16.0", "13.2", None, "its own import will tell"),
        (None, "2.14.1", "13.0", None, "absent, and not needed"),
    ],
)
def test_fit(installed, own, other, cuda, fits, words) -> None:
    installed(own, other, cuda)
    found = torchaudio_fit.torchaudio_fit()
    assert found[0] is fits
    assert words in found[1]


def test_its_runtime_error_becomes_a_dependency_error(installed, monkeypatch) -> None:
    installed("2.11.0", "2.15.0", "13.2")

    def broken(name: str):
        raise RuntimeError("PyTorch has CUDA version 13.2 whereas TorchAudio has CUDA version 13.0")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(
        DependencyError, match=r"torchaudio 2.11.0 beside torch 2.15.0: does not fit.*torch 2.11 to 2.14"
    ):
        torchaudio_fit.require_torchaudio()


def test_absent(monkeypatch) -> None:
    def absent(name: str):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(DependencyError, match="not installed. Run: pip install torchaudio"):
        torchaudio_fit.require_torchaudio()


WITHOUT = """
import sys

class Broken:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torchaudio", "torchcodec", "av"):
            raise RuntimeError(f"{name}: built for another CUDA")

sys.meta_path.insert(0, Broken())
import io
from verticlip.domains.audio.loaders import dataset, folders, frames, stream, video
from verticlip.domains.audio.loaders.audio import read_audio
print(read_audio({"array": [0.5] * 9, "sampling_rate": 16_000}, rate=8000).shape)
"""


def test_the_loaders_work_with_all_three_broken() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False)
    assert done.stdout == "torch.Size([1, 5])\n", done.stderr
