"""The answer for one presentation: what was decided, by which threshold, and on what evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, cast

from ...core.errors import ConfigError, InputError, nearest

if TYPE_CHECKING:
    import numpy as np

    from .explain.relevance import Relevance
    from .faces.detect import Face
    from .quality.checks import Check

Decision = Literal["live", "attack", "no_response"]
Audience = Literal["operator", "end_user"]
AUDIENCES: tuple[Audience, ...] = ("operator", "end_user")

_SENTENCES: dict[str, str] = {
    "live": "The check was passed.",
    "attack": "The check was not passed.",
    "no_response": "The check could not be completed. Please try again.",
}
"""What the person in front of the camera is told: nothing that helps to try a better attack."""
_FOR_END_USERS = (
    "face_count", "face_size", "eye_distance", "face_share", "face_inside", "sharpness", "clipped", "yaw",
    "pitch", "roll", "occlusion",
)  # fmt: skip
"""Gates whose advice tells how to hold a camera and nothing of how attacks are told: what frames have in
common and darkness, which may hide an attack, are for operators."""


@dataclass(frozen=True)
class AppliedThreshold:
    """The threshold that a decision was made with, on both scales.

    Attributes:
        value: on the scale of ``p_live``, after the temperature where there is one.
        margin: as log-odds before any temperature; what the presentation's margin was compared with.
        rule: ``dev_eer``, ``dev_apcer=0.01``, ``dev_bpcer=0.01``, ``fixed=0.5`` ...
        mode: ``secure``, ``balanced``, ``convenient``, ``custom``, or ``uncalibrated`` where nobody chose
            one.
        provenance: where it comes from, in one line.
        oracle_threshold: chosen on the set it is reported for.
        achieved: error rates on the development set, each with its number; see ``calibration/threshold.py``.
            Empty where nobody calibrated.
    """

    value: float
    margin: float
    rule: str
    mode: str
    provenance: str
    oracle_threshold: bool = False
    achieved: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class AttackType:
    """One kind of attack: category id, ISO/IEC 30107-3 species, and its probability given an attack."""

    id: str
    species: str
    probability: float


@dataclass(frozen=True)
class Evidence:
    """What an explanation rests on.

    Attributes:
        category: id of the category that speaks most for the decision.
        category_text: the text of this category that the picture was compared with; empty for models that
            read no text.
        frame: index of the frame in its file that speaks most for the decision; 0 for a still.
        time_s: its time in seconds, None for a still.
        relevance: where in that frame, when it was asked for.
    """

    category: str
    category_text: str = ""
    frame: int = 0
    time_s: float | None = None
    relevance: Relevance | None = None


@dataclass(frozen=True)
class Explanation:
    """Why: a sentence for an operator, and the evidence; None where no model was asked."""

    text: str
    evidence: Evidence | None = None


@dataclass(frozen=True)
class LivenessResult:
    """What is said about one presentation.

    Attributes:
        id: the path as given, or the place in the list.
        decision: ``live``, ``attack``, or ``no_response`` where a quality gate failed.
        model_decision: what the model said where it was asked, whatever the gates say; else None.
        p_live: P(live) in [0, 1], after the temperature; None where no model was asked.
        margin: log-odds of live before any temperature; higher is more live.
        threshold: what ``margin`` was compared with.
        categories: {category id: probability}, in the order of the taxonomy; empty without a model's answer.
        attack_types: by probability given that it is an attack, highest first.
        explanation: why.
        quality: every check that was made; of a video those of the whole and of its decisive frame.
        faces: faces of the decisive frame, largest first; empty for pre-cropped faces.
        frames_used: frames the decision rests on. frames_read: frames that were looked at.
        excluded: {name of a check: frames that were left out because of it}.
        fingerprint: digest of all that the score depends on; see ``calibration/fingerprint.py``.
        model: name of the model. revision: of its weights.
        temperature: that ``p_live`` and ``categories`` were softened by; 1 is none.
        timings_ms: {stage: milliseconds}; a stage of a batch counts by its share.
        notes: what a reader has to know, such as that nobody calibrated the threshold.
        embedding: of the decisive crop, only when it was asked for: it is biometric data.
        pixels: uint8 [H, W, 3], the decisive crop, only when it was asked for.
    """

    id: str
    decision: Decision
    threshold: AppliedThreshold
    explanation: Explanation
    model_decision: Literal["live", "attack"] | None = None
    p_live: float | None = None
    margin: float | None = None
    categories: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    attack_types: tuple[AttackType, ...] = ()
    quality: tuple[Check, ...] = ()
    faces: tuple[Face, ...] = ()
    frames_used: int = 0
    frames_read: int = 0
    excluded: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    fingerprint: str = ""
    model: str = ""
    revision: str = ""
    temperature: float = 1.0
    timings_ms: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    notes: tuple[str, ...] = ()
    embedding: tuple[float, ...] | None = field(default=None, repr=False)
    pixels: np.ndarray | None = field(default=None, repr=False, compare=False)

    @property
    def is_live(self) -> bool:
        """Whether the presentation was accepted."""
        return self.decision == "live"

    @property
    def failed_checks(self) -> tuple[Check, ...]:
        """Checks that did not pass, those that withhold an answer first."""
        return tuple(sorted((one for one in self.quality if not one.passed), key=lambda one: not one.blocks))

    def to_dict(
        self,
        *,
        explain: Audience = "operator",
        include_pixels: bool = False,
        include_embeddings: bool = False,
    ) -> dict[str, Any]:
        """Return plain values for JSON; neither pixels nor embeddings unless asked.

        Args:
            explain: ``operator`` gets everything. ``end_user`` gets the decision, a sentence and, unless the
                threshold is the ``secure`` one, what to do about a picture that gates of capture refused: no
                score, no category, no measured value, nothing that an attacker could climb by. Of the path
                only the last name stays.
            include_pixels: add the crop as a PNG in base64.
            include_embeddings: add the crop's embedding.

        Raises:
            ConfigError: an unknown audience, or more than a decision for an end user.
            InputError: pixels or an embedding that ``predict`` was not told to keep.
        """
        if explain not in AUDIENCES:
            raise ConfigError(
                f"explain is operator or end_user, got {explain!r}.{nearest(explain, AUDIENCES)}"
            )
        if explain == "end_user":
            if include_pixels or include_embeddings:
                raise ConfigError(
                    "An end user is told the decision only; pixels and embeddings need operator."
                )
            return self._for_end_user()
        # Not asdict(): it would copy arrays, and pixels must not get here by accident.
        left_out = {"embedding", "pixels", "faces", "quality"}
        found = {
            one.name: _plain(getattr(self, one.name)) for one in fields(self) if one.name not in left_out
        }
        found["quality"] = [_plain(check) for check in self.quality]
        found["faces"] = [_plain(face) for face in self.faces]
        if include_pixels:
            found["pixels_png"] = _png_text(_kept(self.pixels, "pixels"))
        if include_embeddings:
            found["embedding"] = list(_kept(self.embedding, "embedding"))
        return found

    def _for_end_user(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "id": self.id.replace("\\", "/").rpartition("/")[2],
            "decision": self.decision,
            "text": _SENTENCES[self.decision],
        }
        if self.threshold.mode != "secure" and self.decision == "no_response":
            told = (one for one in self.failed_checks if one.blocks and one.name in _FOR_END_USERS)
            found["advice"] = list(dict.fromkeys(one.advice for one in told if one.advice))
        return found

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> LivenessResult:
        """Return the result that :meth:`to_dict` wrote for an operator.

        Raises:
            InputError: not such a record.
        """
        try:
            return _from_dict(dict(found))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise InputError(f"This is not the record of a check for an operator ({reason}).") from None


def _from_dict(found: dict[str, Any]) -> LivenessResult:
    from .faces.detect import Face
    from .quality.checks import Check

    pixels, embedding = found.pop("pixels_png", None), found.pop("embedding", None)
    found["threshold"] = AppliedThreshold(**found["threshold"])
    found["explanation"] = _explanation(found["explanation"])
    found["attack_types"] = tuple(AttackType(**one) for one in found["attack_types"])
    found["quality"] = tuple(_record(Check, one) for one in found["quality"])
    found["faces"] = tuple(_record(Face, one) for one in found["faces"])
    found["notes"] = tuple(found["notes"])
    return LivenessResult(
        **found,
        embedding=None if embedding is None else tuple(embedding),
        pixels=None if pixels is None else _from_png(pixels),
    )


def _explanation(found: Mapping[str, Any]) -> Explanation:
    from .explain.relevance import Relevance

    evidence = found["evidence"]
    if evidence is None:
        return Explanation(found["text"])
    relevance = evidence["relevance"]
    read = None if relevance is None else Relevance.from_dict(relevance)
    return Explanation(found["text"], Evidence(**{**evidence, "relevance": read}))


def _record(cls: Any, found: Mapping[str, Any]) -> Any:
    """Return a frozen record of plain values; lists become tuples, landmarks an array."""
    import numpy as np

    values = {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
    if values.get("landmarks") is not None:
        values["landmarks"] = np.asarray(found["landmarks"], dtype=np.float32)
    return cls(**values)


def _plain(value: Any) -> Any:
    """Return what JSON can hold; a record becomes a mapping of its fields."""
    if hasattr(value, "__dataclass_fields__"):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value.tolist() if hasattr(value, "tolist") else value


def _kept(value: Any, what: str) -> Any:
    if value is None:
        raise InputError(
            f"The {what} of this result were not kept. Ask for them: predict(..., keep=({what!r},))."
        )
    return value


def _png_text(pixels: np.ndarray) -> str:
    import base64
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _from_png(text: str) -> np.ndarray:
    import base64
    import io

    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(text))) as picture:
        return cast("np.ndarray", np.asarray(picture.convert("RGB")))
