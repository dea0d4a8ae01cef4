"""Captions: the same as open_clip's, by every method, and their rules one by one.

``captions_of_open_clip.jsonl`` was written by ``CoCa.generate`` of open_clip 3.3.0 beside transformers 4.46.3
for the random networks of ``make_coca.pair(seed, spread=0.45)``, 3 images, length 12, after
``torch.manual_seed(11)``. Its default of 6 beams in 3 groups is 2 beams here.
"""

from __future__ import annotations

import json
import sys
from itertools import product
from pathlib import Path

import pytest
import torch
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.urban.coca.choosing import Decoding, adjust, keep_top_k, keep_top_p
from verticlip.domains.urban.coca.decoding import describe, generate
from verticlip.domains.urban.coca.model import CoCaModel

sys.path.insert(0, str(Path(__file__).parent))

import make_coca

LINES = (Path(__file__).parent / "captions_of_open_clip.jsonl").read_text().splitlines()
METHODS = {
    "greedy": {"method": "greedy"},
    "top_k": {"method": "top_k", "top_k": 5, "temperature": 1.4},
    "top_p": {"method": "top_p", "top_p": 0.7},
    "beam": {"method": "beam", "beams": 3},
    "log_probabilities": {"method": "beam", "beams": 4, "beam_score": "log_probabilities"},
    "penalty": {"method": "greedy", "repetition_penalty": 1.8},
}


@pytest.fixture(scope="module")
def lively():
    """A network whose captions differ from image to image and end at different lengths."""
    return make_coca.pair(
        seed=43, spread=0.45, vision__attentional_pool=False, vision__width=32, embed_dim=24
    )[1]


def drawn(network, pixels, seed=11, **options):
    return generate(network, pixels, generator=torch.Generator().manual_seed(seed), **options)


@pytest.mark.parametrize("line", LINES, ids=[f"{json.loads(one)['options']}" for one in LINES])
def test_the_same_captions_as_open_clip(line):
    case = json.loads(line)
    network = make_coca.pair(seed=case["seed"], spread=0.45, **case["changes"])[1]
    for steps in (True, False):
        network.steps_through_blocks = steps
        got = drawn(network, make_coca.images(3), length=12, **case["options"])
        assert got.tolist() == case["ids"]


@pytest.mark.parametrize("options", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("changes", [{}, {"text__embed_cls": False}, {"text__qk_norm": True}])
def test_keeping_states_changes_nothing(options, changes):
    network = make_coca.pair(seed=5, spread=0.4, **changes)[1]
    pixels = make_coca.images(4)
    kept = drawn(network, pixels, length=15, min_length=2, **options)
    assert network.steps_through_blocks == ("text__qk_norm" not in changes)
    network.steps_through_blocks = False
    assert torch.equal(kept, drawn(network, pixels, length=15, min_length=2, **options))


def test_greedy_is_one_choice_and_one_beam(lively):
    pixels = make_coca.images(6)
    greedy = drawn(lively, pixels, method="greedy", length=12)
    assert torch.equal(drawn(lively, pixels, method="top_k", top_k=1, length=12), greedy)
    assert torch.equal(drawn(lively, pixels, method="beam", beams=1, length=12), greedy)
    assert torch.equal(drawn(lively, pixels, method="top_p", top_p=1e-6, length=12), greedy)


@pytest.mark.parametrize("options", METHODS.values(), ids=METHODS)
def test_the_form_of_captions(lively, options):
    found = drawn(lively, make_coca.images(6), length=12, min_length=3, **options)
    assert found.dtype == torch.int64
    assert found.shape[0] == 6
    assert found.shape[1] <= 12
    assert (found[:, 0] == 38).all()
    for row in found.tolist():
        ends = [place for place, token in enumerate(row) if token in (39, 0)]
        first = ends[0] if ends else len(row)
        assert first >= 3 or row[first] == 0
        assert set(row[first + 1 :]) <= {0}
        assert ends or options["method"] == "beam"


def test_rows_do_not_depend_on_each_other(lively):
    pixels = make_coca.images(5)
    for options in ({"method": "greedy"}, {"method": "beam", "beams": 3}):
        together = generate(lively, pixels, length=12, **options)
        for row in range(5):
            alone = generate(lively, pixels[row : row + 1], length=12, **options)[0]
            assert torch.equal(together[row, : len(alone)], alone)
            assert (together[row, len(alone) :] == 0).all()


def test_a_seed_repeats_and_another_does_not(lively):
    pixels = make_coca.images(6)
    options = {"method": "top_p", "top_p": 0.95, "temperature": 2.0, "length": 12}
    torch.manual_seed(5)
    first = drawn(lively, pixels, seed=1, **options)
    torch.manual_seed(6)
    state = torch.random.get_rng_state()
    assert torch.equal(drawn(lively, pixels, seed=1, **options), first)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.equal(drawn(lively, pixels, seed=2, **options), first)
    assert torch.equal(generate(lively, pixels, **options), drawn(lively, pixels, seed=0, **options))


def test_log_probabilities_find_the_likeliest_caption():
    """Against all captions there are: three words at most, of six; 5 begins and 6 ends them."""
    network = make_coca.pair(seed=3, spread=0.6, text__vocab_size=7, decoder__vocab_size=7)[1]
    pixels = make_coca.images(3)
    options = {"method": "beam", "beams": 40, "beam_score": "log_probabilities", "min_length": 0, "length": 4}
    found = generate(network, pixels, **options).tolist()
    image = network.encode_tokens("image", {"pixels": pixels}).tokens
    every = [[5, *words, 6] for count in range(3) for words in product(range(6), repeat=count)]
    every += [[5, *words] for words in product(range(6), repeat=3)]
    totals = []
    with torch.no_grad():
        for length in range(2, 5):
            ids = torch.tensor([one for one in every if len(one) == length])
            text = network.encode_tokens("text", {"input_ids": ids}).tokens[:, : length - 1]
            for row in range(3):
                seen = image[row : row + 1].expand(len(ids), -1, -1)
                odds = network.caption_logits(seen, text).log_softmax(-1)
                each = odds.gather(2, ids[:, 1:, None]).sum(dim=(1, 2)) / length
                totals += [(row, float(score), one) for score, one in zip(each, ids.tolist(), strict=True)]
    for row in range(3):
        best = max((score, one) for place, score, one in totals if place == row)[1]
        assert found[row] == best + [0] * (len(found[row]) - len(best))


def test_training_goes_on_after_describing(lively):
    lively.train()
    generate(lively, make_coca.images(1), length=8)
    assert lively.training
    lively.eval()


def test_a_prefix(lively):
    pixels = make_coca.images(3)
    prefix = torch.tensor([38, 7, 9])
    found = generate(lively, pixels, prefix=prefix, method="greedy", length=12)
    assert (found[:, :3] == prefix).all()
    # The first free word is what the network says after these three.
    tokens = lively.encode_tokens("image", {"pixels": pixels}).tokens
    states = lively.encode_tokens("text", {"input_ids": prefix.expand(3, -1)}).tokens[:, :3]
    logits = lively.caption_logits(tokens, states)[:, -1]
    logits[:, 39] = -torch.inf
    assert torch.equal(found[:, 3], logits.argmax(1))


def test_rules_of_choosing():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    settings = Decoding(min_length=3, length=9, repetition_penalty=2.0)
    early = adjust(logits, torch.tensor([[0, 3]]), 2, settings)
    assert early.tolist() == [[1.0, 1.0, -torch.inf, -2.0]]
    assert adjust(logits, torch.tensor([[1, 1, 1]]), 2, settings).tolist() == [[2.0, 0.5, 0.0, -1.0]]
    assert logits.tolist() == [[2.0, 1.0, 0.0, -1.0]]
    assert keep_top_k(logits, 2).isinf().tolist() == [[False, False, True, True]]
    assert keep_top_k(torch.zeros(1, 3), 1).isinf().sum() == 0  # ties stay
    assert keep_top_k(logits, 99).isinf().sum() == 0
    odds = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    for share, kept in ((0.1, 1), (0.49, 1), (0.6, 2), (0.79, 2), (0.9, 3), (0.99, 4), (1.0, 4)):
        assert int(torch.isfinite(keep_top_p(odds[:, [2, 0, 3, 1]], share)).sum()) == kept


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "top"}, "method"),
        ({"topp": 0.5}, "unknown key 'topp'. Did you mean 'top_p'"),
        ({"top_p": 0.0}, "top_p"),
        ({"temperature": 0.0}, "temperature"),
        ({"length": 6, "min_length": 6}, "min_length 6 must be below length 6"),
        ({"length": 16}, "length 16 is more than test/coca can write: its context has 14"),
        ({"beams": 0}, "beams"),
    ],
)
def test_options_that_cannot_be(lively, options, message):
    with pytest.raises(ConfigError, match=message):
        generate(lively, make_coca.images(1), **{"length": 12, **options})


def test_the_longest_caption_fits(lively):
    assert generate(lively, make_coca.images(1), method="greedy", length=15, min_length=14).shape[1] == 15


def test_inputs_that_cannot_be(lively):
    pixels = make_coca.images(1)
    with pytest.raises(InputError, match=r"pixels must be \[B, 3, S, S\]"):
        generate(lively, pixels[0], length=9)
    for prefix, message in (
        ([5, 6], "the start token 38 first"),
        ([38, 39], "words only"),
        ([38, 77], "words"),
    ):
        with pytest.raises(InputError, match=message):
            generate(lively, pixels, prefix=torch.tensor(prefix), length=9)
    with pytest.raises(ConfigError, match="The prefix has 9 tokens.*no room for a word"):
        generate(lively, pixels, prefix=torch.tensor([38, *range(1, 9)]), length=9)


def test_describing_pictures(tmp_path):
    model = make_coca.word_model(seed=4)
    pictures = torch.rand(3, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    found = describe(model, pictures, method="greedy", length=10, min_length=4, batch_size=2)
    assert len(found) == 3
    assert all(
        set(text.replace("s ", " ").split()) <= {*make_coca.WORDS, "[UNK]", "s"} or text for text in found
    )
    assert not any("[" in text or "##" in text for text in found)
    assert describe(model, pictures, method="greedy", length=10, min_length=4, batch_size=3) == found
    begun = describe(model, pictures, prefix="a red river in", method="greedy", length=10)
    assert all(text.startswith("a red river in") for text in begun)
    from PIL import Image

    Image.new("RGB", (30, 20), (200, 30, 30)).save(tmp_path / "tile.png")
    assert len(describe(model, Image.open(tmp_path / "tile.png"), length=8)) == 1


def test_models_that_cannot_describe(model_folder):
    import verticlip

    with pytest.raises(ConfigError, match="writes no captions: its architecture is 'contrastive'"):
        describe(verticlip.from_pretrained(model_folder), torch.rand(3, 8, 8))
    model = make_coca.word_model()
    config = model.config.model_copy(update={"options": {**model.config.options, "start_id": 7}})
    model.network = CoCaModel(config).eval()
    with pytest.raises(
        ConfigError, match="begins and ends texts with tokens 0, 2 and 3, the network with 0, 7"
    ):
        describe(model, torch.rand(3, 8, 8))
