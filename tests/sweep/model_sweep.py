"""What is asked of every registered model; a file for each room says ``class TestModels(ModelSweep)``."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest
import torch
import verticlip
from sweep.kinds import KINDS
from sweep.made import Made, write_sample
from verticlip.core.config import ModelConfig, read_config
from verticlip.core.errors import InputError
from verticlip.core.files import CONFIG_FILE
from verticlip.hub.card import render_card, write_card
from verticlip.hub.catalogue import row_of
from verticlip.hub.checks import check_folder
from verticlip.hub.export import exportable
from verticlip.hub.stored_probe import make_probe, read_probe, replay_probe

_CHANGED = 5
"""Tensors of each model that are changed one after the other, always the same ones."""


class ModelSweep:
    """One test of each kind for each model of a room, in this order."""

    def test_it_is_what_the_registry_says(self, made: Made) -> None:
        spec, config = made.spec, made.model.config
        assert (config.name, config.domain, config.licence) == (spec.name, spec.domain, spec.licence)
        assert config.embed_dim == made.dimension
        if config.towers:
            assert set(config.towers) == set(spec.modalities)
        if made.specimen.make is None:
            scale = made.model.network.logit_scale.numel()
            count = sum(one.numel() for one in made.model.network.parameters())
            # Weights of others have no scale of ours.
            assert row_of(spec).parameters in (count, count - scale)
        for part, became in made.report.items():
            assert (became["missing"], became["unexpected"]) == ([], []), part

    def test_it_answers_for_every_modality(self, made: Made) -> None:
        if not made.has_joint_space:
            modality = next(iter(made.model.network.modalities), None)
            with pytest.raises(InputError, match="embeds nothing|masked words only"):
                made.model.embed(["a photo"], modality=modality)
            return
        assert set(made.items) >= set(made.spec.modalities)
        for modality in made.spec.modalities:
            found = made.model.embed(made.items[modality], modality=modality)  # pyright: ignore
            assert found.vectors.shape == (2, made.dimension)
            assert found.vectors.dtype == torch.float32
            assert torch.allclose(found.vectors.norm(dim=1), torch.ones(2), atol=1e-5)
            assert float((found.vectors[0] - found.vectors[1]).abs().max()) > 1e-5, modality

    def test_it_comes_back_to_the_bit(self, made: Made, tmp_path: Path) -> None:
        model = made.model
        again = verticlip.from_pretrained(model.save(tmp_path / "again"), device="cpu")
        assert again.config == model.config
        assert again.prompts == model.prompts
        assert again.processor.fingerprint == model.processor.fingerprint
        mine, theirs = model.network.state_dict(), again.network.state_dict()
        assert mine.keys() == theirs.keys()
        for name, tensor in mine.items():
            assert tensor.dtype == theirs[name].dtype
            assert torch.equal(tensor, theirs[name]), name
        # Whatever it answers: embeddings of its towers, masks, waves, logits. The first file may have a longer
        # header, so that its tensors begin elsewhere in memory and sums are made in another order; a probe
        # allows for that, and what was saved is compared with itself.
        once_more = verticlip.from_pretrained(tmp_path / "again", device="cpu")
        before, after = make_probe(again), make_probe(once_more)
        assert before.outputs.keys() == after.outputs.keys() != set()
        for name, tensor in before.outputs.items():
            assert torch.equal(tensor, after.outputs[name]), name

    def test_a_changed_weight_shows_in_its_probe(self, made: Made) -> None:
        kept = read_probe(made.folder).record if made.specimen.make is None else None
        model, probe = made.model, made.probe
        assert kept in (None, probe.record), "the probe in the package is not of its files: write it again"
        assert replay_probe(model, probe).passed
        state = model.network.state_dict()
        names = sorted(name for name, one in state.items() if one.is_floating_point() and one.ndim > 1)
        for name in Random(made.spec.name).sample(names, min(_CHANGED, len(names))):
            right = state[name].clone()
            with torch.no_grad():
                noise = torch.randn(right.shape, generator=torch.Generator().manual_seed(0))
                # Networks with made-up weights pass less on than trained ones.
                state[name].add_(0.5 * right.std() * noise)
            try:
                assert not replay_probe(model, probe).passed, f"{name} may change unseen"
            finally:
                with torch.no_grad():
                    state[name].copy_(right)

    def test_only_its_terms_keep_it_from_being_published(self, made: Made) -> None:
        assert made.probe.outputs
        write_card(made.folder)
        found = check_folder(made.folder)
        wrong = [one for one in found if one.level == "error"]
        assert {one.code for one in wrong} == expected_errors(made), wrong

    def test_the_example_of_its_card_runs(
        self, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        use = render_card(made.folder).partition("\n## Use\n")[2]
        language, _, code = use.partition("```")[2].partition("```")[0].partition("\n")
        assert made.spec.name in code or "ORG/NAME" in code
        if language == "bash":
            assert code.startswith("verticlip ")
            return
        # The packaged model would be read again, the others are on no Hub.
        monkeypatch.setattr(verticlip, "from_pretrained", lambda _: made.model)
        monkeypatch.chdir(tmp_path)
        for name in re.findall(r'"([\w-]+\.\w+)"', code):
            write_sample(tmp_path / name)
        exec(compile(code, "card", "exec"), {})
        assert capsys.readouterr().out or "print" not in code

    def test_it_says_where_it_can_be_exported(self, made: Made) -> None:
        reasons = exportable(made.model.config, made.model.processor.config)
        assert {name for name, reason in reasons.items() if not reason} == set(
            KINDS[made.specimen.kind].formats
        )
        for reason in reasons.values():
            assert not reason or (reason.endswith((".", ")")) and str(made.folder) not in reason), reason


def expected_errors(made: Made) -> set[str]:
    """Return the codes of what has to keep a model from being published: its terms, and nothing else."""
    licence = read_config(ModelConfig, made.folder / CONFIG_FILE).licence
    gated = getattr(made.spec.weights, "gated", "")
    return {code for code, is_so in (("licence-unknown", licence == "unknown"), ("gated", gated)) if is_so}
