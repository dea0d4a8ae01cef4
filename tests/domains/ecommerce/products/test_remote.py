import http.server
import threading
import time
from typing import ClassVar

import pytest
from verticlip.core.config import parse_config
from verticlip.core.errors import ConfigError, InputError, LimitError
from verticlip.domains.ecommerce.products.addresses import resolve_public
from verticlip.domains.ecommerce.products.remote import RemotePolicy, fetch_image

PICTURE = b"\x89PNG" + bytes(range(256)) * 40


class Shop(http.server.BaseHTTPRequestHandler):
    """Answers of well-behaved and other servers, by path."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[str]] = []
    hosts: ClassVar[list[str]] = []

    def do_GET(self):
        path = self.path.split("?")[0]
        self.asked.append(path)
        self.hosts.append(self.headers["Host"])
        getattr(self, "answer_" + path.strip("/").split("/")[0], self.answer_missing)()

    def log_message(self, *_):
        pass

    def reply(self, status=200, body=PICTURE, **headers):
        self.send_response(status)
        for name, value in {
            "Content-Type": "image/png",
            "Content-Length": str(len(body)),
            **{key.replace("_", "-"): value for key, value in headers.items()},
        }.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def answer_good(self):
        self.reply()

    def answer_missing(self):
        self.reply(404, b"no")

    def answer_page(self):
        self.reply(body=b"<html>", Content_Type="text/html; charset=utf-8")

    def answer_packed(self):
        self.reply(Content_Encoding="gzip")

    def answer_huge(self):
        self.reply(Content_Length=str(10**12))

    def answer_endless(self):
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.end_headers()
        try:
            for _ in range(10_000):
                self.wfile.write(bytes(65536))
        except OSError:
            pass
        self.close_connection = True

    def answer_cut(self):
        self.reply(Content_Length=str(len(PICTURE) + 100))
        self.close_connection = True

    def answer_empty(self):
        self.reply(body=b"")

    def answer_chunked(self):
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for start in range(0, len(PICTURE), 1000):
            part = PICTURE[start : start + 1000]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")

    def answer_slow(self):
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.send_header("Content-Length", "1000")
        self.end_headers()
        try:
            for _ in range(100):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.05)
        except OSError:
            pass
        self.close_connection = True

    def answer_dripping(self):
        try:
            for letter in b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100:
                self.wfile.write(bytes([letter]))
                self.wfile.flush()
                time.sleep(0.05)
        except OSError:
            pass
        self.close_connection = True

    def answer_flaky(self):
        self.reply(503, b"busy") if self.asked.count("/flaky") < 3 else self.reply()

    def answer_broken(self):
        self.reply(503, b"busy")

    def answer_redirect(self):
        left = int(self.path.rsplit("/", 1)[1])
        self.reply(302, b"", Location=f"/redirect/{left - 1}" if left else "/good")

    def answer_inward(self):
        self.reply(302, b"", Location=f"http://internal.test:{self.server.server_address[1]}/good")

    def answer_elsewhere(self):
        self.reply(302, b"", Location="file:///etc/passwd")

    def answer_nowhere(self):
        self.reply(302, b"")


@pytest.fixture(scope="module")
def server():
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield served
    served.shutdown()
    served.server_close()


@pytest.fixture
def get(server):
    """Fetch a path of the local server, which goes by the name of a public host."""
    Shop.asked, Shop.hosts = [], []
    port = server.server_address[1]

    def resolve(host, _):
        if host == "internal.test":
            raise InputError(f"{host}: 10.0.0.1 is not a public address; such hosts are not fetched from.")
        return ["127.0.0.1"]

    def fetch(path, **changes):
        policy = RemotePolicy(**{"ports": (port,), "backoff_s": 0.0, "timeout_s": 5.0, **changes})
        return fetch_image(f"http://cdn.test:{port}{path}", policy, resolve=resolve)

    return fetch


def test_a_picture_is_fetched_from_the_address_that_was_checked(get, server):
    assert get("/good?size=large") == PICTURE
    assert Shop.hosts == [f"cdn.test:{server.server_address[1]}"]
    assert get("/chunked") == PICTURE


def test_private_hosts_are_not_asked(server):
    port = server.server_address[1]
    Shop.asked = []
    for host in ("localhost", "127.0.0.1", "[::1]", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"):
        with pytest.raises(InputError, match="is not a public address|no such host"):
            fetch_image(f"http://{host}:{port}/good", RemotePolicy(ports=(port,)))
    assert Shop.asked == []
    assert fetch_image.__kwdefaults__["resolve"] is resolve_public


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/missing", "the server answered 404 Not Found"),
        ("/page", "is text/html, not a picture"),
        ("/packed", "was sent compressed"),
        ("/empty", "the answer is empty"),
        ("/nowhere", "a redirect to nowhere"),
        ("/elsewhere", "only http:// and https:// are fetched"),
        ("/inward", "internal.test: 10.0.0.1 is not a public address"),
    ],
)
def test_answers_that_are_no_picture(get, path, message):
    with pytest.raises(InputError, match=message):
        get(path)
    assert len(Shop.asked) == 1


def test_a_picture_that_is_cut_off_is_asked_for_again(get):
    with pytest.raises(
        InputError, match=r"/cut: (cut off after 10,244 of 10,344 bytes|the connection failed)"
    ):
        get("/cut")
    assert Shop.asked == ["/cut"] * 3


def test_failures_that_may_pass_are_tried_again(get):
    assert get("/flaky") == PICTURE
    assert len(Shop.asked) == 3
    Shop.asked.clear()
    with pytest.raises(InputError, match="/broken: the server answered 503"):
        get("/broken", retries=1)
    assert len(Shop.asked) == 2


def test_redirects_are_counted(get):
    assert get("/redirect/2") == PICTURE
    with pytest.raises(InputError, match="over 3 redirects"):
        get("/redirect/3")
    with pytest.raises(InputError, match="over 0 redirects"):
        get("/redirect/0", max_redirects=0)


def test_redirects_stay_among_the_allowed_hosts(get):
    with pytest.raises(InputError, match="internal.test is not among the allowed hosts: cdn.test"):
        get("/inward", hosts=("cdn.test",))
    assert get("/good", hosts=("cdn.test",)) == PICTURE


@pytest.mark.parametrize("path", ["/huge", "/endless"])
def test_what_is_too_large_is_not_read(get, path):
    with pytest.raises(LimitError, match="is over the limit of 100,000 bytes for one picture"):
        get(path, max_bytes=100_000)


@pytest.mark.parametrize("path", ["/slow", "/dripping"])
def test_time_is_counted_for_the_picture_as_a_whole(get, path):
    start = time.monotonic()
    with pytest.raises(InputError, match="no answer within 0.4 s"):
        get(path, timeout_s=0.4, retries=0)
    assert time.monotonic() - start < 2.0


def test_nobody_listens(get):
    with pytest.raises(InputError, match="the connection failed"):
        fetch_image(
            "http://cdn.test/x", RemotePolicy(backoff_s=0, ports=(80,)), resolve=lambda *_: ["127.0.0.1"]
        )


def test_policies_are_checked():
    for wrong in (
        {"hosts": ["http://a"]},
        {"hosts": [""]},
        {"timeout_s": 0},
        {"max_bytes": 0},
        {"allow_private": True},
    ):
        with pytest.raises(ConfigError, match="policy: "):
            parse_config(RemotePolicy, wrong, source="policy")
