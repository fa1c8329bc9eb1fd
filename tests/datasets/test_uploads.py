"""Tests of brainviz.datasets.uploads: every format and mode by hand-checked pixels, the limits, and damaged files."""

from __future__ import annotations

import io
import struct
import time
import warnings
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image, ImageFile

from brainviz.datasets import uploads
from brainviz.datasets.images import decode
from brainviz.datasets.uploads import LEAST_SIDE, MOST_BYTES, MOST_PIXELS, decode_upload
from brainviz.errors import DatasetError

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
GREY = RGB[..., 0]


@pytest.fixture(autouse=True)
def no_warning_leaks() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def _saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _pixels(image: Image.Image, kind: str = "PNG", **options: object) -> np.ndarray:
    found = decode_upload(_saved(image, kind, **options), "a.png")
    assert type(found) is Image.Image
    assert found.mode == "RGB"
    assert not found.info
    assert not found.getexif()
    return np.asarray(found)


def _png(width: int, height: int, pixels: bytes, depth: int = 8, colour: int = 2, extra: bytes = b"") -> bytes:
    """Return a PNG written by hand: `pixels` are rows, each of which begins with its filter, 0."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(pixels))
    return b"\x89PNG\r\n\x1a\n" + header + extra + body + chunk(b"IEND", b"")


def _tiff(values: np.ndarray, **tags: int) -> bytes:
    """Return an uncompressed little-endian grey TIFF written by hand."""
    height, width = values.shape
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    entries = {256: width, 257: height, 258: values.itemsize * 8, 259: 1, 262: 1, 273: 0, 277: 1, 278: height}
    entries |= {279: values.nbytes, 339: kind} | {int(tag.removeprefix("tag_")): value for tag, value in tags.items()}
    entries[273] = 8 + 2 + 12 * len(entries) + 4
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items()))
    return struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + directory + bytes(4) + values.tobytes()


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("WEBP", {"lossless": True}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})],
)
def test_lossless_formats_are_exact(kind, options):
    np.testing.assert_array_equal(_pixels(Image.fromarray(RGB), kind, **options), RGB)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg(mode):
    colour = (200, 80, 40) if mode != "L" else (109, 109, 109)
    found = _pixels(Image.new("RGB", (40, 24), colour).convert(mode), "JPEG", quality=95)
    assert found.shape == (24, 40, 3)
    assert np.abs(found.astype(int) - colour).max() <= 3


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_first_frame(kind):
    frames = [Image.new("RGB", (16, 16), colour) for colour in [(255, 0, 0), (0, 255, 0), (0, 0, 255)]]
    options = {"lossless": True} if kind == "WEBP" else {}
    found = _pixels(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert np.abs(found.astype(int) - (255, 0, 0)).max() <= (3 if kind == "MPO" else 0)  # several JPEGs in one file


def test_grey_is_three_equal_channels():
    for kind in ("PNG", "BMP", "TIFF", "GIF"):
        np.testing.assert_array_equal(_pixels(Image.fromarray(GREY), kind), np.dstack([GREY] * 3))
    bits = GREY > 127
    np.testing.assert_array_equal(_pixels(Image.fromarray(bits)), np.dstack([bits * 255] * 3))


def test_alpha_is_laid_over_mid_grey():
    # 51 of 255 is a fifth: 200/5 + 128*4/5 = 142.4, 0/5 + 102.4, 100/5 + 102.4 = 122.4
    for alpha, expected in [(0, (128, 128, 128)), (51, (142, 102, 122)), (255, (200, 0, 100))]:
        image = Image.new("RGBA", (16, 16), (200, 0, 100, alpha))
        assert (_pixels(image) == expected).all()
        assert (_pixels(image, "WEBP", lossless=True, exact=True) == expected).all()
        assert (_pixels(image, "TIFF") == expected).all()
        assert (_pixels(Image.new("LA", (16, 16), (200, alpha))) == expected[0]).all()


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_transparent_palette_entry(kind):
    indices = np.arange(256, dtype=np.uint8).reshape(16, 16) % 3
    image = Image.fromarray(indices)
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    found = _pixels(image, kind, transparency=1)
    np.testing.assert_array_equal(found, np.uint8([(255, 0, 0), (128, 128, 128), (0, 0, 255)])[indices])
    if kind == "PNG":
        found = _pixels(image, kind, transparency=bytes([255, 0, 51]))
        np.testing.assert_array_equal(found, np.uint8([(255, 0, 0), (128, 128, 128), (102, 102, 153)])[indices])


def test_one_transparent_colour():
    image = Image.fromarray(np.uint8([[0, 255] * 8] * 16))
    assert (_pixels(image, transparency=255)[0, :2] == [[0] * 3, [128] * 3]).all()


WIDE = np.resize(np.uint16([0, 255, 256, 32767, 32768, 65279, 65280, 65535]), (16, 16))
#: The upper eight bits of WIDE.
UPPER = np.resize(np.uint8([0, 0, 1, 127, 128, 254, 255, 255]), (16, 16))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_by_their_full_range(kind, tmp_path):
    np.testing.assert_array_equal(_pixels(Image.fromarray(WIDE), kind), np.dstack([UPPER] * 3))
    Image.fromarray(WIDE).save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode(tmp_path / "a.png"), np.dstack([UPPER] * 3))


def test_sixteen_bit_modes_of_tiff():
    big_endian = Image.frombytes("I;16B", (16, 16), WIDE.astype(">u2").tobytes())
    np.testing.assert_array_equal(_pixels(big_endian, "TIFF"), np.dstack([UPPER] * 3))
    for data in (_tiff(WIDE), _tiff(WIDE.astype(np.int32)), _tiff(WIDE.astype(np.uint32))):
        np.testing.assert_array_equal(decode_upload(data), np.dstack([UPPER] * 3))


def test_sixteen_bit_colour():
    rows = b"".join(b"\0" + struct.pack(">HHH", 65535, 32768, 255) * 16 for _ in range(16))
    assert (np.asarray(decode_upload(_png(16, 16, rows, depth=16))) == (255, 128, 0)).all()


@pytest.mark.parametrize(
    "data",
    [
        _tiff(np.resize(np.int16([-1, 5]), (16, 16))),
        _tiff(np.resize(np.int32([0, 65536]), (16, 16))),
        _tiff(np.full((16, 16), 3e9, np.uint32)),
        _tiff(WIDE, tag_262=0),
        _tiff(WIDE, tag_258=12),
    ],
    ids=["negative", "above 16 bits", "above 31 bits", "0 is white", "12 bits"],
)
def test_grey_of_unknown_range_is_refused(data):
    with pytest.raises(DatasetError, match="grey levels of an unknown range"):
        decode_upload(data)


def test_floats_from_0_to_255_are_rounded():
    values = np.resize(np.float32([0, 0.4, 0.6, 127.6, 254.6, 255]), (16, 18))
    expected = np.resize(np.uint8([0, 0, 1, 128, 255, 255]), (16, 18))
    np.testing.assert_array_equal(_pixels(Image.fromarray(values), "TIFF"), np.dstack([expected] * 3))


@pytest.mark.parametrize("levels", [(-1, 200), (0, 255.5), (0, 1), (0, np.nan), (0, np.inf)])
def test_other_floats_are_refused(levels):
    values = np.resize(np.float32(levels), (16, 16))
    with pytest.raises(DatasetError, match="above 1"):
        decode_upload(_saved(Image.fromarray(values), "TIFF"))


def test_cmyk_and_lab():
    found = _pixels(Image.new("CMYK", (16, 16), (0, 255, 0, 51)), "TIFF")
    assert (found == (204, 0, 204)).all()  # (255 - ink) * (255 - black) / 255
    for lightness, grey in [(0, 0), (255, 255), (137, 128)]:  # sRGB 128 is L* = 53.6, stored as 53.6 * 2.55 = 136.7
        found = _pixels(Image.new("LAB", (16, 16), (lightness, 128, 128)), "TIFF").astype(int)
        assert np.abs(found - grey).max() <= 2


CORNERS = np.zeros((16, 32, 3), np.uint8)
CORNERS[0, 0], CORNERS[0, -1], CORNERS[-1, 0], CORNERS[-1, -1] = 10, 20, 30, 40

#: EXIF orientation -> corners of the upright picture: upper left, upper right, lower left, lower right.
UPRIGHT = {
    1: (10, 20, 30, 40),
    2: (20, 10, 40, 30),
    3: (40, 30, 20, 10),
    4: (30, 40, 10, 20),
    5: (10, 30, 20, 40),
    6: (30, 10, 40, 20),
    7: (40, 20, 30, 10),
    8: (20, 40, 10, 30),
    9: (10, 20, 30, 40),
}


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation(kind, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    found = _pixels(Image.fromarray(CORNERS), kind, exif=exif, **options)
    assert found.shape == ((32, 16, 3) if 5 <= orientation <= 8 else (16, 32, 3))
    assert tuple(found[[0, 0, -1, -1], [0, -1, 0, -1], 0]) == UPRIGHT[orientation]


def test_exif_orientation_of_a_jpeg():
    image = Image.new("RGB", (32, 16), "white")
    image.paste("black", (0, 0, 16, 16))
    exif = Image.Exif()
    exif[274] = 6  # the upper left corner is to be the upper right: black is above
    found = _pixels(image, "JPEG", exif=exif)
    assert found.shape == (32, 16, 3)
    assert (found[:15] < 20).all()
    assert (found[17:] > 235).all()


@pytest.fixture
def no_decoding(monkeypatch):
    def refuse(self: ImageFile.ImageFile) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", refuse)


def _webp_of(side: int) -> bytes:
    """Return an animated WebP of 16 x 16 pixels whose header claims a larger canvas."""
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    data = bytearray(_saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]))
    assert data[12:16] == b"VP8X"
    data[24:30] = (side - 1).to_bytes(3, "little") * 2
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        _png(10_000, 10_000, bytes(30_001)),
        _png(10_000, 5_001, b"\0"),
        _png(60_000, 60_000, b"\0"),
        _webp_of(10_000),
        _webp_of(60_000),
        _tiff(np.zeros((16, 16), np.uint8), tag_256=10_000, tag_257=10_000),
    ],
    ids=["100 million", "just above", "above Pillow's own limit", "WebP", "large WebP", "TIFF"],
)
def test_too_many_pixels_are_refused_from_the_header(data, no_decoding):
    start = time.process_time()
    with pytest.raises(DatasetError, match=r"bomb\.png has too many pixels"):
        decode_upload(data, "bomb.png")
    assert time.process_time() - start < 0.1


@pytest.mark.parametrize("limit", [None, 10**10])
def test_pillows_own_limit_plays_no_part(limit, monkeypatch, no_decoding):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(DatasetError, match=r"60000 x 60000 pixels, 3600\.0 million"):
        decode_upload(_png(60_000, 60_000, b"\0"))


def test_as_many_pixels_as_allowed(monkeypatch):
    monkeypatch.setattr(uploads, "MOST_PIXELS", 20 * 30)
    np.testing.assert_array_equal(_pixels(Image.fromarray(RGB)), RGB)
    monkeypatch.setattr(uploads, "MOST_PIXELS", 20 * 30 - 1)
    with pytest.raises(DatasetError, match="too many pixels"):
        _pixels(Image.fromarray(RGB))
    assert MOST_PIXELS == 50_000_000


def test_too_many_bytes():
    with pytest.raises(DatasetError, match=r"20\.0 MB"):
        decode_upload(bytes(MOST_BYTES + 1))
    whole = _saved(Image.fromarray(RGB))
    decode_upload(whole + bytes(MOST_BYTES - len(whole)))


@pytest.mark.parametrize("size", [(1, 300), (300, 1), (LEAST_SIDE - 1, LEAST_SIDE), (1, 1)])
def test_too_small(size):
    with pytest.raises(DatasetError, match=f"too small.\nGot: {size[0]} x {size[1]} pixels"):
        _pixels(Image.new("RGB", size))


def test_too_narrow():
    for size in [(65, 16), (16, 65)]:
        with pytest.raises(DatasetError, match="squeezed beyond recognition"):
            _pixels(Image.new("RGB", size))
    assert _pixels(Image.new("RGB", (64, 16))).shape == (16, 64, 3)


WHOLE = _saved(Image.fromarray(RGB))
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><rect width="64" height="64"/></svg>'


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "0 bytes"),
        (b"not a picture\n", "no picture of these formats"),
        (SVG, "no picture of these formats"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n", "no picture of these formats"),
        (_saved(Image.fromarray(RGB), "PPM"), "no picture of these formats"),
        (_saved(Image.fromarray(RGB), "ICO", sizes=[(16, 16)]), "no picture of these formats"),
        (WHOLE[:300], "truncated"),
        (WHOLE[:200] + bytes(20) + WHOLE[220:], r"Got: \w+"),
        (WHOLE[:20] + bytes([WHOLE[20] ^ 1]) + WHOLE[21:], r"Got: \w+"),
        (_png(0, 20, b""), "no picture of these formats"),
        (_png(20, 20, b""), "truncated"),
        (_saved(Image.fromarray(RGB), "JPEG")[:400], "truncated"),
        (_saved(Image.fromarray(RGB), "WEBP")[:200], r"Got: \w+"),
        (_saved(Image.fromarray(RGB), "GIF")[:900], "truncated"),
        (_saved(Image.fromarray(RGB), "BMP")[:500], "truncated"),
        (_tiff(WIDE)[:300], r"Got: \w+"),
    ],
)
def test_what_is_no_whole_picture_is_refused_with_a_reason(data, reason):
    with pytest.raises(DatasetError, match=r"The picture face\.png ") as found:
        decode_upload(data, "face.png")
    assert found.match(f"(?i){reason}")
    assert found.match("Expected: a whole PNG")
    with pytest.raises(DatasetError, match="The uploaded picture "):
        decode_upload(data)


def test_too_little_memory_is_refused(monkeypatch):
    def fail(self: ImageFile.ImageFile) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(DatasetError, match="MemoryError"):
        decode_upload(WHOLE)


def _seeds() -> dict[str, bytes]:
    image, exif = Image.fromarray(RGB), Image.Exif()
    exif[274] = 6
    seeds = {kind: _saved(image, kind, exif=exif) for kind in ("PNG", "JPEG", "WEBP")}
    return seeds | {"GIF": _saved(image, "GIF"), "TIFF": _saved(image, "TIFF", compression="tiff_lzw", exif=exif)}


@pytest.mark.parametrize(("kind", "data"), _seeds().items(), ids=list(_seeds()))
def test_no_damage_raises_anything_else(kind, data):
    rng = np.random.default_rng(sum(map(ord, kind)))
    refused = 0
    for trial in range(300):
        mutated = bytearray(data[: rng.integers(len(data))] if trial % 3 == 0 else data)
        if trial % 3:
            within = len(data) if trial % 3 == 1 else min(64, len(data))  # most of what a header says is in its start
            for position in rng.integers(0, within, 3):
                mutated[position] ^= 1 << int(rng.integers(8))
        try:
            found = decode_upload(bytes(mutated))
        except DatasetError:
            refused += 1
        else:
            assert found.mode == "RGB"
            assert len(found.tobytes()) == found.width * found.height * 3
    assert 0 < refused <= 300


def test_no_decoder_of_another_format_is_tried(monkeypatch):
    monkeypatch.setitem(Image.OPEN, "EPS", (lambda *_: pytest.fail("opened"), None))
    with pytest.raises(DatasetError, match="cannot be decoded"):
        decode_upload(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n")
