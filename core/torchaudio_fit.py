"""Whether the installed torchaudio can be imported beside the installed torch, told from metadata.

The package does without torchaudio. Users who need it for something else meet an import error that names
CUDA versions and no remedy.
"""

from __future__ import annotations

import importlib
import re
from importlib import metadata
from types import ModuleType

from .errors import DependencyError

_BUILT_FOR = {(2, 11): (13, 0)}
"""{torchaudio: CUDA of its wheel on PyPI}; it refuses a torch of another, and its metadata do not say so."""
_REMEDY = (
    "torchaudio 2.11 fits torch 2.11 to 2.14 (CUDA 13.0) and any CPU build of torch; torchaudio 2.10 fits "
    "torch 2.10, 2.9 fits 2.9. verticlip itself does not need it: pip uninstall torchaudio"
)


def torchaudio_fit() -> tuple[bool | None, str]:
    """Return (whether it can be imported, what to say); None when it is absent or cannot be told."""
    import torch

    try:
        version = metadata.version("torchaudio")
    except metadata.PackageNotFoundError:
        return None, "absent, and not needed"
    pair = f"torchaudio {version} beside torch {torch.__version__}"
    own, other = _minor(version), _minor(str(torch.__version__))
    if own < (2, 11):
        # These pin torch exactly.
        return (True, f"{pair}: fits") if own == other else (False, f"{pair}: does not fit. {_REMEDY}")
    cuda = torch.version.cuda
    local = re.search(r"\+(cpu|cu(\d+)(\d))", version)
    if cuda is None or (local and local[1] == "cpu"):
        return True, f"{pair}: fits"
    built = (int(local[2]), int(local[3])) if local else _BUILT_FOR.get(own)
    if built is None:
        return None, f"{pair}: not known; its own import will tell"
    if built == tuple(int(part) for part in cuda.split(".")[:2]):
        return True, f"{pair}: fits (CUDA {cuda})"
    words = f"{pair}: does not fit, built for CUDA {built[0]}.{built[1]} and torch for {cuda}. {_REMEDY}"
    return False, words


def require_torchaudio() -> ModuleType:
    """Import and return torchaudio, or say which versions are installed and which fit.

    Raises:
        DependencyError: absent, or it refuses the installed torch. Its own error for that is a RuntimeError.
    """
    try:
        return importlib.import_module("torchaudio")
    except ModuleNotFoundError as error:
        raise DependencyError(
            "torchaudio is needed here and not installed. Run: pip install torchaudio"
        ) from error
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        fits, words = torchaudio_fit()
        reason = words if fits is False else f"{words}, but its import failed ({error}). {_REMEDY}"
        raise DependencyError(f"{reason}.") from error


def _minor(version: str) -> tuple[int, int]:
    numbers = [int(part) for part in re.findall(r"\d+", version)[:2]]
    return numbers[0], numbers[1] if len(numbers) > 1 else 0
