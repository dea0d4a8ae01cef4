"""What lies beside exported graphs, so that they can be used without verticlip.

``verticlip.json`` says what goes in and comes out, with the settings of the processor; ``reader.py`` does all
of it with numpy; ``README.md`` says how.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.files import CARD_FILE, PROMPTS_FILE, TOKENIZER_FILE, write_json_atomic, write_text_atomic
from ...core.spectrogram import mel_filters
from ...core.verify import OutputCheck
from ..card_text import code as code_span
from ..card_text import inline
from .reader_checks import reader_checks
from .report import ExportReport, file_hashes, write_report
from .tokens import openai_tokenizer
from .usage import front_matter, licence_words

if TYPE_CHECKING:
    from .dispatch import Subject

FACTS_FILE, READER_FILE, MEL_FILE = "verticlip.json", "reader.py", "mel_filters.npy"


@dataclass(frozen=True)
class Port:
    """An input: its type and its axes; an axis that is a word may have any size."""

    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class GraphFile:
    """One exported file.

    Attributes:
        name: of the file. part: what it is: a modality, or a word of the domain.
        inputs: {name: type and axes}.
        output: name of the result. meaning: of the result, in words. unit: whether its rows have length one.
        pad_id: token that fills texts up where the graph takes one length.
        notes: what a reader of the export has to know.
        modules: top-level modules of the network that the file holds.
    """

    name: str
    part: str
    inputs: Mapping[str, Port]
    output: str
    meaning: str
    unit: bool = False
    pad_id: int = 0
    notes: tuple[str, ...] = ()
    modules: frozenset[str] = frozenset()


def finish(
    folder: Path,
    subject: Subject,
    files: Sequence[GraphFile],
    checks: Sequence[OutputCheck],
    *,
    facts: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> ExportReport:
    """Write what lies beside the graphs into ``folder``, and the report; return it.

    Args:
        folder: that the graphs lie in.
        subject: the model.
        files: of the graphs.
        checks: comparisons of each file with the model.
        facts: what ``verticlip.json`` says of the format: its name, operator set, versions.
        notes: of the whole export.

    Raises:
        ExportRefused: a comparison failed.
    """
    _write(folder, subject, files, facts=facts, notes=notes)
    checks = [*checks, *reader_checks(folder, subject, files)]
    report = ExportReport(
        format=facts["format"],
        files=file_hashes(folder),
        checks=tuple(checks),
        tolerance=max((check.tolerance or 0.0 for check in checks), default=0.0),
        versions=facts["versions"],
        model=subject.id,
        revision=subject.revision,
        notes=(*notes, *dict.fromkeys(note for file in files for note in file.notes)),
    )
    report.require_passed()
    write_report(folder, report)
    return report


def _write(
    folder: Path,
    subject: Subject,
    files: Sequence[GraphFile],
    *,
    facts: Mapping[str, Any],
    notes: Sequence[str],
) -> None:
    import yaml

    processor = subject.processor
    processor.save(folder)
    text = processor.config.text
    if text is not None and text.tokenizer == "open_clip_bpe":
        # verticlip has this one built in; reader.py has not.
        write_text_atomic(folder / TOKENIZER_FILE, openai_tokenizer(text.context_length))
    if subject.prompts is not None:
        content = subject.prompts.model_dump(mode="json")
        write_text_atomic(folder / PROMPTS_FILE, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    audio = processor.config.audio
    if audio is not None:
        np.save(folder / MEL_FILE, mel_filters(audio.mel, audio.sampling_rate).numpy())
    source = Path(__file__).with_name(READER_FILE).read_text(encoding="utf-8")
    write_text_atomic(folder / READER_FILE, source)
    write_text_atomic(folder / CARD_FILE, _readme(subject, files, facts["format"], notes))
    write_json_atomic(folder / FACTS_FILE, _facts(folder, subject, files, facts))


def _facts(
    folder: Path, subject: Subject, files: Sequence[GraphFile], format_facts: Mapping[str, Any]
) -> dict[str, Any]:
    config, network, prompts = subject.config, subject.network, subject.prompts
    bias = network.logit_bias
    return {
        "schema": 1,
        **format_facts,
        "model": subject.id,
        "revision": subject.revision,
        "architecture": config.architecture,
        "licence": config.licence,
        "embed_dim": config.embed_dim,
        "logit_scale": float(network.scale().detach()),
        "logit_bias": None if bias is None else float(bias.detach()),
        "parts": {
            file.part: {
                "file": file.name,
                "inputs": {
                    name: {"dtype": port.dtype, "shape": list(port.shape)}
                    for name, port in file.inputs.items()
                },
                "output": file.output,
                "meaning": file.meaning,
                "unit_length": file.unit,
                "notes": list(file.notes),
            }
            for file in files
        },
        "processor": subject.processor.config.model_dump(mode="json"),
        # A list, because files are written with sorted keys and classes have an order.
        "classes": []
        if prompts is None
        else [
            {"name": name, "texts": prompts.texts(name), "weights": prompts.text_weights(name)}
            for name in prompts.classes
        ],
        "files": file_hashes(folder),
    }


_USE = {
    "image": 'pictures = model.embed_images([PIL.Image.open("picture.png")])',
    "text": 'texts = model.embed_texts(["a first text", "a second text"])',
    "audio": "recordings = model.embed_audio([wave])  # float [T] in [-1, 1], at {rate} Hz",
}


def _readme(subject: Subject, files: Sequence[GraphFile], format_name: str, notes: Sequence[str]) -> str:
    """Return the page of the folder."""
    parts = {file.part for file in files}
    audio = subject.processor.config.audio
    rate = 0 if audio is None else audio.sampling_rate
    uses = [line.format(rate=rate) for part, line in _USE.items() if part in parts]
    first = next(
        (word for part, word in (("image", "pictures"), ("audio", "recordings")) if part in parts), ""
    )
    if first and "text" in parts:
        uses.append(f"print(model.probabilities({first}, texts))")
    if not uses:
        file = files[0]
        uses = [f'print(model.run("{file.part}", {{name: array}}))  # inputs: see verticlip.json']
    imports = ["import PIL.Image", ""] if "image" in parts else []
    rows = [
        f"| `{file.name}` | "
        + ", ".join(f"`{name}` {port.dtype} {_shape(port)}" for name, port in file.inputs.items())
        + f" | `{file.output}`: {inline(file.meaning)} |"
        for file in files
    ]
    said = [*notes, *dict.fromkeys(note for file in files for note in file.notes)]
    code = "\n".join([*imports, "from reader import Model", "", 'model = Model(".")', *uses])
    return _PAGE.format(
        header=front_matter(subject, format_name),
        name=inline(subject.id),
        revision=code_span(subject.revision),
        licence=licence_words(subject),
        kind={"onnx": "ONNX", "openvino": "OpenVINO"}[format_name],
        rows="\n".join(rows),
        notes="".join(f"- {inline(note)}\n" for note in said) + ("\n" if said else ""),
        packages={"onnx": "onnxruntime", "openvino": "openvino"}[format_name],
        code=code,
    )


def _shape(port: Port) -> str:
    return f"[{', '.join(map(str, port.shape))}]"


_PAGE = """{header}# {name} as {kind}

Revision {revision}, licence of the weights: {licence}.

| file | takes | gives |
| --- | --- | --- |
{rows}

An axis that is a word may have any size. Embeddings have length one; a logit is `logit_scale * cosine`, plus
`logit_bias` where there is one, both in `verticlip.json`, with the settings of the preprocessing, the classes
and their texts, and the SHA-256 of every file.

{notes}`report.json` says on which inputs the files were compared with the model they were made from, and how
far they are off. They would not be here if that were more than is allowed.

## Use

```bash
pip install {packages} numpy pillow tokenizers ftfy
```

```python
{code}
```

`reader.py` prepares pictures, texts and recordings with numpy and Pillow; the rows of `report.json` that
begin with its name say how far it is off.
"""
