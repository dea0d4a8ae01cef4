"""From a product to what is encoded: its text, and its picture read ahead by threads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ....core.answer_each import blames_input, reason_of
from ....core.errors import InputError
from ....core.limits import DEFAULT, Limits, MiB
from .further import FurtherPicture
from .payload import cells_of

if TYPE_CHECKING:
    from torch import Tensor

    from ....core.index.base import Identity
    from ..encoders.product import ProductVectors
    from ..products.record import ImageRef, Product
    from ..products.text import TextTemplate
    from .payload import AttributeType

OnImageError = Literal["reject", "text_only"]
"""What becomes of a product whose picture cannot be read."""


class ProductEncoding(Protocol):
    """The part of :class:`..encoders.product.ProductEncoder` that a catalogue uses."""

    @property
    def identity(self) -> Identity:
        """What the vectors can be compared with."""
        ...

    @property
    def dim(self) -> int:
        """D."""
        ...

    @property
    def context_length(self) -> int:
        """Tokens of the longest text the model reads."""
        ...

    def prepare_image(self, source: Any) -> Tensor:
        """Return a picture, given as path or bytes, as it is batched; threads call it ahead."""
        ...

    def count_tokens(self, text: str) -> int:
        """Return how many tokens of the model's context a text takes."""
        ...

    def encode(
        self,
        images: Sequence[Tensor | None],
        texts: Sequence[str | None],
        *,
        categories: Sequence[str | None] | None = None,
        batch_size: int = 32,
    ) -> ProductVectors:
        """Return the vectors of N products."""
        ...


@dataclass(frozen=True)
class Known:
    """What the catalogue holds of a product already.

    Attributes:
        row_hash: of all its fields. image_sha256: of the picture it was encoded with, or None.
        image_state: see :func:`state_of`. further_state: see :func:`further_state_of`.
        text: that was encoded. duplicate_of: mark of a merge.
    """

    row_hash: str | None = None
    image_sha256: str | None = None
    image_state: str | None = None
    further_state: str | None = None
    text: str | None = None
    duplicate_of: str | None = None


@dataclass(frozen=True)
class Task:
    """A product to be taken in.

    Attributes:
        known: what the catalogue holds of it, or None. state, further: of its pictures now, see
            :func:`state_of` and :func:`further_state_of`. hash: of its fields.
    """

    product: Product
    known: Known | None
    state: str
    further: str
    hash: str

    @property
    def keeps_further(self) -> bool:
        """Whether the further pictures are those that the catalogue has.

        Of a new product they never are: a deletion that was killed may have left some of an older one.
        """
        return self.known is not None and self.further == (self.known.further_state or "")


@dataclass(frozen=True, eq=False)
class Picture:
    """What is known of a product's picture.

    Attributes:
        tensor: as the encoder prepared it, or None where there is none or it need not be encoded.
        sha256: of its bytes, or None. state: see :func:`state_of`.
        note: why a picture that the row names is not there, or "".
    """

    tensor: Tensor | None
    sha256: str | None
    state: str
    note: str = ""


@dataclass(frozen=True, eq=False)
class Ready:
    """A product whose text is made and whose picture is read.

    Attributes:
        cells: {column: value} of its row in the index.
        text: what is encoded, or None. truncated: fields that did not fit into it.
        is_same: whether text and picture are those the catalogue has vectors of.
        further: further pictures as the encoder prepared them; None leaves those of the catalogue.
        troubles: why some of them are not there.
    """

    task: Task
    cells: dict[str, Any]
    text: str | None
    truncated: tuple[str, ...]
    picture: Picture
    is_same: bool
    further: tuple[tuple[FurtherPicture, Tensor], ...] | None
    troubles: tuple[str, ...]


NO_IMAGE, NOT_FETCHED, UNREADABLE = "none", "not fetched", "unreadable"
_AGAIN = " again"
"""Ends the state of further pictures of which one could not be had, so that the next run tries anew."""
PICTURE_LIMITS = DEFAULT.with_(file_bytes=64 * MiB)
"""Ceiling on one picture: many are read at a time."""


def state_of(image: ImageRef | None, known: Known | None, *, fetches: bool) -> str:
    """Return what tells a picture from another one without reading it.

    A file goes by size and time of change, bytes and addresses by themselves; a file that is not there has
    no state that equals another.
    """
    if image is None:
        return NO_IMAGE
    if image.data is not None:
        return f"bytes {hashlib.sha256(image.data).hexdigest()}"
    if image.path is not None:
        try:
            found = image.path.stat()
        except OSError:
            return UNREADABLE
        return f"file {found.st_size} {found.st_mtime_ns}"
    fetched = f"url {image.url}"
    was_fetched = known is not None and known.image_state == fetched
    return fetched if fetches or was_fetched else NOT_FETCHED


def further_state_of(images: Sequence[ImageRef], known: Known | None, *, fetches: bool) -> str:
    """Return what tells the further pictures of a product from others; empty where there are none."""
    if not images:
        return ""
    fetched, unfetched = (_joined(images, fetches=one) for one in (True, False))
    if fetches:
        return fetched
    if known is not None and fetched != unfetched and known.further_state in (fetched, fetched + _AGAIN):
        return known.further_state
    return unfetched


def _joined(images: Sequence[ImageRef], *, fetches: bool) -> str:
    states = [f"{one.given} {state_of(one, None, fetches=fetches)}" for one in images]
    return hashlib.sha256("\n".join(states).encode("utf-8", "backslashreplace")).hexdigest()[:32]


class Reader:
    """Makes products ready to be encoded; :meth:`read` is called by threads.

    Args:
        encoder: prepares pictures and counts tokens.
        template: makes texts. attributes: {name: type} of those with a column.
        fetch: from an address to the bytes of a picture, or None where nothing is fetched.
        on_image_error: see :data:`OnImageError`.
        pictures: of a product that are read, the first one included.
        limits: ceiling on the bytes of a picture.
    """

    def __init__(
        self,
        encoder: ProductEncoding,
        template: TextTemplate,
        attributes: Mapping[str, AttributeType],
        *,
        fetch: Callable[[str], bytes] | None = None,
        on_image_error: OnImageError = "reject",
        pictures: int = 1,
        limits: Limits = PICTURE_LIMITS,
    ) -> None:
        self.attributes = attributes
        self._encoder, self._template = encoder, template
        self._fetch, self._on_image_error = fetch, on_image_error
        self._pictures, self._limits = pictures, limits

    def read(self, task: Task) -> Ready:
        """Return a product with its text and picture.

        Raises:
            InputError: neither can be had, a text is not Unicode, or the picture cannot be had and
                ``on_image_error`` is "reject".
        """
        encoder = self._encoder
        made = self._template.text(task.product, encoder.count_tokens, max_tokens=encoder.context_length)
        text, known = made.text or None, task.known
        same_text = known is not None and known.text == text
        picture = self._picture(task, same_text)
        # The same words and the same picture have the same vectors: a new price costs no reading.
        is_same = same_text and known is not None and known.image_sha256 == picture.sha256
        if text is None and picture.tensor is None and not is_same:
            raise InputError(f"there is no text, and {picture.note.rstrip('.') or 'no picture'}.")
        cells = {
            **cells_of(task.product, self.attributes),
            "row_hash": task.hash,
            "text": text,
            "image_sha256": picture.sha256,
            "image_state": picture.state,
            "further_state": task.further,
            "duplicate_of": known.duplicate_of if known else None,
        }
        further: tuple[tuple[FurtherPicture, Tensor], ...] | None = None
        troubles: list[str] = []
        if not task.keeps_further:
            further, troubles, again = self._further(task)
            cells["further_state"] += _AGAIN if again else ""
        truncated = tuple(made.truncated_fields)
        return Ready(task, cells, text, truncated, picture, is_same, further, tuple(troubles))

    def _picture(self, task: Task, same_text: bool) -> Picture:
        image, known, state = task.product.image, task.known, task.state
        if image is None:
            return Picture(None, None, NO_IMAGE)
        if state == NOT_FETCHED:
            return Picture(None, None, state, "its picture is an address, and none is fetched unless asked")
        known_sha256 = known.image_sha256 if known is not None and same_text else None
        if known_sha256 is not None and known is not None and known.image_state == state:
            return Picture(None, known_sha256, state)
        try:
            content = self._content(image)
            sha256 = hashlib.sha256(content).hexdigest()
            tensor = None if sha256 == known_sha256 else self._encoder.prepare_image(content)
        except InputError as error:
            if self._on_image_error == "reject":
                raise
            return Picture(None, None, UNREADABLE, str(error))
        return Picture(tensor, sha256, state)

    def _further(self, task: Task) -> tuple[tuple[tuple[FurtherPicture, Tensor], ...], list[str], bool]:
        """Return the further pictures that can be had, why the others cannot, and whether to try again."""
        found: list[tuple[FurtherPicture, Tensor]] = []
        troubles: list[str] = []
        again = False
        for number, image in enumerate(task.product.images[: self._pictures - 1], start=1):
            if image.url is not None and self._fetch is None:
                continue
            path = str(image.path) if image.path else None
            try:
                tensor = self._encoder.prepare_image(self._content(image))
            except Exception as error:
                if not blames_input(error):
                    raise
                troubles.append(f"taken in without picture {number + 1}: {reason_of(error)}")
                # A file that is mended has another state; of an address nobody can tell without asking.
                again |= image.url is not None or isinstance(error.__cause__, OSError)
            else:
                found.append((FurtherPicture(number, image.given, path), tensor))
        return tuple(found), troubles, again

    def _content(self, image: ImageRef) -> bytes:
        """Return the encoded bytes of a picture."""
        if image.data is not None:
            self._limits.check("file_bytes", len(image.data), what="the picture: bytes")
            return image.data
        if image.path is None:
            if self._fetch is None or image.url is None:
                raise InputError("its picture is an address, and addresses are fetched only when asked.")
            return self._fetch(image.url)
        name = image.given or image.path.name
        return read_bytes(image.path, name, self._limits)


def read_bytes(path: Path, name: str, limits: Limits = PICTURE_LIMITS) -> bytes:
    """Return the content of a picture file.

    Raises:
        InputError: it is not there or cannot be read. LimitError: it is too large.
    """
    try:
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "no such file"
            raise InputError(f"{name}: {what}. Name one picture.")
        limits.check("file_bytes", path.stat().st_size, what=f"{name}: bytes")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror}).") from error
