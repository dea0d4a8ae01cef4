"""The answer as a record: what operators and end users read, and what never leaves unasked."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.liveness.explain.relevance import Relevance
from verticlip.domains.liveness.faces.detect import Face
from verticlip.domains.liveness.quality.checks import Check
from verticlip.domains.liveness.result import (
    AppliedThreshold,
    AttackType,
    Evidence,
    Explanation,
    LivenessResult,
)

MAP = Relevance(((0.5, 0.0), (0.0, -0.5)), "screen_replay", 1.0, (0, 0, 40, 40), (40, 40))
SHARP = Check("sharpness", 12.0, (60.0, None), False, "luma^2", True, "The face is blurred: hold still.")
DARK = Check("luma", 20.0, (40.0, 220.0), False, "0-255", False, "The face is dark: add light.")
SIZE = Check("face_size", 120.0, (80.0, None), True, "px", True, "")


def made(decision: str = "attack", mode: str = "secure") -> LivenessResult:
    """An answer with everything in it."""
    return LivenessResult(
        id="a.png", decision=decision,  # pyright: ignore[reportArgumentType]
        threshold=AppliedThreshold(
            0.9, 2.2, "dev_apcer=0.01", mode, "dev_apcer=0.01 on branch", False, {"bpcer": {"rate": 0.1, "n": 9}}
        ),
        explanation=Explanation("It resembles a display.", Evidence("screen_replay", "a screen.", 3, 0.5, MAP)),
        model_decision="attack", p_live=0.125, margin=-1.9, categories={"live": 0.125, "screen_replay": 0.875},
        attack_types=(AttackType("screen_replay", "display", 1.0),), quality=(DARK, SIZE, SHARP),
        faces=(Face((1.0, 2.0, 3.0, 4.0), 0.5, np.arange(10, dtype=np.float32).reshape(5, 2)),), frames_used=4,
        frames_read=5, excluded={"sharpness": 1}, fingerprint="0123456789abcdef", model="m", revision="r",
        temperature=1.5, timings_ms={"model": 2.5}, notes=("a note",), embedding=(0.6, 0.8),
        pixels=np.full((2, 3, 3), 7, np.uint8),
    )  # fmt: skip


def test_read_as_written():
    said = json.loads(json.dumps(made().to_dict()))
    back = LivenessResult.from_dict(said)
    assert back.to_dict() == said
    assert back.explanation == made().explanation
    assert back.threshold == made().threshold
    assert back.quality == made().quality
    assert back.faces[0].landmarks is not None
    assert back.faces[0].landmarks.dtype == np.float32
    assert back.failed_checks == (SHARP, DARK), "those that withhold an answer first"


def test_pixels_and_embeddings_only_when_asked():
    text = json.dumps(made().to_dict())
    assert "pixels" not in text
    assert "embedding" not in text
    assert "0.8" not in repr(made()).replace("0.875", "")
    whole = made().to_dict(include_pixels=True, include_embeddings=True)
    assert whole["embedding"] == [0.6, 0.8]
    back = LivenessResult.from_dict(json.loads(json.dumps(whole)))
    assert back.pixels is not None
    assert back.pixels.tolist() == made().pixels.tolist()  # pyright: ignore[reportOptionalMemberAccess]
    with pytest.raises(InputError, match="embedding of this result"):
        replace(made(), embedding=None).to_dict(include_embeddings=True)


@pytest.mark.parametrize("decision", ["live", "attack", "no_response"])
def test_an_end_user_learns_nothing_to_climb_by(decision):
    said = made(decision).to_dict(explain="end_user")
    assert set(said) == {"id", "decision", "text"}
    text = json.dumps(said)
    for secret in ("0.125", "-1.9", "0.9", "2.2", "screen_replay", "display", "sharpness", "blurred", "luma"):
        assert secret not in text
    # All attacks read the same, whatever gave them away.
    other = replace(made(decision), attack_types=(), p_live=0.4, quality=())
    assert other.to_dict(explain="end_user") == said


def test_an_honest_end_user_is_told_how_to_try_again():
    said = made("no_response", mode="balanced").to_dict(explain="end_user")
    assert said["advice"] == ["The face is blurred: hold still."], "of gates that refused, and of capture"
    assert "advice" not in made("attack", mode="balanced").to_dict(explain="end_user")


def test_an_end_user_is_told_nothing_of_how_attacks_are_told():
    same = Check("frame_variety", 1.0, (2.0, None), False, "frames", True, "A still picture may stand there.")
    few = Check("usable_frames", 1.0, (3.0, None), False, "frames", True, "Only 1 of 3 frames can be used.")
    dark = replace(DARK, blocks=True, advice="The face is dark: darkness can hide an attack.")
    found = replace(made("no_response", mode="balanced"), quality=(same, few, dark))
    assert found.to_dict(explain="end_user")["advice"] == []


@pytest.mark.parametrize("id", ["in/ada-lovelace/a.png", "C:\\in\\a.png", "branch/a.png", "a.png"])
def test_an_end_user_is_shown_no_path(id):
    assert replace(made(), id=id).to_dict(explain="end_user")["id"] == "a.png"


def test_usage():
    with pytest.raises(ConfigError, match=r"got 'operators'. Did you mean 'operator'"):
        made().to_dict(explain="operators")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="An end user is told the decision only"):
        made().to_dict(explain="end_user", include_pixels=True)
    with pytest.raises(InputError, match="not the record of a check for an operator"):
        LivenessResult.from_dict(made().to_dict(explain="end_user"))
    assert not made().is_live
    assert made("live").is_live
