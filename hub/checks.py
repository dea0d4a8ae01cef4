"""Everything that has to hold before a model folder may be published, checked at once.

:func:`check_folder` never stops at the first problem. A finding of level ``error`` forbids publishing; a
``notice`` is something its owner should know. What is found of secrets and paths is never repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..core import registry
from ..core.errors import ConfigError, VerticlipError
from ..core.files import CARD_FILE, REQUIRED_FILES
from ..core.names import is_repository
from .card import check_card
from .card_check import NOTE
from .checks_content import content_problems
from .checks_origin import origin_problems
from .folder_facts import Finding, FolderFacts
from .folder_files import Snapshot, take_snapshot
from .loading import ResolvedModel, load_model
from .stored_probe import PROBE_FILE, PROBE_TENSORS, changed_files, read_probe, replay_probe


def check_folder(
    folder: str | Path, *, for_repository: str | None = None, private: bool = False
) -> list[Finding]:
    """Return every finding about a model folder, errors first.

    Args:
        folder: as ``verticlip train`` or ``verticlip models convert`` writes it, with probe and card.
        for_repository: ``org/name`` it is meant for; these words may stand in its texts even where they
            are the user's own name.
        private: whether only its owners shall see it.

    Raises:
        ConfigError: no such folder, or one that cannot be read.
    """
    return check_snapshot(take_snapshot(folder), for_repository=for_repository, private=private)


def check_snapshot(
    snapshot: Snapshot, *, for_repository: str | None = None, private: bool = False
) -> list[Finding]:
    """Return every finding about a folder whose files were read before; see :func:`check_folder`."""
    facts = FolderFacts(snapshot, for_repository, private=private)
    found = [finding for check in _CHECKS for finding in check(facts)]
    if any(finding.code == "secret" for finding in found):
        found = [finding if finding.code in _QUOTES_NOTHING else _silenced(finding) for finding in found]
    return sorted(dict.fromkeys(found), key=lambda one: one.level != "error")


_QUOTES_NOTHING = frozenset(
    {
        "secret", "missing", "hidden", "link", "code", "data-sample", "not-published", "too-large", "empty",
        "encoding", "syntax", "local-path", "computer-name", "special-file", "file-name", "too-many-files",
        "probe-stale",
    }
)  # fmt: skip
"""Codes of findings whose messages never repeat what a file says."""


def _silenced(finding: Finding) -> Finding:
    """Return a finding without its message, which may quote the secret that the folder holds."""
    return replace(finding, message="Not told, because it may quote the secret. Take that out first.")


_ACTIVE = re.compile(
    r"(?i)<\s*/?\s*(?:script|iframe|object|embed|form|input|link|meta|style|base|svg|math|video|audio|img)\b"
    r"|<[a-z][^>]*\son[a-z]+\s*=|\]\(\s*(?:javascript|data|vbscript)\s*:|<\s*(?:javascript|vbscript):"
)


def _card(facts: FolderFacts) -> Iterator[Finding]:
    if CARD_FILE not in facts.files:
        return
    advice = "Write it again: verticlip hub card FOLDER"
    text = facts.text(CARD_FILE)
    if facts.card_header is None:
        yield Finding("card", CARD_FILE, "It does not begin with sound metadata between '---' lines.", advice)
    # All else is compared with what the records give. Code that a note only shows is refused as well: what
    # Markdown takes for code is too much to tell apart here.
    if _ACTIVE.search(text.partition(NOTE)[2]):
        yield Finding(
            "card-code",
            CARD_FILE,
            "Its note holds HTML or a link that can run or load something.",
            "Say it in words.",
        )
    try:
        problems = check_card(text, facts.folder)
    except _ANY_FAULT as error:
        problems = [str(error)]
    for problem in problems:
        yield Finding("card", CARD_FILE, problem, advice)


_ANY_FAULT = (
    VerticlipError,
    ImportError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RuntimeError,
    OSError,
    ArithmeticError,
)
"""What a config that nobody checked can make the code of an architecture raise."""


def _reload(facts: FolderFacts) -> Iterator[Finding]:
    """Load the model as a stranger would, and ask it what its probe asked."""
    if any(name not in facts.files for name in REQUIRED_FILES):
        return
    try:
        parts = load_model(ResolvedModel(facts.folder, "model"))
    except _ANY_FAULT as error:
        yield Finding("does-not-load", "", _said(error), "Save or convert the model again.")
        return
    if PROBE_FILE not in facts.files or PROBE_TENSORS not in facts.files:
        return
    advice = "If the model is right, write the probe anew: verticlip hub probe FOLDER"
    try:
        probe = read_probe(facts.folder)
        stale = changed_files(facts.folder, probe)
        report = replay_probe(parts, probe)
    except _ANY_FAULT as error:
        yield Finding("probe", PROBE_FILE, _said(error), advice)
        return
    if stale:
        yield Finding(
            "probe-stale", PROBE_FILE, f"It was made before these changed: {', '.join(stale)}.", advice
        )
    for check in report.checks:
        if check.status != "ok":
            size = (
                f"; off by {check.error:.3g}, allowed {check.tolerance:.3g}"
                if check.error is not None
                else ""
            )
            yield Finding(
                "probe-differs",
                PROBE_FILE,
                f"Output {check.name}: {check.status}{size} {check.note}".rstrip(),
                advice,
            )
    if not report.passed and all(check.status == "ok" for check in report.checks):
        yield Finding("probe-differs", PROBE_FILE, "It compares nothing.", advice)


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if isinstance(error, VerticlipError) else f"{type(error).__name__}: {text}"


_CHECKS = (content_problems, origin_problems, _card, _reload)


def check_name(repo_id: str) -> None:
    """Raise ``ConfigError`` for a repository name that the Hub or ``from_pretrained`` would not accept."""
    if not is_repository(repo_id):
        raise ConfigError(
            f"{repo_id!r} is no name of a repository. Give 'org/name', for example acme/brain-mri."
        )
    owner = repo_id.partition("/")[0]
    if owner in registry.ROOMS:
        raise ConfigError(
            f"{repo_id!r}: names that begin with '{owner}/' are those of this package's own models. Publish "
            "under your own name or organization."
        )
