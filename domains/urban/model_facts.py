"""What the catalogue says of the satellite models: tasks, sizes, where they are from, figures. Plain data."""

from __future__ import annotations

from ...core.registry import Facts, Measured

_ANSWERS = ("zero-shot classification", "retrieval")
_CAPTIONS = ("captioning", "retrieval", "zero-shot classification")

_TOWERS = Measured(
    "embeddings within 1e-5 of open_clip, on random weights in its layout",
    "python -m pytest tests/domains/urban/checkpoints/test_open_clip.py",
)
_OTHER_TOWERS = Measured(
    "embeddings within 1e-5 of transformers, on random weights in its layout",
    "python -m pytest tests/domains/urban/checkpoints/test_transformers.py",
)
_COCA = Measured(
    "losses within 1e-6 of the authors' code, on a reduced model; UrbanCLIP published no weights",
    "verticlip verify urbanclip tests/golden/urbanclip/coca_loss_a",
)

_RN50, _B32, _L14 = 102_007_137, 151_277_313, 427_616_513
_SIGLIP_BASE, _SIGLIP_LARGE = 203_155_970, 652_150_786
_COCA_L14, _COCA_B32 = 638_450_177, 253_560_065


def _facts(source: str, parameters: int, figure: str = "", paper: str = "") -> Facts:
    """Return the facts of a checkpoint in the layout of open_clip; ``figure`` is its authors'."""
    theirs = (Measured(figure, source=paper),) if figure else ()
    return Facts(_ANSWERS, f"https://github.com/{source}", parameters, (_TOWERS, *theirs))


def _remote(parameters: int, recall: str = "") -> Facts:
    return _facts("ChenDelong1999/RemoteCLIP", parameters, recall, "arXiv 2306.11029")


def _geo(parameters: int, accuracy: str = "") -> Facts:
    return _facts("om-ai-lab/RS5M", parameters, accuracy, "arXiv 2306.11300")


def _sky(parameters: int) -> Facts:
    figure = "mean of seven sets 53.02 to 60.69, the models of SkyScript"
    return _facts("wangzhecheng/SkyScript", parameters, figure, "arXiv 2312.12856")


def _other(source: str, parameters: int, figure: str = "") -> Facts:
    """Return the facts of a checkpoint in the layout of transformers."""
    theirs = (Measured(figure, source="its repository"),) if figure else ()
    return Facts(_ANSWERS, source, parameters, (_OTHER_TOWERS, *theirs))


def _coca(parameters: int) -> Facts:
    return Facts(_CAPTIONS, "https://github.com/mlfoundations/open_clip", parameters, (_COCA,))


FACTS = {
    "urban/tiny": Facts(
        (*_ANSWERS, "maps and indicators"),
        measured=(
            Measured(
                "held-back patches, 10 classes: accuracy {validation/sources/eurosat/accuracy:.3f}, as JPEG "
                "of quality 75 {further/changed/JPEG of quality 75:.3f}, search by class mAP "
                "{further/retrieval/class_to_image_map:.3f}; other scenes, seasons and sensors score less",
                "verticlip train run urban/tiny --data DATA --out RUN",
            ),
        ),
    ),
    "urban/remoteclip-rn50": _remote(_RN50, "RSICD mean recall 30.58"),
    "urban/remoteclip-vit-b32": _remote(_B32, "RSICD mean recall 35.26"),
    "urban/remoteclip-vit-l14": _remote(_L14, "RSICD mean recall 36.35"),
    "urban/georsclip-vit-b32": _geo(_B32, "AID accuracy 74.42"),
    "urban/georsclip-vit-b32-ret2": _geo(_B32),
    "urban/georsclip-vit-b32-rsicd": _geo(_B32),
    "urban/georsclip-vit-l14": _geo(_L14),
    "urban/georsclip-vit-l14-336": _geo(427_944_193),
    "urban/georsclip-vit-h14": _geo(986_109_441, "AID accuracy 76.33"),
    "urban/skyclip-vit-l14-top30": _sky(_L14),
    "urban/skyclip-vit-l14-top50": _sky(_L14),
    "urban/skyclip-vit-l14-top30-laion-rs": _sky(_L14),
    "urban/skyclip-vit-l14-top30-multi-objects": _sky(_L14),
    "urban/skyclip-vit-b32-top50": _sky(_B32),
    "urban/clip-laion-rs-vit-l14": _sky(_L14),
    "urban/clip-rsicd-v2": _other("https://github.com/arampacha/CLIP-rsicd", _B32, "RSICD, 30 classes: 88.3"),
    "urban/clip-rsicd": _other("https://github.com/arampacha/CLIP-rsicd", _B32, "RSICD, 30 classes: 84.3"),
    "urban/git-rsclip-base": _other("https://huggingface.co/lcybuaa/Git-RSCLIP-base", _SIGLIP_BASE),
    "urban/git-rsclip": _other("https://huggingface.co/lcybuaa/Git-RSCLIP", _SIGLIP_LARGE),
    "urban/openai-clip-vit-b32": _facts(
        "openai/CLIP", _B32, "RSICD mean recall 15.74, measured by RemoteCLIP's authors", "arXiv 2306.11029"
    ),
    "urban/openai-clip-vit-l14": _facts("openai/CLIP", _L14),
    "urban/coca-vit-l14-mscoco": _coca(_COCA_L14),
    "urban/coca-vit-l14": _coca(_COCA_L14),
    "urban/coca-vit-b32-mscoco": _coca(_COCA_B32),
    "urban/coca-vit-b32": _coca(_COCA_B32),
}
"""{name: its facts}, of every model of the room."""
