"""``verticlip medical ...`` and the common verbs on every kind of medical file, as a user types them."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from PIL import Image

RAMP = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64)
SERIES = "dicomdirtests/98892001/CT5N"
GAP = "dicomdirtests/77654033/CT2"


def rows(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


def one_error(result: tuple[int, str, str]) -> str:
    """Return the message of a command that failed as a whole."""
    status, out, err = result
    assert (status, out) == (1, ""), err
    assert "Traceback" not in err
    return next(line for line in err.splitlines() if line.startswith("error: "))


@pytest.fixture
def picture(tmp_path) -> Path:
    """A PNG of 40 x 52 pixels with structure."""
    path = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 52), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def nifti(tmp_path) -> Path:
    """A volume of six slices with values of no unit."""
    nibabel = pytest.importorskip("nibabel")
    path = tmp_path / "scan.nii.gz"
    values = np.random.default_rng(0).integers(0, 900, (20, 24, 6)).astype(np.int16)
    nibabel.Nifti1Image(values, np.diag([1.0, 1.0, 3.0, 1.0])).to_filename(path)
    return path


# The group of commands


def test_the_group_lists_its_commands(run) -> None:
    status, out, _ = run("medical", "--help")
    assert status == 0
    for command in ("ground", "annotate", "compare", "volume", "deidentify"):
        assert command in out
    assert "medical" in run("--help")[1]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["medical", "grond"], "No such command 'grond'"),
        (["medical", "ground", "x.png", "--model", "m", "--out", "o"], "Missing option '--phrase'"),
        (["medical", "compare", "x.png", "--model", "m"], "Missing argument 'PREVIOUS'"),
        (["medical", "deidentify", "x.dcm"], "Missing argument 'OUT'"),
        (["medical", "volume", "x", "--model", "m", "--batch-size", "0"], "Invalid value for '--batch-size'"),
    ],
)
def test_wrong_usage_exits_with_two(run, arguments, match: str) -> None:
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert match in err


# deidentify


@pytest.fixture
def study(make, tmp_path) -> Path:
    """A folder named after a patient: two good files, one that may show text, one damaged, one of text."""
    root = tmp_path / "in" / "Zaphodius"
    root.mkdir(parents=True)
    make.image(root / "a.dcm", RAMP)
    make.image(root / "b.dcm", RAMP, SOPInstanceUID="1.2.3.444.555.10", Modality="US")
    (root / "c.dcm").write_bytes(bytes(128) + b"DICM" + b"\2\0\0\0junk")
    (root / "notes.txt").write_text("Zaphodius")
    return root.parent


def test_deidentify_a_tree(run, study: Path, tmp_path, make) -> None:
    status, out, err = run("medical", "deidentify", study, tmp_path / "out")
    assert status == 3
    lines = [line.split("\t") for line in out.splitlines()]
    assert [Path(source).name for source, *_ in lines] == ["a.dcm", "b.dcm"]
    assert all("removed" in treated for *_, treated in lines)
    assert "failed: " in err
    assert "c.dcm" in err
    assert "skipped: " in err
    assert "check 1 of 2: modality US often has text in the pixels" in err
    assert "2 files written, 1 skipped, 1 failed" in err
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    content = (
        b"".join(path.read_bytes() for path in written) + str(written).replace(str(tmp_path), "").encode()
    )
    assert not any(secret.encode() in content for secret in make.SECRETS)


def test_deidentify_as_json(run, study: Path, tmp_path) -> None:
    status, out, _ = run("medical", "deidentify", study, tmp_path / "out", "--json")
    assert status == 3
    found = {Path(row["id"]).name: row for row in rows(out)}
    assert {name: row["status"] for name, row in found.items()} == {
        "a.dcm": "written", "b.dcm": "written", "c.dcm": "failed", "notes.txt": "skipped",
    }  # fmt: skip
    assert Path(found["a.dcm"]["out"]).is_file()
    assert found["b.dcm"]["warnings"] == ["modality US often has text in the pixels"]
    assert found["c.dcm"]["out"] is None
    assert "TransferSyntaxUID" in found["c.dcm"]["reason"]


def test_deidentify_dry_run_writes_nothing(run, study: Path, tmp_path) -> None:
    key = tmp_path / "key"
    status, out, err = run(
        "medical", "deidentify", study, tmp_path / "out", "--dry-run", "--secret-file", key
    )
    assert status == 3
    assert len(out.splitlines()) == 2
    assert "2 files would be written" in err
    assert f"{key} would be made" in err
    assert not (tmp_path / "out").exists()
    assert not key.exists()


def test_deidentify_with_a_key(run, study: Path, tmp_path) -> None:
    key = tmp_path / "keys" / "key"
    first = run("medical", "deidentify", study, tmp_path / "one", "--secret-file", key, "--json")
    assert key.stat().st_mode & 0o077 == 0
    assert f"new key in {key}" in first[2]
    second = run("medical", "deidentify", study, tmp_path / "two", "--secret-file", key, "--json")
    names = [[Path(row["out"]).name for row in rows(out) if row["out"]] for _, out, _ in (first, second)]
    assert names[0] == names[1]
    assert run("medical", "deidentify", study, tmp_path / "one", "--secret-file", key)[0] == 3
    key.chmod(0o644)
    assert "others may read" in run("medical", "deidentify", study, tmp_path / "two", "--secret-file", key)[2]


def test_deidentify_options(run, study: Path, tmp_path) -> None:
    out = tmp_path / "b.dcm"
    arguments = ["--dates", "keep", "--retain", "institution", "--retain", "uids", "--blank", "0,0,10,5"]
    status, _, err = run("medical", "deidentify", study / "Zaphodius" / "a.dcm", out, *arguments)
    assert status == 0
    assert "1 file written" in err
    clean = pydicom.dcmread(out)
    assert (clean.StudyDate, clean.InstitutionName) == ("19710203", "SecretHospital")
    assert clean.SOPInstanceUID == "1.2.3.444.555.9"
    assert clean.pixel_array[:5, :10].max() == 0
    run("medical", "deidentify", study, tmp_path / "kept", "--keep-names")
    assert (tmp_path / "kept" / "Zaphodius" / "a.dcm").is_file()


@pytest.mark.parametrize(
    ("target", "extra", "match"),
    [
        ("in/clean", [], "the target lies in the source folder"),
        ("full", [], "is not empty and holds no export of this program"),
        ("out", ["--dates", "blur"], "dates must be 'remove', 'keep' or 'shift', got 'blur'"),
        ("out", ["--retain", "name"], "retain knows 'patient', 'device', 'institution', 'uids'; got 'name'"),
        ("out", ["--blank", "1,2,3"], "--blank '1,2,3' is not a box x0,y0,x1,y1"),
        ("out", ["--secret-file", "{out}/key"], "lies in OUT and would be handed on with it"),
        ("out", ["--secret-file", "{short}"], "secret needs at least 16 bytes, got 5"),
        ("out", ["--secret-file", "{full}"], "is a folder"),
    ],
)
def test_deidentify_refuses(run, study: Path, tmp_path, target, extra, match: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    (tmp_path / "short").write_text("short")
    names = {name: tmp_path / name for name in ("out", "short", "full")}
    extra = [word.format(**names) for word in extra]
    assert match in one_error(run("medical", "deidentify", study, tmp_path / target, *extra))


def test_deidentify_without_dicom(run, tmp_path, study: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "nothing to copy" in one_error(run("medical", "deidentify", tmp_path / "empty", tmp_path / "o"))
    assert "no such file or folder" in one_error(
        run("medical", "deidentify", tmp_path / "no", tmp_path / "o")
    )
    status, _, err = run("medical", "deidentify", study / "Zaphodius" / "c.dcm", tmp_path / "o")
    assert status == 1
    assert "failed: " in err


# The common verbs on every kind of file


def test_classify_takes_every_kind_of_file(run, wheel_file, picture: Path, nifti: Path) -> None:
    files = [wheel_file("CT_small.dcm"), picture, wheel_file(SERIES), nifti]
    labels = "brain scan,chest X-ray"
    status, out, err = run("classify", *files, "-m", "medical/tiny", "--labels", labels, "--json")
    assert status == 0, err
    answers = rows(out)
    assert [row["id"] for row in answers] == [str(path) for path in files]
    assert answers[2]["meta"]["slices"] == 5
    assert answers[3]["meta"]["axis"] == "axial"
    for row in answers:
        assert sum(row["scores"].values()) == pytest.approx(1, abs=1e-5)


def test_a_volume_is_the_mean_direction_of_its_slices(wheel_file) -> None:
    import verticlip
    from verticlip.core.types import Sample
    from verticlip.domains.medical.io import load_series

    model = verticlip.from_pretrained("medical/tiny")
    volume = load_series(wheel_file(SERIES), window="lung")
    # Rows of this series run to the patient's left and columns to the back, as pictures do.
    samples = [Sample(volume.pixels[:, index], "image") for index in range(5)]
    mean = model.embed(samples).vectors.mean(dim=0)
    found = model.embed(wheel_file(SERIES), modality="image", window="lung").vectors[0]
    torch.testing.assert_close(found, mean / mean.norm(), atol=1e-5, rtol=1e-5)
    three = model.embed(wheel_file(SERIES), modality="image", window="lung", slices=[0, 2, 4])
    assert three.metas[0]["slices"] == 3


def test_classify_names_what_is_wrong_with_a_volume(run, wheel_file, nifti: Path, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut.nii.gz").write_bytes(nifti.read_bytes()[:200])
    mixed = wheel_file("dicomdirtests")
    files = [wheel_file(GAP), mixed, tmp_path / "empty", tmp_path / "cut.nii.gz", nifti]
    status, out, err = run("classify", *files, "-m", "medical/tiny", "--labels", "a scan,a cell", "--json")
    assert status == 3
    reasons = [row.get("error", "") for row in rows(out)]
    assert "apart except between -99.48 and 103.02 mm" in reasons[0]
    assert "different groups of slices" in reasons[1]
    assert "there are no files" in reasons[2]
    assert "damaged or cut short" in reasons[3]
    assert reasons[4] == ""
    assert err.count("\n") >= 4


def test_volumes_have_options_of_their_own(run, nifti: Path) -> None:
    arguments = ["classify", nifti, "-m", "medical/tiny", "--labels", "a scan,a cell", "--json"]
    status, out, _ = run(*arguments, "--load", "axis=sagittal", "--load", "slices=4")
    assert (status, rows(out)[0]["meta"]["slices"]) == (0, 4)
    status, out, err = run(*arguments, "--load", "channels=1")
    assert (status, out) == (1, "")
    assert "error: A volume has no option 'channels'; it has: window, axis" in err


def test_embed_takes_every_kind_of_file(run, wheel_file, picture: Path, nifti: Path, tmp_path) -> None:
    from pyarrow import parquet

    folder = tmp_path / "mixed"
    folder.mkdir()
    for path in (picture, nifti, wheel_file("MR_small.dcm")):
        (folder / path.name).write_bytes(path.read_bytes())
    status, _, err = run(
        "embed", folder, "-m", "medical/tiny", "--out", tmp_path / "v.parquet", "--workers", 2
    )
    assert (status, err) == (0, "")
    ids = parquet.read_table(tmp_path / "v.parquet").column("id").to_pylist()
    assert ids == ["MR_small.dcm", "picture.png", "scan.nii.gz"]
    status, _, _ = run(
        "embed",
        wheel_file(SERIES),
        "-m",
        "medical/tiny",
        "--out",
        tmp_path / "s.parquet",
        "--load",
        "window=lung",
    )
    assert status == 0
    assert parquet.read_table(tmp_path / "s.parquet").num_rows == 5


# ground


def test_ground_writes_maps_and_goes_on_past_bad_files(
    run, wheel_file, picture: Path, conceptclip, tmp_path
) -> None:
    files = [wheel_file("MR_truncated.dcm"), picture, wheel_file("MR_small.dcm")]
    arguments = [
        "medical",
        "ground",
        *files,
        "-m",
        conceptclip,
        "--phrase",
        "nodule",
        "--phrase",
        "left mass",
    ]
    status, out, err = run(*arguments, "--out", tmp_path / "maps")
    assert status == 3, err
    assert "MR_truncated.dcm: 8130 bytes of pixel data, 8192 expected" in err
    assert len(out.splitlines()) == 4
    assert out.splitlines()[0].split("\t")[:2] == [str(picture), "nodule"]
    names = sorted(path.name for path in (tmp_path / "maps").glob("*.png"))
    assert names == [
        "002_01_nodule.png", "002_02_left-mass.png", "003_01_nodule.png", "003_02_left-mass.png",
    ]  # fmt: skip
    assert Image.open(tmp_path / "maps" / names[0]).format == "PNG"
    stored = rows((tmp_path / "maps" / "maps.jsonl").read_text())
    assert [row["phrase"] for row in stored] == ["nodule", "left mass"] * 2
    assert stored[0]["size"] == [40, 52]
    for row in stored:
        for box in row["boxes"]:
            assert 0 <= box["x0"] < box["x1"] <= row["size"][1]
            assert box["mean"] > row["threshold"]
    status, out, _ = run(*arguments, "--out", tmp_path / "again", "--json", "--threshold", "1e9")
    assert status == 3
    assert "error" in rows(out)[0]
    assert [row["boxes"] for row in rows(out)[1:]] == [[]] * 4


def test_ground_maps_are_in_pixels_of_the_file_whatever_the_loader_crops(
    run, picture: Path, biovil: Path, tmp_path
) -> None:
    status, out, err = run(
        "medical", "ground", picture, "-m", biovil, "--phrase", "effusion", "--out", tmp_path / "maps",
        "--load", "box=[4,6,44,36]", "--json",
    )  # fmt: skip
    assert status == 0, err
    (row,) = rows(out)
    assert row["size"] == [40, 52]
    left, top, right, bottom = row["seen"]
    assert 4 <= left < right <= 44
    assert 6 <= top < bottom <= 36


def test_ground_with_the_packaged_model(run, wheel_file, tmp_path) -> None:
    status, out, _ = run(
        "medical", "ground", wheel_file("CT_small.dcm"), "-m", "medical/tiny", "--phrase", "tumor", "--out",
        tmp_path / "maps", "--load", "window=abdomen", "--json",
    )  # fmt: skip
    assert status == 0
    assert rows(out)[0]["size"] == [128, 128]


def test_ground_refuses(run, picture: Path, model_folder: Path, conceptclip, tmp_path) -> None:
    def ground(model, *extra) -> str:
        return one_error(run("medical", "ground", picture, "-m", model, "--out", tmp_path / "maps", *extra))

    assert "cannot ground phrases. Use a model with phrase maps" in ground(model_folder, "--phrase", "cat")
    assert "phrase 0 is ' '; expected words" in ground(conceptclip, "--phrase", " ")
    assert "device 'nonsense' cannot be used" in ground(conceptclip, "--phrase", "x", "--device", "nonsense")
    assert "No model called 'medical/biovill'" in ground("medical/biovill", "--phrase", "x")
    folder = run(
        "medical", "ground", tmp_path, "-m", conceptclip, "--phrase", "x", "--out", tmp_path / "maps"
    )
    assert folder[0] == 1
    assert "is a folder, one file was expected" in folder[2]
    assert "verticlip medical volume" in folder[2]


def test_other_libraries_do_not_quote_the_header(make, wheel_file, tmp_path) -> None:
    # In a process of its own: what the program does to logging and warnings is what is tested.
    make.image(tmp_path / "named.dcm", RAMP)
    named = tmp_path / "named.dcm"
    header = pydicom.dcmread(named)
    header.SpecificCharacterSet = "ISO_IR 192"
    header.save_as(named)
    named.write_bytes(named.read_bytes().replace(b"ISO_IR 192", b"ZAPHOD_192"))
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(wheel_file("MR_small_RLE.dcm").read_bytes()[:-1000])
    command = [sys.executable, "-c", "from verticlip.cli import main; main()", "classify", named, cut]
    command += ["-m", "medical/tiny", "--labels", "a scan,a cell"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert done.stdout.startswith(f"{named}\t")
    assert "ZAPHOD" not in done.stderr
    assert "Traceback" not in done.stderr
    assert all(
        line.startswith((f"{cut}: the pixel data is damaged", "note: No window in the header"))
        for line in done.stderr.splitlines()
    )
    assert str(cut) in done.stderr


def test_one_file_that_may_not_be_read_does_not_stop_the_others(
    run, picture: Path, conceptclip, tmp_path, monkeypatch
) -> None:
    closed = tmp_path / "closed.png"
    closed.write_bytes(picture.read_bytes())
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode, **k: "closed" not in str(path) and access(path, mode, **k)
    )
    arguments = [closed, picture, "-m", conceptclip]
    for command in (
        ["classify", *arguments, "--labels", "a nodule,a mass"],
        ["medical", "ground", *arguments, "--phrase", "nodule", "--out", tmp_path / "maps"],
        ["medical", "annotate", *arguments, "--concepts", "nodule,mass"],
    ):
        status, out, err = run(*command)
        assert (status, len(out.splitlines())) == (3, 1)
        assert "closed.png: may not be read. Ask for read permission" in err


def test_a_full_disk_leaves_no_empty_key(run, study: Path, tmp_path, monkeypatch) -> None:
    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(28, "No space left on device")

    def open_full(descriptor: int, *_: object) -> Full:
        os.close(descriptor)
        return Full()

    monkeypatch.setattr(os, "fdopen", open_full)
    key = tmp_path / "key"
    error = one_error(run("medical", "deidentify", study, tmp_path / "out", "--secret-file", key))
    assert "No space left on device" in error
    assert not key.exists()


def test_a_map_without_contrast_gets_no_box_unless_asked(run, biovil: Path, tmp_path) -> None:
    flat = tmp_path / "flat.png"
    Image.fromarray(np.full((40, 52), 90, np.uint8)).save(flat)
    arguments = ["medical", "ground", flat, "-m", biovil, "--phrase", "effusion", "--json", "--out"]
    status, out, err = run(*arguments, tmp_path / "maps")
    assert status == 0, err
    assert rows(out)[0]["boxes"] == []
    assert "this map does not say where and gets no box" in err
    status, out, err = run(*arguments, tmp_path / "maps", "--threshold", "-1")
    assert (status, len(rows(out)[0]["boxes"])) == (0, 1)
    assert "this map does not say where." in err
    assert "--threshold nan is no number" in one_error(
        run(*arguments[:7], "--out", tmp_path / "maps", "--threshold", "nan")
    )


def test_names_cannot_break_a_line_or_repaint_the_terminal(run, picture: Path, conceptclip, tmp_path) -> None:
    name = tmp_path / "a\nb\tc\x1b[31m\u202egnp.png"
    name.write_bytes(picture.read_bytes())
    bad = name.with_name("x\x1b[2J\n.png")
    bad.write_text("text")
    words = ["-m", conceptclip, "--labels", "a nodule,a mass"]
    for arguments in (
        ["classify", name, bad, *words],
        ["medical", "ground", name, bad, *words[:2], "--phrase", "nodule", "--out", tmp_path / "maps"],
        ["medical", "annotate", name, bad, *words[:2], "--concepts", "nodule,mass"],
    ):
        status, out, err = run(*arguments)
        assert status == 3
        (line,) = out.splitlines()
        assert line.startswith(f"{tmp_path}/a\\nb\\tc\\x1b[31m\\u202egnp.png\t")
        assert f"{tmp_path}/x\\x1b[2J\\n.png: not a DICOM" in err
        assert "\x1b" not in out + err
    status, out, _ = run(*["classify", name, bad, *words], "--json")
    assert [row["id"] for row in rows(out)] == [str(name), str(bad)]


def test_a_phrase_of_600_tokens(run, picture: Path, biovil: Path, conceptclip, tmp_path) -> None:
    phrase = "effusion " * 600
    error = one_error(
        run("medical", "ground", picture, "-m", biovil, "--phrase", phrase, "--out", tmp_path / "maps")
    )
    assert "tokens; this model takes 64" in error
    error = one_error(run("medical", "annotate", picture, "-m", conceptclip, "--concepts", phrase))
    assert "606 tokens; this model takes 77. Shorten it" in error
    assert len(error) < 600


# annotate


@pytest.mark.parametrize("verb", [["annotate", "--concepts"], ["ground", "--phrase"]])
def test_words_are_encoded_once_for_all_files(run, picture, conceptclip, tmp_path, monkeypatch, verb) -> None:
    from verticlip.domains.medical.conceptclip.model import ConceptClip

    calls, run_tower = [], ConceptClip._run

    def counted(network, modality, inputs, **options):
        calls.append(modality)
        return run_tower(network, modality, inputs, **options)

    monkeypatch.setattr(ConceptClip, "_run", counted)
    command, option = verb
    arguments = ["medical", command, *[picture] * 3, "-m", conceptclip, option, "nodule"]
    assert run(*arguments, "--batch-size", "1", "--out", tmp_path / "maps")[0] == 0
    # Annotating encodes the sentences and, for their own space, the words; both once.
    assert calls.count("text") <= 2
    assert calls.count("image") == 3


def test_ground_in_a_sentence(run, picture, conceptclip, tmp_path) -> None:
    arguments = ["medical", "ground", picture, "-m", conceptclip, "--phrase", "nodule", "--json", "--out"]
    (bare,) = rows(run(*arguments, tmp_path / "a")[1])
    (said,) = rows(run(*arguments, tmp_path / "b", "--template", "a medical image showing {}")[1])
    assert (said["phrase"], said["score"] == bare["score"]) == ("nodule", False)
    error = one_error(run(*arguments, tmp_path / "c", "--template", "a lung"))
    assert "template needs exactly one {} where the phrase goes, got 'a lung'" in error


def test_evaluate_a_set_as_conceptclip_does(run, conceptclip, tmp_path) -> None:
    for label in ("Normal", "Pneumonia"):
        folder = tmp_path / "data" / "rsna_pneumonia" / label
        folder.mkdir(parents=True)
        for number in range(2):
            noise = np.random.default_rng(number).integers(0, 255, (40, 40), dtype=np.uint8)
            Image.fromarray(noise).save(folder / f"{number}.png")
    words = tmp_path / "words.yaml"
    words.write_text(
        "name: words\nclasses: {Normal: [clear], Pneumonia: [pneumonia]}\ntemplates: ['lung {}']\n"
    )
    arguments = ["evaluate", "set", "rsna_pneumonia", "--data", tmp_path / "data", "-m", conceptclip]
    arguments += ["--out", tmp_path / "out", "--prompts", words, "--json"]
    status, out, err = run(*arguments, "--local-weight", "0.5", "--topk", "9")
    assert status == 0, err
    (report,) = rows(out)
    assert (report["local_weight"], report["topk"], report["images"]) == ("0.5", "9", 4)
    assert "auc" in report["metrics"]
    assert "--topk says how many patches count" in one_error(run(*arguments, "--topk", "9"))
    assert "leave --ensemble out" in one_error(run(*arguments, "--local-weight", "1", "--ensemble", "raw"))
    assert "local_weight is a share from 0 to 1" in one_error(run(*arguments, "--local-weight", "1.5"))
    other = [*arguments[:6], "medical/tiny", *arguments[7:]]
    assert "scores of patches need 'conceptclip'" in one_error(run(*other, "--local-weight", "0.5"))
    # Shipped sentences are longer than the reduced model reads.
    wide = shutil.copytree(conceptclip, tmp_path / "wide")
    settings = json.loads((wide / "processor.json").read_text())
    settings["text"] |= {"context_length": 77, "overlong": "truncate"}
    (wide / "processor.json").write_text(json.dumps(settings))
    everything = ["evaluate", "all", "--data", tmp_path / "data", "-m", wide, "--out", tmp_path / "all"]
    status, out, err = run(*everything, "--sets", "rsna_pneumonia", "--local-weight", "0.5")
    assert status == 0, err
    header, line, average = (row.split("  ") for row in out.splitlines())
    assert (header[-1], line[0], average[0]) == ("macro_auc", "rsna_pneumonia", "average of 1 sets")


def test_annotate(run, picture: Path, conceptclip, tmp_path, monkeypatch) -> None:
    from verticlip.domains.medical.conceptclip import concepts as module

    # The words of the packaged lists are longer than the reduced model reads.
    few = module.ConceptSet(concepts=("nodule", "mass", "heart"))
    monkeypatch.setattr(module, "concept_set", {"chest-radiology": few}.__getitem__)
    arguments = ["medical", "annotate", picture, tmp_path / "none.png", "-m", conceptclip]
    status, out, err = run(*arguments, "--concepts", "nodule, mass")
    assert status == 3
    assert "none.png: no such file" in err
    (line,) = out.splitlines()
    assert line.startswith(f"{picture}\t")
    status, out, _ = run(
        *arguments, "--concept-list", "chest-radiology", "--json", "--out", tmp_path / "maps"
    )
    assert status == 3
    answer, failure = rows(out)
    assert "error" in failure
    concepts = [one["concept"] for one in answer["concepts"]]
    assert concepts == ["nodule", "mass", "heart"]
    assert len(list((tmp_path / "maps").glob("001_*.png"))) == len(concepts)
    assert [row["phrase"] for row in rows((tmp_path / "maps" / "maps.jsonl").read_text())] == concepts


@pytest.mark.parametrize(
    ("extra", "match"),
    [
        ([], "Give either --concepts 'a,b' or --concept-list NAME"),
        (["--concepts", "a", "--concept-list", "dermoscopy"], "Give either"),
        (["--concept-list", "dermoscpy"], "Did you mean 'dermoscopy'?"),
        (["--concepts", "nodule,,mass"], "Label 1 ('') is empty"),
        (["--concepts", "nodule,nodule"], "read the same"),
        (["--concepts", "nodule", "--load", "window"], "--load 'window' is not KEY=VALUE"),
    ],
)
def test_annotate_refuses(run, picture: Path, conceptclip, extra, match: str) -> None:
    assert match in one_error(run("medical", "annotate", picture, "-m", conceptclip, *extra))


def test_annotate_needs_conceptclip(run, picture: Path) -> None:
    error = one_error(run("medical", "annotate", picture, "-m", "medical/tiny", "--concepts", "nodule"))
    assert "scores of patches need 'conceptclip'" in error


# compare


def test_compare(run, picture: Path, wheel_file, biovil_t: Path, tmp_path) -> None:
    arguments = ["medical", "compare", picture, wheel_file("examples_overlay.dcm"), "-m", biovil_t]
    status, out, err = run(*arguments, "--out", tmp_path / "out", "--findings", "pleural effusion,edema")
    assert status == 0, err
    assert [line.split()[0] for line in out.splitlines()] == ["finding", "pleural", "edema"]
    assert "note: The previous study is of modality MR, not a chest X-ray." in err
    assert Image.open(tmp_path / "out" / "change.png").format == "PNG"
    stored = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert list(stored["findings"]) == ["edema", "pleural effusion"]
    low, high = stored["change"]["value_range"]
    is_flat = stored["change"]["contrast"] < 0.05 * (high - low)
    assert ("this map does not say where" in err) == is_flat
    status, out, _ = run(*arguments, "--phrase", "pleural effusion", "--json")
    assert status == 0
    (answer,) = rows(out)
    assert len(answer["findings"]) == 5
    assert answer["change"]["phrase"] == "change of pleural effusion"
    for chances in answer["findings"].values():
        assert sum(chances.values()) == pytest.approx(1, abs=1e-5)


def test_compare_refuses(run, picture: Path, biovil: Path, biovil_t: Path, tmp_path) -> None:
    def compare(model, previous=picture, *extra) -> str:
        return one_error(run("medical", "compare", picture, previous, "-m", model, *extra))

    assert "takes one image and compares none. Use medical/biovil-t" in compare(biovil)
    assert "is no BioViL" in compare("medical/tiny")
    assert "The previous study cannot be used." in compare(biovil_t, tmp_path / "none.dcm")
    assert "asked for twice" in compare(biovil_t, picture, "--findings", "edema,edema")


# volume


def test_volume(run, wheel_file, nifti: Path, tmp_path) -> None:
    arguments = [
        "medical",
        "volume",
        wheel_file(SERIES),
        "-m",
        "medical/tiny",
        "--labels",
        "brain scan,chest X-ray",
    ]
    status, out, err = run(*arguments, "--window", "lung", "--out", tmp_path / "out")
    assert status == 0, err
    assert out.splitlines()[0].split() == ["label", "score", "best", "slice"]
    assert "5 axial slices" in err
    assert Image.open(tmp_path / "out" / "slices.png").format == "PNG"
    stored = json.loads((tmp_path / "out" / "volume.json").read_text())
    assert len(stored["slices"]) == 5
    status, out, _ = run(
        *arguments[:2], nifti, *arguments[3:], "--aggregate", "mean", "--load", "keep=0", "--json"
    )
    assert status == 0
    assert len(rows(out)[0]["slices"]) == 6
    assert sum(rows(out)[0]["scores"].values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("path", "extra", "match"),
    [
        (GAP, [], "apart except between -99.48 and 103.02 mm"),
        ("dicomdirtests", [], "different groups of slices"),
        ("dicomdirtests", [], "Put the files of one into a folder of its own"),
        ("CT_small.dcm", [], "no two slices are parallel and alike"),
        ("dicomdirtests/README.txt", [], "no file is DICOM. A volume is a folder of DICOM slices"),
        (SERIES, ["--window", "lng"], "Did you mean 'lung'?"),
        (SERIES, ["--axis", "axal"], "Did you mean 'axial'?"),
        (SERIES, ["--aggregate", "median"], "aggregate must be one of"),
        (SERIES, ["--load", "color=3"], "Unknown option 'color'"),
        (SERIES, ["--labels", "one"], "A softmax over one label"),
    ],
)
def test_volume_refuses(run, wheel_file, path, extra, match: str) -> None:
    labels = [] if "--labels" in extra else ["--labels", "brain scan,chest X-ray"]
    assert match in one_error(
        run("medical", "volume", wheel_file(path), "-m", "medical/tiny", *labels, *extra)
    )


def test_volume_with_a_gap_by_choice(run, wheel_file) -> None:
    arguments = [
        "medical",
        "volume",
        wheel_file(GAP),
        "-m",
        "medical/tiny",
        "--labels",
        "brain scan,chest X-ray",
    ]
    status, _, err = run(*arguments, "--load", "on_gap=keep", "--load", "keep=0")
    assert status == 0
    assert "note: 1 gaps kept" in err


def test_a_checkpoint_of_another_system_is_named(run, conceptclip: Path, picture: Path, tmp_path) -> None:
    (tmp_path / "mixed").mkdir()
    for name in ("config.json", "processor.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / "mixed" / name).write_bytes((conceptclip / name).read_bytes())
    config = json.loads((tmp_path / "mixed" / "config.json").read_text())
    config["architecture"] = "biovil"
    (tmp_path / "mixed" / "config.json").write_text(json.dumps(config))
    error = one_error(
        run("medical", "ground", picture, "-m", tmp_path / "mixed", "--phrase", "x", "--out", tmp_path)
    )
    assert "architecture 'biovil' takes" in error or "unknown key" in error


def test_a_gated_checkpoint_without_a_token_says_where_to_ask(
    run, picture: Path, tmp_path, monkeypatch
) -> None:
    from types import SimpleNamespace

    import huggingface_hub

    def refuse(*_: object, **__: object) -> None:
        answer: Any = SimpleNamespace(headers={}, request=None, status_code=403)
        raise huggingface_hub.errors.GatedRepoError("gated", response=answer)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    monkeypatch.setenv("VERTICLIP_CACHE", str(tmp_path / "cache"))
    status, out, err = run(
        "medical", "annotate", picture, "-m", "medical/conceptclip", "--concepts", "nodule"
    )
    assert (status, out) == (1, "")
    error = err.splitlines()[-1]
    assert error.startswith("error: ")
    assert "grants access one by one. Ask at https://huggingface.co/" in error
    assert "hf auth login" in error
