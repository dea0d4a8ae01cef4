"""Runs that are killed at any moment and started again, and readers beside a writer.

A process of its own, in which everything is imported once, forks those that are killed.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ecommerce.make_shop import HashEncoder, content_of, row, write_rows
from verticlip.domains.ecommerce.catalog.catalog import Catalog

HELPERS = Path(__file__).resolve().parents[1] / "make_shop.py"
ROWS = 160
SCRIPT = """
import importlib.util, os, random, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
spec = importlib.util.spec_from_file_location("make_shop", sys.argv[1])
make_shop = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_shop)
from verticlip.domains.ecommerce.catalog.catalog import Catalog
from verticlip.domains.ecommerce.catalog.further import FurtherPictures
from verticlip.domains.ecommerce.catalog.report import IngestOptions
home, table, rows = Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
SMALL = IngestOptions(batch_size=4, commit_rows=16)

class Slow(make_shop.HashEncoder):
    def encode(self, images, texts, **options):
        time.sleep(0.004)
        return super().encode(images, texts, **options)

def started(work, folder):
    number = os.fork()
    if number == 0:
        try:
            work(folder)
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    return number

def ended(number):
    _, status = os.waitpid(number, 0)
    return status

def ingest(folder):
    Catalog.open(folder, Slow()).ingest(table, options=SMALL)

def optimize(folder):
    Catalog.open(folder).optimize()

def read(folder):
    seen = [0]
    while seen[-1] < rows:
        catalog = Catalog.open(folder, make_shop.HashEncoder(), read_only=True)
        names = [one.id for one in catalog.search(text="Item 7", k=10_000)]
        assert len(set(names)) == len(names) == len(catalog) >= seen[-1]
        seen.append(len(names))
        catalog.close()
    assert len(set(seen)) > 2, "the reader saw nothing in between"

def content(folder):
    catalog = Catalog.open(folder)
    found = make_shop.content_of(catalog)
    catalog.close()
    return found

def further(folder):
    index = FurtherPictures(folder, make_shop.HashEncoder().identity, "auto", read_only=True).index
    rows = next(index.scan(views=("image",)))
    return rows.ids, rows.payload.to_pylist(), rows.vectors["image"].tobytes()

draw = random.Random(5)
Catalog.create(home / "quiet", model=make_shop.HashEncoder())
lasts = {}
for work in (ingest, optimize):
    start = time.monotonic()
    assert ended(started(work, home / "quiet")) == 0
    lasts[work] = time.monotonic() - start
whole = content(home / "quiet")
assert len(whole) == rows

Catalog.create(home / "killed", model=make_shop.HashEncoder())
grown = [0]
for work, kills, longest in ((ingest, 10, 0.4 * lasts[ingest]), (optimize, 4, lasts[optimize])):
    if work is optimize:
        assert ended(started(ingest, home / "killed")) == 0
        grown.append(rows)
    for _ in range(kills):
        number = started(work, home / "killed")
        time.sleep(draw.uniform(0, longest))
        os.kill(number, signal.SIGKILL)
        ended(number)
        found = content(home / "killed")
        assert all(found[name] == whole[name] for name in found)
        assert len(found) >= grown[-1], "a version that was whole is gone"
        grown.append(len(found))
assert any(0 < count < rows for count in grown), grown
assert content(home / "killed") == whole
assert further(home / "killed") == further(home / "quiet")
assert len(further(home / "killed")[0]) == rows // 2
assert ended(started(optimize, home / "killed")) == 0
assert content(home / "killed") == whole

Catalog.create(home / "shared", model=make_shop.HashEncoder())
readers = [started(read, home / "shared") for _ in range(2)]
assert ended(started(ingest, home / "shared")) == 0
assert [ended(reader) for reader in readers] == [0, 0]
print(grown)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_killed_at_random_it_ends_like_a_run_that_was_not(tmp_path: Path, shop) -> None:
    """Ten kills while it ingests, four while it optimizes, and two readers beside a writer."""
    table = shop(ROWS)
    rows = [
        row(number, images=[f"img/{ROWS - 1 - number}.png"] if number % 2 else []) for number in range(ROWS)
    ]
    write_rows(table, rows)
    with table.open("a") as file:
        file.write("".join(json.dumps({"id": f"X{number}"}) + "\n" for number in range(4)) + "not json\n")
    command = [sys.executable, "-c", SCRIPT, str(HELPERS), str(tmp_path), str(table), str(ROWS)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    killed = Catalog.open(tmp_path / "killed", HashEncoder())
    assert content_of(killed) == content_of(Catalog.open(tmp_path / "quiet"))
    report = killed.ingest(table)
    assert (report.rejected, report.unchanged) == (5, ROWS)
    leftovers = {path.name for path in (tmp_path / "killed").iterdir()}
    assert leftovers == {"catalog.json", "index", "pictures", "rejects.jsonl", "writer.json", "writer.lock"}
