from __future__ import annotations

import time

import pytest
from verticlip.core.config import (
    ModelConfig,
    ProcessorConfig,
    parse_config,
    parse_yaml,
    read_config,
    read_yaml,
)
from verticlip.core.errors import ConfigError, LimitError
from verticlip.core.limits import Limits

MODEL = {
    "name": "test/model",
    "embed_dim": 8,
    "towers": {"image": {"backend": "timm", "architecture": "resnet10t"}},
}


def test_a_config_survives_json():
    config = parse_config(ModelConfig, MODEL, source="config.json")
    assert parse_config(ModelConfig, config.model_dump(mode="json"), source="again") == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embed_dimm": 8}, "unknown key 'embed_dimm'. Did you mean 'embed_dim'?"),
        ({"embed_dim": 0}, "a contrastive model needs towers and an embed_dim of at least 1"),
        ({"embed_dim": -1}, "embed_dim: Input should be greater than or equal to 0 \\(got -1\\)"),
        ({"towers": {}}, "needs towers"),
        ({"architecture": "part", "towers": {}}, "embed_dim 8 does not fit 0 towers"),
        ({"trust_remote_code": True}, "'trust_remote_code' is never accepted"),
        (
            {
                "towers": {
                    "image": {"backend": "timm", "architecture": "a", "options": {"trust_remote_code": 1}}
                }
            },
            "never",
        ),
        (
            {"licence": "https://example.org/x"},
            "the URL 'https://example.org/x' at 'licence' is not accepted",
        ),
        ({"name": "../up"}, "'../up' at 'name' leaves the folder"),
        ({"name": "a\\..\\b"}, "leaves the folder"),
        ({"towers": {"image": {"backend": "pickle"}}}, "towers.image"),
        ({"towers": {"smell": MODEL["towers"]["image"]}}, "towers.smell"),
        ({"schema_version": 2}, "schema_version"),
        ({"logit_scale": float("nan")}, "logit_scale"),
    ],
)
def test_bad_configs_say_what_and_where(change, message):
    with pytest.raises(ConfigError, match=message):
        parse_config(ModelConfig, {**MODEL, **change}, source="config.json")


def test_a_config_must_be_a_mapping():
    with pytest.raises(ConfigError, match="expected a mapping of settings, got list"):
        parse_config(ModelConfig, [], source="config.json")


def test_mean_and_std_fit_the_channels():
    with pytest.raises(ConfigError, match="mean and std need 1 values"):
        parse_config(ProcessorConfig, {"image": {"size": 8, "channels": 1}}, source="p")
    with pytest.raises(ConfigError, match="std must be positive"):
        parse_config(ProcessorConfig, {"image": {"size": 8, "std": [1, 0, 1]}}, source="p")


def test_files_are_bounded_and_whole(tmp_path):
    path = tmp_path / "config.json"
    with pytest.raises(ConfigError, match="no such file"):
        read_config(ModelConfig, path)
    path.write_text("{")
    with pytest.raises(ConfigError, match="not valid JSON"):
        read_config(ModelConfig, path)
    path.write_text('{"a": 1, "a": 2}')
    with pytest.raises(ConfigError, match="the key 'a' stands twice"):
        read_config(ModelConfig, path)
    path.write_text(" " * 100)
    with pytest.raises(LimitError, match="bytes 100 is over the limit of 50"):
        read_config(ModelConfig, path, limits=Limits(config_bytes=50))


def test_yaml_is_plain_data(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: &x [1]\nb: *x\n")
    with pytest.raises(ConfigError, match="aliases"):
        read_yaml(path)
    path.write_text("a: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_yaml(path)
    path.write_text("a: 1\nb: {c: 1, c: 2}\n")
    with pytest.raises(ConfigError, match="the key 'c' stands twice"):
        read_yaml(path)
    path.write_text("a: [1\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_yaml(path)
    with pytest.raises(ConfigError, match="no such file"):
        read_yaml(tmp_path / "none.yaml")


@pytest.mark.parametrize("text", ["[" * 100_000, "a: " + "{b: " * 20_000, "- " * 20_000, "? " * 20_000])
def test_a_yaml_file_of_brackets_is_refused_at_once(text: str) -> None:
    started = time.perf_counter()
    with pytest.raises(ConfigError, match="prompts.yaml: more than 64 levels inside each other"):
        parse_yaml(text, source="prompts.yaml")
    assert time.perf_counter() - started < 2.0
    assert parse_yaml("[" * 50 + "]" * 50 + "\n", source="x")


def test_a_misspelled_key_is_named_before_the_missing_one():
    with pytest.raises(ConfigError, match="unknown key 'embd_dim'. Did you mean 'embed_dim'"):
        parse_config(ModelConfig, {"name": "a", "embd_dim": 4, "towers": MODEL["towers"]}, source="c")
