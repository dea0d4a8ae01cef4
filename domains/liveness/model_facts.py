"""What the catalogue says of the liveness models: tasks, sizes, where they are from, figures. Plain data."""

from __future__ import annotations

from ...core.registry import Facts, Measured

_TASKS = ("presentation attack detection",)
_BY_TEXT = (*_TASKS, "zero-shot classification", "retrieval")
_SFAS = "https://github.com/minivision-ai/Silent-Face-Anti-Spoofing"
_FLIP, _FLIP_PAPER = "https://github.com/koushiksrivats/FLIP", "arXiv 2309.16649"
_CLIP = "https://github.com/openai/CLIP"
_SFAS_COMMAND = "verticlip verify clipc8 tests/golden/clipc8/minifasnet"
_FLIP_PARITY = Measured(
    "logits, losses and gradients within 8e-6 of the authors' code, on a reduced model",
    "verticlip verify clipc8 tests/golden/clipc8/flip_mcl",
)
_CLIP_PARITY = Measured(
    "logits and prompt embeddings within 8e-6 of the authors' code, on a reduced model",
    "verticlip verify clipc8 tests/golden/clipc8/flip_it",
)

FACTS = {
    "liveness/tiny": Facts(
        _BY_TEXT,
        measured=(
            Measured(
                "unseen photos of clothes and attack parameters, no evidence about faces: max APCER "
                "{further/model/test/apcer/document:.1%}, document; BPCER {further/model/test/bpcer:.1%}; "
                "AUC {further/model/test/auc:.3f}; by six pixel statistics max APCER "
                "{further/pixel statistics/test/apcer_max:.1%}, BPCER "
                "{further/pixel statistics/test/bpcer/rate:.1%}, AUC {further/pixel statistics/test/auc:.3f}",
                "verticlip train run liveness/tiny --data DATA --out RUN",
            ),
        ),
    ),
    "liveness/minifasnet-v2": Facts(
        _TASKS,
        _SFAS,
        434_560,
        (
            Measured(
                "no error rate measured here; logits equal the authors' code to the bit, within "
                "{checks/2/value} with batch norms folded",
                _SFAS_COMMAND,
            ),
        ),
    ),
    "liveness/minifasnet": Facts(
        _TASKS,
        _SFAS,
        868_146,
        (
            Measured("V2 as liveness/minifasnet-v2; V1SE was not compared", _SFAS_COMMAND),
            Measured("TPR 97.8 % at FPR 1e-5, of their phone app on their own data", source="its repository"),
        ),
    ),
    "liveness/flip-mcl": Facts(
        _BY_TEXT,
        _FLIP,
        170_000_000,
        (
            _FLIP_PARITY,
            Measured("HTER 3.01 %, mean of four targets, at thresholds of the test sets", source=_FLIP_PAPER),
        ),
    ),
    "liveness/flip-mcl-wcs": Facts(
        _BY_TEXT,
        _FLIP,
        170_000_000,
        (
            _FLIP_PARITY,
            Measured(
                "HTER 8.61 %, mean of three targets, at thresholds of the test sets", source=_FLIP_PAPER
            ),
        ),
    ),
    "liveness/clip-vit-b16": Facts(_BY_TEXT, _CLIP, 149_620_737, (_CLIP_PARITY,)),
    "liveness/clip-vit-b32": Facts(_BY_TEXT, _CLIP, 151_277_313, (_CLIP_PARITY,)),
}
"""{name: its facts}, of every model of the room."""
