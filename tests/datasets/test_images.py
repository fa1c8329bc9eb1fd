"""Tests of brainviz.datasets.images: every mode of PNG and JPEG, digests of pixels, and the resized array."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from brainviz.datasets.base import ImageSet
from brainviz.datasets.images import BACKGROUND, cut_out, decode, image_array, pixel_digest, squeezed, trimmed
from brainviz.errors import DatasetError

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
GREY = RGB[..., 0]


def _decoded(tmp_path, image: Image.Image, name: str = "a.png") -> np.ndarray:
    image.save(tmp_path / name)
    found = decode(tmp_path / name)
    assert found.mode == "RGB"
    return np.asarray(found)


def test_rgb_and_grey_are_exact(tmp_path):
    np.testing.assert_array_equal(_decoded(tmp_path, Image.fromarray(RGB)), RGB)
    np.testing.assert_array_equal(_decoded(tmp_path, Image.fromarray(GREY)), np.dstack([GREY] * 3))


def test_one_bit(tmp_path):
    bits = GREY > 127
    np.testing.assert_array_equal(_decoded(tmp_path, Image.fromarray(bits)), np.dstack([bits * 255] * 3))


def test_palette(tmp_path):
    image = Image.fromarray(RGB).quantize(16)
    np.testing.assert_array_equal(_decoded(tmp_path, image), np.asarray(image.convert("RGB")))


def test_sixteen_bits_keep_the_upper_eight(tmp_path):
    wide = GREY.astype(np.uint16) * 256 + 17
    np.testing.assert_array_equal(_decoded(tmp_path, Image.fromarray(wide)), np.dstack([GREY] * 3))


def test_transparency_shows_the_background(tmp_path):
    alpha = np.full(GREY.shape, 255, np.uint8)
    opaque = Image.fromarray(np.dstack([RGB, alpha]))
    np.testing.assert_array_equal(_decoded(tmp_path, opaque), RGB)
    alpha[:, :10] = 0
    half = _decoded(tmp_path, Image.fromarray(np.dstack([RGB, alpha])))
    assert (half[:, :10] == BACKGROUND).all()
    np.testing.assert_array_equal(half[:, 10:], RGB[:, 10:])
    grey = _decoded(tmp_path, Image.fromarray(np.dstack([GREY, alpha])))
    assert (grey[:, :10] == BACKGROUND).all()


def test_transparent_palette_entry(tmp_path):
    image = Image.fromarray(RGB).quantize(16)
    image.save(tmp_path / "a.png", transparency=3)
    found, indices = np.asarray(decode(tmp_path / "a.png")), np.asarray(image)
    assert (found[indices == 3] == BACKGROUND).all()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg(tmp_path, mode):
    image = Image.new("RGB", (40, 24), (200, 80, 40)).convert(mode)
    found = _decoded(tmp_path, image, "a.JPG")
    assert found.shape == (24, 40, 3)
    assert np.abs(found.astype(int) - np.asarray(image.convert("RGB")).astype(int)).max() <= 4


@pytest.mark.parametrize("damage", ["truncate", "empty", "text", "gif", "missing", "link"])
def test_damaged_pictures_are_named(tmp_path, damage):
    path = tmp_path / "train-0001_x.png"
    Image.fromarray(RGB).save(path)
    if damage == "truncate":
        path.write_bytes(path.read_bytes()[:300])
    elif damage in ("empty", "text"):
        path.write_bytes(b"" if damage == "empty" else b"/annex/objects/MD5E-s208--123.png\n")
    elif damage == "gif":
        Image.fromarray(RGB).save(path, format="GIF")
    else:
        path.unlink()
        if damage == "link":
            path.symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(DatasetError, match=r"train-0001_x\.png"):
        decode(path)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_no_damage_raises_anything_else(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(RGB).save(path)
    data = path.read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(150):
        mutated = bytearray(data)
        for position in rng.integers(0, len(data), 3):
            mutated[position] = rng.integers(256)
        path.write_bytes(mutated)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                decode(path)
            except DatasetError:
                continue


def test_digest_tells_pixels_and_shape_not_files(tmp_path):
    image = Image.fromarray(RGB)
    image.save(tmp_path / "a.png", compress_level=0)
    image.save(tmp_path / "b.png", compress_level=9)
    assert pixel_digest(decode(tmp_path / "a.png")) == pixel_digest(decode(tmp_path / "b.png")) == pixel_digest(image)
    assert len(pixel_digest(image)) == 32
    changed = RGB.copy()
    changed[3, 4, 1] ^= 1
    others = [Image.fromarray(changed), Image.fromarray(RGB.reshape(30, 20, 3))]
    assert len({pixel_digest(each) for each in [image, *others]}) == 3


@pytest.fixture
def pictures(tmp_path) -> tuple[ImageSet, list[str]]:
    rng = np.random.default_rng(2)
    paths = []
    for i, shape in enumerate([(20, 30, 3), (16, 16, 3), (50, 8, 3)]):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(paths[-1])
    images = ImageSet(tuple(paths), ("a", "b", "c"))
    return images, [pixel_digest(image) for image in images]


def test_image_array_is_pillows_resize(pictures, tmp_path):
    images, digests = pictures
    calls = []
    array = image_array(images, digests, 12, tmp_path / "arrays", lambda done, total: calls.append((done, total)))
    assert isinstance(array, np.memmap)
    assert not array.flags.writeable
    assert calls == [(1, 3), (2, 3), (3, 3)]
    for row, image in zip(array, images, strict=True):
        np.testing.assert_array_equal(row, np.asarray(image.resize((12, 12), Image.Resampling.BILINEAR)))


def test_image_array_is_made_once_per_pictures_and_size(pictures, tmp_path):
    images, digests = pictures
    folder = tmp_path / "arrays"
    first = image_array(images, digests, 12, folder)
    for path in images.paths:
        path.unlink()
    again = image_array(images, digests, 12, folder)
    np.testing.assert_array_equal(first, again)
    with pytest.raises(DatasetError, match="does not exist"):
        image_array(images, digests, 13, folder)
    assert len(list(folder.iterdir())) == 1


def test_image_array_refuses_a_changed_picture(pictures, tmp_path):
    images, digests = pictures
    Image.fromarray(RGB).save(images.paths[1])
    with pytest.raises(DatasetError, match=r"1\.png has changed"):
        image_array(images, digests, 12, tmp_path / "arrays")
    assert not list((tmp_path / "arrays").iterdir())
    with pytest.raises(DatasetError, match="one per picture"):
        image_array(images, digests[:2], 12, tmp_path / "arrays")


def test_two_processes_at_once(pictures, tmp_path):
    images, _ = pictures
    code = (
        "import sys; from pathlib import Path; from brainviz.datasets.base import ImageSet;"
        "from brainviz.datasets.images import decode, image_array, pixel_digest;"
        "paths = tuple(map(Path, sys.argv[2:])); digests = [pixel_digest(decode(p)) for p in paths];"
        "print(int(image_array(ImageSet(paths, sys.argv[2:]), digests, 12, Path(sys.argv[1])).sum()))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "arrays"), *map(str, images.paths)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    sums = {process.communicate(timeout=60)[0] for process in running}
    assert all(process.returncode == 0 for process in running)
    assert len(sums) == 1
    assert len(list((tmp_path / "arrays").iterdir())) == 1


@pytest.mark.parametrize("side", [(256, 256), (300, 500), (500, 301), (60, 40), (97, 33), (1, 5)])
@pytest.mark.parametrize("size", [224, 64])
def test_a_middle_that_is_cut_out_is_torchvisions(side: tuple[int, int], size: int) -> None:
    from torchvision import transforms

    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*side, 3), dtype=np.uint8))
    short = {224: 256, 64: 73}[size]
    oracle = transforms.Compose([transforms.Resize(short), transforms.CenterCrop(size)])(image)
    np.testing.assert_array_equal(cut_out(image, size), np.asarray(oracle))


@pytest.mark.parametrize("side", [(224, 224), (256, 256), (300, 500), (500, 301), (60, 40), (97, 33), (1, 5)])
@pytest.mark.parametrize("size", [224, 64])
def test_a_trimmed_picture_is_open_clips(side: tuple[int, int], size: int) -> None:
    import torch
    from open_clip.transform import image_transform

    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*side, 3), dtype=np.uint8))
    oracle = image_transform(size, is_train=False, mean=(0, 0, 0), std=(1, 1, 1))(image)
    expected = (255 * torch.as_tensor(oracle)).round().byte().permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(trimmed(image, size), expected)


def test_the_ways_to_a_square_are_kept_apart(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(2)]
    for number, path in enumerate(paths):
        Image.fromarray(np.roll(RGB, number, axis=0)).save(path)
    images = ImageSet(tuple(paths), decode)
    digests = [pixel_digest(image) for image in images]
    ways = {"squeezed": squeezed, "cut out": cut_out, "trimmed": trimmed}
    arrays = {fit: image_array(images, digests, 16, tmp_path / "kept", fit=fit) for fit in ways}
    for fit, way in ways.items():
        for row, image in enumerate(images):
            np.testing.assert_array_equal(arrays[fit][row], way(image, 16))
    for one, other in (("squeezed", "cut out"), ("squeezed", "trimmed"), ("cut out", "trimmed")):
        assert not np.array_equal(arrays[one], arrays[other])
    assert len(list((tmp_path / "kept").iterdir())) == 3
    np.testing.assert_array_equal(image_array(images, digests, 16, tmp_path / "kept"), arrays["squeezed"])
