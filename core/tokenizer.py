"""``tokenizer.json`` read as data, whoever wrote it.

The library that reads it panics on some damaged files, at reading or at the first text. Such a panic is no
``Exception``: it would pass every ``except`` between here and the user.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .errors import ConfigError
from .files import TOKENIZER_FILE

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def read_tokenizer(content: str, *, source: str = TOKENIZER_FILE) -> Tokenizer:
    """Return the tokenizer of a ``tokenizer.json``, which neither fills texts up nor cuts them.

    Args:
        content: of the file. source: what messages call it.

    Raises:
        ConfigError: it is no tokenizer, or a damaged one.
    """
    from tokenizers import Tokenizer

    with panics_as_errors(f"{source}: not a tokenizer file"):
        tokenizer = Tokenizer.from_str(content)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


@contextlib.contextmanager
def panics_as_errors(said: str) -> Iterator[None]:
    """Raise what the tokenizers library raises here as a ``ConfigError`` that begins with ``said``."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        raise ConfigError(f"{said} ({str(error)[:200]}).") from None
