"""The page that lies in an exported folder: how to load it, and what to know."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...core.config import ImageProcessing, TextProcessing
from ...core.files import CARD_FILE, write_text_atomic
from ..card_header import header_text, licence_named
from ..card_text import code as code_span
from ..card_text import inline
from .comparing import KERNELS

if TYPE_CHECKING:
    from .dispatch import Subject

_OPEN_CLIP = """\
import open_clip
from PIL import Image

model, _, preprocess = open_clip.create_model_and_transforms("{name}")
tokenizer = open_clip.get_tokenizer("{name}")
model.eval()
pixels = preprocess(Image.open("picture.jpg").convert("RGB")).unsqueeze(0)
image = model.encode_image(pixels, normalize=True)
text = model.encode_text(tokenizer(["a label", "another label"]), normalize=True)
print(image @ text.T)
"""
_TRANSFORMERS = """\
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor

model, processor = AutoModel.from_pretrained("{name}"), AutoProcessor.from_pretrained("{name}")
inputs = processor(
    text=["a label", "another label"], images=[Image.open("picture.jpg").convert("RGB")],
    padding="max_length", truncation=True, return_tensors="pt",
)
with torch.no_grad():
    print(model(**inputs).logits_per_image.softmax(dim=-1))
    # Embeddings come unnormalized, as .pooler_output of transformers 5.
    image = model.get_image_features(pixel_values=inputs["pixel_values"]).pooler_output
"""
_SENTENCE_TRANSFORMERS = """\
from PIL import Image
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{name}")
image = model.encode([Image.open("picture.jpg").convert("RGB")], normalize_embeddings=True)
text = model.encode(["a label", "another label"], normalize_embeddings=True)
print(image @ text.T)
"""
_CLAP = """\
import torch
from transformers import AutoModel, AutoProcessor

model, processor = AutoModel.from_pretrained("{name}"), AutoProcessor.from_pretrained("{name}")
wave = torch.zeros({rate} * 5).numpy()  # mono, {rate} Hz
sound = processor(audio=[wave], sampling_rate={rate}, return_tensors="pt")
texts = processor(text=["a label", "another label"], padding=True, return_tensors="pt")
with torch.no_grad():
    # Embeddings come unnormalized, as .pooler_output of transformers 5.
    audio = model.get_audio_features(**sound).pooler_output
    text = model.get_text_features(**texts).pooler_output
print(torch.nn.functional.normalize(audio) @ torch.nn.functional.normalize(text).T)
"""


def write_readme(
    folder: Path, model: Subject, library: str, notes: tuple[str, ...], repo_id: str | None = None
) -> None:
    """Write ``README.md`` of an exported model into ``folder``.

    Args:
        model: that was exported. library: that reads the folder. notes: sentences for the reader.
        repo_id: what the folder will be published as.
    """
    audio = model.processor.config.audio
    name = repo_id or "."
    if library == "open_clip":
        code = [_OPEN_CLIP.format(name=f"hf-hub:{repo_id}" if repo_id else f"local-dir:{name}")]
    elif audio is not None:
        code = [_CLAP.format(name=name, rate=audio.sampling_rate)]
    else:
        code = [_TRANSFORMERS.format(name=name), _SENTENCE_TRANSFORMERS.format(name=name)]
    task = "zero-shot-audio-classification" if audio is not None else "zero-shot-image-classification"
    lines = [
        f"# {inline(model.config.name)} for {library}",
        "",
        f"Made from revision {code_span(model.revision)} by verticlip, and compared with it: `report.json` "
        f"says how closely. Licence of the weights: {licence_words(model)}.",
        *([] if repo_id else ["", f"In this folder, or with its path in place of {code_span('.')}:"]),
        "",
        *(line for block in code for line in ("```python", block.rstrip(), "```", "")),
        *(f"- {inline(note)}" for note in notes),
    ]
    head = front_matter(model, library, task)
    write_text_atomic(folder / CARD_FILE, head + "\n".join(lines).rstrip() + "\n")


def front_matter(model: Subject, library: str, task: str = "") -> str:
    """Return the metadata that the page begins with: library, task and licence in words of the Hub."""
    fields = {"library_name": library, "pipeline_tag": task, **licence_named(model.config.licence)}
    return header_text({key: value for key, value in fields.items() if value})


def licence_words(model: Subject) -> str:
    """Return the licence of a model as Markdown."""
    return inline(model.config.licence) or "not stated"


def picture_notes(config: ImageProcessing | None, library: str) -> tuple[str, ...]:
    """Return what changes for pictures when another library prepares them."""
    if config is None:
        return ()
    notes = [
        f"{library} reads 8-bit color and gray pictures as the model does. Convert pictures with "
        "transparency, a palette or 16 bits to RGB first; medical and satellite files too."
    ]
    if config.load:
        said = ", ".join(f"{key}={value!r}" for key, value in config.load.items())
        notes.append(f"The model's own loader reads files with {said}; {library} has no such loader.")
    if config.resampler != KERNELS[library]:
        names = {"pillow": "Pillow", "torch": "torch"}
        cure = ' AutoProcessor.from_pretrained(..., backend="pil") resizes as the model does.'
        notes.append(
            f"{library} resizes by the kernel of {names[KERNELS[library]]}, the model by that of "
            f"{names[config.resampler]}: pixels differ by a level or two of 255, at sharp edges by more."
            f"{cure if library == 'transformers' else ''}"
        )
    return tuple(notes)


def text_notes(config: TextProcessing | None, library: str) -> tuple[str, ...]:
    """Return what changes for texts when another library prepares them."""
    if config is None:
        return ()
    notes = []
    if config.overlong == "error":
        notes.append(
            f"Texts of more than {config.context_length} tokens are refused by the model and cut without a "
            f"word by {library}."
        )
    if library == "open_clip" and config.clean == "none":
        notes.append(
            "open_clip mends broken encodings and HTML escapes in texts and makes one space of several; the "
            "model takes them as they come."
        )
    if library == "transformers" and (config.clean != "none" or config.tokenizer == "open_clip_bpe"):
        notes.append("transformers does not mend broken encodings and HTML escapes in texts; the model does.")
    return tuple(notes)
