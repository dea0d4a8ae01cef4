"""One name per public data set, whichever of its names a manifest, a protocol or a report says.

FLIP's lists say ``oulu`` where the readers of this package say ``oulu-npu``. Whoever compares data sets, such
as a training run with its target or a report with what a model was trained on, compares canonical names.
"""

from __future__ import annotations

from collections.abc import Iterable

from ....core.errors import ConfigError, nearest

PUBLIC: dict[str, tuple[str, ...]] = {
    "oulu-npu": ("oulu",),
    "replay-attack": ("replay", "idiap-replay-attack"),
    "casia-fasd": ("casia", "casia-mfsd"),
    "msu-mfsd": ("msu",),
    "nuaa": (),
    "wmca": (),
    "casia-cefa": ("cefa",),
    "casia-surf": ("surf",),
    "celeba-spoof": ("celeb",),
    "casia-hifimask": ("hifimask",),
    "3dmad": (),
    "hkbu-mars": ("hkbu",),
    "lcc-fasd": (),
    "replay-mobile": (),
    "rose-youtu": ("rose",),
    "siw": (),
    "siw-m": (),
}
"""{canonical name: further names}. Case does not count, nor do hyphens, underscores and spaces."""


def canonical_dataset(name: str) -> str:
    """Return the one name of a data set: two names are of one set exactly where these are equal.

    Public sets have the name of :data:`PUBLIC`; any other name is that of a set of the user's own and only
    loses its case and the spaces around it.

    Example:
        >>> canonical_dataset("oulu"), canonical_dataset("OULU_NPU"), canonical_dataset("Branch 7")
        ('oulu-npu', 'oulu-npu', 'branch 7')
    """
    return _CANONICAL.get(_letters(name), name.strip().casefold())


def known_datasets(names: Iterable[str], present: Iterable[str], *, option: str) -> tuple[str, ...]:
    """Return the canonical names of data sets that an option names.

    Args:
        names: that the user gave.
        present: data sets at hand, such as those of a manifest's rows.
        option: that they were given by, for the message.

    Raises:
        ConfigError: a name of no public data set and of none that is present: a misspelt one would match
            nothing, and nobody would notice.
    """
    own = sorted({canonical_dataset(name) for name in present})
    found = []
    for name in names:
        canonical = canonical_dataset(name)
        if canonical not in PUBLIC and canonical not in own:
            known = sorted({*PUBLIC, *(further for others in PUBLIC.values() for further in others), *own})
            raise ConfigError(
                f"{option} {name!r}: no public data set is called so, and no row is of it."
                f"{nearest(canonical, known)} Data sets of the rows are {', '.join(own) or 'none'}. A set of "
                "your own is known once its rows stand in a source, as split test."
            )
        found.append(canonical)
    return tuple(dict.fromkeys(found))


def _letters(name: str) -> str:
    """Return a name without case and without what separates its parts."""
    return "".join(letter for letter in name.casefold() if letter not in " -_")


_CANONICAL = {_letters(word): name for name, others in PUBLIC.items() for word in (name, *others)}
