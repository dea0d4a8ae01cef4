"""Tile servers: nothing unasked, nowhere else, nothing too large. A server on this machine stands in."""

from __future__ import annotations

import io
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image
from verticlip.core.errors import ConfigError, InputError, LimitError
from verticlip.domains.urban.geometry.regions import Regions
from verticlip.domains.urban.geometry.schemes import scheme_tiles
from verticlip.domains.urban.geometry.sources import FolderTiles, TileSource
from verticlip.domains.urban.geometry.tiles import Tile
from verticlip.domains.urban.loaders.errors import RasterOpenError, RasterReadError, TileOutsideBounds

shapely = pytest.importorskip("shapely")

TILE = scheme_tiles(np.array([[16, 53957, 24832]]), "webmercator")[0]


def png() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (16, 16), (10, 20, 30)).save(content, "PNG")
    return content.getvalue()


class Server(ThreadingHTTPServer):
    """Answers by the first word of the path and counts what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: Counter[str] = Counter()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        server.asked[self.path] += 1
        word = self.path.split("/")[1]
        if word == "away":
            self.answer(302, b"", Location="http://localhost:1/elsewhere.png")
        elif word == "here":
            self.answer(302, b"", Location=f"http://127.0.0.1:{server.server_port}/ok/1/1/1.png")
        elif word == "busy" and server.asked[self.path] < 2:
            self.answer(503, b"")
        elif word in ("404", "403", "500"):
            self.answer(int(word), b"")
        elif word == "text":
            self.answer(200, b"<html>no tile</html>")
        elif word == "large":
            self.answer(200, bytes(100_000))
        elif word == "slow":
            self.send_response(200)
            self.end_headers()
            for _ in range(40):
                time.sleep(0.05)
                try:
                    self.wfile.write(b"x")
                    self.wfile.flush()
                except OSError:
                    return
        else:
            self.answer(200, png())

    def answer(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def server():
    with Server() as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")


def source(server, path, **options):
    return TileSource(f"http://127.0.0.1:{server.server_port}{path}", allow_network=True, **options)


def test_a_tile_is_fetched_and_placed(server):
    tile = source(server, "/ok/{z}/{x}/{y}.png?key=secret").read_tile(TILE, size=(8, 8))
    assert tile.image.shape == (3, 8, 8)
    assert tile.bounds == pytest.approx(TILE.bounds)
    assert server.asked["/ok/16/53957/24832.png?key=secret"] == 1


def test_other_ways_to_count(server):
    source(server, "/tms/{z}/{x}/{-y}").read_tile(TILE)
    source(server, "/quad/{q}").read_tile(TILE)
    assert server.asked["/tms/16/53957/40703"] == 1
    assert server.asked["/quad/1321001211000101"] == 1


def test_its_grid_makes_the_tiles(server):
    area = Regions.from_geometries([shapely.box(116.39, 39.90, 116.40, 39.91)], "EPSG:4326")
    made = source(server, "/ok/{z}/{x}/{y}", scheme="baidu")
    tiles = made.grid(15).cover(area)
    assert tiles.datum == "BD-09"
    made.read_tile(tiles[0])
    assert server.asked["/ok/" + tiles.ids[0].replace("_", "/")] == 1


def test_nothing_is_fetched_unasked():
    with pytest.raises(ConfigError, match=r"tiles.example.org come over the network.*allow_network=True"):
        TileSource("https://tiles.example.org/{z}/{x}/{y}.png")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://tiles.example.org/{z}/{x}/{y}", "https:// address, not http"),
        ("file:///etc/{z}/{x}/{y}", "https:// address, not file"),
        ("tiles/{z}/{x}/{y}.png", "https:// address, not a path"),
        ("https://{s}.example.org/{z}/{x}/{y}", "host of a tile server has to be fixed"),
        ("https://me:pass@example.org/{z}/{x}/{y}", "without a login"),
        ("https://example.org/{z}/{x}/{row}", r"\{row\} in the address is unknown; known: \{z\}, \{x\}"),
        ("https://example.org/{z}/{x}", r"needs \{z\}, \{x\} and \{y\}"),
    ],
)
def test_addresses_that_are_not_acceptable(address, message):
    with pytest.raises(ConfigError, match=message):
        TileSource(address, allow_network=True)


def test_what_belongs_to_other_schemes_is_refused():
    with pytest.raises(ConfigError, match="belong to web mercator tiles"):
        TileSource("https://example.org/{q}", scheme="baidu", allow_network=True)
    with pytest.raises(ConfigError, match="timeout_s=0"):
        TileSource("https://example.org/{q}", timeout_s=0, allow_network=True)


def test_tiles_that_the_server_lacks(server):
    with pytest.raises(TileOutsideBounds, match="127.0.0.1 has no tile 16_53957_24832"):
        source(server, "/404/{z}/{x}/{y}").read_tile(TILE)


def test_refusals_are_not_repeated_and_faults_are(server):
    with pytest.raises(RasterOpenError, match="cannot be fetched: it answers 403 Forbidden") as caught:
        source(server, "/403/{z}/{x}/{y}?key=secret").read_tile(TILE)
    assert "secret" not in str(caught.value)
    assert server.asked["/403/16/53957/24832?key=secret"] == 1
    assert source(server, "/busy/{z}/{x}/{y}").read_tile(TILE).image.shape == (3, 16, 16)
    assert server.asked["/busy/16/53957/24832"] == 2


def test_redirections_stay_on_the_server(server):
    assert source(server, "/here/{z}/{x}/{y}").read_tile(TILE).image.shape == (3, 16, 16)
    with pytest.raises(RasterOpenError, match="redirects to http://localhost, another server"):
        source(server, "/away/{z}/{x}/{y}", timeout_s=0.5).read_tile(TILE)


def test_large_answers_and_texts_are_no_tiles(server):
    with pytest.raises(LimitError, match="tile 16_53957_24832 is over 1,000 bytes"):
        source(server, "/large/{z}/{x}/{y}", max_bytes=1000).read_tile(TILE)
    with pytest.raises(RasterReadError, match="127.0.0.1: tile 16_53957_24832: it cannot be decoded"):
        source(server, "/text/{z}/{x}/{y}").read_tile(TILE)


def test_a_slow_answer_ends_in_time(server):
    start = time.monotonic()
    with pytest.raises(RasterOpenError, match="no answer in time|timed out"):
        source(server, "/slow/{z}/{x}/{y}", timeout_s=0.3).read_tile(TILE)
    assert time.monotonic() - start < 1.5


def test_no_server_at_all():
    with pytest.raises(RasterOpenError, match="Check the address, the key and the connection"):
        TileSource("http://127.0.0.1:1/{z}/{x}/{y}", allow_network=True, timeout_s=0.2).read_tile(TILE)


def test_fetched_tiles_are_kept(server, tmp_path):
    made = source(server, "/kept/{z}/{x}/{y}", cache=tmp_path)
    first, second = made.read_tile(TILE), made.read_tile(TILE)
    assert server.asked["/kept/16/53957/24832"] == 1
    assert first.image.equal(second.image)
    assert FolderTiles(tmp_path).tiles.ids == (TILE.id,)


def test_tiles_of_no_scheme_are_refused(server):
    with pytest.raises(InputError, match="has no zoom, x and y"):
        source(server, "/ok/{z}/{x}/{y}").read_tile(Tile("t", (0, 0, 1, 1), "EPSG:3857"))


def test_the_address_is_never_shown(server):
    made = source(server, "/ok/{z}/{x}/{y}?key=secret")
    assert repr(made) == "TileSource('127.0.0.1', scheme='webmercator')"
    assert made.fingerprint != source(server, "/ok/{z}/{x}/{y}?key=other").fingerprint
