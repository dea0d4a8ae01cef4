"""Publishing against faults: nothing public too early, nothing deleted, and the next push finishes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from local_hub.faults import Reset, Slow, Stall, Status
from make_publishable import NAME, contents, describe, stored
from verticlip.core.errors import ConfigError
from verticlip.hub import remote
from verticlip.hub.publish import Published, plan, publish, push
from verticlip.hub.remote import PushError


@pytest.fixture
def hub(writable):
    return writable


@pytest.mark.parametrize(
    "fault", [Status(500, method="POST"), Status(503, method="POST"), Reset(at=0, method="POST")]
)
def test_a_commit_that_fails_leaves_a_private_repository_and_pushing_again_finishes(
    hub, folder, fault
) -> None:
    hub.fault("/commit/main", fault)
    with pytest.raises(PushError, match=r"Left is .*, which is private; pushing again uses it\."):
        publish(folder, NAME)
    assert hub.repositories[NAME].private
    assert not stored(hub)
    assert not any(one.method == "DELETE" for one in hub.requests)
    assert publish(folder, NAME).changed
    assert stored(hub) == contents(folder)
    assert not hub.repositories[NAME].private


def test_an_update_that_fails_leaves_the_repository_as_it_was(hub, folder) -> None:
    first = publish(folder, NAME)
    old = stored(hub)
    describe(folder, "Other words.")
    for path, fault in (("/commit/main", Status(500)), ("/preupload/", Status(403))):
        hub.fault(path, fault)
        with pytest.raises(PushError, match=rf"status {fault.code}"):
            publish(folder, NAME)
        assert hub.repositories[NAME].branches["main"] == first.commit
        assert stored(hub) == old
    assert publish(folder, NAME).changed
    assert stored(hub) == contents(folder)


@pytest.mark.parametrize(
    ("path", "fault", "said"),
    [
        (".", Status(403, method="PUT", times=9), "status 403"),
        (".", Reset(at=0, method="PUT", times=99), "broke off"),
        ("objects/batch", Status(507, times=9), "status 507"),
    ],
)
def test_an_upload_that_breaks_off_commits_nothing(hub, folder, path, fault, said) -> None:
    hub.fault(path, fault)
    with pytest.raises(PushError, match=f"{said}.*Left is .*which is private"):
        publish(folder, NAME)
    assert hub.repositories[NAME].private
    assert not stored(hub)


def test_questions_are_asked_again_where_the_hub_is_not_well(hub, folder) -> None:
    hub.fault(rf"/api/models/{NAME}", Status(503, times=2, method="GET"))
    assert publish(folder, NAME).changed
    hub.fault(rf"/api/models/{NAME}", Status(500, times=9, method="GET"))
    with pytest.raises(PushError, match="status 500: Run again later"):
        publish(folder, NAME)


def test_a_hub_that_cannot_check_the_card_now_is_not_said_to_refuse_it(hub, folder) -> None:
    hub.fault("/api/validate-yaml", Status(503, method="POST"))
    with pytest.raises(PushError, match="status 503: Run again later"):
        publish(folder, NAME)
    assert publish(folder, NAME).changed
    assert not hub.repositories[NAME].private


def test_a_commit_whose_answer_is_lost_counts_as_made(hub, folder) -> None:
    hub.fault("/commit/main", Reset(at=0.5, method="POST"))
    done = publish(folder, NAME)
    assert done.commit == hub.repositories[NAME].branches["main"]
    assert len(hub.commits(NAME)) == 2
    assert not done.private
    assert stored(hub) == contents(folder)


def test_a_repository_whose_creation_was_not_answered_may_be_anybodys_and_stays_private(hub, folder) -> None:
    hub.fault("/repos/create", Reset(at=0.5, method="POST"))
    with pytest.raises(PushError, match="cannot be reached or broke off"):
        publish(folder, NAME)
    assert hub.repositories[NAME].private
    again = publish(folder, NAME)
    assert "is private and stays so; change that at" in again.notes[0]
    assert hub.repositories[NAME].private
    assert stored(hub) == contents(folder)


def test_a_repository_that_cannot_be_looked_at_after_it_was_created_is_told(hub, folder) -> None:
    # The first look finds none, with one request; the second one is asked three times.
    hub.fault(rf"/api/models/{NAME}", Status(404, headers={"X-Error-Code": "RepoNotFound"}, method="GET"))
    hub.fault(rf"/api/models/{NAME}", Status(500, times=3, method="GET"))
    said = r"status 500.*Left is .*which is private; pushing again uses it and leaves it private\."
    with pytest.raises(PushError, match=said):
        publish(folder, NAME)
    assert hub.repositories[NAME].private
    assert publish(folder, NAME).private
    assert stored(hub) == contents(folder)


@pytest.mark.parametrize("status", [403, 500])
def test_a_private_repository_made_by_hand_after_a_push_that_failed_stays_private(
    hub, folder, status
) -> None:
    hub.fault("/repos/create", Status(status, method="POST"))
    with pytest.raises(PushError, match=f"status {status}"):
        publish(folder, NAME)
    hub.add_repository(NAME, {}, private=True)
    assert publish(folder, NAME).private
    assert hub.repositories[NAME].private


def test_a_private_repository_made_in_place_of_an_unfinished_one_stays_private(hub, folder) -> None:
    hub.fault("/commit/main", Status(500, method="POST"))
    with pytest.raises(PushError, match="status 500"):
        publish(folder, NAME)
    created = hub.repositories.pop(NAME).created
    hub.add_repository(NAME, {}, private=True)
    assert hub.repositories[NAME].created != created
    assert publish(folder, NAME).private
    assert hub.repositories[NAME].private


def test_a_push_that_could_not_become_public_becomes_public_the_next_time(hub, folder) -> None:
    hub.fault("/settings", Status(500, method="PUT"))
    with pytest.raises(PushError, match=r"status 500.*still private; pushing again makes it public"):
        publish(folder, NAME)
    assert hub.repositories[NAME].private
    again = publish(folder, NAME)
    assert not again.changed
    assert not again.private
    assert not hub.repositories[NAME].private
    # Whoever hides it afterwards is not overruled.
    hub.repositories[NAME].private = True
    assert publish(folder, NAME).private


def test_a_push_that_cannot_be_read_back_stays_private(hub, folder) -> None:
    # The commit is looked at by its name, which the first look, at main, is not.
    hub.fault(rf"/api/models/{NAME}/revision/", Status(500, times=3))
    with pytest.raises(PushError, match=r"status 500.*Left is .*which is private; pushing again uses it"):
        publish(folder, NAME)
    assert hub.repositories[NAME].private
    assert stored(hub) == contents(folder)
    again = publish(folder, NAME)
    assert not again.changed
    assert not hub.repositories[NAME].private


def test_what_comes_back_different_stays_private(hub, folder, monkeypatch) -> None:
    look = remote.Repository.look

    def other(self, commit=None):
        state = look(self, commit)
        if commit is not None:
            files = {**state.files, "config.json": remote.RemoteFile(None, "0" * 40, 1)}
            return replace(state, files=files)
        return state

    monkeypatch.setattr(remote.Repository, "look", other)
    with pytest.raises(PushError, match="is not what was sent. Left is .* is private"):
        publish(folder, NAME)
    assert hub.repositories[NAME].private


def test_somebody_else_who_writes_meanwhile_is_not_overwritten(hub, folder, monkeypatch) -> None:
    publish(folder, NAME)
    describe(folder, "Other words.")
    made = remote.Repository.commit

    def late(self, *args, **kwargs):
        hub.commit(NAME, {"notes.md": b"mine"})
        return made(self, *args, **kwargs)

    monkeypatch.setattr(remote.Repository, "commit", late)
    with pytest.raises(PushError, match="status 412: somebody else wrote to it meanwhile"):
        publish(folder, NAME)
    assert hub.commits(NAME)[0].title == "Add files"


def test_a_folder_that_changes_after_the_checks_is_not_pushed(hub, folder) -> None:
    made = plan(folder, NAME)
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    with pytest.raises(ConfigError, match=r"config\.json changed since the checks"):
        push(made)
    assert NAME not in hub.repositories


def test_a_file_that_appears_after_the_checks_is_not_pushed(hub, folder) -> None:
    made = plan(folder, NAME)
    (folder / "LICENSE.txt").write_text("new")
    with pytest.raises(ConfigError, match=r"LICENSE\.txt changed since the checks"):
        push(made)
    assert NAME not in hub.repositories


def test_a_large_file_that_changes_while_it_is_sent_is_not_committed(hub, folder, monkeypatch) -> None:
    from huggingface_hub import HfApi
    from verticlip.hub import folder_files

    # Files above this size are not kept in memory.
    monkeypatch.setattr(folder_files, "_KEPT_BYTES", 60_000)
    uploaded = HfApi.preupload_lfs_files

    def change(self, repo_id, additions, **options):
        uploaded(self, repo_id, additions, **options)
        with (folder / "model.safetensors").open("r+b") as handle:
            handle.seek(-4, os.SEEK_END)
            handle.write(b"\0\0\0\0")

    monkeypatch.setattr(HfApi, "preupload_lfs_files", change)
    with pytest.raises(
        ConfigError, match=r"model\.safetensors was changed while it was pushed.*Left is .*private"
    ):
        publish(folder, NAME)
    assert not stored(hub)


def test_a_file_that_a_gitignore_leaves_out_is_told(hub, folder, monkeypatch) -> None:
    from huggingface_hub import HfApi

    uploaded = HfApi.preupload_lfs_files

    def ignore(self, repo_id, additions, **options):
        uploaded(self, repo_id, additions, **options)
        additions[0]._should_ignore = True

    publish(folder, NAME)
    first = hub.repositories[NAME].branches["main"]
    describe(folder, "Other words.")
    monkeypatch.setattr(HfApi, "preupload_lfs_files", ignore)
    with pytest.raises(PushError, match=r"has a \.gitignore that leaves out"):
        publish(folder, NAME)
    assert hub.repositories[NAME].branches["main"] == first


def test_a_push_that_is_interrupted_by_its_user_is_finished_by_the_next_one(hub, folder, monkeypatch) -> None:
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(remote.Repository, "commit", interrupt)
        with pytest.raises(KeyboardInterrupt):
            publish(folder, NAME)
    assert hub.repositories[NAME].private
    assert not publish(folder, NAME).private


def test_a_killed_push_shows_nothing_and_pushing_again_finishes(hub, folder, client_env) -> None:
    hub.fault("/commit/main", Stall(30, at=0, method="POST"))
    hub.fault(".", Slow(20_000, method="PUT"))
    process = subprocess.Popen(
        [sys.executable, "-c", "from verticlip.cli import main; main()", "hub", "push", str(folder), NAME],
        env={**client_env, "HF_TOKEN": hub.token, "VERTICLIP_CACHE": os.environ["VERTICLIP_CACHE"]},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 20
    while not any("/preupload/" in one.path for one in hub.requests) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    hub.faults.__init__()
    repository = hub.repositories[NAME]
    assert repository.private
    assert not stored(hub)
    done = publish(folder, NAME)
    assert done.changed
    assert not repository.private
    assert stored(hub) == contents(folder)


def test_two_pushes_at_once_make_one_repository(hub, folder) -> None:
    made = plan(folder, NAME)
    results: list[object] = []

    def go() -> None:
        try:
            results.append(push(made))
        except PushError as error:
            results.append(error)

    threads = [threading.Thread(target=go) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert any(isinstance(one, Published) for one in results)
    assert stored(hub) == contents(folder)
    assert len(hub.commits(NAME)) == 2
    assert not push(plan(folder, NAME)).changed
