"""The model users hold: files and texts in, embeddings and predictions out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .core import registry
from .core.answer_each import answer_each, check_batch_size
from .core.answers import Embeddings, Failure, Prediction, comparable
from .core.blocks import TransformerTower
from .core.classifying import check_head, choose_prompts, predictions
from .core.embed import EmbedReport, Encoder, embed_files
from .core.errors import ConfigError, InputError, nearest
from .core.heads.base import Head
from .core.heads.zero_shot import ClassEmbeddingCache, ZeroShotHead
from .core.images import load_image
from .core.inference import Precision, prepare_model, write_marks
from .core.inputs import as_items, encode_texts
from .core.limits import DEFAULT, Limits
from .core.preparing import (
    Prepared,
    encode_prepared,
    has_parts,
    infer_modality,
    loader_options,
    prepare,
)
from .core.processing import Processor
from .core.prompts import PromptSet
from .core.types import MODALITIES, Modality, Sample
from .hub.loading import ResolvedModel
from .hub.saving import save_model

if TYPE_CHECKING:
    from .core.config import ModelConfig
    from .core.model import ContrastiveModel

_TEXTS_PER_CALL = 1024


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
        self.variant = ""
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
        """Commit or hash of the weights; ``unsaved`` when they were not loaded from anywhere.

        After a ``+`` what was changed about the network since (``variant``), where that changes answers.
        """
        found = self.source.revision if self.source else "unsaved"
        return f"{found}+{self.variant}" if self.variant else found

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
            **{**loader_options(self.processor, modality), **options},
        )

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
                mean direction of its slices; a recording longer than the model's window that of its windows.
            modality: None infers it: a ``str`` is text, a sample says itself, all else is
                :attr:`primary`. Naming a modality other than text makes a ``str`` a path.
            batch_size: inputs per call of the network; the result does not depend on it.
            options: of the domain's loader.

        Raises:
            InputError: empty or mixed batch, or an item that cannot be used; nothing is returned then.
        """
        items = as_items(items)
        modality = modality or infer_modality(items, self.primary)
        self._check_modality(modality)
        check_batch_size(batch_size)
        size = _TEXTS_PER_CALL if modality == "text" else batch_size
        rows, ids, metas = [], [], []
        batch: list[Prepared] = []
        for position, item in enumerate(items):
            batch.append(prepare(self, item, modality, position, options))
            # What has parts is large: nothing else is read before it has been encoded.
            if len(batch) == size or batch[-1].in_parts or position == len(items) - 1:
                rows.append(encode_prepared(self, modality, batch, token_budget=128 * batch_size))
                ids += [one.id for one in batch]
                metas += [one.meta for one in batch]
                batch = []
        vectors = torch.cat(rows)
        bad = (~torch.isfinite(vectors).all(dim=1)).nonzero().flatten().tolist()
        if bad:
            raise InputError(f"item {bad[0]}: its embedding is not finite. Use another input.")
        return Embeddings(vectors, tuple(ids), tuple(metas), modality, *self._origin)

    def embed_each(
        self,
        items: Sequence[Any],
        *,
        modality: Modality | None = None,
        batch_size: int = 8,
        workers: int | None = None,
        **options: Any,
    ) -> Iterator[Embeddings | Failure]:
        """Return an iterator over the embedding (B = 1) or the failure of each input, in order.

        A bad input does not stop the others. Files are read by threads, a few batches ahead.

        Args:
            items: as in :meth:`embed`.
            modality: None is :attr:`primary`, of which a ``str`` is a path.
            batch_size: inputs per call of the network; the result does not depend on it.
            workers: threads that read files; None takes the number of CPUs.
            options: of the domain's loader.

        Raises:
            InputError: the model does not take ``modality``.
            ConfigError: ``batch_size`` is below 1, or, for the first file, a loader option is wrong.
        """
        chosen: Modality = modality or self.primary
        self._check_modality(chosen)

        def ready(item: Any, position: int) -> Prepared:
            return prepare(self, item, chosen, position, options)

        def run(prepared: list[Prepared]) -> list[Embeddings | InputError]:
            vectors = encode_prepared(self, chosen, prepared)
            finite = torch.isfinite(vectors).all(dim=1).tolist()
            return [
                Embeddings(row[None], (one.id,), (one.meta,), chosen, *self._origin)
                if usable
                else InputError("its embedding is not finite")
                for row, one, usable in zip(vectors, prepared, finite, strict=True)
            ]

        pairs = answer_each(items, ready, run, batch_size=batch_size, alone=self._has_parts, workers=workers)
        return (answer for _, answer in pairs)

    def similarity(self, left: Embeddings | Tensor, right: Embeddings | Tensor) -> Tensor:
        """Return cosines float32 [B1, B2] of two sets of unit embeddings.

        Raises:
            InputError: they come from different models or have different widths.
        """
        first, second = comparable(left, right)
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
        return predictions(classifier, embedded.vectors, embedded.ids, embedded.metas, self._origin)

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
        """Return an iterator over the answer or the failure of each input, in order.

        A bad input does not stop the others. Arguments as in :meth:`classify`; files are read by threads,
        a few batches ahead, which is all that memory holds.

        Raises:
            InputError: labels that cannot be used.
            ConfigError: ``batch_size`` is below 1, or, for the first file, a loader option is wrong.
        """
        classifier = self._classifier(labels, templates, head)
        found = self.embed_each(items, batch_size=batch_size, **options)
        return (
            one
            if isinstance(one, Failure)
            else predictions(classifier, one.vectors, one.ids, one.metas, self._origin)[0]
            for one in found
        )

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

        def read(path: Path) -> Prepared:
            return prepare(self, path, self.primary, 0, options)

        def encode(prepared: list[Prepared]) -> Tensor:
            return encode_prepared(self, self.primary, prepared)

        identity = {
            "model": self.id,
            "revision": self.revision,
            "processor": self.processor.fingerprint,
            "dtype": self.dtype,
            "loader": repr(sorted(options.items())),
        }
        encoder = Encoder(read, encode, self.config.embed_dim, identity, self._has_parts)
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
        return choose_prompts(
            self.prompts, labels, templates, name=self.id, limits=self.limits, modality=self.primary
        )

    def _classifier(
        self,
        labels: Sequence[str] | None,
        templates: PromptSet | Sequence[str] | None,
        head: Head | str | Path | None,
    ) -> Head:
        """Return what turns embeddings into scores of classes: the given head, or one made of text."""
        self._check_modality(self.primary)
        if head is None:
            return self._head(self.prompts_for(labels, templates))
        if labels is not None or templates is not None:
            raise ConfigError("A fitted head has classes of its own. Leave labels and templates out.")
        return check_head(head, self._origin, self.primary)

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
            lambda texts: encode_texts(self, texts),
            scale=self.network.scale().item(),
            bias=None if bias is None else bias.item(),
            modality=self.primary,
            cache=(self._classes, key),
        )

    def precision(self, modality: str) -> contextlib.AbstractContextManager[Any]:
        """Return the context to call the network in: autocast for towers without a bfloat16 path."""
        if self.dtype == "float32" or isinstance(self.network.towers[modality], TransformerTower):
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    @property
    def _origin(self) -> tuple[str, str, str]:
        """Model, revision and processor, as every answer names them."""
        return self.id, self.revision, self.processor.fingerprint

    def _has_parts(self, item: Any) -> bool:
        return self.primary != "text" and has_parts(self, item)

    def _check_modality(self, modality: str) -> None:
        known = self.network.modalities
        if not known:
            raise InputError(
                f"{self.id} embeds nothing: it is a part for other models ({self.config.architecture})."
                f"{_tools_of(self.config.domain)}"
            )
        if modality not in known:
            raise InputError(
                f"{self.id} takes {' and '.join(known)}, not {modality!r}.{nearest(modality, known)}"
            )


def _tools_of(domain: str | None) -> str:
    """Return where the tools lie that ask a model which embeds nothing; empty without a domain."""
    if domain not in registry.ROOMS:
        return ""
    groups = " and ".join(f"`verticlip {group} --help`" for group in registry.room(domain).commands)
    return f" Its tools: verticlip.domains.{domain}{f' and {groups}' if groups else ''}."
