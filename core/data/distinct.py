"""Epochs in which no text stands twice in a batch.

Captions of large corpora repeat: of the satellite captions of a city, one in three also belongs to another
tile. Two rows of a batch with the same caption are wrong negatives of each other in a contrastive loss. Here
the caption of every row of an epoch is drawn first, and the rows are then dealt to batches.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, DataError
from .loader import LoaderConfig
from .manifest import Record


class DistinctTexts:
    """The rows of an epoch with a drawn text each, ordered so that the texts of a batch differ.

    A plan of :class:`.loader.ResumableLoader`. Drawing and order are a function of (seed, epoch). Texts that
    differ only in case or white space are one text. A batch is that of all processes together.

    Rows of a text that more rows draw than there are batches take another of their texts. Where that is not
    possible they are what the epoch leaves out, as ``drop_last`` does with the rows that fill no batch.

    Args:
        texts: {id of a record: its texts, at least one}.
        config: of the loader; needs ``drop_last``.

    Raises:
        ConfigError: the loader keeps a last batch that is not full.
    """

    def __init__(self, texts: Mapping[str, Sequence[str]], config: LoaderConfig) -> None:
        if not config.drop_last:
            raise ConfigError("Batches of distinct texts are all of one size; set drop_last.")
        self._texts = texts
        self._seed = config.seed
        self._size = config.batch_size * config.world_size

    def fingerprint(self, records: Sequence[Record]) -> str:
        """Return the SHA-256 (hex) of what decides about the batches."""
        content = [[record.id, *self._texts[record.id]] for record in records]
        return hashlib.sha256(json.dumps(["distinct texts", content]).encode()).hexdigest()

    def __call__(self, epoch: int, records: Sequence[Record]) -> list[Record]:
        """Return the rows of an epoch, a multiple of the batch size; ``text`` of each is the one drawn.

        Args:
            epoch: its number.
            records: in the order that the loader drew, repeated rows included.

        Raises:
            DataError: too many rows have nothing but the same few texts.
        """
        batches = len(records) // self._size
        # The last number tells these draws from those of the loader's order.
        generator = np.random.default_rng([self._seed, epoch, 1])
        drawn = _Draw([self._texts[record.id] for record in records], batches, generator)
        wanted = batches * self._size
        if len(drawn.placed) < wanted:
            raise DataError(self._too_few(records, drawn, batches, wanted))
        placed = drawn.placed[:wanted]
        order = _dealt([drawn.keys[place] for place in placed], batches, generator)
        return [replace(records[placed[index]], text=drawn.text(placed[index])) for index in order]

    def _too_few(self, records: Sequence[Record], drawn: _Draw, batches: int, wanted: int) -> str:
        rows, text = drawn.crowd()
        return (
            f"{wanted - len(drawn.placed)} of {wanted} rows of an epoch have no place: {rows} rows have "
            f"nothing but the same few texts, such as {text[:80]!r}, an epoch has {batches} batches of "
            f"{self._size}, and no text may stand twice in a batch. Lower batch_size, leave repeated "
            "texts out of the data, or allow repeats (data.distinct_captions: false)."
        )


class _Draw:
    """One text for each place of an epoch, none for more places than there are batches.

    Attributes:
        keys: {place: the key of its text}. placed: places that have one, in the order given.
    """

    def __init__(self, texts: Sequence[Sequence[str]], batches: int, generator: np.random.Generator) -> None:
        self._texts = texts
        self._batches = batches
        self._keys: dict[str, str] = {}
        self._holders: defaultdict[str, set[int]] = defaultdict(set)
        self._chosen: dict[int, str] = {}
        self.keys: dict[int, str] = {}
        picks = generator.random(len(texts))
        stuck: list[int] = []
        for place, (own, pick) in enumerate(zip(texts, picks.tolist(), strict=True)):
            first = int(pick * len(own))
            # From the text that was drawn on, around: what is full is passed over.
            options = [*own[first:], *own[:first]]
            free = next((text for text in options if self._is_free(text)), None)
            if free is None:
                stuck.append(place)
            else:
                self._take(place, free)
        # Texts that a search in vain has reached: no later search gets a place out of them either.
        self._closed: set[str] = set()
        for place in stuck:
            self._make_room(place)
        self.placed = sorted(self.keys)

    def text(self, place: int) -> str:
        """Return the text of a place, as it was given."""
        return self._chosen[place]

    def crowd(self) -> tuple[int, str]:
        """Return how many places compete for texts of which there are too few, and one of these texts."""
        keys = [{self._key(text) for text in own} for own in self._texts]
        rows = [place for place, own in enumerate(keys) if own <= self._closed]
        common = Counter(key for place in rows for key in keys[place]).most_common(1)[0][0]
        return len(rows), next(
            text for place in rows for text in self._texts[place] if self._key(text) == common
        )

    def _key(self, text: str) -> str:
        if text not in self._keys:
            self._keys[text] = " ".join(text.split()).casefold()
        return self._keys[text]

    def _is_free(self, text: str) -> bool:
        return len(self._holders[self._key(text)]) < self._batches

    def _take(self, place: int, text: str) -> None:
        if place in self.keys:
            self._holders[self.keys[place]].discard(place)
        self._chosen[place], self.keys[place] = text, self._key(text)
        self._holders[self.keys[place]].add(place)

    def _make_room(self, place: int) -> None:
        """Find a chain of places of which each takes a text that the next one gives up, and follow it."""
        # {place: (the one before it, the text it would give up to that one)}
        reached: dict[int, tuple[int, str]] = {}
        seen: set[str] = set()
        waiting = deque([place])
        while waiting:
            here = waiting.popleft()
            for text in self._texts[here]:
                if self._is_free(text):
                    self._follow(reached, here, text)
                    return
                key = self._key(text)
                if key in seen or key in self._closed:
                    continue
                seen.add(key)
                for holder in sorted(self._holders[key]):
                    if holder not in reached:
                        reached[holder] = (here, text)
                        waiting.append(holder)
        self._closed |= seen

    def _follow(self, reached: Mapping[int, tuple[int, str]], place: int, text: str) -> None:
        """Let ``place`` take a free text, the one before it what it gives up, and so on to the first."""
        while True:
            before = reached.get(place)
            self._take(place, text)
            if before is None:
                return
            place, text = before


def _dealt(keys: Sequence[str], batches: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return an order of ``keys`` whose ``batches`` equal parts each have every key at most once.

    Keys are dealt like cards, equal ones one after the other: none comes up more often than there are
    batches, so no batch gets it twice.
    """
    together: defaultdict[str, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        together[key].append(index)
    groups = list(together.values())
    turn = generator.permutation(len(groups))
    cards = np.array([index for group in turn for index in groups[group]])
    hands = cards.reshape(-1, batches).T
    return generator.permuted(hands, axis=1)[generator.permutation(batches)].reshape(-1)
