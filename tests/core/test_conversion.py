"""Reading checkpoints safely, renaming, reporting, writing, and BERT's tokenizer."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from verticlip.core.conversion import (
    build_empty,
    count_blocks,
    dimension,
    read_checkpoint,
    refuse_incomplete,
    rename_state,
    wordpiece_tokenizer,
    write_state,
)
from verticlip.core.errors import ConfigError, InputError, WeightsError

PIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "a",
    "b",
    "c",
    "e",
    "l",
    "u",
    "n",
    "g",
    "##s",
    "##g",
    "##u",
    "##n",
    "the",
    "lung",
    "x",
    "ray",
    "-",
    ".",
    ",",
    "'",
    "2",
    "##2",
]


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("/tmp/verticlip-hostile",)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "model.pt"
    torch.save({"state_dict": {"a": torch.zeros(1)}, "extra": Hostile()}, path,
               _use_new_zipfile_serialization=zipped)  # fmt: skip
    with pytest.raises(WeightsError, match=r"model.pt: not a checkpoint that can be read without running"):
        read_checkpoint(path)
    assert not Path("/tmp/verticlip-hostile").exists()


class Runs:
    def __reduce__(self):
        return subprocess.check_call, (["touch", "/tmp/verticlip-hostile"],)


class Scheduler:
    def __init__(self) -> None:
        self.rate = 0.1


def test_objects_beside_the_weights_are_read_past_and_never_run(tmp_path: Path) -> None:
    path = tmp_path / "trainer.pt"
    averaged, last = {"a": torch.ones(2)}, {"a": torch.zeros(2)}
    torch.save({"model": last, "ema": averaged, "scheduler": Scheduler(), "extra": Runs()}, path)
    entries = ("ema", "model")
    with pytest.raises(WeightsError, match="can be read without running its code"):
        read_checkpoint(path, entries=entries)
    assert torch.equal(read_checkpoint(path, entries=entries, skip_objects=True)["a"], averaged["a"])
    assert torch.equal(read_checkpoint(path, entries=("model",), skip_objects=True)["a"], last["a"])
    assert not Path("/tmp/verticlip-hostile").exists()
    # What torch itself blocks stays refused.
    torch.save({"model": last, "extra": Hostile()}, path)
    with pytest.raises(WeightsError, match="can be read without running its code"):
        read_checkpoint(path, entries=entries, skip_objects=True)
    assert not Path("/tmp/verticlip-hostile").exists()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"a": 3}, "'a' is int, not a tensor"),
        ([torch.zeros(1)], "holds list, not a state dict"),
        ({}, "holds dict, not a state dict"),
        ({"state_dict": {"a": torch.zeros(1), "b": "text"}}, "'b' is str, not a tensor"),
    ],
)
def test_pickles_that_are_no_state_dict(tmp_path: Path, content, match: str) -> None:
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(WeightsError, match=match):
        read_checkpoint(tmp_path / "model.pt")


def test_missing_empty_and_cut_files(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file. Give the checkpoint"):
        read_checkpoint(tmp_path / "gone.pt")
    (tmp_path / "empty.pt").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"empty.pt: not a checkpoint"):
        read_checkpoint(tmp_path / "empty.pt")
    torch.save({"a": torch.zeros(1000)}, tmp_path / "cut.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "cut.pt").read_bytes()[:2000])
    with pytest.raises(WeightsError, match=r"cut.pt: not a checkpoint"):
        read_checkpoint(tmp_path / "cut.pt")


def test_renaming_reports_every_tensor() -> None:
    state = {name: torch.zeros(1) for name in ("v.a", "v.old", "t.a", "stray")}

    def rename(name: str):
        part, _, rest = name.partition(".")
        if rest == "old":
            return part, None
        return (part, f"{part}/{rest}") if rest else None

    renamed, report = rename_state(state, rename, ["v/a", "v/b"], lambda ours: ours[0])
    assert set(renamed) == {"v/a"}
    assert report.towers["v"].loaded == 1
    assert report.towers["v"].missing == ("v/b",)
    assert report.towers["v"].dropped == ("v.old",)
    assert report.towers["t"].unexpected == ("t.a",)
    assert report.towers["other"].unexpected == ("stray",)
    assert not report.complete
    match = r"x.pt is not a whole checkpoint of S: .*v: 1 missing \(v/b\).*t: 1 unexpected \(t.a\)"
    with pytest.raises(WeightsError, match=match):
        refuse_incomplete(report, source="x.pt", system="S")


def test_states_are_written_unchanged_even_when_tensors_share_memory(tmp_path: Path) -> None:
    tied = torch.arange(6.0).view(2, 3)
    state = {"a": tied, "b": tied, "c": tied.T, "d": torch.ones(2, dtype=torch.float16), "e": torch.tensor(3)}
    write_state(state, tmp_path / "m.safetensors")
    stored = load_file(tmp_path / "m.safetensors")
    assert all(torch.equal(stored[name], value) and stored[name].dtype == value.dtype
               for name, value in state.items())  # fmt: skip
    with pytest.raises(WeightsError, match="Tensor 'x' has NaN or infinite values; nothing was written"):
        write_state({"x": torch.tensor([float("inf")])}, tmp_path / "bad.safetensors")
    assert not (tmp_path / "bad.safetensors").exists()


def test_a_mapped_checkpoint_is_written_without_a_copy(tmp_path: Path) -> None:
    state = {"a": torch.randn(100, 3), "b": torch.randn(7)}
    torch.save({"state_dict": state}, tmp_path / "model.pt")
    write_state(read_checkpoint(tmp_path / "model.pt"), tmp_path / "m.safetensors")
    stored = load_file(tmp_path / "m.safetensors")
    assert all(torch.equal(stored[name], value) for name, value in state.items())


def test_sizes_from_shapes() -> None:
    state = {"w": torch.zeros(3, 4), "layers.0.a": torch.zeros(1), "layers.2.a": torch.zeros(1)}
    assert dimension(state, "w", 1, source="x") == 4
    for name, axis in (("w", 2), ("v", 0)):
        with pytest.raises(WeightsError, match=f"x: has no tensor '{name}' of that kind"):
            dimension(state, name, axis, source="x")
    with pytest.raises(ConfigError, match=r"numbered \[0, 2\]: some are missing"):
        count_blocks(state, "layers.")
    assert count_blocks(state, "other.") == 0


def test_building_empty_uses_no_random_numbers(model_folder: Path) -> None:
    from verticlip.core.config import ModelConfig, read_config

    before = torch.random.get_rng_state()
    network = build_empty(read_config(ModelConfig, model_folder / "config.json"))
    assert all(parameter.is_meta for parameter in network.parameters())
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(PIECES) + "\n")
    return path


TEXTS = [
    "The LUNG",
    "lungs, x-ray.",
    "a  b\tc",
    "élan lung",
    "unknownword lung",
    "\u80ba lung \u80ba",
    "[MASK] lung [SEP] a",
    "22 2",
    "it's",
    "",
    "x" * 120,
    "a\u200bb \x00c",
]


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("text", TEXTS)
def test_tokens_are_those_of_the_transformers_library(vocabulary: Path, text: str, lowercase: bool) -> None:
    from tokenizers import Tokenizer
    from transformers import BertTokenizer

    reference = BertTokenizer(vocab=str(vocabulary), do_lower_case=lowercase)
    ours = Tokenizer.from_str(wordpiece_tokenizer(vocabulary, lowercase=lowercase))
    assert ours.encode(text).ids == reference(text)["input_ids"]


def test_files_that_are_no_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"v.txt: not a vocabulary file \(UnicodeDecodeError\)"):
        wordpiece_tokenizer(tmp_path / "v.txt")
    (tmp_path / "v.txt").write_text("[PAD]\na\n")
    with pytest.raises(InputError, match="not a BERT vocabulary"):
        wordpiece_tokenizer(tmp_path / "v.txt")
    with pytest.raises(InputError, match="not a vocabulary file"):
        wordpiece_tokenizer(tmp_path / "gone.txt")


def test_windows_line_ends_change_nothing(vocabulary: Path, tmp_path: Path) -> None:
    (tmp_path / "w.txt").write_bytes("\r\n".join(PIECES).encode())
    assert wordpiece_tokenizer(tmp_path / "w.txt") == wordpiece_tokenizer(vocabulary)


def test_safetensors_are_read_by_content_not_by_name(tmp_path: Path) -> None:
    save_file({"module.a": torch.ones(1)}, tmp_path / "model.bin")
    assert set(read_checkpoint(tmp_path / "model.bin")) == {"a"}
