"""A SigLIP of a few hundred kilobytes, as open_clip builds and saves it, with a tokenizer of its size."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

WIDTH, SIZE, CONTEXT, ROWS = 64, 48, 10, 40


def siglip(*, size: int = SIZE, rows: int = ROWS) -> torch.nn.Module:
    """Return a random SigLIP of open_clip: an image tower of timm inside, two layers each."""
    from open_clip.model import CLIPTextCfg, CLIPVisionCfg, CustomTextCLIP
    from open_clip.timm_model import TimmModel

    torch.manual_seed(0)
    text = CLIPTextCfg(
        context_length=CONTEXT,
        vocab_size=rows,
        width=WIDTH,
        heads=1,
        layers=2,
        no_causal_mask=True,
        proj_bias=True,
        pool_type="last",
        norm_kwargs={"eps": 1e-6},
    )
    # The smallest SigLIP has twelve layers of 768; its class is told other numbers here.
    vision = CLIPVisionCfg(
        image_size=size, timm_model_name="vit_base_patch16_siglip_224", timm_pool="map", timm_proj="none"
    )
    import timm

    numbers = {"img_size": size, "embed_dim": WIDTH, "depth": 2, "num_heads": 1}
    create = timm.create_model
    timm.create_model = lambda name, **options: create(name, **{**options, **numbers})
    try:
        model = CustomTextCLIP(WIDTH, vision, text, init_logit_bias=-10.0)
    finally:
        timm.create_model = create
    assert isinstance(model.visual, TimmModel)
    for parameter in model.parameters():
        # A fresh network's positions and biases are too small to show a mistake.
        torch.nn.init.normal_(parameter, std=0.2)
    torch.nn.init.constant_(model.logit_scale, 4.76)
    torch.nn.init.constant_(model.logit_bias, -12.9)
    return model.eval()


def tokenizer(rows: int = ROWS) -> str:
    """Return a tokenizer of whole words that closes with </s>."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["<pad>", "</s>", "<unk>", "a", "red", "dress", "with", "logo", "t", "shirt"]
    words += [f"word{number}" for number in range(rows - len(words))]
    made = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    # As published ones: cut and filled up by the file itself.
    made.enable_truncation(4)
    made.enable_padding(length=4, pad_id=1, pad_token="</s>")
    return made.to_str()


def saved(model: torch.nn.Module, folder: Path) -> dict[str, Path]:
    """Write weights and tokenizer as a repository has them."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / "open_clip_model.safetensors"
    save_file({name: one.contiguous().clone() for name, one in model.state_dict().items()}, weights)
    (folder / "tokenizer.json").write_text(tokenizer())
    return {"weights": weights, "tokenizer": folder / "tokenizer.json"}
