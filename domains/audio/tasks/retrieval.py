"""Search of recordings by words or by another recording, and how well it works.

Everything is a comparison of unit embeddings of one model; equal scores rank by position.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ....core.answers import Embeddings, Failure
from ....core.errors import DataError, InputError
from ....core.heads.zero_shot import class_embeddings
from ....core.inputs import encode_texts
from ....core.metrics.ranking import Positives, top_k
from ....core.metrics.retrieval import RetrievalReport, retrieval_report
from ....core.prompts import PromptSet

if TYPE_CHECKING:
    from ....core.handle import ModelHandle


@dataclass(frozen=True)
class Hit:
    """One answer of a search: place in the list that was searched, what stands there, and the cosine."""

    position: int
    value: str
    score: float


@dataclass(frozen=True, eq=False)
class Recordings:
    """Embedded recordings that can be searched; make it with :func:`embed_recordings`.

    Attributes:
        model: that embedded them, and embeds the queries.
        vectors: float32 [N, D], unit. ids: N names.
        failures: recordings that could not be used; they are not among the N.
    """

    model: ModelHandle
    vectors: Tensor
    ids: tuple[str, ...]
    failures: tuple[Failure, ...] = ()

    def __len__(self) -> int:
        return len(self.vectors)

    def by_text(self, queries: Sequence[str], *, k: int = 10) -> list[list[Hit]]:
        """Return for each text the k recordings that fit best.

        Raises:
            InputError: no query, an empty or over-long one, or k below 1.
        """
        if isinstance(queries, str) or not queries:
            raise InputError("queries is a list of at least one text.")
        return self._search(encode_texts(self.model, queries), k)

    def by_recording(self, queries: Sequence[Any], *, k: int = 10, **options: Any) -> list[list[Hit]]:
        """Return for each recording (path, sample or array) the k that sound most like it.

        A file that is itself among the recordings is not an answer to itself.

        Args:
            options: of the audio loader.
        """
        asked = self.model.embed(list(queries), modality="audio", **options)
        own = {name: position for position, name in enumerate(self.ids)}
        # One more than asked for, as the recording itself may be among them.
        found = self._search(asked.vectors, k + 1)
        return [
            [hit for hit in hits if name is None or hit.position != own.get(name)][:k]
            for hits, name in zip(found, asked.ids, strict=True)
        ]

    def texts_of(self, texts: Sequence[str], *, k: int = 5) -> list[list[Hit]]:
        """Return for each recording the k texts that fit best."""
        if isinstance(texts, str) or not texts:
            raise InputError("texts is a list of at least one text.")
        return _hits(self.vectors, encode_texts(self.model, texts), tuple(texts), k)

    def _search(self, queries: Tensor, k: int) -> list[list[Hit]]:
        return _hits(queries, self.vectors, self.ids, k)


def embed_recordings(
    model: ModelHandle, files: Sequence[str | Path], *, batch_size: int = 8, **options: Any
) -> Recordings:
    """Return recordings ready to be searched; one that cannot be used does not stop the others.

    Example::

        yard = embed_recordings(model, sorted(Path("yard").glob("*.flac")))
        best = yard.by_text(["a dog is barking"], k=5)[0]

    Args:
        model: with an audio tower.
        files: of any length.
        batch_size: inputs per call of the network.
        options: of the audio loader.

    Raises:
        DataError: none of the files can be used.
    """
    vectors, ids, failures = [], [], []
    answers = model.embed_each(list(files), modality="audio", batch_size=batch_size, **options)
    for file, answer in zip(files, answers, strict=True):
        if isinstance(answer, Embeddings):
            vectors.append(answer.vectors)
            ids.append(str(file))
        else:
            failures.append(answer)
    if not vectors:
        reason = f", first {failures[0].id}: {failures[0].error}" if failures else "; the list is empty"
        raise DataError(f"None of {len(files)} recordings can be used{reason}")
    return Recordings(model, torch.cat(vectors), tuple(ids), tuple(failures))


def _hits(queries: Tensor, gallery: Tensor, names: Sequence[str], k: int) -> list[list[Hit]]:
    if k < 1:
        raise InputError(f"k is at least 1, got {k}.")
    places, scores = top_k(queries, gallery, min(k, len(gallery)))
    found: list[list[Hit]] = []
    for row, values in zip(places.tolist(), scores.tolist(), strict=True):
        found.append([Hit(place, str(names[place]), score) for place, score in zip(row, values, strict=True)])
    return found


@dataclass(frozen=True)
class AudioRetrieval:
    """How well recordings are found by the words of their class, and by each other.

    Attributes:
        text_to_audio: queries are the classes that occur.
        audio_to_audio: queries are the recordings, without themselves among the answers; None where no
            class has two.
    """

    text_to_audio: RetrievalReport
    audio_to_audio: RetrievalReport | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        other = self.audio_to_audio
        return {
            "text_to_audio": self.text_to_audio.to_dict(),
            "audio_to_audio": None if other is None else other.to_dict(),
        }


def retrieval_of_classes(
    recordings: Recordings,
    labels: Sequence[str],
    *,
    templates: PromptSet | Sequence[str] | None = None,
    ks: Sequence[int] = (1, 5, 10),
    seed: int = 0,
) -> AudioRetrieval:
    """Return recall, mean average precision and ranks of search by class words and by example.

    Args:
        recordings: the gallery.
        labels: class of each recording, N, as words.
        templates: how classes become texts, as in ``Model.classify``.
        ks: depths. seed: of the bootstrap over queries.

    Raises:
        InputError: as many labels as recordings are needed.
    """
    if len(labels) != len(recordings):
        raise InputError(f"{len(labels)} labels for {len(recordings)} recordings; give one each.")
    model = recordings.model
    classes = list(dict.fromkeys(labels))
    prompts = model.prompts_for(classes, templates)
    queries = class_embeddings(prompts, lambda some: encode_texts(model, some))
    by_text = retrieval_report(
        queries, recordings.vectors, Positives.from_groups(classes, list(labels)), ks=ks, seed=seed
    )
    counts = Counter(labels)
    shared = [row for row, label in enumerate(labels) if counts[label] > 1]
    if not shared:
        return AudioRetrieval(by_text, None)
    asked = [labels[row] for row in shared]
    # A recording's class holds itself, which is no answer.
    lists = [
        [other for other, label in enumerate(labels) if label == own and other != row]
        for row, own in zip(shared, asked, strict=True)
    ]
    by_audio = retrieval_report(
        recordings.vectors[shared],
        recordings.vectors,
        Positives.from_lists(lists),
        ks=ks,
        exclude=torch.tensor(shared),
        groups=asked,
        seed=seed,
    )
    return AudioRetrieval(by_text, by_audio)
