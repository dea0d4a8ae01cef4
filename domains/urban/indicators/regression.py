"""An indicator from embeddings, in its own unit: fitted, saved, bound to the model that made these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from ....core.checkpoint import read_weights
from ....core.config import Config, parse_config
from ....core.errors import ConfigError, InputError, WeightsError, nearest
from ....core.files import atomic_path, read_json, sha256_of, write_json_atomic
from .mlp import MLPRegressor, MLPSettings
from .regressors import (
    FITTED,
    HEADS,
    Features,
    HeadName,
    MeanRegressor,
    NeighborRegressor,
    Part,
    Regressor,
    RidgeRegressor,
    unit_rows,
)
from .splits import make_folds
from .transforms import TargetConfig, TargetKind, TargetTransform

CONFIG_NAME, TENSORS_NAME = "regressor.json", "regressor.safetensors"

_PREDICTED_AT_ONCE = 16_384


class Binding(Config):
    """Whose embeddings a regressor reads.

    Attributes:
        model_id, revision: of the model that made them.
        processor: fingerprint of its preprocessing.
        dim: D.
    """

    model_id: str
    revision: str
    processor: str
    dim: int = Field(ge=1)


class RegressorConfig(Config):
    """``regressor.json``."""

    version: Literal[1] = 1
    head: HeadName
    target: TargetConfig
    normalize: bool
    name: str = ""
    unit: str = ""
    rows: int = Field(ge=1)
    binding: Binding | None = None
    tensors_sha256: str


class IndicatorRegressor:
    """Predicts one indicator from embeddings.

    Args:
        target: ``log1p``, ``log``, ``standardize`` or ``none``; see ``transforms.py``.
        head: ``ridge``; ``knn``; ``mlp``, two layers as in the paper, trained our way unless ``mlp`` says
            otherwise; ``mean``, the baseline.
        normalize: scale every embedding to length 1 first, as the paper has it; off for other features.
        mlp: settings of the MLP.
        seed: of everything drawn.

    Example:
        >>> vectors = np.random.default_rng(0).normal(size=(80, 4)).astype("float32")
        >>> people = np.exp(vectors[:, 0] / np.linalg.norm(vectors, axis=1) + 5)
        >>> regressor = IndicatorRegressor(target="log", head="ridge").fit(vectors, people)
        >>> bool(np.corrcoef(regressor.predict(vectors), people)[0, 1] > 0.95)
        True
    """

    def __init__(
        self,
        target: TargetKind = "log1p",
        head: HeadName = "ridge",
        *,
        normalize: bool = True,
        mlp: MLPSettings | None = None,
        seed: int = 0,
    ) -> None:
        if head not in HEADS:
            raise ConfigError(
                f"Unknown head {head!r}; there are: {', '.join(HEADS)}.{nearest(str(head), HEADS)}"
            )
        self.target: TargetKind = target
        self.head: HeadName = head
        self.normalize = normalize
        self.mlp = mlp or MLPSettings()
        self.seed = seed
        self.name = ""
        self.unit = ""
        self.rows = 0
        self.binding: Binding | None = None
        self._width = 0
        self._fitted: tuple[TargetTransform, Regressor] | None = None

    def fit(
        self,
        vectors: ArrayLike,
        values: ArrayLike,
        *,
        inner: Sequence[Part] | None = None,
        name: str = "",
        unit: str = "",
        binding: Binding | None = None,
    ) -> IndicatorRegressor:
        """Fit on every row and return self.

        Args:
            vectors: float [N, D], finite.
            values: float [N] in the original unit, finite.
            inner: (rows that fit, rows that judge) among the N, by which the penalty, the number of
                neighbors or the epoch is chosen; None: five random parts. Give blocks where neighbors
                resemble each other, or the choice favours what remembers them.
            name, unit: of the indicator, for whoever reads the results.
            binding: whose embeddings these are; other ones are refused from then on.

        Raises:
            InputError: shapes disagree, too few rows, or values the target cannot hold.
        """
        features = self._features(vectors)
        numbers = np.asarray(values, dtype=np.float64)
        if numbers.shape != (len(features),):
            raise InputError(f"values must be [{len(features)}], one per vector, got {numbers.shape}.")
        if len(numbers) < 4:
            raise InputError(f"{name or 'target'}: {len(numbers)} labelled tiles are too few to learn from.")
        transform = TargetTransform.fit(numbers, self.target, name=name or "target")
        scores = transform.forward(numbers)
        if inner is None:
            inner = random_parts(len(features), self.seed)
        self._fitted = transform, self._fit_head(features, scores, inner)
        self._width = features.shape[1]
        self.rows, self.name, self.unit, self.binding = len(features), name, unit, binding
        return self

    def _fit_head(self, features: Features, scores: NDArray[np.float64], inner: Sequence[Part]) -> Regressor:
        if self.head == "mean":
            return MeanRegressor.fit(features, scores)
        if self.head == "ridge":
            return RidgeRegressor.fit(features, scores, inner=inner)
        if self.head == "knn":
            return NeighborRegressor.fit(features, scores, inner=inner)
        return MLPRegressor.fit(features, scores, inner=inner, settings=self.mlp, seed=self.seed)

    @property
    def transform(self) -> TargetTransform:
        """Of the target, fitted."""
        return self._parts()[0]

    @property
    def chosen(self) -> dict[str, float]:
        """What was chosen inside the training rows: ``alpha``, ``neighbors`` or ``epochs``."""
        return self._parts()[1].chosen

    def scores(self, vectors: ArrayLike) -> NDArray[np.float64]:
        """Return standardized predictions float64 [N] of vectors float [N, D]."""
        _, regressor = self._parts()
        features = self._features(vectors, width=self._width)
        blocks = range(0, len(features), _PREDICTED_AT_ONCE)
        return np.concatenate(
            [np.empty(0), *(regressor.predict(features[at : at + _PREDICTED_AT_ONCE]) for at in blocks)]
        )

    def predict(self, vectors: ArrayLike, *, binding: Binding | None = None) -> NDArray[np.float64]:
        """Return predictions float64 [N] in the original unit.

        Args:
            vectors: float [N, D] of the model the regressor was fitted with.
            binding: whose vectors these are, to be compared with the regressor's own.

        Raises:
            InputError: another width, values that are not finite, or vectors of another model.
        """
        if binding is not None:
            self.check(binding)
        return self.transform.inverse(self.scores(vectors))

    def check(self, binding: Binding) -> None:
        """Raise ``InputError`` where embeddings are of another model than the regressor was fitted with."""
        if self.binding is None or self.binding == binding:
            return
        field = next(
            key for key in Binding.model_fields if getattr(self.binding, key) != getattr(binding, key)
        )
        raise InputError(
            f"These embeddings have {field} {getattr(binding, field)!r}; the regressor "
            f"{self.name or self.head!r} was fitted on {getattr(self.binding, field)!r}. Embed the tiles "
            f"with {self.binding.model_id!r} at that revision, or fit again."
        )

    def save(self, folder: str | Path) -> None:
        """Write ``regressor.safetensors`` and ``regressor.json`` into a folder, each whole or not at all.

        The second says which the first is, so that a pair of which only one was replaced is refused.
        """
        from safetensors.numpy import save_file

        transform, regressor = self._parts()
        folder = Path(folder)
        tensors = {
            key: np.ascontiguousarray(value, dtype=np.float32) for key, value in regressor.tensors().items()
        }
        with atomic_path(folder / TENSORS_NAME) as temporary:
            save_file(tensors, temporary)
        config = RegressorConfig(
            head=self.head,
            target=transform.to_config(),
            normalize=self.normalize,
            name=self.name,
            unit=self.unit,
            rows=self.rows,
            binding=self.binding,
            tensors_sha256=sha256_of(folder / TENSORS_NAME),
        )
        write_json_atomic(folder / CONFIG_NAME, config.model_dump(mode="json"))

    @classmethod
    def load(cls, folder: str | Path) -> IndicatorRegressor:
        """Return the regressor that :meth:`save` wrote.

        Raises:
            ConfigError: ``regressor.json`` is missing or malformed.
            WeightsError: tensors are missing, damaged or not those that ``regressor.json`` describes.
        """
        folder = Path(folder)
        config = parse_config(RegressorConfig, read_json(folder / CONFIG_NAME), source=CONFIG_NAME)
        state = {key: value.numpy() for key, value in read_weights(folder / TENSORS_NAME).items()}
        if sha256_of(folder / TENSORS_NAME) != config.tensors_sha256:
            raise WeightsError(
                f"{TENSORS_NAME} is not the file that {CONFIG_NAME} was written with: saving was "
                "interrupted, or one of the two was replaced. Save the regressor again."
            )
        made = cls(config.target.kind, config.head, normalize=config.normalize)
        try:
            regressor = _from_tensors(config.head, state)
        except (KeyError, ValueError, IndexError, RuntimeError) as error:
            raise WeightsError(
                f"{TENSORS_NAME} does not hold a {config.head!r} regressor ({error}). Save it again."
            ) from error
        made._fitted = TargetTransform.from_config(config.target), regressor
        made._width = _width_of(config.head, state)
        made.rows, made.name, made.unit, made.binding = config.rows, config.name, config.unit, config.binding
        if config.binding is not None and config.binding.dim != made._width:
            raise WeightsError(
                f"{TENSORS_NAME} reads {made._width} numbers per tile, {CONFIG_NAME} says "
                f"{config.binding.dim}. The two files belong to different regressors."
            )
        return made

    def _parts(self) -> tuple[TargetTransform, Regressor]:
        if self._fitted is None:
            raise InputError("This regressor was not fitted. Call fit(vectors, values) first.")
        return self._fitted

    def _features(self, vectors: ArrayLike, *, width: int | None = None) -> Features:
        features = np.asarray(vectors, dtype=np.float32)
        if features.ndim != 2 or not features.shape[1] or (width is not None and features.shape[1] != width):
            raise InputError(
                f"vectors must be [N, {width or 'D'}], got {features.shape}. A regressor only fits the model "
                "it was made with."
            )
        finite = np.isfinite(features).all(axis=1)
        if not finite.all():
            raise InputError(f"The vector of row {int(np.flatnonzero(~finite)[0])} is not finite.")
        return unit_rows(features) if self.normalize else features


def random_parts(rows: int, seed: int, folds: int = 5) -> list[Part]:
    """Return (rows that fit, rows that judge) of a random split into ``folds``, fewer where rows are few."""
    plan = make_folds(rows, "random", folds=max(2, min(folds, rows // 2)), seed=seed)
    return [(plan.train_rows(fold), plan.test_rows(fold)) for fold in range(plan.count)]


def _from_tensors(head: HeadName, state: Mapping[str, NDArray[Any]]) -> Regressor:
    return MLPRegressor.from_tensors(state) if head == "mlp" else FITTED[head](state)


def _width_of(head: HeadName, state: Mapping[str, NDArray[Any]]) -> int:
    name = {"mlp": "project.weight", "ridge": "weight", "knn": "memory", "mean": "width"}[head]
    return int(state[name].shape[0 if head in ("ridge", "mean") else 1])
