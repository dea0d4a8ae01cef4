"""The public names of the loaders, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys

import pytest
from verticlip.domains.medical import io


@pytest.mark.parametrize("name", io.__all__)
def test_every_public_name_resolves(name):
    assert getattr(io, name).__name__ == name


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(AttributeError, match="load_image"):
        _ = io.load_picture


def test_importing_the_names_loads_no_optional_package():
    code = (
        "import sys\n"
        "from verticlip.domains.medical.io import load_image, load_series, load_volume, deidentify, inspect\n"
        "from verticlip.domains.medical.io import resample, windows\n"
        "heavy = {'pydicom', 'nibabel', 'monai', 'pylibjpeg', 'torchvision'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "before = set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_room_itself_imports_no_torch():
    code = "import sys, verticlip.domains.medical.io; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
