"""What files are told to be from their names, and which of them are ever asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from verticlip.core.errors import ConfigError
from verticlip.hub.foreign import UNKNOWN_LICENCE, kind_of_files, licence_of, plan, shards_of

OURS = ["config.json", "processor.json", "model.safetensors"]
OPEN_CLIP = ["open_clip_config.json", "open_clip_model.safetensors", "README.md"]
CLIP = ["config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"]


@pytest.mark.parametrize(
    ("names", "config", "kind"),
    [
        (OURS, {"towers": {}}, "verticlip"),
        (OURS, None, "verticlip"),
        (OPEN_CLIP, None, "open_clip"),
        ([*OPEN_CLIP, *CLIP], {"model_type": "clip"}, "open_clip"),
        (["open_clip_config.json", "open_clip_pytorch_model.bin"], None, "open_clip"),
        (
            ["open_clip_config.json", "open_clip_pytorch_model.bin", *CLIP],
            {"model_type": "clip"},
            "transformers:clip",
        ),
        (
            ["open_clip_config.json", "open_clip_pytorch_model.bin", "config.json", "pytorch_model.bin"],
            {"model_type": "clip"},
            "open_clip",
        ),
        (CLIP, {"model_type": "clip"}, "transformers:clip"),
        (CLIP, {"model_type": "siglip"}, "transformers:siglip"),
        (CLIP, {"model_type": "siglip2"}, "transformers:siglip2"),
        (["config.json", "pytorch_model.bin"], {"model_type": "clap"}, "transformers:clap"),
        (["config.json", "model.safetensors.index.json"], {"model_type": "clip"}, "transformers:clip"),
        (CLIP, {"model_type": "bert"}, None),
        (CLIP, {"model_type": ["clip"]}, None),
        (CLIP, None, None),
        (["config.json"], {"model_type": "clip"}, None),
        (["open_clip_config.json"], None, None),
        (["sub/config.json", "sub/model.safetensors"], {"model_type": "clip"}, None),
        ([], None, None),
    ],
)
def test_kinds(names, config, kind) -> None:
    assert kind_of_files(names, config) == kind


def test_safetensors_come_before_pieces_and_pickles() -> None:
    names = ["config.json", "pytorch_model.bin", "model.safetensors.index.json", "model.safetensors"]
    config = {"model_type": "clip"}
    whole = plan(names, config, source="x")
    assert (whole.weights, whole.indexed, whole.pickled) == ("model.safetensors", False, False)
    pieces = plan(names[:3], config, source="x")
    assert (pieces.weights, pieces.indexed, pieces.pickled) == ("model.safetensors.index.json", True, False)
    pickled = plan(names[:2], config, source="x")
    assert (pickled.weights, pickled.indexed, pickled.pickled) == ("pytorch_model.bin", False, True)


def test_only_known_names_are_read() -> None:
    strange = [
        "modeling.py",
        "../config.json",
        "sub/tokenizer.json",
        "tokenizer.json",
        "training_args.bin",
        "x.pt",
    ]
    chosen = plan([*OPEN_CLIP, *strange, "vocab.json"], None, source="x")
    assert chosen.files == {"config": "open_clip_config.json", "tokenizer": "tokenizer.json"}


@pytest.mark.parametrize(
    ("names", "config", "said"),
    [
        ([], None, r"org/x: holds no files\. Expected are verticlip's own files, or open_clip_config"),
        (["README.md"], None, r"org/x: is not a model in a known format: it has no config\.json"),
        (
            ["open_clip_config.json"],
            None,
            "has open_clip_config.json and none of: open_clip_model.safetensors",
        ),
        (
            ["config.json"],
            {"model_type": "clip"},
            "is a clip of transformers without any of: model.safetensors",
        ),
        (CLIP, {"model_type": "llama"}, "is a model of type 'llama', not a CLIP, SigLIP or CLAP"),
        (CLIP, {"model_type": "siglip2"}, r"of variable resolution \(NaFlex\)"),
        (CLIP, {}, "is not a model in a known format"),
    ],
)
def test_what_is_said_of_other_files(names, config, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        plan(names, config, source="org/x")


def test_pieces_are_those_the_index_names() -> None:
    table = {"a": "model-00002-of-00002.safetensors", "b": "model-00001-of-00002.safetensors"}
    index = {"weight_map": table | {"c": table["a"]}}
    found = shards_of(index, name="model.safetensors.index.json", present=table.values())
    assert found == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ({}, "no index of weights"),
        ({"weight_map": []}, "no index of weights"),
        (
            {"weight_map": {"a": "../model-00001-of-00002.safetensors"}},
            "which is no piece of weights beside it",
        ),
        ({"weight_map": {"a": "/etc/passwd"}}, "'/etc/passwd', which is no piece"),
        ({"weight_map": {"a": "model-00001-of-00002.bin"}}, "which is no piece of weights beside it"),
        ({"weight_map": {"a": 7}}, "'7', which is no piece"),
        ({"weight_map": {"a": "model-00001-of-00001.safetensors"}}, "00001.safetensors, which is not there"),
        ({"weight_map": {str(n): f"m-{n:05}-of-00999.safetensors" for n in range(999)}}, "names 999 files"),
    ],
)
def test_an_index_that_names_something_else_is_refused(index, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        shards_of(index, name="model.safetensors.index.json", present=["model.safetensors"])


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\n---\n# A", "Apache-2.0"),
        ("\ufeff---\r\nlicense: MIT\r\n---\r\n", "MIT"),
        ("---\nlicense: cc-by-nc-4.0\n---\n", "CC-BY-NC-4.0"),
        ("---\nlicense: other\nlicense_name: apple-amlr\n---\n", "apple-amlr"),
        ("---\nlicense: [mit, gpl]\n---\n", UNKNOWN_LICENCE),
        ("---\nlicense: !!python/object/apply:os.system ['touch canary']\n---\n", UNKNOWN_LICENCE),
        ("---\na: &a [x]\nlicense: *a\n---\n", UNKNOWN_LICENCE),
        ("---\nlicense: 'mit</b><script>'\n---\n", UNKNOWN_LICENCE),
        ("# A\n---\nlicense: mit\n---\n", UNKNOWN_LICENCE),
        ("---\nlicense: mit\n", UNKNOWN_LICENCE),
        ("---\n{{{\n---\n", UNKNOWN_LICENCE),
        ("---\n" + "[" * 60_000 + "\n---\n", UNKNOWN_LICENCE),
        ("---\nlicense: 'mit'\n---\n", "MIT"),
        ("---\nlicense:\n- bsd-3-clause\n---\n", "BSD-3-Clause"),
        ("---\nlicense:\n---\n", UNKNOWN_LICENCE),
        ("---\n" + "a: b\n" * 20_000 + "license: mit\n---\n", UNKNOWN_LICENCE),
        ("", UNKNOWN_LICENCE),
    ],
)
def test_the_licence_of_a_card(card: str, licence: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(card.encode())
    assert licence_of(tmp_path / "README.md") == licence
