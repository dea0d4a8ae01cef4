"""Layers hold, imports stay light, packaging lists what exists."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import verticlip

ROOT = Path(verticlip.__file__).parent
ROOMS = sorted(path.name for path in (ROOT / "domains").iterdir() if (path / "__init__.py").is_file())
SOURCES = sorted(
    path
    for folder in (ROOT, *(ROOT / name for name in ("benchmarks", "core", "domains", "hub")))
    for path in (folder.glob("*.py") if folder == ROOT else folder.rglob("*.py"))
)
HEAVY = ("torch", "torchvision", "timm", "open_clip", "transformers", "lightning", "monai", "sklearn")
LATE = {*HEAVY[1:], "matplotlib", "pyarrow", "pydicom", "nibabel", "huggingface_hub", "PIL", "tokenizers"}
LATE |= {"soundfile", "soxr", "av", "diffusers", "torchaudio", "librosa"}
LATE |= {"rasterio", "geopandas", "shapely", "pyproj", "pyogrio", "pandas", "torchgeo", "scipy"}
LATE |= {"usearch", "faiss", "lancedb", "qdrant_client", "zstandard"}
LATE |= {"cv2", "onnx", "onnxruntime"}
"""Imported inside the functions that need them, never at the top of a module."""


def module_of(path: Path) -> str:
    parts = ["verticlip", *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> list[tuple[str, bool]]:
    """Return (absolute module, is relative) of every import in a file, wherever it stands."""
    package = module_of(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, False) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found += [
                (f"{module}.{alias.name}" if module else alias.name, bool(node.level)) for alias in node.names
            ]
    return found


def layer(module: str) -> tuple[str, ...]:
    """Return ("core",), ("hub",), ("domains", room), ("benchmarks",) or ("top",)."""
    parts = module.split(".")[1:]
    if parts[:1] in (["core"], ["hub"], ["benchmarks"]):
        return (parts[0],)
    return tuple(parts[:2]) if parts[:1] == ["domains"] else ("top",)


def may_import(importer: tuple[str, ...], target: tuple[str, ...]) -> bool:
    if importer == target:
        return True
    if importer[0] == "domains":
        return target == ("core",)
    allowed = {
        "core": set(),
        "hub": {"core"},
        "top": {"core", "hub"},
        "benchmarks": {"core", "hub", "domains", "top"},
    }
    return target[0] in allowed[importer[0]]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_layers(path: Path) -> None:
    here = layer(module_of(path))
    for target, is_relative in imported(path):
        if target.split(".")[0] != "verticlip":
            assert target.split(".")[0] not in ("core", "hub", "domains", "benchmarks"), (
                f"{target}: a second copy"
            )
            continue
        assert is_relative, f"{target}: use a relative import inside the package"
        assert may_import(here, layer(target)), f"{'.'.join(here)} must not import {target}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_libraries_are_imported_where_they_are_used(path: Path) -> None:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        early = {name.split(".")[0] for name in names} & LATE
        # One module is imported only after its library was asked for by require().
        assert early <= ({"lightning"} if path.name == "trainee.py" else set())


COMMAND = """
import sys
from verticlip.cli import main
sys.argv[1:] = {}
try:
    main()
except SystemExit as end:
    assert not end.code
"""


def loaded_after(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import verticlip",
        "from verticlip.core import registry; registry.models(); registry.recipes()",
        COMMAND.format(["--help"]),
        COMMAND.format(["models", "list"]),
        COMMAND.format(["embed", "--help"]),
        COMMAND.format(["medical", "--help"]),
        COMMAND.format(["medical", "ground", "--help"]),
        COMMAND.format(["audio", "--help"]),
        COMMAND.format(["urban", "--help"]),
        COMMAND.format(["catalog", "--help"]),
        COMMAND.format(["liveness", "--help"]),
        COMMAND.format(["audio", "generate", "--help"]),
    ],
)
def test_the_surface_loads_nothing_heavy(code: str) -> None:
    assert not loaded_after(code) & {*HEAVY, "numpy", "PIL", "pyarrow", "matplotlib"}


def test_the_inference_path_of_the_core_towers_stays_light() -> None:
    # torchvision pulls torch._dynamo; the rest costs one to seven seconds each.
    assert not loaded_after("from verticlip import Model") & {*HEAVY[1:], "pyarrow", "matplotlib"}


@pytest.mark.parametrize(
    "code",
    ["import verticlip", "import sys; sys.argv[1:] = ['--help']; from verticlip.cli import main; main()"],
)
def test_start_is_fast(code: str) -> None:
    def seconds() -> float:
        """Processor time of a fresh process; wall time would measure the neighbours too."""
        before = os.times()
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        after = os.times()
        return after.children_user - before.children_user + after.children_system - before.children_system

    assert min(seconds() for _ in range(3)) < 0.2


def test_public_names_exist() -> None:
    for name in verticlip.__all__:
        assert getattr(verticlip, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        verticlip.nothing  # noqa: B018


def test_every_room_on_disk_is_registered() -> None:
    from verticlip.core import registry

    assert sorted(registry.ROOMS) == ROOMS


def test_the_package_list_equals_the_folders_on_disk() -> None:
    project = ROOT / "pyproject.toml"
    if not project.is_file():
        pytest.skip("an installed package has no pyproject.toml")
    block = re.search(
        r"^packages = \[(.*?)^\]", project.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    assert block is not None
    listed = set(re.findall(r'"([\w.]+)"', block[1]))
    # The golden cases of the tests are mapped into the package; they hold no code.
    assert listed == {module_of(path) for path in SOURCES if path.name == "__init__.py"} | {
        "verticlip.goldens"
    }
