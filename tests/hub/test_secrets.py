"""Texts that must not leave a computer: what is found, and no false alarms."""

from __future__ import annotations

import json
import time

import pytest
from verticlip.hub import secrets
from verticlip.hub.secrets import find_leaks, find_leaks_in

SECRETS = {
    "a Hugging Face token": "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz01234567",
    "an AWS access key": "AKIA" + "IOSFODNN7EXAMPL3",
    "a private key": "-----BEGIN OPENSSH " + "PRIVATE KEY-----",
    "a GitHub token": "ghp_" + "a1B2" * 9,
    "a JSON web token": "eyJhbGciOiJIUzI1NiJ9."
    + "eyJzdWIiOiIxMjM0NTY3ODkwIn0."
    + "dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
    "an address with a password": "postgres://ann:" + "s3cret@db.example/x",
    "a password": "password" + "=hunter22",
    "a key or token by its name": "aws_secret_access_key" + " = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "a bearer token": "Authorization: " + "Bearer abcdef0123456789",
}


@pytest.mark.parametrize("what", SECRETS)
def test_secrets_are_found(what) -> None:
    found = find_leaks(f"first line\nsome text {SECRETS[what]} more")
    assert ("secret", what, "line 2") in {(one.kind, one.what, one.where) for one in found}


def test_secrets_in_json_are_found_through_escapes_keys_and_json_in_strings() -> None:
    token = SECRETS["a Hugging Face token"]
    assert find_leaks_in(json.loads(json.dumps({"a": token}).replace("hf_", "\\u0068f_")))[0].where == "a"
    assert find_leaks_in({"note": json.dumps({"b": [token]})})[0].where == "note"
    assert token not in repr(find_leaks_in({token: {"x": "/home/ann/x"}}))
    assert find_leaks_in({"wandb_api_key": "0123456789abcdef0123456789abcdef01234567"})
    assert find_leaks_in({"options": {"password": "horse"}})[0].where == "options.password"


@pytest.mark.parametrize(
    "text",
    [
        "sha256: 3b7a354f7de7ad1593b4e8232dace9776c8cfb958b50481d6e4293b2a3622ef5",
        "pad_token: [PAD], unk_token: [UNK]",
        "password: <your password>",
        "api_key=YOUR_KEY or api_key=os.environ['KEY']",
        "token: hf_...; run hf auth login or set HF_TOKEN",
        "secret = ********",
        "see https://example.org/home/ann/data/x and https://huggingface.co/acme/x",
        "either/or, 1/2, km/h, N/A, image/png, medical/tiny, s3/dist, and/or",
        "verticlip train run medical/tiny --data DATA --out runs/again",
        "at 10:30 on 3:4 pictures; ratio 16:9; C: a letter",
        "mail ann@example.org about ``x:y``",
        "the formula a / b / c and a /b/ c",
        "/m/09x0r",
        "recall@10:0.93",
        "a@b.org:80x",
        "roughly ~x/y",
        "tokens of the text, password managers, keys of a piano",
    ],
)
def test_no_false_alarms(text) -> None:
    assert find_leaks(text) == []
    assert find_leaks_in({"note": text}) == []


@pytest.mark.parametrize(
    "text",
    [
        r"path 'D:\data\scans\a.dcm'",
        "D:/data/scans",
        "~/data/scans",
        "file:///etc/hosts",
        "\\\\server\\share\\x",
        "ann@cluster7:/scratch/run",
        "git@example.org:ann/x",
        "see /data/README",
        "/mnt/data/x",
        "/opt2/abc/def",
        "--out=/tmp/run1",
    ],
)
def test_paths_are_found(text) -> None:
    assert {one.kind for one in find_leaks_in({"note": text})} == {"path"}


@pytest.mark.parametrize(
    "text",
    [
        "/home/ann/project/run.yaml",
        "data: /Users/ann/x",
        "C:\\Users\\ann\\x",
        "out:/home/ann/x",
        "file:///home/ann/x",
        "ann@cluster7:/home/ann/run",
    ],
)
def test_home_folders_are_found(text) -> None:
    assert {one.kind for one in find_leaks_in({"note": text})} == {"home"}


def test_common_words_are_no_names(monkeypatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "localhost")
    monkeypatch.setattr("getpass.getuser", lambda: "root")
    monkeypatch.setenv("HOME", "/root")
    assert secrets.computer_names() == ()


def test_pictures_inside_a_text_are_data() -> None:
    assert find_leaks("![x](data:image/png;base64,iVBORw0KGgo=)")[0].kind == "data"
    assert find_leaks("A" * 2500)[0].kind == "data"


@pytest.mark.parametrize(
    "piece",
    [
        "a_",
        "/a",
        " ",
        "_eyJ",
        "password ",
        "data:",
        "a@",
        "x:",
        "hf_",
        "~",
        "-----BEGIN A ",
        "\\\\a",
        "a.b-",
        "A",
    ],
)
def test_no_text_takes_long(piece) -> None:
    text = f"/{piece * (100_000 // len(piece))}\x00"
    start = time.process_time()
    find_leaks(text)
    find_leaks_in({"a": text})
    assert time.process_time() - start < 1.5
