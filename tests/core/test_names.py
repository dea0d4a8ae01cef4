from __future__ import annotations

import pytest
from verticlip.core.names import is_commit, is_repository, is_sha256

NAMES = [
    "org/name", "a/b", "Org-1/name_2.3", "org/" + "a" * 96, "org", "", "/name", "org/", "org/name/more", "org/a--b",
    "org/a..b", "../name", "org/.name", "-org/name", "org/name.", "org/name-", "org-/name", "org/name.git", "org/é",
    "org/" + "a" * 97, "org/a b", "org/a\n", "org/name\x00",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_what_we_take_for_a_repository_the_client_takes_too(name: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
        theirs = name.count("/") == 1
    except HFValidationError:
        theirs = False
    assert is_repository(name) == theirs
    assert is_repository(name) == (name in NAMES[:4])


def test_commits_and_hashes() -> None:
    assert is_commit("0a" * 20)
    assert not any(map(is_commit, (None, "", "main", "0A" * 20, "0a" * 19, "0a" * 20 + "\n")))
    assert is_sha256("0a" * 32)
    assert not any(map(is_sha256, (None, "", "0A" * 32, "0a" * 20, "0a" * 32 + "\n")))
