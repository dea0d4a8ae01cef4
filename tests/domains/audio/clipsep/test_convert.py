"""Checkpoints of every kind, in the layout that the published training script writes."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from verticlip.core.checkpoint import load_strict
from verticlip.core.conversion import build_empty
from verticlip.core.errors import ConfigError, InputError, WeightsError
from verticlip.domains.audio.clipsep.convert import convert
from verticlip.domains.audio.clipsep.reference_inference import separate_as_published

ARGS = {
    "image_model": "clippit4",
    "fusion": "late",
    "layers": 5,
    "channels": 4,
    "audio_rate": 16000,
    "audio_len": 65535,
    "n_fft": 1024,
    "hop_len": 256,
    "win_len": 1024,
    "log_freq": True,
    "binary_mask": True,
    "n_mix": 2,
    "out_dir": "/home/somebody/../exp",
    "lr": 0.001,
}


def published(state, folder, name="best_model.pt"):
    """Write a checkpoint as the training script does: distributed names, pickled."""
    torch.save({f"module.{key}": value for key, value in state.items()}, folder / name)
    return folder / name


@pytest.fixture
def nit(small_golden, tmp_path):
    state = load_file(small_golden / "clipsep" / "clipsep_nit" / "weights.safetensors")
    return published(state, tmp_path)


def variant(small_golden, prefix):
    state = load_file(small_golden / "clipsep" / "variants" / "weights.safetensors")
    return {
        name.removeprefix(f"{prefix}."): one for name, one in state.items() if name.startswith(f"{prefix}.")
    }


def write_args(folder, **changes):
    path = folder / "train-args.json"
    path.write_text(json.dumps({**ARGS, **changes}))
    return path


def network_of(converted):
    network = build_empty(converted.config)
    load_strict(network, converted.state, source="converted")
    return network.eval()


def test_a_checkpoint_with_its_arguments(nit, tmp_path):
    converted = convert("audio/test", {"weights": nit, "args": write_args(tmp_path)}, {})
    options = converted.config.options
    assert (options["kind"], options["layers"], options["channels"], options["ngf"]) == ("nit", 5, 4, 2)
    assert (options["frames"], options["query_dim"]) == (256, 512)
    assert converted.report.complete
    assert converted.config.embed_dim == 0
    assert "Takes query vectors of 512 values" in converted.config.description
    assert network_of(converted).options.noise_heads == 2


def test_without_arguments_the_published_ones_hold(nit):
    options = convert("audio/test", {"weights": nit}, {}).config.options
    assert options["spectra"] == {"n_fft": 1024, "hop_length": 256, "win_length": 1024, "log_frequency": True}
    other = convert("audio/test", {"weights": nit}, {"sampling_rate": 22050, "n_fft": 2048}).config.options
    assert (other["sampling_rate"], other["spectra"]["n_fft"]) == (22050, 2048)


def test_the_converted_model_computes_what_the_checkpoint_does(small_golden, tmp_path):
    folder = small_golden / "clipsep" / "inference"
    weights = published(load_file(folder / "weights.safetensors"), tmp_path)
    network = network_of(convert("audio/test", {"weights": weights}, {}))
    inputs, outputs = load_file(folder / "inputs.safetensors"), load_file(folder / "outputs.safetensors")
    found = separate_as_published(network, inputs["waveform"], inputs["query"])
    assert float((found.waves[0] - outputs["target.hard.wav"]).abs().max()) < 1e-4


@pytest.mark.parametrize(
    ("prefix", "kind", "image_model", "fusion"),
    [
        ("pit", "pit", "pit", "late"),
        ("label", "label", "label_only", "late"),
        ("bert", "bert", "bert", "late"),
        ("mid", "middle", "clip", "middle"),
    ],
)
def test_every_kind_is_told_by_its_tensors(small_golden, tmp_path, prefix, kind, image_model, fusion):
    weights = published(variant(small_golden, prefix), tmp_path)
    args = write_args(tmp_path, image_model=image_model, fusion=fusion, channels=3)
    for files in ({"weights": weights}, {"weights": weights, "args": args}):
        converted = convert("audio/test", files, {})
        assert converted.config.options["kind"] == kind
        assert converted.config.options["layers"] == 5
        assert converted.report.complete
        network_of(converted)


def test_labels_get_their_names(small_golden, tmp_path):
    weights = published(variant(small_golden, "label"), tmp_path)
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps({"rain": 1, "dog": 0, "sea": 2}))
    converted = convert("audio/test", {"weights": weights, "labels": labels}, {})
    assert network_of(converted).options.labels == ("dog", "rain", "sea")
    labels.write_text(json.dumps({"rain": 1, "dog": 0}))
    with pytest.raises(InputError, match=r"expected a map of 3 labels to the numbers 0..2"):
        convert("audio/test", {"weights": weights, "labels": labels}, {})


def test_seven_levels_are_counted(tmp_path):
    from verticlip.domains.audio.clipsep.separator import Separator, SeparatorConfig

    separator = Separator(SeparatorConfig(kind="late", ngf=1, channels=3))
    converted = convert("audio/test", {"weights": published(separator.state_dict(), tmp_path)}, {})
    assert (converted.config.options["layers"], converted.config.options["ngf"]) == (7, 1)
    assert converted.config.options["kind"] == "late"


def clip_file(folder, dimension=512):
    """Write a small CLIP with the vocabulary of the real one, in the layout of open_clip."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    torch.manual_seed(0)
    vision = CLIPVisionCfg(layers=1, width=8, head_width=8, patch_size=16, image_size=32)
    text = CLIPTextCfg(context_length=77, vocab_size=49408, width=8, heads=1, layers=1)
    network = CLIP(dimension, vision, text, quick_gelu=True).eval()
    path = folder / "open_clip_model.safetensors"
    save_file({name: one.contiguous() for name, one in network.state_dict().items()}, path)
    return path, network


@torch.no_grad()
def test_with_clip_it_takes_texts_and_pictures(nit, tmp_path):
    import numpy as np
    import open_clip
    from PIL import Image
    from verticlip.core.processing import Processor

    path, theirs = clip_file(tmp_path)
    converted = convert("audio/test", {"weights": nit, "clip": path}, {})
    assert set(converted.config.towers) == {"image", "text"}
    assert {"image", "text", "separator", "scalars"} == set(converted.report.towers)
    assert converted.config.description == ""
    network, processor = network_of(converted), Processor(converted.processor, None)
    words = ["a photo of a dog barking.", "playing bagpipes"]
    tokens = open_clip.get_tokenizer("ViT-B-32")(words)
    queries = network.query("text", processor("text", words))
    # Raw, as the published model takes them.
    assert torch.allclose(queries, theirs.encode_text(tokens), atol=1e-4)
    picture = Image.fromarray(np.full((40, 60, 3), 120, np.uint8))
    assert network.query("image", processor("image", [picture, picture])).shape == (2, 512)
    assert network.masks(torch.randn(1, 1, 256, 32), queries).shape == (1, 2, 256, 32)


@torch.no_grad()
def test_words_are_asked_for_in_the_published_sentences(nit, tmp_path):
    import open_clip
    import verticlip
    from verticlip.core import registry
    from verticlip.domains.audio.tasks.separation import AudioSeparator
    from verticlip.hub.conversions import convert_files

    clip, theirs = clip_file(tmp_path)
    spec = registry.model_spec("audio/clipsep-nit")
    convert_files(spec, {"weights": nit, "clip": clip}, tmp_path / "model", any_file=True)
    model = verticlip.from_pretrained(tmp_path / "model", device="cpu")
    assert model.prompts.name == "clipsep"

    def raw(*texts):
        return theirs.encode_text(open_clip.get_tokenizer("ViT-B-32")(list(texts))).mean(dim=0)

    asked = AudioSeparator.of(model, ["dog barking", "violin"]).asked
    assert asked.names == ("dog barking", "violin")
    for words, vector in zip(asked.names, asked.vectors, strict=True):
        # The mean of raw embeddings: no length is made 1, neither before nor after.
        expected = raw(
            f"a photo of {words}.",
            f"a photo of the small {words}.",
            f"a low resolution photo of a {words}.",
            f"a photo of many {words}.",
        )
        assert float((vector - expected).abs().max()) < 1e-4 * float(expected.abs().max())
        assert abs(float(vector.norm()) - 1) > 0.1
        assert float((vector - raw(words)).abs().max()) > 1e-2 * float(expected.abs().max())
    plain = AudioSeparator.of(model, "dog barking", templates=["a photo of {}"]).asked.vectors
    assert torch.allclose(plain[0], raw("a photo of dog barking"), rtol=1e-4, atol=1e-4)


def test_without_clip_there_are_no_sentences(nit):
    converted = convert("audio/test", {"weights": nit}, {})
    assert (converted.config.prompts, converted.prompts_yaml) == (None, None)


def test_clip_is_refused_where_it_asks_nothing(small_golden, nit, tmp_path):
    path, _ = clip_file(tmp_path)
    pit = published(variant(small_golden, "pit"), tmp_path, "pit.pt")
    with pytest.raises(ConfigError, match=r"asked by other means \(kind 'pit'\), not by CLIP"):
        convert("audio/test", {"weights": pit, "clip": path}, {})
    late = {name: one for name, one in load_file_of(nit).items() if "pit_nets" not in name}
    weights = published(late, tmp_path, "late.pt")
    args = write_args(tmp_path, image_model="sop")
    assert convert("audio/test", {"weights": weights, "args": args}, {}).config.options["kind"] == "late"
    with pytest.raises(ConfigError, match=r"asked by a ResNet \(image_model 'sop'\), not by CLIP"):
        convert("audio/test", {"weights": weights, "args": args, "clip": path}, {})
    small, _ = clip_file(tmp_path, dimension=16)
    with pytest.raises(WeightsError, match="embeds in 16 values and the separator takes 512"):
        convert("audio/test", {"weights": nit, "clip": small}, {})


def load_file_of(path):
    from verticlip.core.conversion import read_checkpoint

    return read_checkpoint(path)


def test_arguments_of_another_run_are_refused(nit, tmp_path):
    def refused(**changes):
        return convert("audio/test", {"weights": nit, "args": write_args(tmp_path, **changes)}, {})

    with pytest.raises(WeightsError, match="states layers 7 and the weights have 5"):
        refused(layers=7)
    with pytest.raises(WeightsError, match="states channels 32 and the weights have 4"):
        refused(channels=32)
    with pytest.raises(
        WeightsError,
        match="states image_model 'clip' with late fusion, and the weights are of the kind 'nit'",
    ):
        refused(image_model="clip")
    with pytest.raises(WeightsError, match="image_model 'clap' is not one of"):
        refused(image_model="clap")
    with pytest.raises(WeightsError, match="binary_mask is false"):
        refused(binary_mask=False)
    with pytest.raises(ConfigError, match="train-args.json: n_fft"):
        refused(n_fft="many")


def test_other_checkpoints_are_refused(nit, tmp_path):
    whole = load_file_of(nit)
    with pytest.raises(WeightsError, match="other.pt is not a checkpoint of CLIPSep"):
        convert("audio/test", {"weights": published({"a.weight": torch.zeros(2)}, tmp_path, "other.pt")}, {})
    early = {**whole, "frame_net.fc.weight": torch.zeros(4, 512)}
    with pytest.raises(WeightsError, match="early fusion.*no trained weights exist"):
        convert("audio/test", {"weights": published(early, tmp_path, "early.pt")}, {})
    short = {name: one for name, one in whole.items() if name != "frame_net.bias"}
    with pytest.raises(WeightsError, match=r"separator: 1 missing \(separator.frame_net.bias\)"):
        convert("audio/test", {"weights": published(short, tmp_path, "short.pt")}, {})
    more = {**whole, "head.weight": torch.zeros(1)}
    with pytest.raises(WeightsError, match=r"1 unexpected \(head.weight\)"):
        convert("audio/test", {"weights": published(more, tmp_path, "more.pt")}, {})
    with pytest.raises(ConfigError, match="needs a 'weights' file"):
        convert("audio/test", {}, {})
