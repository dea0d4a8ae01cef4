"""Fixtures for the medical room: fabricated files, pydicom's own files, and the privacy check."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

pydicom = pytest.importorskip("pydicom", reason="the medical extra is not installed")


def _load_helpers() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_dicom", Path(__file__).with_name("make_dicom.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_HELPERS = _load_helpers()


@pytest.fixture(scope="session")
def make() -> ModuleType:
    """Functions that fabricate DICOM files (``make_dicom.py``)."""
    return _HELPERS


@pytest.fixture(scope="session")
def wheel_file() -> Callable[[str], Path]:
    """Return the path of a file inside the pydicom wheel; never downloads."""
    folder = Path(pydicom.__file__).parent / "data" / "test_files"

    def find(name: str) -> Path:
        path = folder / name
        assert path.exists(), name
        return path

    return find


@pytest.fixture
def private(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> Iterator[Callable[[object], None]]:
    """Return a check that a text carries no planted value and no path; logs are checked at the end."""

    def check(value: object) -> None:
        for text in (str(value), repr(value)):
            for secret in (*_HELPERS.SECRETS, str(tmp_path), tmp_path.name):
                assert secret not in text

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield check
    for record in caught:
        check(record.message)
    for record in caplog.records:
        check(record.getMessage())


@pytest.fixture(scope="session")
def conceptclip(small_golden, tmp_path_factory) -> Path:
    """The reduced reference ConceptCLIP as a model folder."""
    from verticlip.core.checkpoint import load_strict
    from verticlip.core.conversion import build_empty
    from verticlip.core.processing import Processor
    from verticlip.domains.medical.conceptclip.convert import convert
    from verticlip.facade import Model

    case = small_golden / "conceptclip" / "tiny_a"
    files = {"weights": case / "weights.safetensors", "vocab": case / "vocab.txt"}
    heads = {"image_heads": 4, "text_heads": 4, "context_length": 77}
    done = convert("test/conceptclip", files, heads)
    network = build_empty(done.config)
    load_strict(network, done.state, source="test")
    model = Model(network.eval(), Processor(done.processor, done.tokenizer_json))
    return model.save(tmp_path_factory.mktemp("models") / "conceptclip")


def _biovil(small_golden, folder: Path, *, temporal: bool) -> Path:
    from verticlip.core.config import ImageProcessing, ModelConfig, ProcessorConfig, TextProcessing
    from verticlip.core.conversion import wordpiece_tokenizer
    from verticlip.core.processing import Processor
    from verticlip.domains.medical.biovil.model import BioViL
    from verticlip.facade import Model

    vocabulary = small_golden / "biovil" / "phrase_grounding" / "vocab.txt"
    trunk = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "stem_width": 8}
    bert = {"backend": "bert", "width": 16, "layers": 1, "heads": 2, "mlp_width": 32, "max_positions": 64}
    options: dict[str, object] = {}
    if temporal:
        options["temporal"] = {"dim": 16, "grid": [3, 3], "heads": 2, "blocks": 1, "mlp_width": 32}
    config = ModelConfig.model_validate(
        {
            "name": folder.name,
            "domain": "medical",
            "architecture": "biovil",
            "embed_dim": 8,
            "towers": {
                "image": {
                    "backend": "timm",
                    "architecture": "resnet50",
                    "options": trunk,
                    "projection": "mlp",
                },
                "text": {**bert, "vocab_size": len(vocabulary.read_text().splitlines()), "projection": "mlp"},
            },
            "options": options,
        }
    )
    image = ImageProcessing(
        size=96, short_side=104, interpolation="bilinear", resampler="pillow", mean=(0, 0, 0), std=(1, 1, 1),
        load={"normalize": "hi-ml"},
    )  # fmt: skip
    import torch

    text = TextProcessing(context_length=64, clean="none", strip_end="!?.", allow_empty=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = BioViL(config).eval()
    processor = Processor(ProcessorConfig(image=image, text=text), wordpiece_tokenizer(vocabulary))
    return Model(network, processor).save(folder)


@pytest.fixture(scope="session")
def biovil(small_golden, tmp_path_factory) -> Path:
    """A random BioViL of a few kilobytes."""
    return _biovil(small_golden, tmp_path_factory.mktemp("models") / "biovil", temporal=False)


@pytest.fixture(scope="session")
def biovil_t(small_golden, tmp_path_factory) -> Path:
    """A random BioViL-T of a few kilobytes."""
    return _biovil(small_golden, tmp_path_factory.mktemp("models") / "biovil-t", temporal=True)
