"""The sections of a card that are not results: what it is for, on what data, where from, under what."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.config import ProcessorConfig
from ..core.files import LICENCE_FILE
from ..core.recipe import Recipe
from .card_facts import CardFacts, domain_words
from .card_header import licence_fields
from .card_text import block, cell, code, fenced, inline, one_line, prose, sentence, table
from .card_training import stored_as
from .licences import licence_page

TEMPLATES = Path(__file__).parent / "templates"
_COMMAND = re.compile(r"verticlip [A-Za-z0-9 ./_'=,:-]+")
"""Commands that a card may show: nothing that a shell would read as more than words."""

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def fill(template: str, **values: str) -> str:
    """Return a template with its places filled; values are Markdown already."""
    return (TEMPLATES / f"{template}.md").read_text(encoding="utf-8").rstrip("\n").format(**values)


def intended_use(facts: CardFacts) -> str:
    """Return what the model is for and what it is not for."""
    words = domain_words(facts.config.domain)
    said = facts.recipe.intended_use if facts.recipe else ""
    said = said or (facts.spec.intended_use if facts.spec else "") or words.get("intended_use", "")
    beyond = [words["out_of_scope"].rstrip(".")] if words.get("out_of_scope") else []
    if facts.metrics is not None:
        beyond.append(
            f"{facts.words['samples']} of a kind that is not among the data below, unless you measure the "
            "model on "
            "yours first"
        )
    parts = [block(sentence(said)) if said else "Nothing is recorded beyond the description above."]
    if beyond:
        parts.append(f"Out of scope: {'; '.join(inline(one) for one in beyond)}.")
    return "\n\n".join(parts)


def use(facts: CardFacts, kind: str) -> str:
    """Return how the model is loaded, asked, pinned and checked."""
    name = json.dumps(facts.load_as)
    words = facts.words
    lines = ["import verticlip", "", f"model = verticlip.from_pretrained({name})"]
    file = json.dumps(words["file"])
    command = _command(facts)
    text = facts.processor.text
    values = {
        "reads": reads(facts.processor, words),
        "context": str(text.context_length) if text else "-",
        "sample": inline(words["sample"]),
    }
    if command:
        template, example = "use_task", fenced("bash", [command])
    elif kind == "classifier":
        template = "use_head"
        example = fenced("python", [*lines, f'print(model.classify([{file}], head="FOLDER/head")[0])'])
    elif kind == "zero_shot" and facts.metrics is not None:
        template, example = "use_prompts", fenced("python", [*lines, f"print(model.classify([{file}])[0])"])
    elif "text" in facts.config.towers and len(facts.config.towers) > 1:
        template = "use_pairs"
        lines += [
            f"{words['samples']} = model.embed([{file}], modality={json.dumps(words['modality'])})",
            'texts = model.embed(["a first caption", "another one"])',
            f"print(model.similarity({words['samples']}, texts))",
        ]
        example = fenced("python", lines)
    elif facts.config.towers and facts.config.options.get("joint_space") is not False:
        template = "use_task"
        lines.append(f"print(model.embed([{file}], modality={json.dumps(words['modality'])}).vectors.shape)")
        example = fenced("python", lines)
    else:
        template, example = "use_task", fenced("python", lines)
    named = "" if facts.is_registered else "`ORG/NAME` is the repository of this card, or the folder.\n\n"
    return f"{fill(template, example=example, **values)}\n\n{named}{_pinned(facts)}"


def _command(facts: CardFacts) -> str:
    """Return the command that the records give for the model, or nothing where it is more than words."""
    said = one_line((facts.metrics or facts.conversion or {}).get("command", "")).replace(
        "MODEL", facts.load_as
    )
    return said if _COMMAND.fullmatch(said) else ""


def _pinned(facts: CardFacts) -> str:
    load = f'model = verticlip.from_pretrained("ORG/NAME", revision="{COMMIT}")'
    verify = f"verticlip hub verify {facts.load_as}" + (
        "" if facts.is_registered else f" --revision {COMMIT}"
    )
    return fill("pinned", pinned=fenced("python", [load]), verify=fenced("bash", [verify]))


def reads(processor: ProcessorConfig, words: Mapping[str, str]) -> str:
    """Return how the model reads a sample, as the beginning of a sentence."""
    if processor.image is not None:
        return f"Images are read as {processor.image.size} x {processor.image.size}"
    if processor.audio is not None:
        audio = processor.audio
        return (
            f"Recordings are read at {audio.sampling_rate} Hz in windows of {audio.window_s:g} s (a longer "
            "one gets the mean of its windows)"
        )
    return f"{inline(words['samples']).capitalize()} are read as they are"


def data(recipe: Recipe, metrics: Mapping[str, Any], words: Mapping[str, str]) -> str:
    """Return the sources with licence, origin, revision, digest and sizes, and what they are and are not."""
    counts, recorded = metrics.get("source_splits", {}), metrics.get("source_files", {})
    samples = words["samples"]
    head = [
        "source",
        "origin",
        "licence",
        "revision",
        "digest",
        f"training {samples}",
        f"validation {samples}",
    ]
    rows, notes = [], []
    for source in recipe.data.sources:
        files = recorded.get(source.name) or {}
        own = counts.get(source.name, {})
        rows.append(
            [
                cell(source.name),
                cell(source.origin or "not recorded"),
                cell(source.licence or "not recorded"),
                cell(source.revision or "not recorded"),
                _digest(files),
                f"{own.get('train', 0):,}",
                f"{own.get('val', 0) + own.get('dev', 0):,}",
            ]
        )
        notes.append(one_line(files.get("note", "")))
    said = [table(head, rows)]
    if any(recorded.get(source.name) for source in recipe.data.sources):
        when = next((f" It was {inline(note)}." for note in notes if note), "")
        said.append(
            "A digest is the SHA-256 of the sorted lines `path SHA-256` of all files of a source (or of "
            "`path size` "
            f"where it says so); in full in `metrics.json` under `source_files`.{when}"
        )
    said.append(f"Rows, labels and splits of the run have the digest {code(metrics.get('data', '-'))}.")
    return "\n\n".join(said)


def _digest(files: Mapping[str, Any]) -> str:
    if not files.get("sha256"):
        return "not recorded"
    by = "" if files.get("by") == "content" else f" ({inline(files.get('by', ''))})"
    count = files.get("files", 0)
    return f"{code(str(files['sha256'])[:16])}, {count:,} {'file' if count == 1 else 'files'}{by}"


def origin(facts: CardFacts) -> str:
    """Return which files of somebody else the weights are, and what conversion did with them."""
    found = facts.conversion or {}
    head = ["file", "from", "commit", "SHA-256", "bytes", "compared with"]
    rows = []
    for file in found.get("files", ()):
        compared = {True: "the registered hash", False: "another hash: a variant"}.get(file.get("registered"))
        compared = compared or ("the file at that commit" if file.get("commit") else "nothing")
        size = file.get("bytes")
        rows.append(
            [
                code(file.get("name", "")),
                cell(file.get("repo_id") or "the user's own files"),
                code(file.get("commit") or "") if file.get("commit") else "not recorded",
                code(file.get("sha256", "")),
                f"{size:,}" if isinstance(size, int) else "-",
                cell(compared),
            ]
        )
    report = found.get("report", {})
    loaded = sum(int(part.get("loaded", 0)) for part in report.values())
    dropped = sum(len(part.get("dropped", ())) for part in report.values())
    parts = [
        "These weights were trained by others and were not trained here. No value was changed, only the file "
        "format and how the tensors are named and divided.",
        table(head, rows),
        f"{loaded:,} tensors were taken over as they are"
        + (f", {dropped:,} were left out." if dropped else "."),
    ]
    terms = one_line(found.get("training_data", ""))
    parts.append(f"Training data: {inline(terms) if terms else 'not recorded here; see the authors'}.")
    return "\n\n".join(parts)


def checks(facts: CardFacts) -> str:
    """Return what is known of how good converted weights are: what was recorded, or that nothing was."""
    found = facts.conversion or {}
    rows = [[cell(one.get("what", "")), cell(one.get("value", ""))] for one in found.get("checks", ())]
    parts = ["No error rate and no score was measured for this card; what its authors report is theirs."]
    if rows:
        parts += ["What was checked is that the conversion is exact:", table(["what", "value"], rows)]
    else:
        parts.append(
            "Where the authors' code gave reference outputs for this system, `verticlip hub verify` replays "
            "them."
        )
    return "\n\n".join(parts)


def answers(facts: CardFacts) -> str:
    """Return the categories of a model that answers with those of a taxonomy, or nothing."""
    taxonomy = facts.config.options.get("taxonomy")
    categories = taxonomy.get("categories", ()) if isinstance(taxonomy, Mapping) else ()
    rows = [
        [code(one.get("id", "")), cell(one.get("kind", "")), cell(one.get("explanation", ""))]
        for one in categories
        if isinstance(one, Mapping)
    ]
    return table(["answer", "kind", "what it means"], rows) if rows else ""


def limits(facts: CardFacts, kind: str) -> str:
    """Return what the model cannot do, and what nobody measured."""
    words, metrics = facts.words, facts.metrics or {}
    said: list[str] = []
    if kind in ("zero_shot", "classifier") and metrics:
        known = (
            f"one of {len(metrics['classes'])} classes"
            if kind == "classifier"
            else "one of the labels it is given"
        )
        said.append(
            f"It answers with {known}, also for {words['samples']} of a kind it has never seen: scores are "
            "relative to the labels, not a measure of whether any of them is right."
        )
    if metrics:
        said.append(words["validation"])
    for source, one in metrics.get("equal_captions", {}).items():
        if isinstance(one, Mapping) and one.get("in_training"):
            said.append(
                f"{one['in_training']:,} of {one.get('validation', 0):,} validation captions of {source} "
                "also stand "
                "in its training part, with other samples."
            )
    said += [str(note) for note in metrics.get("notes", ())]
    said += [str(note) for note in (facts.conversion or {}).get("limits", ())]
    said += list(facts.recipe.limits) if facts.recipe else []
    if domain_words(facts.config.domain).get("limits"):
        said.append(domain_words(facts.config.domain)["limits"])
    said.append(
        "Nothing was measured for single groups of people, places or devices unless a table above names them."
    )
    return "\n".join(f"- {prose(one_line(one))}" for one in said if one_line(one))


def files(facts: CardFacts) -> str:
    """Return what loading reads, with the hashes to compare a copy with."""
    rows = [[code(name), f"{size:,}", code(digest)] for name, (size, digest) in facts.files.items()]
    parts = [table(["file", "bytes", "SHA-256"], rows)]
    if facts.conversion is not None:
        parts.append(f"Weights: {stored_as(facts)}.")
    if (facts.folder / "threshold.json").is_file():
        parts.append("`threshold.json` holds the operating point that goes with these weights.")
    return "\n\n".join(parts)


def licence(facts: CardFacts) -> str:
    """Return the licence of the weights and what the licences of the data ask for."""
    name = facts.config.licence
    page = licence_page(name)
    if (facts.folder / LICENCE_FILE).is_file():
        where = f" The text is in `{LICENCE_FILE}`."
    elif page:
        where = f" The text: <{page}>."
    elif licence_fields(facts)["license"] == "unknown":
        where = " Nobody has stated one: ask the authors before you use or pass on the weights."
    else:
        where = ""
    parts = [f"The weights are under {inline(name)}.{where}"]
    credits = [
        f"- {inline(source.name)}: {inline(source.origin)}, {inline(source.licence)}"
        for source in (facts.recipe.data.sources if facts.recipe else ())
        if source.licence.upper().startswith("CC-BY")
    ]
    if credits:
        parts += ["Data whose licence asks for its authors to be named:", "\n".join(credits)]
    notice = (facts.conversion or {}).get("notice", ())
    parts += [prose(str(one)) for one in notice]
    return "\n\n".join(parts)


def citation(facts: CardFacts) -> str:
    """Return how to name exactly this model."""
    config = facts.config
    parts = []
    if facts.spec is not None and facts.spec.paper:
        parts.append(f"Please cite its authors: {inline(facts.spec.paper)}.")
    parts.append(
        "Name the model and the commit that you loaded; the hash of its weights tells it from every other "
        "copy:"
    )
    digest = facts.files["model.safetensors"][1]
    versions = (facts.metrics or {}).get("run", {}).get("versions", {})
    made = f"verticlip {versions['verticlip']}" if versions.get("verticlip") else "verticlip"
    key = re.sub(r"[^a-z0-9]+", "-", config.name.lower()).strip("-") or "model"
    lines = [
        f"@misc{{{key},",
        f"  title = {{{re.sub(r'[^A-Za-z0-9 ._/-]', '', config.name)}}},",
        f"  howpublished = {{{re.sub(r'[^A-Za-z0-9 ._+-]', '', made)} model}},",
        f"  note = {{SHA-256 of the weights: {digest}}}",
        "}",
    ]
    parts.append(fenced("bibtex", lines))
    return "\n\n".join(parts)
