import os

import pytest
from verticlip.core.errors import InputError
from verticlip.domains.ecommerce.products.pictures import ImageRoot, image_ref, image_refs


@pytest.fixture
def root(tmp_path):
    (tmp_path / "shop" / "img").mkdir(parents=True)
    (tmp_path / "secret.jpg").write_bytes(b"x")
    return ImageRoot(tmp_path / "shop")


def test_paths_start_at_the_root(root):
    ref = image_ref(" img/a.jpg ", root)
    assert (ref.given, ref.path, ref.url) == ("img/a.jpg", root.folder / "img" / "a.jpg", None)
    assert image_ref(str(root.folder / "img/a.jpg"), root).path == root.folder / "img" / "a.jpg"
    assert image_ref("./img/a b'é.jpg", root).path == root.folder / "img" / "a b'é.jpg"


@pytest.mark.parametrize("path", ["../secret.jpg", "img/../../secret.jpg", "/etc/passwd", "/", ".."])
def test_paths_that_leave_the_root(root, path):
    with pytest.raises(InputError, match="leaves the image folder"):
        image_ref(path, root)


@pytest.mark.parametrize(
    "path", ["img\\a.jpg", "C:\\a.jpg", "C:/a.jpg", "c:a.jpg", "\\\\server\\share\\a.jpg"]
)
def test_paths_of_one_system(root, path):
    with pytest.raises(InputError, match="is not portable"):
        image_ref(path, root)


@pytest.mark.parametrize("path", ["a\0.jpg", "a" * 5000])
def test_what_is_no_path(root, path):
    with pytest.raises(InputError, match="is no path"):
        image_ref(path, root)


def test_links_that_lead_out(root):
    os.symlink(root.folder.parent, root.folder / "out")
    os.symlink(root.folder / "img", root.folder / "in")
    with pytest.raises(InputError, match="leaves the image folder"):
        image_ref("out/secret.jpg", root)
    assert image_ref("in/a.jpg", root) is not None


def test_a_linked_root_is_a_root(root):
    os.symlink(root.folder, root.folder.parent / "linked")
    assert image_ref("img/a.jpg", ImageRoot(root.folder.parent / "linked")) is not None


def test_outside_can_be_allowed(root):
    free = ImageRoot(root.folder, allow_outside=True)
    assert image_ref("../secret.jpg", free).path == root.folder.parent / "secret.jpg"
    assert str(image_ref("/etc/x.jpg", free).path) == "/etc/x.jpg"


@pytest.mark.parametrize("url", ["http://a.example/x.jpg", "HTTPS://a.example/x?y=1", "//cdn.example/x.jpg"])
def test_addresses_stay_addresses(root, url):
    ref = image_ref(url, root)
    assert ref.path is None
    assert ref.url == (f"https:{url}" if url.startswith("//") else url)


@pytest.mark.parametrize(
    "url", ["ftp://a/x.jpg", "file:///etc/passwd", "s3://b/x.jpg", "data:image/png;base64,AA"]
)
def test_other_schemes(root, url):
    with pytest.raises(InputError, match="cannot be used; expected http://"):
        image_ref(url, root)


def test_addresses_with_spaces(root):
    with pytest.raises(InputError, match="holds spaces or control signs"):
        image_ref("http://a.example/x y.jpg", root)


def test_stored_pictures(root):
    assert image_ref(b"jpeg", root).data == b"jpeg"
    ref = image_ref({"bytes": b"jpeg", "path": "/home/u/x.jpg"}, root)
    assert (ref.data, ref.given, ref.path) == (b"jpeg", "/home/u/x.jpg", None)
    assert image_ref({"bytes": None, "path": "img/a.jpg"}, root).path == root.folder / "img" / "a.jpg"
    assert image_ref({"bytes": None, "path": None}, root) is None
    assert image_ref(b"", root) is None
    with pytest.raises(InputError, match="object of width"):
        image_ref({"width": 3}, root)
    with pytest.raises(InputError, match="the image is int 3"):
        image_ref(3, root)


def test_several_pictures(root):
    def given(value):
        return [ref.given for ref in image_refs(value, root)]

    assert given(["a.jpg", None, "b.jpg"]) == ["a.jpg", "b.jpg"]
    assert given('["a.jpg", "b.jpg"]') == ["a.jpg", "b.jpg"]
    assert given("a.jpg|b.jpg ; c,d.jpg") == ["a.jpg", "b.jpg", "c,d.jpg"]
    assert given("http://a/1.jpg,http://a/2.jpg") == ["http://a/1.jpg", "http://a/2.jpg"]
    assert given(None) == given("") == []
    with pytest.raises(InputError, match="51 images for one product"):
        given(["a.jpg"] * 51)
