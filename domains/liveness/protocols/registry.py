"""Protocols by name: :func:`open_protocol`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

from ....core.errors import ConfigError, nearest
from .casia_fasd import read_casia_fasd
from .flip import read_flip
from .msu_mfsd import read_msu_mfsd
from .nuaa import read_nuaa
from .oulu_npu import read_oulu_npu
from .protocol import Protocol, hold_out_dev
from .replay_attack import read_replay_attack

Option = str | int | float | bool | None

READERS: dict[str, Callable[..., Protocol]] = {
    "oulu-npu": read_oulu_npu,
    "replay-attack": read_replay_attack,
    "casia-fasd": read_casia_fasd,
    "msu-mfsd": read_msu_mfsd,
    "nuaa": read_nuaa,
    "flip": read_flip,
}
"""{name: reader}; each takes the folder and options of its own."""

SUMMARIES = {
    "oulu-npu": "protocols 1-4; protocol=1..4, fold=1..6 for 3 and 4",
    "replay-attack": "train, devel and test",
    "casia-fasd": "train and test; no development set",
    "msu-mfsd": "train and test by its subject lists; no development set",
    "nuaa": "stills, version=raw, face or normalized; no development set",
    "flip": "MCIO and WCS frame lists; protocol=1..3, target, source, shots=0 or 5; no development set",
}
"""{name: what it has and which options}."""


def open_protocol(
    name: str,
    folder: str | Path,
    *,
    dev_share: float | None = None,
    **options: Option | list[str] | list[int],
) -> Protocol:
    """Return a published protocol of a data set that lies in a folder; nothing is downloaded.

    Args:
        name: see :data:`READERS`.
        folder: of the data set, as its makers hand it out.
        dev_share: hold this share of the training subjects out as a development set, for data sets without
            one; see :func:`~.protocol.hold_out_dev`.
        options: of the reader, such as ``protocol=3, fold=2``; see its docstring.

    Raises:
        ConfigError: unknown name or option, or an option that is needed.
        DataError: the folder is not what is expected, or not complete.

    Example:
        >>> open_protocol("oulu-npu", "OULU-NPU", protocol=3, fold=2).counts()  # doctest: +SKIP
        {'train': {'bona_fide': 300, 'display': 600, 'print': 600}, 'dev': ..., 'test': ...}
    """
    if name not in READERS:
        raise ConfigError(f"Protocol {name!r}.{nearest(name, READERS)} Known: {', '.join(READERS)}.")
    reader = READERS[name]
    known = {
        parameter.name: parameter.default is parameter.empty
        for parameter in inspect.signature(reader).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    for option in options:
        if option not in known:
            raise ConfigError(f"{name} has no option {option!r}.{nearest(option, known)} {_told(known)}")
    for option, needed in known.items():
        if needed and option not in options:
            raise ConfigError(f"{name} needs the option {option}: {SUMMARIES[name]}.")
    protocol = reader(folder, **options)
    return protocol if dev_share is None else hold_out_dev(protocol, dev_share)


def _told(known: dict[str, bool]) -> str:
    return f"Options: {', '.join(known)}."
