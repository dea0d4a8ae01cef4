"""What is built is what is on disk: packages, data files, command line, dependencies."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

NOT_PACKAGED = {"tests", "build", "dist", "runs", "docs", "evaluation"}


def settings(root: Path) -> str:
    return (root / "pyproject.toml").read_text(encoding="utf-8")


def source_files(root: Path) -> set[str]:
    """Files that belong in the wheel, relative to the root."""
    names = set()
    for path in root.rglob("*"):
        parts = path.relative_to(root).parts
        if parts[0] in NOT_PACKAGED or any(
            part.startswith(".") or part.endswith(".egg-info") for part in parts
        ):
            continue
        if "__pycache__" in parts or path.is_dir():
            continue
        if path.suffix == ".py" or (len(parts) > 1 and path.name != "README.md") or path.name == "py.typed":
            names.add("/".join(parts))
    return names


def test_the_package_list_is_the_folders_on_disk(root):
    listed = set(
        re.findall(r'"(verticlip(?:\.\w+)*)"', settings(root).split("packages = [")[1].split("]")[0])
    )
    found = {
        ".".join(("verticlip", *path.parent.relative_to(root).parts))
        for path in root.rglob("__init__.py")
        if path.relative_to(root).parts[0] not in NOT_PACKAGED
        and not path.relative_to(root).parts[0].startswith(".")
    }
    # The golden cases of the tests are mapped into the package; they hold no code.
    assert listed == found | {"verticlip.goldens"}


@pytest.fixture(scope="module")
def built(root, tmp_path_factory) -> Path:
    """Folder with a wheel and an sdist built from a copy of the files on disk, without network."""
    pytest.importorskip("build")
    import shutil

    copy = tmp_path_factory.mktemp("source") / "verticlip"
    shutil.copytree(
        root, copy, ignore=shutil.ignore_patterns(".*", "*.egg-info", "build", "dist", "runs", "__pycache__")
    )
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(copy)],
        check=True,
        capture_output=True,
        timeout=300,
    )
    return out


@pytest.mark.slow
def test_the_wheel_holds_every_source_and_data_file(root, built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {
            name.removeprefix("verticlip/") for name in archive.namelist() if name.startswith("verticlip/")
        }
        metadata = next(
            archive.read(name).decode() for name in archive.namelist() if name.endswith("METADATA")
        )
        assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())
        scripts = next(
            archive.read(name).decode() for name in archive.namelist() if name.endswith("entry_points.txt")
        )
    assert source_files(root) - held == set()
    assert not any(name.startswith("tests/") for name in held)
    assert "verticlip = verticlip.cli:main" in scripts
    assert "License-Expression: Apache-2.0" in metadata


@pytest.mark.slow
def test_the_wheel_holds_a_golden_case_of_every_system(root, built):
    from verticlip.core import registry
    from verticlip.core.verify import systems

    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        sizes = {
            tuple(info.filename.split("/")[2:]): info.file_size
            for info in archive.infolist()
            if info.filename.startswith("verticlip/goldens/")
        }
    cases = {"/".join(name[:2]) for name in sizes if len(name) == 3}
    assert {case.split("/")[0] for case in cases} == set(systems())
    assert sum(sizes.values()) < 13e6
    for case in cases:
        here = {path.name for path in (root / "tests" / "golden" / case).iterdir()}
        assert {name[2] for name in sizes if "/".join(name[:2]) == case} == here, case
        assert "README.md" in here or (case.split("/")[0], "README.md") in sizes, f"{case}: of unknown origin"
    packaged = [
        spec for spec in registry.models().values() if getattr(spec.weights, "packaged", None) is not None
    ]
    assert packaged
    assert all(set(spec.parity) <= cases for spec in packaged)


@pytest.mark.slow
def test_the_sdist_holds_the_tests_too(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {"pyproject.toml", "LICENSE", "Makefile", "README.md", "tests/conftest.py", "cli.py"} <= names


def test_every_bound_has_its_reason(root):
    part = settings(root).split("dependencies = [")[1].split("[project.scripts]")[0]
    for line in part.splitlines():
        if re.match(r'\s+"[a-z]', line) and "verticlip[" not in line and ">=" in line:
            assert "#" in line, f"no reason beside: {line.strip()}"


def test_extras_are_those_users_are_told_of(root):
    wanted = [
        "medical",
        "urban",
        "audio",
        "liveness",
        "ecommerce",
        "train",
        "index",
        "export",
        "demo",
        "scale",
        "all",
        "dev",
    ]
    part = settings(root).split("[project.optional-dependencies]")[1].split("[project.scripts]")[0]
    assert set(wanted) <= set(re.findall(r"^([a-z-]+) = \[", part, flags=re.MULTILINE))
    # GPL; using it must be the user's own decision.
    assert "pylibjpeg-libjpeg" not in part


def test_every_extra_named_in_an_error_exists(root):
    extras = set(re.findall(r"^([a-z-]+) = \[", settings(root), flags=re.MULTILINE))
    for path in root.rglob("*.py"):
        parts = path.relative_to(root).parts
        if parts[0] in NOT_PACKAGED or parts[0].startswith("."):
            continue
        for extra in re.findall(r'require\([^)]*extra="([a-z-]+)"', path.read_text(encoding="utf-8")):
            assert extra in extras, f"{path.name} names the extra {extra!r}"
