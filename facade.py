"""The model users hold: files and texts in, embeddings and predictions out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from .core import registry
from .core.answers import Embeddings, Failure, Prediction
from .core.blocks import TransformerTower
from .core.embed import EmbedReport, Encoder, embed_files, reason_of
from .core.errors import ConfigError, InputError, nearest
from .core.heads.base import Head
from .core.heads.pointer import load_pointed_head
from .core.heads.zero_shot import ClassEmbeddingCache, ZeroShotHead
from .core.images import load_image
from .core.inference import Precision, encode_by_length, prepare_model, write_marks
from .core.limits import DEFAULT, Limits
from .core.processing import Processor
from .core.prompts import PromptSet
from .core.types import MODALITIES, Modality, Sample
from .hub.loading import ResolvedModel
from .hub.saving import save_model

if TYPE_CHECKING:
    from .core.config import ModelConfig
    from .core.model import ContrastiveModel

_TEXTS_PER_CALL = 1024


@dataclass(frozen=True)
class _Prepared:
    """One input ready to be batched: an image fitted to the tower [C, size, size], the embedding [D] of a
    volume, or a sample."""

    value: Any
    id: str | None
    meta: Mapping[str, Any]


class Model:
    """A network with its preprocessing and prompts, ready to answer.

    Args:
        network: in evaluation mode on the device it shall run on.
        processor: preprocessing that belongs to it.
        prompts: the model's own classes and templates, or None.
        source: where it was loaded from; None for a network that was just trained or built.
        dtype: ``float32`` is exact; ``bfloat16`` is faster and rounds.
        limits: ceilings for every input.
    """

    def __init__(
        self,
        network: ContrastiveModel,
        processor: Processor,
        *,
        prompts: PromptSet | None = None,
        source: ResolvedModel | None = None,
        dtype: Precision = "float32",
        limits: Limits = DEFAULT,
    ) -> None:
        self.network = prepare_model(network, dtype)
        self.processor, self.prompts, self.source, self.limits = processor, prompts, source, limits
        self.dtype: Precision = dtype
        self._classes = ClassEmbeddingCache()

    @property
    def config(self) -> ModelConfig:
        """Architecture of the network."""
        return self.network.config

    @property
    def id(self) -> str:
        """Name results carry: registry name, ``org/name``, or the folder as given."""
        return self.source.id if self.source else self.config.name

    @property
    def revision(self) -> str:
        """Commit or hash of the weights; ``unsaved`` when they were not loaded from anywhere."""
        return self.source.revision if self.source else "unsaved"

    @property
    def device(self) -> torch.device:
        """Device the network runs on."""
        return self.network.device

    @property
    def primary(self) -> Modality:
        """The modality that is classified: the first one that is not text."""
        others: list[Modality] = [
            name for name in MODALITIES if name in self.network.modalities and name != "text"
        ]
        return others[0] if others else "text"

    def load(
        self, path: str | Path, *, modality: str | None = None, show_paths: bool = False, **options: Any
    ) -> Sample:
        """Return one file as a sample, read by the loader of the model's domain.

        Args:
            path: one file.
            modality: what to read it as; None means :attr:`primary`.
            show_paths: let error messages name the path; a path may name a patient.
            options: of the domain's loader, e.g. ``window="lung"``; a model without a domain has none.

        Raises:
            InputError: missing, damaged, unsupported or over a limit.
            ConfigError: the domain has no loader for ``modality``.
        """
        modality = modality or self.primary
        if self.config.domain is None and options:
            raise ConfigError(f"A model without a domain has no loader options; got {', '.join(options)}.")
        if self.config.domain is not None:
            loader = registry.room(self.config.domain).function("loaders", modality)
        elif modality == "image":
            loader = load_image
        else:
            raise ConfigError(f"A model without a domain reads image files only, not {modality!r}.")
        return loader(
            Path(path),
            limits=self.limits,
            show_paths=show_paths,
            **{**self._own_options(modality), **options},
        )

    def _own_options(self, modality: str) -> Mapping[str, Any]:
        """Return the loader options that were stored with the weights."""
        image = self.processor.config.image
        return image.load if modality == "image" and image is not None else {}

    def _prepare(self, item: Any, modality: str, position: int, options: Mapping[str, Any]) -> _Prepared:
        """Return any accepted item as what :meth:`_vectors` takes, with the id and meta of its result."""
        if isinstance(item, Sample):
            sample = item
        elif modality == "image" and isinstance(item, (str, Path)) and self._is_volume(item):
            embed = registry.room(str(self.config.domain)).function("volumes", "embed")
            vector, meta = embed(self, item, **options)
            return _Prepared(vector, str(item), meta)
        elif modality != "text" and isinstance(item, (str, Path)):
            loaded = self.load(item, modality=modality, **options)
            sample = Sample(loaded.value, loaded.modality, loaded.meta, id=str(item))
        else:
            sample = Sample(item, cast("Modality", modality), id=item if isinstance(item, str) else None)
        if sample.modality != modality:
            raise InputError(f"item {position} is a sample of {sample.modality!r}; expected {modality!r}.")
        value = sample
        if modality == "image":
            # The id may be a path, and a path may name a patient.
            name = sample.id if options.get("show_paths") and sample.id else f"image {position}"
            value = self.processor.fit_image(sample, name=name)
        elif modality == "text" and not isinstance(sample.value, str):
            raise InputError(f"text {position}: {type(sample.value).__name__} is not a string.")
        return _Prepared(value, sample.id, sample.meta)

    def _is_volume(self, path: str | Path) -> bool:
        """Return whether the model's domain reads ``path`` as a volume, slice by slice."""
        if self.config.domain is None or not registry.room(self.config.domain).volumes:
            return False
        return registry.room(self.config.domain).function("volumes", "is_volume")(path)

    def _vectors(self, modality: str, prepared: Sequence[_Prepared], *, token_budget: int = 1024) -> Tensor:
        """Return embeddings float32 [B, D] on the CPU; the rows of unusable inputs are not finite."""
        whole = [_is_embedding(one) for one in prepared]
        if any(whole):
            rows = {row: one.value for row, one in enumerate(prepared) if whole[row]}
            others = [row for row in range(len(prepared)) if not whole[row]]
            if others:
                found = self._vectors(modality, [prepared[row] for row in others], token_budget=token_budget)
                rows |= dict(zip(others, found, strict=True))
            return torch.stack([rows[row] for row in range(len(prepared))])
        values = [one.value for one in prepared]
        images = modality == "image"
        inputs = (
            self.processor.finish_images(torch.stack(values)) if images else self.processor(modality, values)
        )
        return self._encode(modality, inputs, token_budget=token_budget)

    def embed(
        self,
        items: Any,
        *,
        modality: Modality | None = None,
        batch_size: int = 8,
        **options: Any,
    ) -> Embeddings:
        """Return unit embeddings of a batch.

        Args:
            items: texts (``str``), or files (``Path``), PIL images, arrays, tensors or samples; one
                item counts as a batch of one. Where the domain reads volumes, the path of one gives the
                mean direction of its slices.
            modality: None infers it: a ``str`` is text, a sample says itself, all else is
                :attr:`primary`. Naming a modality other than text makes a ``str`` a path.
            batch_size: inputs per call of the network; the result does not depend on it.
            options: of the domain's loader.

        Raises:
            InputError: empty or mixed batch, or an item that cannot be used; nothing is returned then.
        """
        items = _as_list(items)
        modality = modality or self._infer_modality(items)
        if modality not in self.network.modalities:
            known = self.network.modalities
            raise InputError(
                f"{self.id} takes {' and '.join(known)}, not {modality!r}.{nearest(modality, known)}"
            )
        if batch_size < 1:
            raise ConfigError(f"batch_size is at least 1, got {batch_size}.")
        size = _TEXTS_PER_CALL if modality == "text" else batch_size
        rows, ids, metas = [], [], []
        for start in range(0, len(items), size):
            chunk = enumerate(items[start : start + size], start)
            prepared = [self._prepare(item, modality, position, options) for position, item in chunk]
            rows.append(self._vectors(modality, prepared, token_budget=128 * batch_size))
            ids += [one.id for one in prepared]
            metas += [one.meta for one in prepared]
        vectors = torch.cat(rows)
        bad = (~torch.isfinite(vectors).all(dim=1)).nonzero().flatten().tolist()
        if bad:
            raise InputError(f"item {bad[0]}: its embedding is not finite. Use another input.")
        origin = (self.id, self.revision, self.processor.fingerprint)
        return Embeddings(vectors, tuple(ids), tuple(metas), modality, *origin)

    def similarity(self, left: Embeddings | Tensor, right: Embeddings | Tensor) -> Tensor:
        """Return cosines float32 [B1, B2] of two sets of unit embeddings.

        Raises:
            InputError: they come from different models or have different widths.
        """
        makers = {
            (one.model, one.revision, one.processor) for one in (left, right) if isinstance(one, Embeddings)
        }
        if len(makers) > 1:
            raise InputError(
                f"These embeddings come from different models: {' and '.join(map(str, sorted(makers)))}."
            )
        first, second = (one.vectors if isinstance(one, Embeddings) else one for one in (left, right))
        if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
            raise InputError(
                f"Expected [B1, D] and [B2, D], got {list(first.shape)} and {list(second.shape)}."
            )
        return self.network.similarity(first, second)

    def classify(
        self,
        items: Any,
        labels: Sequence[str] | None = None,
        *,
        templates: PromptSet | Sequence[str] | None = None,
        head: Head | str | Path | None = None,
        batch_size: int = 8,
        **options: Any,
    ) -> list[Prediction]:
        """Return one prediction per item, by comparing it with the text of each label.

        Args:
            items: files (``str`` or ``Path``), PIL images, arrays, tensors or samples.
            labels: None takes the classes of ``templates`` or of the model. A label that the prompt
                set knows, under any of its names, gets that class's texts.
            templates: sentences with one ``{}``, or a prompt set; None takes the model's own.
            head: a fitted classifier of this model, or the folder a probe or fine-tuning wrote; it has
                its own classes and reads no text.
            batch_size: inputs per call of the network; the result does not depend on it.
            options: of the domain's loader.

        Raises:
            InputError: no labels, an empty, over-long or repeated one, or an item that cannot be used.
            ConfigError: the head belongs to another model, or labels are given beside it.
        """
        classifier = self._classifier(labels, templates, head)
        embedded = self.embed(items, modality=self.primary, batch_size=batch_size, **options)
        return self._predictions(classifier, embedded.vectors, embedded.ids, embedded.metas)

    def classify_each(
        self,
        items: Sequence[str | Path | Sample],
        labels: Sequence[str] | None = None,
        *,
        templates: PromptSet | Sequence[str] | None = None,
        head: Head | str | Path | None = None,
        batch_size: int = 8,
        **options: Any,
    ) -> Iterator[Prediction | Failure]:
        """Yield the answer or the failure of each input, in order; a bad one does not stop the others.

        Arguments as in :meth:`classify`. Memory holds one batch at a time.

        Raises:
            InputError: labels that cannot be used.
        """
        classifier = self._classifier(labels, templates, head)
        for start in range(0, len(items), batch_size):
            answers: dict[int, Prediction | Failure] = {}
            prepared: dict[int, _Prepared] = {}
            for position, item in enumerate(items[start : start + batch_size], start):
                try:
                    prepared[position] = self._prepare(item, self.primary, position, options)
                except Exception as error:  # the edge of the batch: one bad file must not stop the others
                    answers[position] = Failure(_name_of(item), reason_of(error))
            if prepared:
                vectors = self._vectors(self.primary, list(prepared.values()))
                for row, (position, one) in zip(vectors, prepared.items(), strict=True):
                    if torch.isfinite(row).all():
                        answers[position] = self._predictions(classifier, row[None], [one.id], [one.meta])[0]
                    else:
                        answers[position] = Failure(_name_of(items[position]), "its embedding is not finite")
            yield from (answers[position] for position in sorted(answers))

    def embed_files(
        self,
        files: Sequence[tuple[str, Path]],
        out: str | Path,
        *,
        batch_size: int = 8,
        workers: int | None = None,
        progress: Callable[[int, int], None] | None = None,
        **options: Any,
    ) -> EmbedReport:
        """Embed files of :attr:`primary` into one Parquet file; see :func:`verticlip.core.embed.embed_files`.

        Args:
            files: (id, path).
            options: of the domain's loader.
        """

        def read(path: Path) -> _Prepared:
            return self._prepare(path, self.primary, 0, options)

        def encode(prepared: list[_Prepared]) -> Tensor:
            return self._vectors(self.primary, prepared)

        identity = {
            "model": self.id,
            "revision": self.revision,
            "processor": self.processor.fingerprint,
            "dtype": self.dtype,
            "loader": repr(sorted(options.items())),
        }
        encoder = Encoder(read, encode, self.config.embed_dim, identity)
        return embed_files(encoder, files, out, batch_size=batch_size, workers=workers, progress=progress)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write the model folder that :func:`from_pretrained` reads, and return it.

        Each file appears whole or not at all, the weights last. Saving the same model again is fine.

        Raises:
            ConfigError: the folder holds another model and ``overwrite`` is False.
        """
        return save_model(folder, self.network, self.processor, self.prompts, overwrite=overwrite)

    def prompts_for(
        self, labels: Sequence[str] | None, templates: PromptSet | Sequence[str] | None = None
    ) -> PromptSet:
        """Return the prompt set that answers with ``labels``; arguments as in :meth:`classify`."""
        base = templates if isinstance(templates, PromptSet) else self.prompts
        if templates is not None and not isinstance(templates, PromptSet):
            if isinstance(templates, str):
                raise InputError(
                    f"templates must be a list of sentences, got the single string {templates[:80]!r}."
                )
            words = labels if labels is not None else base.class_names if base else ()
            return PromptSet.from_labels(words, templates=templates, limits=self.limits)
        if labels is None:
            if base is None:
                raise InputError(f"{self.id} has no classes of its own. Pass labels=[...].")
            return base
        if base is None:
            return PromptSet.from_labels(labels, limits=self.limits)
        return base.matching(labels, plain=base.templates, limits=self.limits)

    def _classifier(
        self,
        labels: Sequence[str] | None,
        templates: PromptSet | Sequence[str] | None,
        head: Head | str | Path | None,
    ) -> Head:
        """Return what turns embeddings into scores of classes: the given head, or one made of text."""
        if head is None:
            return self._head(self.prompts_for(labels, templates))
        if labels is not None or templates is not None:
            raise ConfigError("A fitted head has classes of its own. Leave labels and templates out.")
        if isinstance(head, (str, Path)):
            head, pointer = load_pointed_head(head)
            pointer.check(self.id, self.revision, self.processor.fingerprint)
        if head.modality != self.primary or not hasattr(head, "class_names"):
            raise ConfigError(
                f"The head is a {head.kind} for {head.modality!r}; classifying {self.primary!r} needs a "
                "classifier of its embeddings."
            )
        return head

    def _head(self, prompts: PromptSet) -> ZeroShotHead:
        # Where each parameter lies and how often it was written: training on drops the cached classes.
        key = self._classes.key(
            model=f"{write_marks(self.network)} {self.dtype}",
            processor=self.processor.fingerprint,
            prompts=prompts,
        )
        bias = self.network.logit_bias
        return ZeroShotHead.from_prompts(
            prompts,
            lambda texts: self._encode("text", self.processor("text", texts)),
            scale=self.network.scale().item(),
            bias=None if bias is None else bias.item(),
            modality=self.primary,
            cache=(self._classes, key),
        )

    def _predictions(
        self,
        head: Any,
        vectors: Tensor,
        ids: Sequence[str | None],
        metas: Sequence[Mapping[str, Any]],
    ) -> list[Prediction]:
        origin = (self.id, self.revision, self.processor.fingerprint)
        answers = []
        for row, identifier, meta in zip(head.scores(vectors).tolist(), ids, metas, strict=True):
            scores = dict(zip(head.class_names, row, strict=True))
            best = max(scores, key=scores.__getitem__)
            answers.append(Prediction(best, scores[best], scores, identifier, meta, *origin))
        return answers

    def _encode(self, modality: str, inputs: Mapping[str, Tensor], *, token_budget: int = 1024) -> Tensor:
        """Return embeddings float32 [B, D] on the CPU."""
        moved = {name: value.to(self.device) for name, value in inputs.items()}

        def run(part: Mapping[str, Tensor]) -> Tensor:
            return self.network.encode(modality, part)

        with torch.inference_mode(), self.precision(modality):
            by_length = modality == "text" and "attention_mask" in moved
            vectors = encode_by_length(run, moved, budget=token_budget) if by_length else run(moved)
        # A clone made outside inference mode may take part in autograd, as callers expect of a tensor.
        return vectors.float().cpu().clone()

    def precision(self, modality: str) -> contextlib.AbstractContextManager[Any]:
        """Return the context to call the network in: autocast for towers without a bfloat16 path."""
        if self.dtype == "float32" or isinstance(self.network.towers[modality], TransformerTower):
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def _infer_modality(self, items: list[Any]) -> Modality:
        found: set[Modality] = {
            "text" if isinstance(item, str) else item.modality if isinstance(item, Sample) else self.primary
            for item in items
        }
        if len(found) > 1:
            raise InputError(f"The batch mixes {' and '.join(sorted(found))}. Embed one modality at a time.")
        if "text" in found:
            for item in items:
                # Embedding the letters of a file name would look like an answer and be none.
                if isinstance(item, str) and Path(item).suffix and len(item) < 256 and Path(item).is_file():
                    raise InputError(
                        f"{Path(item).name!r} is a file, and a str is read as text. "
                        f"Pass a Path, or modality={self.primary!r}."
                    )
        return found.pop()


def _is_embedding(prepared: _Prepared) -> bool:
    """Return whether an input came as its embedding [D] already, as a volume does."""
    return isinstance(prepared.value, Tensor) and prepared.value.ndim == 1


def _name_of(item: str | Path | Sample) -> str:
    return item.id or "sample" if isinstance(item, Sample) else str(item)


def _as_list(items: Any) -> list[Any]:
    """Return a batch as a list; one item becomes a batch of one."""
    if isinstance(items, (np.ndarray, Tensor)):
        is_single = items.ndim < 4
    else:
        is_single = isinstance(items, (str, Path, Sample)) or hasattr(items, "getbands")
    listed: list[Any] = [items] if is_single else list(cast("Iterable[Any]", items))
    if not listed:
        raise InputError("There is nothing to do: the batch is empty.")
    return listed
