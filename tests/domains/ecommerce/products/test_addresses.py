import socket

import pytest
from verticlip.core.errors import InputError
from verticlip.domains.ecommerce.products.addresses import is_public, parse_address, resolve_public

PORTS = (80, 443)


def parse(url, hosts=()):
    return parse_address(url, ports=PORTS, hosts=hosts)


def test_parts_of_an_address():
    found = parse("HTTPS://CDN.Example.com./a b/\u00e9.jpg?x=1&y=\u00fc#part")
    assert (found.scheme, found.host, found.port) == ("https", "cdn.example.com", 443)
    assert found.path == "/a%20b/%C3%A9.jpg?x=1&y=%C3%BC"
    assert found.shown == "https://cdn.example.com/a%20b/%C3%A9.jpg"
    assert parse("http://b\u00fccher.example").host == "xn--bcher-kva.example"
    assert parse("http://b\u00fccher.example").path == "/"
    assert parse("http://[2606:4700::1]/x").host_and_port == "[2606:4700::1]"
    assert parse("http://a.example/%41?already=%20").path == "/%41?already=%20"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://a.example/x", "only http:// and https://"),
        ("file:///etc/passwd", "only http:// and https://"),
        ("http://user:secret@a.example/x", "addresses with user names"),
        ("http://a.example@169.254.169.254/", "addresses with user names"),
        ("http://a.example:22/x", "only the ports 80, 443"),
        ("http://a.example:99999/x", "is no address"),
        ("http:///x", "names no host"),
        ("http://[::1/x", "is no address"),
        ("http://" + "a" * 70 + ".example/", "is no host name"),
        ("http://a\\b.example/", "no host"),
    ],
)
def test_addresses_that_are_not_fetched(url, message):
    with pytest.raises(InputError, match=message) as caught:
        parse(url)
    assert "secret" not in str(caught.value)


def test_allowed_hosts():
    hosts = ("cdn.example.com", "*.shop.example")
    assert parse("http://cdn.example.com/x", hosts)
    assert parse("http://a.b.shop.example/x", hosts)
    for other in ("example.com", "evilcdn.example.com", "shop.example", "cdn.example.com.evil.test"):
        with pytest.raises(InputError, match="is not among the allowed hosts: cdn.example.com"):
            parse(f"http://{other}/x", hosts)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_public_addresses(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "100.100.100.200",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "198.18.0.1",
        "::1",
        "::",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
    ],
)
def test_addresses_that_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0", "::1"]
)
def test_however_a_host_is_written(host):
    with pytest.raises(InputError, match="is not a public address|no such host"):
        resolve_public(host, 80)


def test_one_private_address_among_public_ones(monkeypatch):
    def answer(host, port, type):
        return [(socket.AF_INET, type, 6, "", (address, port)) for address in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    with pytest.raises(InputError, match=r"evil.test: 10.0.0.1 is not a public address"):
        resolve_public("evil.test", 80)


def test_no_such_host(monkeypatch):
    def fail(*_, **__):
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(InputError, match="none.test: no such host, or no network"):
        resolve_public("none.test", 80)
