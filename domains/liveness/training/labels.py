"""From what a data set calls a presentation to a category of the model's taxonomy."""

from __future__ import annotations

from ....core.errors import ConfigError, DataError, nearest
from ..protocols.entry import BONA_FIDE, UNSPECIFIED
from ..taxonomy import Taxonomy

UNKNOWN = -1
"""Label of a presentation of which only live or attack is known."""

_OPEN = frozenset({BONA_FIDE, UNSPECIFIED, "live", "attack", "spoof"})
"""Words that say live or attack and nothing more."""


def category_of(label: str, taxonomy: Taxonomy, *, live: bool, where: str) -> int:
    """Return the class index of a presentation, or :data:`UNKNOWN`.

    A label is the id of a category, or a species that one category has. The only live category takes every
    live presentation, and the only attack category every attack.

    Args:
        label: category or species. live: what the data say it is.
        where: what messages call the presentation.

    Raises:
        DataError: the category contradicts ``live``.
        ConfigError: no category is called so, and none has the species.
    """
    side = taxonomy.live if live else taxonomy.attacks
    if label in taxonomy.ids:
        index = taxonomy.index(label)
        if index not in side:
            raise DataError(
                f"{where}: category {label!r} is {taxonomy.categories[index].kind} in taxonomy "
                f"{taxonomy.name!r}, and the label says {'live' if live else 'attack'}. Correct one of them."
            )
        return index
    if len(side) == 1:
        return side[0]
    members = [index for index in side if taxonomy.categories[index].species == label]
    if len(members) == 1:
        return members[0]
    if members or label in _OPEN:
        return UNKNOWN
    species = sorted({taxonomy.categories[index].species for index in side})
    raise ConfigError(
        f"{where}: {label!r} is neither a category nor a species of taxonomy {taxonomy.name!r}."
        f"{nearest(label, [*taxonomy.ids, *species])} Its species are {', '.join(species)}. Say which "
        f"category it is by the source's labels in the recipe (labels: {{{label}: CATEGORY}}), by a column "
        f"category of the manifest, or call it {UNSPECIFIED} to train on live or attack only."
    )
