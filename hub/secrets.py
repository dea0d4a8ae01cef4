"""Texts that must not leave a computer: keys and passwords, and traces of whose computer it is.

Nothing found is ever repeated: a finding says what kind of thing stands where, not what it says.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_DEEPEST = 64


@dataclass(frozen=True)
class Leak:
    """Something in a text that must not be published.

    Attributes:
        kind: ``secret``, ``home`` (a home folder, which names its user), ``path``, ``computer`` (a user or
            host name) or ``data`` (an embedded file).
        what: it looks like, in words: ``a Hugging Face token``.
        where: ``line 3`` of a text, or the keys that lead to it in JSON or YAML: ``options.note``.
    """

    kind: str
    what: str
    where: str


# The fixed beginnings are those that the services chose so that their keys can be found.
_KEYS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (what, re.compile(pattern))
    for what, pattern in (
        ("a Hugging Face token", r"(?<![A-Za-z0-9])(?:hf|api_org)_[A-Za-z0-9]{30,}"),
        ("a Hugging Face token", r"(?<![A-Za-z0-9])hf_oauth_[\w.-]{20,}"),
        ("an AWS access key", r"(?<![A-Za-z0-9])(?:AKIA|ASIA|AGPA|AIDA|AROA)[A-Z0-9]{16}(?![A-Za-z0-9])"),
        ("a private key", r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"),
        ("a GitHub token", r"(?<![A-Za-z0-9])gh[pousr]_[A-Za-z0-9]{30,}"),
        ("a GitHub token", r"(?<![A-Za-z0-9])github_pat_[A-Za-z0-9_]{40,}"),
        ("a GitLab token", r"(?<![A-Za-z0-9])glpat-[\w-]{20,}"),
        ("a Slack token", r"(?<![A-Za-z0-9])xox[abeoprs]-[A-Za-z0-9-]{16,}"),
        ("a Google API key", r"(?<![A-Za-z0-9])AIza[\w-]{35}(?![\w-])"),
        ("a PyPI token", r"(?<![A-Za-z0-9])pypi-AgE[\w-]{40,}"),
        ("a secret API key", r"(?<![A-Za-z0-9])sk-(?:proj-|ant-|or-)?[A-Za-z0-9_-]{32,}"),
        ("a payment key", r"(?<![A-Za-z0-9])[sr]k_(?:live|test)_[A-Za-z0-9]{20,}"),
        ("a JSON web token", r"(?<![A-Za-z0-9])eyJ[\w-]{10,400}\.eyJ[\w-]{10,}\.[\w-]{10,}"),
        ("an address with a password", r"[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s/:@\"'<>]{1,80}:[^\s/@\"'<>]{1,120}@"),
        ("a bearer token", r"(?i)\bauthorization\W{1,4}(?:bearer|basic|token)\s+[\w.~+/=-]{12,}"),
    )
)  # fmt: skip

_NAMED = re.compile(
    r"(?i)(?<![a-z0-9])((?:[a-z0-9]{1,40}[_-]){0,6}(?:password|passwd|passphrase|pwd|secret|api[_-]?key|apikey|"
    r"access[_-]?key(?:[_-]?id)?|secret[_-]?key|account[_-]?key|private[_-]?key|client[_-]?secret|"
    r"(?:auth|access|refresh|bearer|hf|hub|github|gitlab|wandb|api|session)[_-]?token|credentials?))"
    r"[\"']?\s*(?::=|=>|[:=])\s*[\"']?([^\s\"'`,;<>{}\[\]|]{4,})"
)
_PLACEHOLDER = re.compile(
    r"(?i)^(?:none|null|true|false|nil|yes|no|hidden|redacted|removed|secret|password|token|required|optional|"
    r"(?:your|my|the)[_-].*|x{3,}.*|\*+|\.{3,}|\$.*|%.*%|os\.environ.*|getpass.*|\d{1,3}|not[_-]?set)[.)]*$"
)
_PASSWORDS = re.compile(r"(?i)passw|pwd|passphrase")

_URL = re.compile(r"(?i)\b(?!file:)[a-z][a-z0-9+.-]{0,30}://[^\s\"'<>)\]}]*")
_END = r"(?=$|[\s\"'`<>|,;:)\]}])"
_HOMES = r"(?:home|Users|users|export/home|usr/home|var/home|root)"
_ROOTS = (
    r"(?:home|Users|root|tmp|var|mnt|media|data|datasets|srv|opt|usr|etc|private|scratch|work|workspace|"
    r"workspaces|content|kaggle|gpfs|lustre|nfs|export|Volumes|app|run|dev|proc|storage|project|projects|net|sys)"
)
_PATHS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("a home folder", re.compile(rf"(?<![\w.~-])/{_HOMES}/[^\s\"'`<>|/]")),
    ("a home folder", re.compile(r"(?i)(?<![a-z0-9])[a-z]:[\\/]+users[\\/]+[^\s\"'`<>|\\/]")),
    ("a path of this computer", re.compile(r"(?<![\w/~])~/[\w.]")),
    ("a path of this computer", re.compile(rf"(?<![\w.:/~<-])/{_ROOTS}/[\w.@+-]+")),
    ("a path of Windows", re.compile(r"(?<![A-Za-z0-9])[A-Za-z]:(?:\\{1,2}|/)[\w .-]{2,}(?:[\\/]|\.\w)")),
    ("a path in a network", re.compile(r"(?<![\\\w])\\{2,4}[\w.-]{2,}\\{1,2}[\w$.-]{2,}")),
    ("a file address", re.compile(r"(?i)\bfile:/{1,3}[\w.~]")),
    ("an address of ssh", re.compile(rf"(?<![\w@/.-])[\w.-]+@[\w.-]+:[\w.~-]*/[\w./~-]*{_END}")),
)

# No path is what knowledge graphs call things by: /m/09x0r.
_WHOLE_PATH = re.compile(r"(?!/[mgt]/\w+$)/[\w.@+-]+(?:/[\w .@+-]+)+/?")
_LONGEST_PATH = 1024

_EMBEDDED = (
    ("an embedded file", re.compile(r"(?i)\bdata:[\w.+-]+/[\w.+-]+[^,\s]{0,80},\S")),
    ("a long run of encoded bytes", re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{2000,}={0,2}")),
)

_COMMON = frozenset(
    {
        "root", "user", "users", "admin", "administrator", "ubuntu", "debian", "runner", "localhost",
        "build", "builder", "docker", "guest", "nobody", "default", "python", "jovyan", "model",
        "models", "train", "training", "work", "worker", "node", "server", "host", "home", "test",
        "tests", "data", "linux", "macbook", "desktop", "laptop", "audio", "image", "text", "medical",
        "urban", "liveness", "ecommerce", "verticlip", "local", "main", "service", "system", "demo",
        "name", "none", "true", "false", "cpu", "cuda",
    }
)  # fmt: skip


def find_leaks(text: str, *, names: Iterable[str] = ()) -> list[Leak]:
    """Return what must not be published of a plain text, each kind once per line.

    Args:
        text: of a file; lines are looked at one by one.
        names: words that say whose computer it is; see :func:`computer_names`.
    """
    words = _words(names)
    found = [
        Leak(kind, what, f"line {number}")
        for number, line in enumerate(text.splitlines(), start=1)
        for kind, what in _in_string(line, words, key="")
    ]
    return list(dict.fromkeys(found))


def find_leaks_in(value: Any, *, names: Iterable[str] = ()) -> list[Leak]:
    """Return what must not be published of decoded JSON or YAML: every key and string is looked at.

    Decoding undoes escapes (``\\u002fhome``), and a string that is JSON itself is decoded too.
    """
    words = _words(names)
    found = [
        Leak(kind, what, _short(where) or "at its top")
        for where, key, text in _strings(value, "", "", 0)
        for kind, what in _in_string(text, words, key=key)
    ]
    return list(dict.fromkeys(found))


def find_keys(text: str) -> list[str]:
    """Return what keys and tokens of known services a text holds, in words; quick, for long texts."""
    return list(dict.fromkeys(what for what, pattern in _KEYS if pattern.search(text)))


def computer_names(allowed: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the user, home and host names of this computer that are telling enough to look for.

    Args:
        allowed: words that are meant to be public, such as the organization that is published to.
    """
    import getpass
    import socket

    found = {Path.home().name, socket.gethostname(), socket.gethostname().split(".")[0]}
    with contextlib.suppress(
        KeyError, OSError, ImportError
    ):  # a container may run as a number without a name
        found.add(getpass.getuser())
    public = {word.lower() for word in allowed} | _COMMON
    return tuple(sorted(name for name in found if len(name) >= 4 and name.lower() not in public))


def _words(names: Iterable[str]) -> re.Pattern[str] | None:
    escaped = [re.escape(name) for name in names if name]
    return re.compile(rf"(?i)(?<![a-z0-9])(?:{'|'.join(escaped)})(?![a-z0-9])") if escaped else None


def _in_string(text: str, words: re.Pattern[str] | None, *, key: str) -> Iterator[tuple[str, str]]:
    for what, pattern in _KEYS:
        if pattern.search(text):
            yield "secret", what
    named = [(match[1], match[2]) for match in _NAMED.finditer(text)]
    if key and _NAMED.fullmatch(f"{key}=xxxx"):
        named.append((key, text.strip()))
    for name, said in named:
        if _is_secret(name, said):
            yield "secret", "a password" if _PASSWORDS.search(name) else "a key or token by its name"
    # The path of a web address is nobody's folder.
    local = _URL.sub(" ", text)
    found = next((what for what, pattern in _PATHS if pattern.search(local)), None)
    if found is None and len(local) <= _LONGEST_PATH and _WHOLE_PATH.fullmatch(local.strip()):
        found = "a path of this computer"
    if found is not None:
        yield "home" if found == "a home folder" else "path", found
    if words is not None and words.search(text):
        yield "computer", "the name of this computer or its user"
    for what, pattern in _EMBEDDED:
        if pattern.search(text):
            yield "data", what


def _is_secret(name: str, said: str) -> bool:
    """Return whether what stands after a telling name is a value and no placeholder.

    A password may be any word. What is called a key or token has to look random besides, so that
    ``pad_token: [PAD]`` and a sentence about tokens are none.
    """
    said = said.strip().strip("\"'")
    if len(said) < 4 or any(letter.isspace() for letter in said) or _PLACEHOLDER.match(said):
        return False
    if _PASSWORDS.search(name):
        return True
    return len(said) >= 12 and _entropy(said) >= 3.0 and any(letter.isdigit() for letter in said)


def _entropy(text: str) -> float:
    """Return the Shannon entropy of the letters in bits."""
    counts = Counter(text).values()
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts)


def _strings(value: Any, where: str, key: str, depth: int) -> Iterator[tuple[str, str, str]]:
    """Yield (where, key it stands under, string) of every string, keys as well."""
    if depth > _DEEPEST:
        return
    if isinstance(value, Mapping):
        for inner_key, inner in value.items():
            yield where, "", str(inner_key)
            below = f"{where}.{inner_key}" if where else str(inner_key)
            yield from _strings(inner, below, str(inner_key), depth + 1)
    elif isinstance(value, (list, tuple)):
        for position, inner in enumerate(value):
            yield from _strings(inner, f"{where}[{position}]", key, depth + 1)
    elif isinstance(value, str):
        yield where, key, value
        if value[:1] in "{[" and value[-1:] in "}]":
            try:
                decoded = json.loads(value)
            except (ValueError, RecursionError):
                return
            yield from _strings(decoded, where, key, depth + 1)


def _short(where: str) -> str:
    """Return where something stands; a key can be long, or be the secret itself."""
    if any(pattern.search(where) for _, pattern in _KEYS):
        return "below a key that is one itself"
    return where if len(where) <= 80 and where.isprintable() else f"{where[:40]!r}..."
