"""Prompt sets: class names and templates as data, and weights for the templates."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor
from torch.nn import functional as F

from . import registry
from .config import Config, read_config
from .errors import ConfigError, InputError, nearest
from .limits import DEFAULT, Limits

PLAIN_TEMPLATES = ("a photo of a {}.",)
"""Used for labels that no prompt set knows."""
SOUND_TEMPLATES = ("the sound of {}",)
"""The same for recordings."""

Debias = Literal["none", "test", "pretrain", "both"]


def normalize_label(label: str) -> str:
    """Return the form in which two labels are compared: no case, underscores or extra spaces."""
    return prompt_words(label).casefold()


def prompt_words(label: str) -> str:
    """Return a label as words for a prompt: ``"no_tumor"`` becomes ``"no tumor"``; case is kept."""
    return " ".join(unicodedata.normalize("NFKC", label).replace("_", " ").split())


class PromptSet(Config):
    """What is said about each class to the text tower.

    Example (YAML)::

        name: brain-mri
        version: "1"
        classes:
          glioma: [glioma, glial tumor]
          no_tumor: [no tumor]
        templates: ["an MRI scan showing {}.", "brain MRI, {}."]
    """

    name: str = Field(min_length=1)
    version: str = Field(default="1", min_length=1)
    classes: dict[str, tuple[str, ...]] = Field(min_length=1)
    """{class: words that fill the templates}, in answer order; the first is the usual name."""
    templates: tuple[str, ...] = Field(default=PLAIN_TEMPLATES, min_length=1)
    """Sentences with one ``{}`` where the words go."""
    weights: tuple[float, ...] | None = None
    """One non-negative weight per template; None weighs all alike."""
    prompts: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """{class: ready sentences}, used for that class instead of its words and the templates."""

    @field_validator("templates")
    @classmethod
    def _one_slot(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            if template.count("{}") != 1:
                raise ValueError(f"each template needs exactly one {{}}, got {template!r}")
        return templates

    @model_validator(mode="after")
    def _parts_agree(self) -> PromptSet:
        for name, words in (*self.classes.items(), *self.prompts.items()):
            if name not in self.classes:
                raise ValueError(f"prompts name {name!r}, which is not one of the classes")
            if not words or not all(word.strip() for word in words):
                raise ValueError(
                    f"class {name!r} needs at least one text and no empty one, got {list(words)}"
                )
        seen: dict[str, str] = {}
        for name, words in self.classes.items():
            for word in {normalize_label(name), *map(normalize_label, words)}:
                if word in seen:
                    raise ValueError(f"{word!r} stands for both {seen[word]!r} and {name!r}")
                seen[word] = name
        if self.weights is not None:
            if len(self.weights) != len(self.templates):
                raise ValueError(f"{len(self.weights)} weights for {len(self.templates)} templates")
            if min(self.weights) < 0 or sum(self.weights) <= 0:
                raise ValueError("weights must be 0 or more with a positive sum")
        return self

    @classmethod
    def load(cls, path: str | Path, *, limits: Limits = DEFAULT) -> PromptSet:
        """Read a prompt set from YAML or JSON.

        Raises:
            ConfigError: missing or malformed file, unknown key, bad template, a text for two classes.
            LimitError: file, number of classes or a text over its limit.
        """
        prompts = read_config(cls, path, limits=limits)
        limits.check("labels", len(prompts.classes), what=f"{Path(path).name}: classes")
        for name in prompts.classes:
            longest = max(len(text) for text in prompts.texts(name))
            limits.check("text_chars", longest, what=f"{Path(path).name}: class {name!r}: characters")
        return prompts

    @classmethod
    def from_labels(
        cls, labels: Sequence[str], *, templates: Sequence[str] = PLAIN_TEMPLATES, limits: Limits = DEFAULT
    ) -> PromptSet:
        """Return a set with one class per label; the label as given stays the answer key.

        Args:
            labels: at least one; compared without case, underscores and extra spaces.
            templates: sentences with one ``{}``.
            limits: ceilings on number and length of labels.

        Raises:
            InputError: no labels, an empty label, or two that read the same.
            LimitError: too many labels or a label too long.
            ConfigError: a template without exactly one ``{}``.

        Example:
            >>> PromptSet.from_labels(["no_tumor"]).texts("no_tumor")
            ['a photo of a no tumor.']
        """
        check_labels(labels, limits=limits)
        for template in templates:
            if template.count("{}") != 1:
                raise ConfigError(f"Each template needs exactly one {{}}, got {template!r}.")
        return cls(
            name="labels",
            classes={label: (prompt_words(label),) for label in labels},
            templates=tuple(templates),
        )

    def matching(
        self, labels: Sequence[str], *, plain: Sequence[str] = PLAIN_TEMPLATES, limits: Limits = DEFAULT
    ) -> PromptSet:
        """Return a set for the user's labels that uses this set's texts where it knows the label.

        A label that reads like a class or one of its words gets the texts of that class; any other
        label gets the ``plain`` templates. Answer keys are the labels as given.

        Raises:
            InputError: as :meth:`from_labels`, or two labels mean the same class.
        """
        check_labels(labels, limits=limits)
        known = {
            normalize_label(word): name for name, words in self.classes.items() for word in (name, *words)
        }
        classes: dict[str, tuple[str, ...]] = {}
        ready: dict[str, tuple[str, ...]] = {}
        taken: dict[str, str] = {}
        for label in labels:
            found = known.get(normalize_label(label))
            if found is None:
                classes[label] = (prompt_words(label),)
                ready[label] = tuple(template.replace("{}", prompt_words(label)) for template in plain)
                continue
            if found in taken:
                raise InputError(
                    f"Labels {taken[found]!r} and {label!r} both mean {found!r} in prompt set {self.name!r}; "
                    "keep one."
                )
            taken[found] = label
            classes[label] = self.classes[found]
            if found in self.prompts:
                ready[label] = self.prompts[found]
        return PromptSet(
            name=self.name,
            version=self.version,
            classes=classes,
            templates=self.templates,
            weights=self.weights,
            prompts=ready,
        )

    @property
    def class_names(self) -> tuple[str, ...]:
        """Answer keys, in order."""
        return tuple(self.classes)

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the whole set; the order of classes counts."""
        content = self.model_dump(mode="json")
        ordered = {
            key: list(value.items()) if isinstance(value, dict) else value for key, value in content.items()
        }
        return hashlib.sha256(json.dumps(ordered, sort_keys=True).encode()).hexdigest()

    def texts(self, name: str) -> list[str]:
        """Return every prompt of a class: its ready sentences, or each template with each word."""
        if name in self.prompts:
            return list(self.prompts[name])
        return [template.replace("{}", word) for template in self.templates for word in self.classes[name]]

    def text_weights(self, name: str) -> list[float]:
        """Return the weight of each text of :meth:`texts`; they sum to one."""
        if name in self.prompts or self.weights is None:
            count = len(self.texts(name))
            return [1.0 / count] * count
        words = len(self.classes[name])
        total = sum(self.weights)
        return [weight / total / words for weight in self.weights for _ in range(words)]

    def weight(
        self,
        template_embeddings: Tensor,
        image_embeddings: Tensor,
        *,
        scale: float,
        pretrain_embeddings: Tensor | None = None,
        select_above: float | None = None,
    ) -> PromptSet:
        """Return a copy whose template weights come from unlabelled images (ZPE).

        Args:
            template_embeddings: float [P, K, D], one per template and class.
            image_embeddings: float [N, D] of the images to be classified.
            scale: the model's logit scale (not its logarithm).
            pretrain_embeddings: float [R, D] of images like those the model was trained on; without
                them only the mean over ``image_embeddings`` is subtracted.
            select_above: keep only templates this many median deviations above the median score, with
                equal weights (0.5 for broad label sets, 2.0 for fine-grained). If none passes, the
                weights are used.

        Raises:
            InputError: the number of templates or classes differs from this set, or a class has ready
                sentences, which no template weight reaches.

        Reference: Allingham et al. 2023, "A Simple Zero-shot Prompt Weighting Technique", section 3.
        """
        if self.prompts:
            raise InputError(
                f"Class {next(iter(self.prompts))!r} of {self.name!r} has ready sentences instead of "
                "templates; weight a set whose classes all use the templates."
            )
        expected = (len(self.templates), len(self.classes))
        if template_embeddings.ndim != 3 or tuple(template_embeddings.shape[:2]) != expected:
            raise InputError(
                f"template_embeddings must be [{expected[0]} templates, {expected[1]} classes, D], got "
                f"{tuple(template_embeddings.shape)}."
            )
        texts = F.normalize(template_embeddings.float(), dim=-1)
        logits = template_logits(image_embeddings, texts, scale=scale)
        prior = None
        if pretrain_embeddings is not None:
            prior = template_logits(pretrain_embeddings, texts, scale=scale)
        scores = template_scores(logits, prior, debias="test" if prior is None else "both").mean(dim=0)
        weights = torch.softmax(scores, dim=0)
        if select_above is not None:
            chosen = select_templates(scores, select_above)
            if len(chosen):
                weights = torch.zeros_like(scores).index_fill_(0, chosen, 1.0)
        return self.model_copy(update={"weights": tuple(weights.tolist())})


def check_labels(labels: Sequence[str], *, limits: Limits = DEFAULT) -> None:
    """Refuse labels that cannot be told apart or cannot be a prompt.

    Raises:
        InputError: no labels, one string instead of a list, an empty label, two that read the same.
        LimitError: too many labels, or one too long.
    """
    if isinstance(labels, str):
        raise InputError(f"labels must be a list of strings, got the single string {labels[:80]!r}.")
    if not len(labels):
        raise InputError("labels is empty; give at least one label.")
    limits.check("labels", len(labels), what="labels: number")
    seen: dict[str, str] = {}
    for position, label in enumerate(labels):
        if not isinstance(label, str):
            raise InputError(f"Label {position} is {type(label).__name__}, expected a string: {label!r:.80}.")
        limits.check("text_chars", len(label), what=f"label {label[:40]!r}: characters")
        key = normalize_label(label)
        if not key:
            raise InputError(f"Label {position} ({label!r}) is empty; give it a name.")
        if key in seen:
            raise InputError(
                f"Labels {seen[key]!r} and {label!r} read the same once case, underscores and spaces are "
                "ignored; keep one."
            )
        seen[key] = label


def template_logits(images: Tensor, texts: Tensor, *, scale: float) -> Tensor:
    """Return scaled cosines [N, P, K] of images [N, D] with texts [P, K, D] (any lengths)."""
    unit = F.normalize(images.float(), dim=-1), F.normalize(texts.float(), dim=-1)
    return scale * torch.einsum("nd,pkd->npk", *unit)


def template_scores(logits: Tensor, pretrain_logits: Tensor | None = None, *, debias: Debias) -> Tensor:
    """Return the score of each template on each image [N, P]; average over images to rank templates.

    ``score[n, p] = max_k (logits[n, p, k] - bias[p, k])`` where the bias is the mean logit over the
    test images, over pre-training images, or the mean of the two (``both``).

    Args:
        logits: float [N, P, K], scaled. pretrain_logits: float [R, P, K], scaled.
        debias: which means to subtract.

    Raises:
        InputError: ``debias`` needs ``pretrain_logits`` and there are none.

    Reference: Allingham et al. 2023, "A Simple Zero-shot Prompt Weighting Technique", equations 3 to 5.
    """
    means = []
    if debias in ("test", "both"):
        means.append(logits.mean(dim=0))
    if debias in ("pretrain", "both"):
        if pretrain_logits is None:
            raise InputError(f"debias={debias!r} needs pretrain_logits; pass them or use debias='test'.")
        means.append(pretrain_logits.mean(dim=0))
    if means:
        logits = logits - sum(means) / len(means)
    return logits.amax(dim=-1)


def select_templates(scores: Tensor, threshold: float) -> Tensor:
    """Return indices [S] of templates whose score is ``threshold`` median deviations above the median.

    Args:
        scores: float [P]. threshold: one-sided, in median absolute deviations (not rescaled).
    """
    ordered = scores.double()
    center = torch.quantile(ordered, 0.5)
    deviation = torch.quantile((ordered - center).abs(), 0.5)
    return (ordered - center > threshold * deviation).nonzero()[:, 0]


def prompt_set(name: str | Path, *, limits: Limits = DEFAULT) -> PromptSet:
    """Return a shipped prompt set by name, or the one in a YAML or JSON file.

    Args:
        name: ``chexpert-5x200``, ``medical/chexpert-5x200``, or a path that ends in .yaml, .yml or .json.

    Raises:
        ConfigError: no such set; the nearest name is given. Else as :meth:`PromptSet.load`.

    Example:
        >>> prompt_set("rsna_pneumonia").class_names
        ('Normal', 'Pneumonia')
    """
    path = Path(name)
    if path.suffix.lower() in (".yaml", ".yml", ".json"):
        return PromptSet.load(path, limits=limits)
    domain, _, short = str(name).rpartition("/")
    rooms = [registry.room(word) for word in registry.ROOMS if domain in ("", word)]
    for home in rooms:
        if spec := home.prompts.get(short):
            if spec.parts:
                return _joined(spec, limits)
            return PromptSet.load(home.folder / "prompts" / f"{short}.yaml", limits=limits)
    known = [known for home in rooms for known in home.prompts]
    raise ConfigError(
        f"No prompt set called {str(name)!r}.{nearest(short, known)} `verticlip evaluate prompts` lists "
        "them; a file has to end in .yaml, .yml or .json."
    )


def _joined(spec: registry.PromptSpec, limits: Limits) -> PromptSet:
    """Return one set of the classes of several; a class is called "part: class", as names repeat."""
    parts = {before: prompt_set(name, limits=limits) for before, name in spec.parts.items()}
    texts = {
        f"{before}: {name}": tuple(part.texts(name))
        for before, part in parts.items()
        for name in part.class_names
    }
    version = "+".join(part.version for part in parts.values())
    return PromptSet(
        name=spec.name, version=version, classes={name: (name,) for name in texts}, prompts=texts
    )
