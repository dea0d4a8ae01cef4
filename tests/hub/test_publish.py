"""Publishing to a local Hub with the real client: what one commit holds, and who sees it."""

from __future__ import annotations

import json
import traceback
from dataclasses import replace

import pytest
import verticlip
from local_hub.faults import Status
from make_publishable import NAME, contents, describe, stored, writes
from verticlip.core.errors import ConfigError
from verticlip.core.files import sha256_of
from verticlip.hub.folder_facts import Finding
from verticlip.hub.packaged import packaged_models, plan_packaged, repository_of, weights_ref
from verticlip.hub.publish import Published, plan, publish, push
from verticlip.hub.remote import PushError, Repository

FILES = {
    "README.md", "config.json", "conversion.json", "model.safetensors", "probe.json", "probe.safetensors",
    "processor.json", "prompts.yaml", "tokenizer.json",
}  # fmt: skip


@pytest.fixture
def hub(writable):
    return writable


def test_a_new_repository_is_private_until_its_one_commit_was_read_back(hub, folder) -> None:
    done = publish(folder, NAME)
    repository = hub.repositories[NAME]
    assert stored(hub) == contents(folder)
    assert set(done.files) == FILES
    assert done.files["config.json"][0] == sha256_of(folder / "config.json")
    assert (done.commit, done.changed, done.private) == (repository.branches["main"], True, False)
    assert done.url == f"{hub.endpoint}/{NAME}"
    # The Hub itself makes the first commit, with .gitattributes alone.
    assert len(hub.commits(NAME)) == 2
    assert not repository.private
    assert writes(hub) == ["POST create", "POST main", "PUT settings"]
    created, committed, shown = (
        next(i for i, one in enumerate(hub.requests) if one.path.endswith(end))
        for end in ("repos/create", "/commit/main", "/settings")
    )
    read = [i for i, one in enumerate(hub.requests) if f"/tree/{done.commit}" in one.path]
    assert created < committed < read[0] < shown


def test_what_was_published_loads_pinned_and_gives_the_same_answers(hub, folder, online) -> None:
    done = publish(folder, NAME)
    assert done.load == f'verticlip.from_pretrained("{NAME}", revision="{done.commit}")'
    online.logout()
    here, there = verticlip.from_pretrained(folder), verticlip.from_pretrained(NAME, revision=done.commit)
    texts = ["a red cat", "no tumor"]
    assert (here.embed(texts).vectors == there.embed(texts).vectors).all()
    assert there.revision == done.commit


def test_pushing_the_same_again_makes_no_commit_and_needs_no_token(hub, folder, online) -> None:
    first = publish(folder, NAME)
    hub.forget_requests()
    online.logout()
    again = publish(folder, NAME)
    assert (again.commit, again.changed) == (first.commit, False)
    assert again.changes is not None
    assert set(again.changes.same) == FILES
    assert not writes(hub)
    assert all(one.method in ("GET", "HEAD") for one in hub.requests)


def test_an_update_is_one_commit_that_deletes_what_is_gone_and_keeps_what_is_not_ours(hub, folder) -> None:
    (folder / "LICENSE.txt").write_text("Apache License")
    describe(folder, "Random.")
    publish(folder, NAME)
    hub.commit(NAME, {"figures/curve.svg": b"<svg/>"})
    before = hub.repositories[NAME].branches["main"]
    (folder / "LICENSE.txt").unlink()
    describe(folder, "Other words.")
    done = publish(folder, NAME, message="Say it better")
    assert done.changes is not None
    assert done.changes.deleted == ("LICENSE.txt",)
    assert done.changes.kept == ("figures/curve.svg",)
    assert "figures/curve.svg" in done.notes[0]
    assert "model.safetensors" in done.changes.same
    newest = hub.commits(NAME)[0]
    assert (newest.parent, newest.title) == (before, "Say it better")
    assert stored(hub) == {**contents(folder), "figures/curve.svg": b"<svg/>"}


def test_private_stays_private_and_visibility_of_what_exists_is_never_changed(hub, folder) -> None:
    assert publish(folder, NAME, private=True).private
    assert hub.repositories[NAME].private
    again = publish(folder, NAME)
    assert hub.repositories[NAME].private
    assert again.notes == (f"{NAME} is private and stays so; change that at {again.url}/settings.",)
    hub.repositories[NAME].private = False
    public = publish(folder, NAME, private=True)
    assert not public.private
    assert "is public and stays so" in public.notes[0]


def test_a_dry_run_says_what_would_change_and_changes_nothing(hub, folder, online) -> None:
    online.logout()
    fresh = publish(folder, NAME, dry_run=True)
    assert fresh.changed
    assert fresh.commit == ""
    assert fresh.changes is not None
    assert set(fresh.changes.added) == FILES
    assert "make it public" in fresh.notes[0]
    assert NAME not in hub.repositories
    assert not writes(hub)
    online.login()
    first = publish(folder, NAME)
    online.logout()
    hub.forget_requests()
    same = publish(folder, NAME, dry_run=True)
    assert (same.changed, same.commit) == (False, first.commit)
    describe(folder, "Other words.")
    other = publish(folder, NAME, dry_run=True)
    assert other.changes is not None
    assert "config.json" in other.changes.changed
    assert other.commit == ""
    assert not writes(hub)
    assert hub.repositories[NAME].branches["main"] == first.commit


def test_a_dry_run_without_network_still_checks(online, folder) -> None:
    online.offline()
    done = publish(folder, NAME, dry_run=True)
    assert done.changes is None
    assert "HF_HUB_OFFLINE is set" in done.notes[0]
    assert set(done.files) == FILES
    with pytest.raises(PushError, match="HF_HUB_OFFLINE is set"):
        publish(folder, NAME)


def test_a_folder_with_an_error_reaches_no_network(hub, folder) -> None:
    (folder / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ConfigError, match=r"cannot be published: photo\.png: It looks like data \(image\)"):
        publish(folder, NAME)
    assert not hub.requests


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("random", "is no name of a repository"),
        ("a/b/c", "is no name of a repository"),
        ("../x", "is no name of a repository"),
        ("acme/a b", "is no name of a repository"),
        ("acme/x..y", "is no name of a repository"),
        ("medical/mine", "those of this package's own models"),
    ],
)
def test_names_that_no_repository_can_have(folder, name, said) -> None:
    with pytest.raises(ConfigError, match=said):
        plan(folder, name)


def test_without_a_token_and_with_wrong_ones(hub, folder, online) -> None:
    online.logout()
    with pytest.raises(ConfigError, match=r"no token to publish .*hf auth login \(or set HF_TOKEN"):
        publish(folder, NAME)
    online.login(hub.read_token)
    with pytest.raises(PushError, match="status 403: this token may not create it"):
        publish(folder, NAME)
    online.login("hf_wrong")
    with pytest.raises(PushError, match="hf auth login, or"):
        publish(folder, NAME)
    assert NAME not in hub.repositories
    online.login()
    publish(folder, NAME)
    describe(folder, "Other words.")
    before = hub.repositories[NAME].branches["main"]
    online.login(hub.read_token)
    with pytest.raises(PushError, match="status 403: this token may not write to it"):
        publish(folder, NAME)
    assert hub.repositories[NAME].branches["main"] == before


def test_no_message_or_traceback_holds_the_token(hub, folder, online) -> None:
    for token, said in (
        (hub.read_token, "status 403"),
        ("hf_secret\nx", "the token in use holds characters that cannot be sent"),
        ("hf_secret…", "the token in use holds characters that cannot be sent"),
    ):
        with pytest.raises((PushError, ConfigError), match=said) as caught:
            publish(folder, NAME, token=token)
        told = "".join(traceback.format_exception(caught.value))
        assert token not in told
        assert "hf_secret" not in told


def test_the_password_of_a_mirror_is_never_shown_or_kept(hub, folder, online, monkeypatch) -> None:
    from huggingface_hub import constants, hf_api

    address = hub.endpoint.replace("://", "://ann:hunter22@")
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(hf_api.api, "endpoint", address)
    repository = Repository(NAME)
    assert repository.url == f"{hub.endpoint}/{NAME}"
    monkeypatch.setattr(Repository, "look", lambda *_: None)
    done = publish(folder, NAME, dry_run=True)
    assert "hunter22" not in repr(done)


def test_a_token_that_the_client_may_not_use_by_itself_is_none(hub, folder, monkeypatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    with pytest.raises(ConfigError, match="There is no token to publish"):
        publish(folder, NAME)
    assert publish(folder, NAME, token=hub.token).changed


@pytest.mark.parametrize("large", [False, True])
def test_a_hub_without_xet_takes_files_from_a_client_that_has_it(
    hub, folder, monkeypatch, caplog, large
) -> None:
    from huggingface_hub import constants
    from huggingface_hub.utils._runtime import is_xet_available
    from verticlip.hub import folder_files

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    assert is_xet_available()
    if large:
        monkeypatch.setattr(folder_files, "_KEPT_BYTES", 60_000)
    publish(folder, NAME)
    assert stored(hub) == contents(folder)
    assert not [one for one in hub.requests if "xet" in one.path]
    assert not [record for record in caplog.records if "Xet" in record.getMessage()]


@pytest.mark.parametrize(
    ("status", "said"), [(401, "does not accept this token"), (403, "may not write to it")]
)
def test_a_refused_upload_is_told_with_xet_installed_too(hub, folder, monkeypatch, status, said) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    hub.fault("objects/batch", Status(status, times=9))
    with pytest.raises(PushError, match=f"status {status}: .*{said}"):
        publish(folder, NAME)


def test_weights_that_authors_grant_one_by_one_do_not_go_to_a_public_repository(hub, folder) -> None:
    hub.add_repository(NAME, {"README.md": b"---\nlicense: apache-2.0\n---\n"})
    made = plan(folder, NAME, private=True)
    gated = Finding("gated", "conversion.json", "", "", "notice")
    with pytest.raises(ConfigError, match="is public, and the authors of these weights grant access"):
        push(replace(made, findings=(gated,)))
    hub.repositories[NAME].private = True
    assert push(replace(made, findings=(gated,))).private


def test_the_card_of_a_repository_that_grows_without_bound_is_not_read(hub, folder, monkeypatch) -> None:
    bomb = "".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]\n" for n in range(1, 12))
    card = f"---\nx0: &x0 [a]\n{bomb}library_name: *x11\n---\n"
    hub.add_repository(NAME, {"README.md": b"", "config.json": b"{}"})
    monkeypatch.setattr(Repository, "text", lambda *_: card)
    with pytest.raises(ConfigError, match="holds a model of a damaged card"):
        publish(folder, NAME)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"README.md": b"---\nlibrary_name: transformers\n---\n", "config.json": b"{}"},
            "a model of transformers",
        ),
        ({"pytorch_model.bin": b"x"}, "files that verticlip did not publish"),
        (
            {"README.md": b"---\nlicense: mit\n---\n", "data.csv": b"a,b"},
            "files that verticlip did not publish",
        ),
        ({"README.md": b"---\n[: {\n---\n", "x": b""}, "a model of a damaged card"),
    ],
)
def test_repositories_of_something_else_are_refused(hub, folder, files, said) -> None:
    commit = hub.add_repository(NAME, files)
    for dry_run in (True, False):
        with pytest.raises(ConfigError, match=f"{NAME} holds {said}. Publish under another name"):
            publish(folder, NAME, dry_run=dry_run)
    assert hub.repositories[NAME].branches["main"] == commit


def test_another_model_of_ours_is_not_overwritten(hub, folder) -> None:
    first = publish(folder, NAME)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "name": "other"}))
    describe(folder, "Another one.")
    with pytest.raises(ConfigError, match=f"{NAME} holds another model, random; the folder holds other"):
        publish(folder, NAME)
    assert hub.repositories[NAME].branches["main"] == first.commit


def test_an_empty_repository_made_by_hand_is_used_as_it_is(hub, folder) -> None:
    hub.add_repository(NAME, {"README.md": b"---\nlicense: apache-2.0\n---\n"}, private=True)
    done = publish(folder, NAME)
    assert done.private
    assert hub.repositories[NAME].private
    assert stored(hub) == contents(folder)


def test_large_files_are_read_from_the_folder(hub, folder, monkeypatch) -> None:
    from verticlip.hub import folder_files

    monkeypatch.setattr(folder_files, "_KEPT_BYTES", 60_000)
    publish(folder, NAME)
    assert stored(hub) == contents(folder)


def test_the_package_publishes_each_of_its_models(monkeypatch) -> None:
    names = set(packaged_models())
    assert {"medical/tiny", "audio/tiny-sep", "liveness/minifasnet-v2"} <= names
    assert repository_of("medical/tiny", "acme") == "acme/medical-tiny"
    with pytest.raises(ConfigError, match="'acme/x' is no organization"):
        plan_packaged("acme/x")
    done = Published("acme/medical-tiny", "c" * 40, "", dict.fromkeys(FILES, ("d" * 64, 1)), True, False)
    text = weights_ref("medical/tiny", done)
    assert f'revision="{"c" * 40}"' in text
    assert f'"model.safetensors": "{"d" * 64}"' in text
    assert "README.md" not in text
