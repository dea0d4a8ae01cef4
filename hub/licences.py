"""Licences: which identifiers the Hub knows, and what publishing under one asks for."""

from __future__ import annotations

import re

from ..core.errors import nearest

OTHER, UNKNOWN = "other", "unknown"

HUB_LICENCES = frozenset(
    {
        "apache-2.0", "mit", "openrail", "bigscience-openrail-m", "creativeml-openrail-m",
        "bigscience-bloom-rail-1.0", "bigcode-openrail-m", "afl-3.0", "artistic-2.0", "bsl-1.0", "bsd",
        "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "c-uda", "cc", "cc0-1.0", "cc-by-2.0",
        "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0",
        "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0",
        "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0",
        "cdla-permissive-1.0", "cdla-permissive-2.0", "wtfpl", "ecl-2.0", "epl-1.0", "epl-2.0",
        "etalab-2.0", "eupl-1.1", "eupl-1.2", "agpl-3.0", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "lgpl",
        "lgpl-2.1", "lgpl-3.0", "isc", "h-research", "intel-research", "lppl-1.3c", "ms-pl",
        "apple-ascl", "apple-amlr", "mpl-2.0", "odc-by", "odbl", "openmdw-1.0", "openrail++",
        "osl-3.0", "postgresql", "ofl-1.1", "ncsa", "unlicense", "zlib", "pddl", "lgpl-lr",
        "deepfloyd-if-license", "fair-noncommercial-research-license", "llama2", "llama3", "llama3.1",
        "llama3.2", "llama3.3", "llama4", "grok2-community", "gemma", "unknown", "other",
    }
)  # fmt: skip
"""Identifiers that the Hub accepts in a card (huggingface.co/docs/hub/repositories-licenses); it offers no
call that lists them."""

_RESEARCH = frozenset(
    {
        "apple-amlr",
        "h-research",
        "intel-research",
        "deepfloyd-if-license",
    }
)
"""Licences for research alone whose identifiers do not say so."""


_SPDX = {
    "apache-2.0": "Apache-2.0", "mit": "MIT", "isc": "ISC", "unlicense": "Unlicense", "zlib": "Zlib",
    "bsd-2-clause": "BSD-2-Clause", "bsd-3-clause": "BSD-3-Clause", "mpl-2.0": "MPL-2.0",
}  # fmt: skip
"""{the Hub's identifier: SPDX's}, where letters differ; those of Creative Commons are all large."""


def hub_licence(licence: str) -> str:
    """Return the identifier as cards write it: small letters, no space around."""
    return licence.strip().lower()


def spdx_licence(licence: str) -> str:
    """Return the identifier as SPDX writes it, or in small letters where that is not known here."""
    word = hub_licence(licence)
    return word.upper() if word.startswith("cc") else _SPDX.get(word, word)


def licence_page(licence: str) -> str:
    """Return where the text of a licence stands, or "" for one without a page that is known here."""
    word = hub_licence(licence)
    versioned = is_known(word) and re.fullmatch(r"cc[a-z0-9-]*-\d\.\d", word)
    return f"https://spdx.org/licenses/{spdx_licence(word)}.html" if versioned or word in _SPDX else ""


def is_known(licence: str) -> bool:
    """Return whether the Hub accepts the identifier."""
    return hub_licence(licence) in HUB_LICENCES


def is_non_commercial(licence: str) -> bool:
    """Return whether the licence forbids commercial use, by its identifier."""
    name = hub_licence(licence)
    return "-nc" in name or "noncommercial" in name or "non-commercial" in name or name in _RESEARCH


def forbids_changes(licence: str) -> bool:
    """Return whether changed versions may not be passed on (``-ND``)."""
    return "-nd" in hub_licence(licence)


def nearest_licence(licence: str) -> str:
    """Return ``" Did you mean 'x'?"`` for an identifier that the Hub does not know, or nothing."""
    return nearest(hub_licence(licence), HUB_LICENCES)
