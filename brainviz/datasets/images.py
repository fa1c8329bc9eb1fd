"""Pictures: decode any PNG or JPEG to RGB, tell equal ones by their pixels, keep a resized copy of all as one array."""

from __future__ import annotations

import hashlib
import os
import struct
import uuid
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from brainviz.datasets.base import ImageSet
from brainviz.datasets.npy import open_npy
from brainviz.errors import DatasetError

#: How a picture becomes a square: resized whatever its shape, its middle cut out, or only its longer side trimmed.
Fit = Literal["squeezed", "cut out", "trimmed"]

#: File name endings of pictures, in lower case.
SUFFIXES = (".png", ".jpg", ".jpeg")

#: What lies behind transparent pixels: mid-grey, the usual background of a stimulus display.
BACKGROUND = (128, 128, 128)

#: Side of the square that is cut from the middle of a picture whose shorter side has so many pixels (methods, 5).
CROP, SHORTER_SIDE = 224, 256

#: What Pillow raises for damaged files, beside OSError.
DAMAGED = (SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error, Image.DecompressionBombError)


def decode(path: Path) -> Image.Image:
    """Return the picture as RGB, 8 bits per channel, in its own size.

    Greyscale, palette, CMYK and 16-bit pictures are converted (of 16 bits the upper 8 are kept, as Pillow does for
    16-bit colour); transparent ones are laid over mid-grey. An orientation in EXIF is not applied, like in torchvision.

    Raises
    ------
    DatasetError
        The file is missing, damaged, or neither PNG nor JPEG.
    """
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            image.load()
            return to_rgb(image)
    except FileNotFoundError as error:
        what = "is a link to a file that is not there" if path.is_symlink() else "does not exist"
        raise DatasetError(f"The picture {path.name} {what}.", got=str(path), mend="fetch the file.") from error
    except (OSError, *DAMAGED) as error:
        raise DatasetError(
            f"The picture {path.name} cannot be decoded.",
            got=f"{path} ({_reason(error)})",
            expected="a whole PNG or JPEG file",
            mend="copy it again from its source.",
        ) from error


def _reason(error: Exception) -> str:
    """Return the error's text; Pillow's for an unknown format only repeats the path."""
    return "not PNG or JPEG data" if isinstance(error, UnidentifiedImageError) else str(error) or type(error).__name__


def to_rgb(image: Image.Image) -> Image.Image:
    """Return a picture of any mode as 8-bit RGB: of 16 bits the upper 8, transparency over `BACKGROUND`."""
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64) >> 8
        image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    if image.mode == "RGB":
        return image.copy()
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        behind = Image.new("RGB", image.size, BACKGROUND)
        behind.paste(rgba, mask=rgba.getchannel("A"))
        return behind
    return image.convert("RGB")


def pixel_digest(image: Image.Image) -> str:
    """Return the BLAKE2b-128 of mode, size and pixels, 32 hexadecimal digits: equal pictures have equal ones.

    Parameters
    ----------
    image : PIL image, mode RGB
    """
    digest = hashlib.blake2b(f"{image.mode} {image.width} {image.height}\n".encode(), digest_size=16)
    digest.update(image.tobytes())
    return digest.hexdigest()


def squeezed(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Return a picture resized to a square, whatever its shape: Pillow's antialiased bilinear filter.

    Parameters
    ----------
    image : PIL image, mode RGB
    size : int
        Side in pixels.

    Returns
    -------
    (size, size, 3) uint8 array
    """
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def cut_out(image: Image.Image, size: int = CROP) -> NDArray[np.uint8]:
    """Return the middle of a picture: its shorter side is resized to 256/224 of `size`, and a square is cut out.

    As torchvision's ``Resize(256)`` and ``CenterCrop(224)`` for size 224 (methods, section 5): antialiased bilinear,
    and the picture keeps its proportions.

    Parameters
    ----------
    image : PIL image, mode RGB
    size : int
        Side of the square in pixels: what the network was made for.

    Returns
    -------
    (size, size, 3) uint8 array
    """
    return _middle(image, round(size * SHORTER_SIDE / CROP), size, Image.Resampling.BILINEAR)


def trimmed(image: Image.Image, size: int = CROP) -> NDArray[np.uint8]:
    """Return a picture whose shorter side is resized to `size`; what the longer side has more is cut off, half each.

    As CLIP's pictures are prepared (Radford et al. 2021, their code and open_clip's): antialiased bicubic, the picture
    keeps its proportions, and nothing of the shorter side is lost.

    Parameters
    ----------
    image : PIL image, mode RGB
    size : int
        Side of the square in pixels: what the network was made for.

    Returns
    -------
    (size, size, 3) uint8 array
    """
    return _middle(image, size, size, Image.Resampling.BICUBIC)


def _middle(image: Image.Image, short: int, size: int, resampling: Image.Resampling) -> NDArray[np.uint8]:
    """Resize the shorter side to `short`, as torchvision's ``Resize``, and cut a square out, as its ``CenterCrop``."""
    width, height = (max(short, int(short * side / min(image.size))) for side in image.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    resized = image.resize((width, height), resampling)
    return np.asarray(resized.crop((left, top, left + size, top + size)))


#: What each fit does, and what the array's file is named by.
_FITS: dict[Fit, tuple[Callable[[Image.Image, int], NDArray[np.uint8]], str]] = {
    "squeezed": (squeezed, "bilinear"),
    "cut out": (cut_out, "bilinear cut out"),
    "trimmed": (trimmed, "bicubic trimmed"),
}


def worker_threads() -> int:
    """Return how many threads to decode or digest with: the processors this process may use, at most 8."""
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def image_array(
    images: ImageSet,
    digests: Sequence[str],
    size: int,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
    fit: Fit = "squeezed",
) -> NDArray[np.uint8]:
    """Return all pictures as squares of `size` x `size`, decoded at most once: the array is kept in `folder`.

    Two processes may call this at once: each writes under a name of its own and renames at the end.

    Parameters
    ----------
    images : ImageSet, n pictures
    digests : n str
        `pixel_digest` of each picture, as the index has them; every decoded picture is compared with its own.
    size : int
        Side in pixels.
    folder : Path
        Made if needed. The file's name is a digest of `digests` and `size`.
    progress : callable, optional
        Called with (pictures done, n).
    fit : {"squeezed", "cut out", "trimmed"}
        How a picture becomes a square: by `squeezed`, by `cut_out`, or, for CLIP, by `trimmed`.

    Returns
    -------
    (n, size, size, 3) uint8 array
        Memory-mapped, read-only.

    Raises
    ------
    DatasetError
        A picture cannot be decoded, or is not the one that `digests` tells of.
    """
    if len(digests) != len(images):
        raise DatasetError(
            "The index does not fit the pictures.",
            got=f"{len(digests)} digests",
            expected=f"{len(images)}, one per picture",
        )
    square, how = _FITS[fit]
    name = hashlib.blake2b("\n".join([f"uint8 {how} {size}", *digests]).encode(), digest_size=16).hexdigest()
    path = folder / f"images-{size}-{name}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{path.stem}.{uuid.uuid4().hex}.tmp"
        try:
            _write_array(temporary, images, digests, size, progress, square)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    array: NDArray[np.uint8] = open_npy(path).map()
    return array


def _write_array(
    path: Path,
    images: ImageSet,
    digests: Sequence[str],
    size: int,
    progress: Callable[[int, int], None] | None,
    square: Callable[[Image.Image, int], NDArray[np.uint8]],
) -> None:
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(len(images), size, size, 3))

    def fill(row: int) -> None:
        image = images[row]
        if pixel_digest(image) != digests[row]:
            raise DatasetError(
                f"The picture {images.paths[row].name} has changed since the data set was checked.",
                got=str(images.paths[row]),
                mend="check the data set again; runs made with the old picture stay as they are.",
            )
        array[row] = square(image, size)

    pool = ThreadPoolExecutor(worker_threads())
    try:
        for done, _ in enumerate(pool.map(fill, range(len(images))), start=1):
            if progress:
                progress(done, len(images))
    finally:
        pool.shutdown(cancel_futures=True)
    array.flush()
