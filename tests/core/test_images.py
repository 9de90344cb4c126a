"""An image's first bytes: every kind is known, and how wide and high it is."""

import time

import pytest

from core.images import NotWhole, kind_of, size_of
from tests.images import gif, jpeg, png, webp

OF_300_BY_200 = {
    "png": png(300, 200),
    "gif": gif(300, 200),
    "jpeg": jpeg(300, 200),
    "progressive jpeg": jpeg(300, 200, frame=0xC2),
    "jpeg with a picture in its head": jpeg(
        300, 200, before=b"\xff\xe1\0\x10\xff\xc0\0\x0b\x08\0\1\0\1\1\1\x11\0\0"
    ),
    "webp": webp(300, 200),
    "lossless webp": webp(300, 200, "VP8L"),
    "extended webp": webp(300, 200, "VP8X"),
}


@pytest.mark.parametrize("data", OF_300_BY_200.values(), ids=OF_300_BY_200)
def test_every_kind_tells_its_size(data: bytes) -> None:
    assert size_of(data) == (300, 200)


@pytest.mark.parametrize(("name", "data"), OF_300_BY_200.items(), ids=OF_300_BY_200)
def test_every_kind_is_known_by_its_bytes(name: str, data: bytes) -> None:
    assert kind_of(data) in {f"image/{word}" for word in name.split()}


@pytest.mark.parametrize("size", [(1, 1), (16_383, 1), (1, 16_383), (8_000, 8_000)])
def test_a_size_is_read_to_its_last_bit(size: tuple[int, int]) -> None:
    for data in (gif(*size), jpeg(*size), webp(*size), webp(*size, "VP8L"), webp(*size, "VP8X")):
        assert size_of(data) == size


@pytest.mark.parametrize("data", OF_300_BY_200.values(), ids=OF_300_BY_200)
def test_one_that_was_cut_off_is_not_read(data: bytes) -> None:
    """Wherever it was cut, nothing but NotWhole comes of it, and of half of it nothing else."""
    for length in range(len(data)):
        try:
            size_of(data[:length])
        except NotWhole:
            continue
        assert length >= 10
    with pytest.raises(NotWhole):
        size_of(data[:9])


@pytest.mark.parametrize("data", [png(9, 9)[:-20], jpeg(9, 9).split(b"\xff\xd9")[0], webp(9, 9)[:-1]])
def test_an_upload_that_stopped_early_is_seen(data: bytes) -> None:
    with pytest.raises(NotWhole):
        size_of(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"words",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"BM" + bytes(60),
        png(0, 1),
        gif(1, 0),
        webp(1, 1, "VP9 "),
    ],
)
def test_what_is_no_image_has_no_size(data: bytes) -> None:
    with pytest.raises(NotWhole):
        size_of(data)


@pytest.mark.parametrize("filling", [b"\xff", b"\xff\xe0\0\0", b"\xff\xd0"])
def test_a_jpeg_that_never_comes_to_its_picture_costs_no_time(filling: bytes) -> None:
    begun = time.process_time()
    with pytest.raises(NotWhole):
        size_of(b"\xff\xd8" + filling * (4_000_000 // len(filling)) + b"\xff\xd9")
    assert time.process_time() - begun < 0.5
