"""The catalogue: rows from the registry, figures from the records, the README, the golden cases it names."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from math import prod
from pathlib import Path

import pytest
from verticlip.core import registry
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.registry import Facts, Measured, described
from verticlip.core.tensor_header import read_header
from verticlip.core.verify import replay
from verticlip.hub import catalogue

ROOT = Path(__file__).resolve().parents[2]
MODELS = registry.models()
PACKAGED = [name for name, spec in MODELS.items() if catalogue.packaged_folder(spec)]
CASES = sorted({case for spec in MODELS.values() for case in spec.parity})
TASKS = {
    "zero-shot classification", "retrieval", "queries", "phrase grounding", "progression", "masked words",
    "concept annotation", "sound tagging", "separation", "generation", "waveforms from mel spectrograms",
    "image embeddings from text", "maps and indicators", "captioning", "product search", "duplicates",
    "presentation attack detection",
}  # fmt: skip
CLAIMED = {
    "unimed_clip/tiny_l14": r"(image|text)_features$",
    "biovil/phrase_grounding": r"heatmap",
    "biovil/text_encoder": r".",
    "clipsep/inference": r".",
    "clipsonic/bigvgan": r"generated",
    "clipsonic/diffusion_prior": r"pred",
    "clipc8/flip_mcl": r".",
    "clipc8/flip_it": r".",
    "urbanclip/coca_loss_a": r"loss",
}
"""{golden case: outputs that the registry says "within X" of}."""


def claims() -> list[tuple[str, float]]:
    """Return (golden case, largest difference that the registry states), each once."""
    found = set()
    for spec in MODELS.values():
        for one in spec.measured:
            case = one.command.partition("tests/golden/")[2]
            within = re.search(r"within (\d[\d.]*e-\d+)", one.value)
            if case and within:
                found.add((case, float(within[1])))
    return sorted(found)


def test_readme_and_registry_are_equal() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    wanted = catalogue.between_markers(text, catalogue.as_markdown(catalogue.rows()), source="README.md")
    assert text == wanted, f"The README differs from the registry; run: {catalogue.COMMAND}"


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_says_what_it_is(name: str) -> None:
    spec, row = MODELS[name], catalogue.row_of(MODELS[name])
    assert row.tasks
    assert set(row.tasks) <= TASKS
    assert bool(row.source) != (row.system == "verticlip")
    assert not row.source or re.fullmatch(
        r"https://(github\.com|huggingface\.co)/[\w.-]+/[\w.-]+", row.source
    )
    assert row.measured, "nothing says how good it is"
    for figure in row.measured:
        assert bool(figure.command) != bool(figure.source), "a figure is measured by a command or published"
        assert "{" not in figure.value
    assert spec.parity or any("within" in figure.value for figure in row.measured)


@pytest.mark.parametrize("name", PACKAGED)
def test_figures_of_packaged_models_are_read_not_repeated(name: str) -> None:
    for one in MODELS[name].measured:
        words = re.sub(r"\{[^{}]*\}", "", one.value)
        assert not re.search(r"\d[.,]\d|\d %", words), (
            f"a figure of {name} is typed into the registry: {words}"
        )


@pytest.mark.parametrize("name", PACKAGED)
def test_sizes_of_packaged_models_are_those_of_their_files(name: str) -> None:
    folder = catalogue.packaged_folder(MODELS[name])
    assert folder is not None
    row = catalogue.row_of(MODELS[name])
    tensors = read_header(folder / "model.safetensors").tensors.values()
    numbers = sum(prod(shape) for _, shape in tensors)
    # Running averages of batch norms are in the file and are no parameters.
    assert row.parameters is not None
    assert 0.95 * numbers < row.parameters <= numbers
    assert row.file_size == f"{(folder / 'model.safetensors').stat().st_size / 1e6:.1f} MB"


def test_sizes_agree_with_what_summaries_say() -> None:
    stated = {name: re.search(r"(\d+(\.\d)?) M\b", spec.summary) for name, spec in MODELS.items()}
    assert sum(map(bool, stated.values())) > 30
    for name, found in stated.items():
        parameters = MODELS[name].parameters
        assert found is None or parameters is not None, name
        if found is not None and parameters is not None:
            assert f"{parameters / 1e6:.{1 if found[2] else 0}f}" == found[1], name


def test_figures_are_printed_as_recorded() -> None:
    folder = catalogue.packaged_folder(MODELS["medical/tiny"])
    assert folder is not None
    accuracy = json.loads((folder / "metrics.json").read_text())["validation"]["sources"]["brain_mri"][
        "accuracy"
    ]
    low, high = accuracy["low"], accuracy["high"]
    value = catalogue.row_of(MODELS["medical/tiny"]).measured[0].value
    assert f"brain MRI, 4 classes: accuracy {accuracy['value']:.3f} ({low:.3f} to {high:.3f});" in value
    shares = catalogue.row_of(MODELS["liveness/tiny"]).measured[0].value
    assert re.search(r"max APCER \d+\.\d % \(\d+\.\d to \d+\.\d\), document", shares)
    assert re.search(
        r"SI-SDR \+\d\.\d\d \(\d\.\d\d to \d\.\d\d\) dB",
        catalogue.row_of(MODELS["audio/tiny-sep"]).measured[0].value,
    )


def test_a_figure_without_a_record_is_refused() -> None:
    spec = replace(MODELS["medical/tiny"], measured=(Measured("{validation/scores:.3f}", "verticlip"),))
    with pytest.raises(ConfigError, match="medical/tiny: its records have no 'validation/scores'; 'scores'"):
        catalogue.row_of(spec)


def test_facts_and_models_of_a_room_go_together() -> None:
    spec = MODELS["medical/tiny"]
    assert described([spec], {spec.name: Facts(("retrieval",))})[0].tasks == ("retrieval",)
    with pytest.raises(ConfigError, match="differ by: medical/tinny, medical/tiny"):
        described([spec], {"medical/tinny": Facts(())})


@pytest.mark.parametrize("case", CASES)
def test_golden_cases_of_the_catalogue_pass(case: str, small_golden: Path) -> None:
    report = replay(case.partition("/")[0], small_golden / case)
    assert report.passed, [check for check in report.checks if check.status not in ("ok", "documented")]


@pytest.mark.parametrize(("case", "stated"), claims())
def test_outputs_are_as_close_as_the_registry_says(case: str, stated: float, small_golden: Path) -> None:
    report = replay(case.partition("/")[0], small_golden / case)
    errors = [check.error or 0.0 for check in report.checks if re.search(CLAIMED[case], check.name)]
    # Other processors add in another order.
    assert errors
    assert max(errors) <= 4 * stated


def test_conceptclip_stays_far_within_its_tolerances(small_golden: Path) -> None:
    (value,) = [
        one.value for one in MODELS["medical/conceptclip"].measured if "% of its tolerance" in one.value
    ]
    share = float(re.findall(r"within (\d+) %", value)[0]) / 100
    checks = replay("conceptclip", small_golden / "conceptclip" / "tiny_b").checks
    assert max((check.error or 0) / check.tolerance for check in checks if check.tolerance) <= 4 * share


def test_commands_name_what_is_there() -> None:
    for name, spec in MODELS.items():
        for one in spec.measured:
            for word in one.command.split():
                assert not word.startswith("tests/") or (ROOT / word).exists(), f"{name}: {one.command}"
            recipe = re.match(r"verticlip train run (\S+)", one.command)
            assert not recipe or recipe[1] in registry.recipes()


def test_filters_choose_and_name_what_exists() -> None:
    names = [row.name for row in catalogue.rows(domain="urban", task="captioning")]
    assert names
    assert all(name.startswith("urban/coca-") for name in names)
    assert {row.licence for row in catalogue.rows(licence="cc-by-nc")} == {"CC-BY-NC-4.0"}
    assert all("audio" in row.modalities for row in catalogue.rows(modality="audio"))
    with pytest.raises(ConfigError, match="No model has the task 'captionin'.*Did you mean 'captioning'"):
        catalogue.rows(task="captionin")
    with pytest.raises(ConfigError, match="No model is under a licence 'GPL'; there are: Apache-2.0, "):
        catalogue.rows(licence="GPL")


def test_markdown_has_a_line_for_every_model_and_figure() -> None:
    text = catalogue.as_markdown(catalogue.rows())
    lines = text.splitlines()
    for name in MODELS:
        assert sum(line.startswith(f"| `{name}` |") for line in lines) == 1
        for figure in catalogue.row_of(MODELS[name]).measured:
            assert any(line.startswith(f"| {figure.value} |") and f"`{name}`" in line for line in lines)
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({line.count(" | ") for line in block.strip().splitlines()}) == 1


def test_bars_and_line_breaks_do_not_break_the_table() -> None:
    row = replace(catalogue.row_of(MODELS["medical/tiny"]), summary="a | b\n| c |")
    line = next(line for line in catalogue.as_markdown([row]).splitlines() if "`medical/tiny` |" in line)
    assert r"| a \| b \| c \| |" in line


def test_csv_reads_back() -> None:
    found = list(csv.DictReader(io.StringIO(catalogue.as_csv(catalogue.rows()))))
    assert [one["name"] for one in found] == list(MODELS)
    assert found[0]["modalities"] == "image; text"
    assert found[0]["commands"].startswith("verticlip train run medical/tiny")


def test_only_the_part_between_the_markers_is_written(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    begin, end = catalogue.begin_line(), catalogue.END
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    assert catalogue.write_between_markers(page, "new\n")
    assert page.read_text() == f"before\n{begin}\n\nnew\n\n{end}\nafter\n"
    assert not catalogue.write_between_markers(page, "new\n")
    for bad in ("nothing", f"{end}\n{begin}", f"{begin}\n{begin}\n{end}"):
        page.write_text(bad)
        with pytest.raises(InputError, match="have to be there once each, in this order"):
            catalogue.write_between_markers(page, "new\n")
        assert page.read_text() == bad
    with pytest.raises(InputError, match="no such file"):
        catalogue.write_between_markers(tmp_path / "none.md", "new\n")
