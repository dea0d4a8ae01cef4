"""Face crops as files that say how they were cut, so that no model judges a crop made for another.

How much lies around a face decides what a model can see. A folder of crops does not show it; the file can.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.errors import InputError
from ...core.files import atomic_path
from .faces.crop import CropConfig

if TYPE_CHECKING:
    import numpy as np

_KEY = "verticlip-crop"


def save_crop(path: str | Path, crop: np.ndarray, config: CropConfig) -> Path:
    """Write a face crop as PNG with its settings inside, and return the path.

    Args:
        path: a ``.png`` file.
        crop: uint8 [h, w, 3], what :func:`~.faces.crop.crop_face` returned.
        config: the settings it was cut with.

    Raises:
        InputError: another suffix: other formats lose pixels or the settings.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    path = Path(path)
    if path.suffix.lower() != ".png":
        raise InputError(f"{path.name}: face crops with settings are .png files.")
    settings = PngInfo()
    settings.add_text(_KEY, config.model_dump_json())
    with atomic_path(path) as temporary:
        Image.fromarray(crop).save(temporary, "PNG", pnginfo=settings)
    return path


def crop_settings(path: str | Path) -> CropConfig | None:
    """Return the settings a crop was cut with, or None for a picture that says nothing.

    Raises:
        InputError: settings are there and cannot be read.
    """
    from PIL import Image, UnidentifiedImageError

    path = Path(path)
    if path.suffix.lower() != ".png" or not path.is_file():
        return None
    try:
        with Image.open(path) as picture:
            text = picture.info.get(_KEY)
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError):
        return None  # whoever reads the pixels says what is wrong with them
    if text is None:
        return None
    try:
        return CropConfig.model_validate_json(text)
    except ValueError:
        raise InputError(f"{path.name}: its crop settings cannot be read. Cut the face again.") from None


def check_cropped_as(path: str | Path, crops: Sequence[CropConfig], *, detects: bool) -> None:
    """Raise ``InputError`` where a file says that it is a crop that does not fit the model.

    Args:
        path: of a picture.
        crops: settings of the model; the size does not matter, because crops are resized.
        detects: whether faces are looked for, which a crop leaves no room for.
    """
    made = crop_settings(path)
    if made is None:
        return
    if detects:
        raise InputError(
            f"{Path(path).name}: is a face crop already ({_words(made)}). Check crops with detector 'none'."
        )
    unlike = [crop for crop in crops if made.model_copy(update={"size": crop.size}) != crop]
    if unlike:
        wanted = "; ".join(map(_words, crops))
        raise InputError(
            f"{Path(path).name}: was cropped with other settings ({_words(made)}) than the model takes "
            f"({wanted}). Cut it again from the original picture."
        )


def _words(crop: CropConfig) -> str:
    said = ["the whole picture" if crop.scale is None else f"scale {crop.scale:g}"]
    said += [name for name in ("align", "shift", "square") if getattr(crop, name)]
    return ", ".join(said)
