"""Products as vectors: one encoder for every model that knows pictures and texts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from ....core.answer_each import check_batch_size
from ....core.errors import ConfigError, InputError
from ....core.index import Identity
from ....core.inputs import encode_inputs, on_device
from ....core.types import Sample
from ..loaders.image import load_image
from .fusing import Fusion, fuse
from .views import PARTS, VIEWS, ProductModel, View

if TYPE_CHECKING:
    from PIL import Image as PILImage

    from ....core.handle import ModelHandle

    _Fitting = PILImage.Image | Sample | Tensor
    ImageSource = str | Path | bytes | _Fitting

BATCH_SIZE = 32


@dataclass(frozen=True, eq=False)
class ProductVectors:
    """N products in up to three views.

    Attributes:
        image, text, product: float32 [N, D], unit length; zeros where a product lacks the side. The product
            of one side alone is that side.
        has_image, has_text: bool [N].
    """

    image: Tensor
    text: Tensor
    product: Tensor
    has_image: Tensor
    has_text: Tensor

    def __len__(self) -> int:
        return len(self.product)


class ProductEncoder:
    """Pictures, texts and products of one model in one space.

    Any model with an image and a text tower will do: a product is then the weighted mean of both embeddings.
    The architectures ``unified_product`` and ``fused_product`` make products in their own way.

    Args:
        model: takes images and texts.
        fusion: shares of picture and text; None is 0.9 and 0.1.

    Attributes:
        model: as given. fusion: the shares; None where the model puts products together by itself.

    Raises:
        ConfigError: the model lacks one of the two, or has a fusion of its own and another is given.

    Example:
        >>> encoder = ProductEncoder(model)  # doctest: +SKIP
        >>> encoder.encode_product(image=Path("mug.jpg"), text="3D frog").shape  # doctest: +SKIP
        torch.Size([1, 512])
    """

    def __init__(self, model: ModelHandle, *, fusion: Fusion | None = None) -> None:
        lacking = [name for name in PARTS if name not in model.network.modalities]
        if lacking:
            raise ConfigError(
                f"{model.config.name} does not take {lacking[0]}, which products have; it takes "
                f"{', '.join(model.network.modalities) or 'nothing'}."
            )
        self._own = isinstance(model.network, ProductModel)
        if self._own and fusion is not None:
            raise ConfigError(
                f"{model.config.name} puts pictures and texts together by itself. Leave the fusion out."
            )
        self.model = model
        self.fusion = None if self._own else fusion or Fusion()
        self._revision = _revision(model)

    @property
    def identity(self) -> Identity:
        """What vectors of this encoder can be compared with: weights, preprocessing and fusion.

        The model goes by the name in its config, not by the folder it was loaded from.
        """
        fusion = self.model.config.architecture if self.fusion is None else self.fusion.fingerprint
        return Identity(
            model=self.model.config.name,
            revision=self._revision,
            processor=f"{self.model.processor.fingerprint}+{fusion}",
            dim=self.dim,
        )

    @property
    def dim(self) -> int:
        """D."""
        return self.model.config.embed_dim

    def prepare_image(self, source: ImageSource, *, show_paths: bool = False) -> Tensor:
        """Return a picture as the tower takes it, float32 [C, size, size]; threads may call it ahead.

        Args:
            source: a file or its bytes, read by this domain's loader; a PIL image, sample or tensor.
            show_paths: let messages name the whole path.

        Raises:
            InputError: not a usable picture.
        """
        if isinstance(source, (str, Path, bytes)):
            given = Path(source) if isinstance(source, str) else source
            loaded = load_image(given, limits=self.model.limits, show_paths=show_paths)
            return self.model.processor.fit_image(loaded, name=loaded.id or "image")
        name = source.id if isinstance(source, Sample) else None
        return self.model.processor.fit_image(_on_white(source), name=name or "image")

    def count_tokens(self, text: str) -> int:
        """Return how many tokens of the model's context a text takes, start and end included."""
        return self.model.processor.count_tokens([text])[0]

    @property
    def context_length(self) -> int:
        """Tokens of the longest text the model reads."""
        text = self.model.processor.config.text
        return text.context_length if text is not None else 0

    def encode(
        self,
        images: Sequence[Tensor | None],
        texts: Sequence[str | None],
        *,
        categories: Sequence[str | None] | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> ProductVectors:
        """Return the vectors of N products.

        Args:
            images: what :meth:`prepare_image` gave, or None.
            texts: None or blank where there is none.
            categories: paths such as ``Shoes > Boots``, where the fusion differs between them.
            batch_size: pictures per call of the network; the result does not depend on it.

        Raises:
            InputError: lists of unequal length, a product with neither side, a text that is too long, or an
                embedding that is not finite; the message names the position.
        """
        if not len(images) == len(texts):
            raise InputError(
                f"There are {len(images)} pictures and {len(texts)} texts. Give one each, or None."
            )
        words = [text if text and text.strip() else None for text in texts]
        for position, (image, text) in enumerate(zip(images, words, strict=True)):
            if image is None and text is None:
                raise InputError(f"item {position} has neither picture nor text. Leave it out.")
        check_batch_size(batch_size)
        vectors: dict[str, Tensor] = {view: torch.zeros(len(images), self.dim) for view in VIEWS}
        present = {
            "image": torch.tensor([image is not None for image in images], dtype=torch.bool),
            "text": torch.tensor([text is not None for text in words], dtype=torch.bool),
        }
        for rows in _batches(present, batch_size):
            found = self._run([images[row] for row in rows], [words[row] for row in rows])
            for view, made in found.items():
                vectors[view][rows] = made
        if self.fusion is not None:
            shares = self.fusion.shares(len(images), categories)
            vectors["product"] = fuse(vectors["image"], vectors["text"], shares, present)
        _check_finite(vectors)
        return ProductVectors(
            vectors["image"], vectors["text"], vectors["product"], present["image"], present["text"]
        )

    def encode_images(self, images: Sequence[Tensor], *, batch_size: int = BATCH_SIZE) -> Tensor:
        """Return unit vectors float32 [N, D] of prepared pictures; errors as :meth:`encode`."""
        return self.encode(images, [None] * len(images), batch_size=batch_size).image

    def encode_texts(self, texts: Sequence[str], *, batch_size: int = BATCH_SIZE) -> Tensor:
        """Return unit vectors float32 [N, D] of texts; errors as :meth:`encode`."""
        return self.encode([None] * len(texts), texts, batch_size=batch_size).text

    def encode_product(
        self,
        image: ImageSource | Sequence[ImageSource | None] | None = None,
        text: str | Sequence[str | None] | None = None,
    ) -> Tensor:
        """Return unit vectors float32 [N, D] of products, N = 1 where no list is given.

        Picture and words need not be of one product: a picture and ``"3D frog"`` asks for things that look
        like the one and are the other.

        Args:
            image: a picture, or N of them; a tensor [C, size, size] is one that was prepared.
            text: a text, or N of them.

        Raises:
            InputError: neither is given, unequal numbers, or as :meth:`prepare_image` and :meth:`encode`.
        """
        if image is None and text is None:
            raise InputError("A product needs a picture, a text, or both; got neither.")
        listed_images: list[Any] = list(image) if isinstance(image, (list, tuple)) else [image]
        listed_texts: list[Any] = list(text) if isinstance(text, (list, tuple)) else [text]
        if image is None:
            listed_images = [None] * len(listed_texts)
        if text is None:
            listed_texts = [None] * len(listed_images)
        prepared = [
            one if one is None or _is_prepared(one) else self.prepare_image(cast("ImageSource", one))
            for one in listed_images
        ]
        return self.encode(prepared, listed_texts).product

    def _run(self, images: Sequence[Tensor | None], texts: Sequence[str | None]) -> dict[str, Tensor]:
        """Return embeddings on the CPU of products that all have the same sides."""
        processor = self.model.processor
        inputs: dict[str, dict[str, Tensor]] = {}
        if images[0] is not None:
            inputs["image"] = processor.finish_images(torch.stack(cast("list[Tensor]", list(images))))
        if texts[0] is not None:
            inputs["text"] = processor("text", texts)
        if not self._own:
            return {name: encode_inputs(self.model, name, given) for name, given in inputs.items()}
        views: tuple[View, ...] = VIEWS if len(inputs) == 2 else ("product",)
        moved = {name: on_device(self.model, given) for name, given in inputs.items()}
        network = cast("ProductModel", self.model.network)
        with torch.inference_mode(), self.model.precision("image"):
            found = network.encode_views(moved, views=views)
        made = {view: vectors.float().cpu().clone() for view, vectors in found.items()}
        if len(inputs) == 1:
            # One side alone is the product: what the network says of either is the same.
            made[next(iter(inputs))] = made["product"]
        return made


def _batches(present: dict[str, Tensor], size: int) -> Iterator[list[int]]:
    """Yield positions in batches of products that have the same sides."""
    kinds = (2 * present["image"].long() + present["text"].long()).tolist()
    for kind in (3, 2, 1):
        rows = [row for row, own in enumerate(kinds) if own == kind]
        for start in range(0, len(rows), size):
            yield rows[start : start + size]


def _check_finite(vectors: Mapping[str, Tensor]) -> None:
    for view, found in vectors.items():
        bad = (~torch.isfinite(found).all(dim=1)).nonzero().flatten().tolist()
        if bad:
            raise InputError(
                f"item {bad[0]}: its {view} embedding is not finite. Use another picture or text."
            )


def _on_white(source: _Fitting) -> _Fitting:
    """Return a PIL image that has transparent parts on white, as the loader does; all else as it is."""
    if not (hasattr(source, "getbands") and hasattr(source, "info")):
        return source
    image = cast("PILImage.Image", source)
    if "A" not in image.getbands() and "transparency" not in image.info:
        return source
    from PIL import Image

    clear = image.convert("RGBA")
    white = Image.new("RGBA", clear.size, "white")
    return Image.alpha_composite(white, clear).convert("RGB")


def _is_prepared(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _revision(model: ModelHandle) -> str:
    """Return the revision of the weights, by their content where they were not loaded from anywhere.

    Two models that were just trained are both ``unsaved``; their vectors must not end in one index.
    """
    if not model.revision.startswith("unsaved"):
        return model.revision
    digest = hashlib.sha256()
    for name, value in sorted(model.network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return f"{model.revision}:{digest.hexdigest()[:16]}"
