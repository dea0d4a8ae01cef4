"""Small CLAP models as transformers writes them, with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

FILES = {
    "weights": "pytorch_model.bin",
    "config": "config.json",
    "preprocessor": "preprocessor_config.json",
    "tokenizer": "tokenizer.json",
}
"""{role: name of the file}, as the repositories of LAION have them."""


def write_tokenizer(path: Path) -> int:
    """Write a byte-level tokenizer like RoBERTa's and return how many pieces it has."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=290,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["this is a sound of a dog barking", "rain on a tin roof"] * 3, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    tokenizer.save(str(path))
    return tokenizer.get_vocab_size()


def saved(folder: Path, *, fusion: bool) -> tuple[dict[str, Path], Any, Any]:
    """Write a random model and return its files by role, the network of transformers and its extractor."""
    import transformers

    pieces = write_tokenizer(folder / "tokenizer.json")
    text = {
        "vocab_size": pieces,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 40,
    }
    audio = {
        "patch_embeds_hidden_size": 8,
        "depths": [1, 2],
        "num_attention_heads": [2, 4],
        "spec_size": 128,
        "num_mel_bins": 64,
        "window_size": 4,
        "hidden_size": 16,
        "enable_fusion": fusion,
    }
    config = transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=24)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.ClapModel(config).eval()
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    extractor = transformers.ClapFeatureExtractor(
        sampling_rate=8000,
        hop_length=40,
        max_length_s=1,
        fft_window_size=512,
        frequency_min=50,
        frequency_max=3500,
        truncation="fusion" if fusion else "rand_trunc",
    )
    extractor.save_pretrained(folder)
    return {role: folder / name for role, name in FILES.items()}, model, extractor
