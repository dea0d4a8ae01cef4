"""Small CoCas with random weights: open_clip's, and ours of the same values."""

from __future__ import annotations

import json

import torch
from verticlip.core.checkpoint import load_strict
from verticlip.core.config import ImageProcessing, ProcessorConfig, TextProcessing
from verticlip.core.processing import Processor
from verticlip.domains.urban.coca.convert import config_from_open_clip
from verticlip.domains.urban.coca.model import CoCaModel, name_here

WORDS = [
    "a",
    "of",
    "in",
    "the",
    "red",
    "green",
    "blue",
    "field",
    "river",
    "harbor",
    "road",
    "houses",
    "water",
    "trees",
    "left",
    "right",
    "top",
    "bottom",
]


def arguments(**changes):
    """Arguments of open_clip's class; ``vision__width=32`` changes one of a part."""
    made = {
        "embed_dim": 32,
        "vision_cfg": {
            "image_size": 16, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8,
            "attentional_pool": True, "attn_pooler_heads": 4, "attn_pooler_queries": 5, "output_tokens": True,
        },
        "text_cfg": {
            "context_length": 14, "vocab_size": 40, "width": 32, "heads": 4, "layers": 2, "embed_cls": True,
            "output_tokens": True,
        },
        "multimodal_cfg": {"context_length": 14, "vocab_size": 40, "width": 32, "heads": 4, "layers": 2},
    }  # fmt: skip
    parts = {"vision": "vision_cfg", "text": "text_cfg", "decoder": "multimodal_cfg"}
    for key, value in changes.items():
        part, _, name = key.partition("__")
        if name:
            made[parts[part]][name] = value
        else:
            made[key] = value
    return made


def random_weights(network, seed=0, spread=0.2):
    """Fill a network: what open_clip leaves unset, and everything else with numbers that matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim:
                parameter.copy_(spread * torch.randn(parameter.shape, generator=generator))
    return network.eval()


def pair(seed=0, spread=0.2, **changes):
    """Return (open_clip's CoCa, ours) of the same weights."""
    from open_clip.coca_model import CoCa

    made = arguments(**changes)
    theirs = random_weights(CoCa(**json.loads(json.dumps(made))), seed, spread)
    ours = CoCaModel(config_from_open_clip("test/coca", made))
    load_strict(ours, {name_here(key): value for key, value in theirs.state_dict().items()}, source="test")
    return theirs, ours.eval()


def texts(rows, length=14, vocab=40, seed=0):
    """Return token ids of captions of several lengths, the first as long as can be."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.zeros(rows, length, dtype=torch.int64)
    for row in range(rows):
        count = length if row == 0 else int(torch.randint(3, length, (), generator=generator))
        ids[row, :count] = torch.randint(1, vocab - 2, (count,), generator=generator)
        ids[row, 0], ids[row, count - 1] = vocab - 2, vocab - 1
    return ids


def images(rows, side=16, seed=0):
    return torch.randn(rows, 3, side, side, generator=torch.Generator().manual_seed(seed))


def word_processor(context=14, size=16):
    """A processor with a WordPiece tokenizer of :data:`WORDS`: [CLS] is 2, [SEP] is 3."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, "##s"]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=special)
    config = ProcessorConfig(
        image=ImageProcessing(size=size, resize="squash"), text=TextProcessing(context_length=context)
    )
    return Processor(config, tokenizer.to_str()), len(pieces)


def word_model(seed=0, **options):
    """Return a model with :func:`word_processor` and random weights."""
    import verticlip

    processor, pieces = word_processor()
    made = arguments(text__vocab_size=pieces, decoder__vocab_size=pieces)
    config = config_from_open_clip("test/coca", made, start_id=2, end_id=3, **options)
    return verticlip.Model(random_weights(CoCaModel(config), seed), processor)
