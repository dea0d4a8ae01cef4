"""A Hub on this machine: the HTTP protocol of the Hugging Face Hub, spoken to the real client, with faults.

What it is for: the tests publish to it and load from it through ``huggingface_hub`` itself, so that what
a user meets (redirects, resumed downloads, refused tokens, a connection that dies at 60 %) is met here first.

As a library, with the folder ``tests/hub`` on the path::

    from local_hub.server import LocalHub
    from local_hub.faults import Status, Truncate

    with LocalHub() as hub:
        commit = hub.add_repository("org/model", {"config.json": b"{}", "model.safetensors": weights})
        hub.fault(r"/model\\.safetensors", Truncate(0.6))
        hub.fault(r"/resolve/main/config\\.json", Status(500, times=2))
        ...                                   # the client, with its endpoint set to hub.endpoint
        print([(r.method, r.path, r.status) for r in hub.requests])

The fixtures of ``tests/hub/conftest.py`` start a server (``local_hub``) and point the client of this process
(``online``) or of another one (``client_env``) at it.

As a program, which keeps its state in a folder, so that one environment can publish and another load::

    python tests/hub/local_hub --port 0 --folder STATE --token hf_mine [--no-xet] [--log] [--fault JSON]

It prints ``HF_ENDPOINT=http://127.0.0.1:PORT``, which is what a client's environment needs besides
``HF_TOKEN=hf_mine``, and runs until it is interrupted. ``hf_readmine`` is a token that may only read, and
``hf_othermine`` one of a stranger. ``--fault`` (repeatable) takes
``{"path": REGEX, "faults": [{"fault": "Truncate", "at": 0.6}]}``; the kinds are in :mod:`.faults`.

What it speaks: ``whoami-v2``; creating, deleting and settings of model repositories; ``preupload``, LFS batch
(``basic``, and ``multipart`` above :attr:`LocalHub.part_size`), ``verify`` and the ndjson ``commit`` with
``parentCommit``; uploads by Xet where it is started so; ``resolve`` with ``Range`` and ``If-Range``; model
info, tree (in pages), ``paths-info``, refs, commits, branches, tags, ``validate-yaml`` and ``auth-check``.
Like the Hub it serves LFS objects from another origin (a second port), by signed URLs that take no token.
Unlike the Hub it has no downloads by Xet, no pull requests, no datasets and no spaces; what it does not know
it answers with 404.
"""
