"""Every Python block of the room's README, in order, in one namespace."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import verticlip
from verticlip.core.model import build_model
from verticlip.facade import Model

sys.path.insert(0, str(Path(__file__).parent / "clipsonic"))
import make_sonic

pytest.importorskip("diffusers", reason="the audio extra is not installed")
README = Path(verticlip.__file__).parent / "domains" / "audio" / "README.md"


@pytest.fixture
def small_models(tmp_path: Path) -> dict[str, str]:
    """Return {name: folder} of models with random weights on the towers of audio/tiny-tagger."""
    tagger = verticlip.from_pretrained("audio/tiny-tagger")
    options: dict[str, dict[str, Any]] = {
        "clipsep": {
            "layers": 5, "channels": 4, "ngf": 2, "query_dim": 128, "frames": 32, "normalize_queries": True,
        },
        "clipsonic": make_sonic.options(),
    }  # fmt: skip
    names = {"audio/tiny-sep": "clipsep", "audio/tiny-sonic": "clipsonic"}
    folders = {}
    for name, architecture in names.items():
        torch.manual_seed(0)
        changes = {"name": name, "architecture": architecture, "options": options[architecture]}
        network: Any = build_model(type(tagger.config).model_validate(tagger.config.model_dump() | changes))
        network.load_state_dict(tagger.network.state_dict(), strict=False)
        if architecture == "clipsonic":
            for modality in ("audio", "text"):
                network.bridge.measure(modality, torch.nn.functional.normalize(torch.randn(9, 128), dim=-1))
        model = Model(network.eval(), tagger.processor, prompts=tagger.prompts)
        folders[name] = str(model.save(tmp_path / "models" / architecture))
    return folders


def test_every_block_runs(small_models, sounds, film, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(film, "film.mp4")
    Path("street.flac").write_bytes(sounds.encode(sounds.tone(4.0, 44_100, channels=2), 44_100, "FLAC"))
    Path("street.wav").write_bytes(sounds.encode(sounds.tone(3.0, 22_050, channels=2), 22_050))
    for number, name in enumerate(
        ["yard/a", "yard/b", "yard/c", "classes/dog/1", "classes/dog/2", "classes/rain/1", "classes/rain/2"]
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        tone = sounds.tone(1.0, hz=300.0 + 100 * number, seed=number)
        Path(f"{name}.wav").write_bytes(sounds.encode(tone))
    load = verticlip.from_pretrained
    monkeypatch.setattr(verticlip, "from_pretrained", lambda name: load(small_models.get(name, name)))
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 7
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    for file in ("clip.wav", "rain.wav", "street.csv", "street.png", "clips/clips.csv"):
        assert Path(file).stat().st_size, file
    assert sorted(path.name for path in Path("separated").iterdir()) == [
        "street.dog-barking.wav",
        "street.png",
        "street.residual.wav",
        "street.separation.json",
    ]
    taken = names["taken"]
    whole = verticlip.domains.audio.io.load_audio("street.wav", mono=False).value
    assert torch.allclose(taken.targets.sum(dim=0) + taken.residual, whole, atol=1e-5)
    assert "street.separation.json" in capsys.readouterr().out


def test_every_name_of_the_room_can_be_imported() -> None:
    from verticlip.domains.audio import io, tasks

    for module in (io, tasks):
        for name in module.__all__:
            assert callable(getattr(module, name)) or isinstance(getattr(module, name), float), name
        with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
            _ = module.nothing
