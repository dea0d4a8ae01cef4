"""The liveness models that are timed, and what each is compared with."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ..api import from_pretrained
from ..core import registry
from ..core.config import ImageProcessing, ModelConfig, ProcessorConfig, TextProcessing
from ..core.errors import ConfigError, require
from ..core.model import build_model
from ..core.processing import Processor
from ..domains.liveness.faces.crop import CropConfig
from ..domains.liveness.minifasnet.checkpoints import CATEGORIES
from ..domains.liveness.minifasnet.model import MiniFASNetModel
from ..domains.liveness.minifasnet.network import MiniFASNet
from ..domains.liveness.models.base import liveness_network, liveness_options
from ..domains.liveness.models.categories import CategoryModel
from ..facade import Model
from .image_embed import VIT_B16
from .models import word_tokenizer
from .onnx_files import write_onnx
from .text_embed import CLIP_TEXT

PACKAGED = "liveness/minifasnet-v2"
_TINY = "liveness/tiny"
_CONTEXT = CropConfig(scale=2.0)


def minifasnet_pair(*, seed: int = 0) -> Model:
    """Return MiniFASNet V2 and V1SE together, as their authors use them, with random weights."""
    crops = [CropConfig(scale=scale, size=80, shift=True) for scale in (2.7, 4.0)]
    networks = [{"architecture": "MiniFASNetV2"}, {"architecture": "MiniFASNetV1SE"}]
    options = liveness_options(CATEGORIES, crops, networks=networks)
    return _model("minifasnet", options, ProcessorConfig(image=_image(80)), seed=seed)


def clip(patch: int, *, seed: int = 0) -> Model:
    """Return CLIP ViT-B that answers by the texts of the default taxonomy, with random weights."""
    image = VIT_B16.model_copy(update={"patch_size": patch})
    words = TextProcessing(context_length=CLIP_TEXT.context_length, overlong="truncate")
    processor = ProcessorConfig(image=_image(224), text=words)
    towers = {"image": image.model_dump(), "text": CLIP_TEXT.model_dump()}
    options = liveness_options("default", [_CONTEXT])
    return _model("categories", options, processor, towers=towers, seed=seed)


def flip_v(*, seed: int = 0) -> Model:
    """Return FLIP-V on ViT-B/16 with random weights."""
    tower = {**VIT_B16.model_dump(), "output_dim": None, "projection": "linear", "projection_bias": True}
    options = liveness_options("binary", [_CONTEXT])
    return _model("flip_v", options, ProcessorConfig(image=_image(224)), towers={"image": tower}, seed=seed)


def _image(size: int) -> ImageProcessing:
    return ImageProcessing(size=size, resize="squash", interpolation="bilinear" if size == 80 else "bicubic")


def _model(
    architecture: str,
    options: dict[str, Any],
    processor: ProcessorConfig,
    *,
    towers: dict[str, Any] | None = None,
    seed: int,
) -> Model:
    config = ModelConfig.model_validate(
        {
            "name": f"benchmark/{architecture.replace('_', '-')}",
            "domain": "liveness",
            "architecture": architecture,
            "embed_dim": 512 if towers else 0,
            "towers": towers or {},
            "options": options,
        }
    )
    torch.manual_seed(seed)
    tokens = word_tokenizer() if processor.text else None
    return Model(build_model(config).eval(), Processor(processor, tokens))


def timed_models() -> Iterator[tuple[str, Callable[[], Model]]]:
    """Yield what each model is called in the table, and what builds it, the small ones first."""
    yield "MiniFASNet V2", lambda: from_pretrained(PACKAGED)
    yield "MiniFASNet V2 + V1SE", minifasnet_pair
    if _TINY in registry.models():
        yield _TINY, lambda: from_pretrained(_TINY)
    yield "CLIP ViT-B/32", lambda: clip(32)
    yield "CLIP ViT-B/16", lambda: clip(16)
    yield "FLIP-V ViT-B/16", flip_v


def crops_of(model: Model, count: int) -> list[list[np.ndarray]]:
    """Return seeded noise as each crop of ``model`` shows it: pictures uint8 [S, S, 3]."""
    rng = np.random.default_rng(0)
    network = liveness_network(model)
    image = model.processor.config.image
    sides = [crop.size or (image.size if image else 224) for crop in network.crops]
    return [[rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(count)] for side in sides]


class Unfused:
    """MiniFASNet as its authors run it: the layers one by one, weights as they were saved."""

    def __init__(self, network: MiniFASNet) -> None:
        self.network = network

    @torch.inference_mode()
    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """Return logits [B, K] of pictures uint8 [B, H, W, 3], BGR."""
        pixels = torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), np.float32))
        return self.network(pixels).numpy()


class OnnxRuntime:
    """The same network in ONNX Runtime, one thread."""

    def __init__(self, network: MiniFASNet) -> None:
        runtime: Any = require("onnxruntime", extra="export")
        sizes = network.config
        with tempfile.TemporaryDirectory() as folder:
            path = write_onnx(
                network,
                torch.zeros(1, 3, sizes.height, sizes.width),
                Path(folder) / "network.onnx",
                inputs="pictures",
                outputs=["logits"],
                open_axes={"pictures": {0: "batch"}, "logits": {0: "batch"}},
            )
            settings = runtime.SessionOptions()
            settings.intra_op_num_threads = 1
            self.session = runtime.InferenceSession(
                path.read_bytes(), settings, providers=["CPUExecutionProvider"]
            )

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """Return logits [B, K] of pictures uint8 [B, H, W, 3], BGR."""
        pixels = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), np.float32)
        return self.session.run(None, {"pictures": pixels})[0]


def packaged_network() -> MiniFASNet:
    """Return the packaged network, layer by layer as its authors built it."""
    network = from_pretrained(PACKAGED).network
    if not isinstance(network, MiniFASNetModel):
        raise ConfigError(f"{PACKAGED} is no MiniFASNet.")
    return cast("MiniFASNet", network.networks[0])


class OpenClip:
    """The same CLIP in open_clip: its own transform and tower, texts encoded beforehand."""

    def __init__(self, model: Model, patch: int) -> None:
        open_clip: Any = require("open_clip", extra="medical")
        transforms: Any = require("open_clip.transform", extra="medical")
        self.network = open_clip.create_model(f"ViT-B-{patch}").eval()
        ours = liveness_network(model)
        ours.use_processor(model.processor)
        state = {
            name.replace("towers.image.", "visual."): value
            for name, value in ours.state_dict().items()
            if name.startswith("towers.image.")
        }
        own = {name: value for name, value in self.network.state_dict().items() if name not in state}
        self.network.load_state_dict({**own, **state})
        self.transform = transforms.image_transform(224, is_train=False)
        if not isinstance(ours, CategoryModel):
            raise ConfigError(f"{model.id} does not compare pictures with texts.")
        self.categories, self.scale = ours.category_embeddings().detach(), float(ours.scale().detach())

    @torch.inference_mode()
    def __call__(self, picture: np.ndarray) -> Tensor:
        """Return logits float32 [1, K] of a picture uint8 [224, 224, 3]."""
        images: Any = require("PIL.Image", extra="medical")
        pixels = self.transform(images.fromarray(picture))[None]
        found = nn.functional.normalize(self.network.encode_image(pixels), dim=-1)
        return self.scale * found @ self.categories.T
