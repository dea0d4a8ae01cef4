"""Image-to-text models of transformers of a few kilobytes, random, saved as their authors save theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = ["a", "satellite", "image", "of", "the", "city", "river", "forest", "with", "houses", "roads", "and"]
WORDS += ["trees", "near", "water", "lake", "green", "dark"]


def tokenizer() -> Any:
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", *WORDS]
    words = Tokenizer(models.WordLevel({word: n for n, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        bos_token="[DEC]",
    )


SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
SEES = {**SIZES, "image_size": 32, "patch_size": 16}
WRITES = {**SIZES, "max_position_embeddings": 64, "pad_token_id": 0, "eos_token_id": 3}


def _saved(network: Any, folder: Path) -> Path:
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5)
    network.save_pretrained(folder)
    return folder


def blip(folder: Path) -> Path:
    config = transformers.BlipConfig(
        text_config={
            **WRITES,
            "vocab_size": len(tokenizer()),
            "encoder_hidden_size": 16,
            "projection_dim": 8,
            "bos_token_id": 5,
            "sep_token_id": 3,
        },
        vision_config={**SEES, "projection_dim": 8},
        projection_dim=8,
        image_text_hidden_size=8,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        _saved(transformers.BlipForConditionalGeneration(config), folder)
    pictures = transformers.BlipImageProcessor(size={"height": 32, "width": 32})
    transformers.BlipProcessor(pictures, tokenizer()).save_pretrained(folder)
    return folder


def git(folder: Path) -> Path:
    config = transformers.GitConfig(vision_config=SEES, vocab_size=len(tokenizer()), bos_token_id=2, **WRITES)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        _saved(transformers.GitForCausalLM(config), folder)
    pictures = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32)
    transformers.GitProcessor(pictures, tokenizer()).save_pretrained(folder)
    return folder


def encoder_decoder(folder: Path) -> Path:
    """A picture tower and a language model in one, without a processor of both."""
    writes = transformers.GPT2Config(
        vocab_size=len(tokenizer()),
        n_embd=16,
        n_layer=1,
        n_head=2,
        n_positions=64,
        bos_token_id=2,
        eos_token_id=3,
        add_cross_attention=True,
        is_decoder=True,
    )
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        transformers.ViTConfig(**SEES), writes
    )
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 2, 0, 3
    with torch.random.fork_rng():
        torch.manual_seed(2)
        _saved(transformers.VisionEncoderDecoderModel(config), folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


CHAT = (
    "{% for turn in messages %}{% for part in turn['content'] %}{% if part['type'] == 'image' %}<image> "
    "{% else %}{{ part['text'] }} {% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %}the{% endif %}"
)


def llava(folder: Path) -> Path:
    """A model that is asked a question about a picture."""
    words = tokenizer()
    words.add_special_tokens({"additional_special_tokens": ["<image>"]})
    token = words.convert_tokens_to_ids("<image>")
    writes = transformers.LlamaConfig(
        vocab_size=len(words), num_key_value_heads=2, bos_token_id=2, **{**WRITES, "num_attention_heads": 2}
    )
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**SEES),
        text_config=writes,
        image_token_id=token,
        vision_feature_layer=-1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        _saved(transformers.LlavaForConditionalGeneration(config), folder)
    transformers.LlavaProcessor(
        transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32),
        words,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT,
    ).save_pretrained(folder)
    return folder
