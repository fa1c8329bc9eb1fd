"""A picture that a person uploads: limits checked in its header, then decoded in memory to RGB, or refused in words."""

from __future__ import annotations

import io
import threading
import warnings

import numpy as np
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from brainviz.datasets.images import DAMAGED, to_rgb
from brainviz.errors import DatasetError

#: What is opened, in Pillow's names: no other of its decoders ever sees an uploaded file.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")

#: Limits: size of the file in bytes, pixels in all, pixels of the shorter side, and longer side to shorter side.
MOST_BYTES, MOST_PIXELS, LEAST_SIDE, MOST_RATIO = 20_000_000, 50_000_000, 16, 4

#: What Pillow raises for damaged files of these formats.
_BROKEN = (OSError, *DAMAGED, ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError)

#: Pillow's warnings are silenced while it decodes; the filters are the whole process's, so only one thread may do it.
_ONE_AT_A_TIME = threading.Lock()

_FILE_TYPES = "a whole PNG, JPEG, WebP, BMP, TIFF or GIF file"
_SAVE_AGAIN = "open it in a picture program, save it as PNG or JPEG, and upload that."


def decode_upload(data: bytes, name: str = "") -> Image.Image:
    """Return an uploaded picture as RGB, 8 bits per channel, in its own size and upright.

    Nothing is written to disk, and the limits on size and shape are checked before any pixel is decoded. Of several
    frames or pages the first is taken. The orientation in EXIF is applied; colour profiles are not. Transparent parts
    are laid over mid-grey (128), but a colour that a 16-bit PNG names as transparent is kept. Greyscale becomes three
    equal channels; of 16 bits the upper 8 are kept, as in `images.decode`: 0..65535 becomes 0..255. Floats count as
    0..255 and are rounded; they are refused if a value is outside of that, or if none is above 1, for then white may
    be 1. The picture returned carries no metadata.

    Parameters
    ----------
    data : bytes
        The file's content: PNG, JPEG, WebP, BMP, TIFF or GIF, whatever its name says.
    name : str
        The file's name, for messages.

    Raises
    ------
    DatasetError
        The file is too large, damaged or of another format, or the picture is too large, too small or too narrow, or
        which of its grey levels is black or white is not known.
    """
    picture = f"The picture {name}" if name else "The uploaded picture"
    if not data:
        raise DatasetError(f"{picture} is empty.", got="0 bytes", expected=_FILE_TYPES, mend="upload it again.")
    if len(data) > MOST_BYTES:
        raise DatasetError(
            f"{picture} is too large a file.",
            got=f"{len(data) / 1e6:.1f} MB",
            expected=f"at most {MOST_BYTES / 1e6:.0f} MB",
            mend="save it smaller or as JPEG, and upload that.",
        )
    try:
        with _ONE_AT_A_TIME, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_shape(image.size, picture)
                image.load()
                return _upright_rgb(image, picture)
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(picture, str(error)) from error
    except _BROKEN as error:
        raise DatasetError(
            f"{picture} cannot be decoded.", got=_reason(error), expected=_FILE_TYPES, mend=_SAVE_AGAIN
        ) from error


def _reason(error: Exception) -> str:
    """Return the error's text; Pillow's for an unknown format only names an object in memory."""
    if isinstance(error, UnidentifiedImageError):
        return "data in which no picture of these formats is found"
    return str(error) or type(error).__name__


def _too_many_pixels(picture: str, got: str) -> DatasetError:
    expected = f"at most {MOST_PIXELS / 1e6:.0f} million pixels"
    return DatasetError(f"{picture} has too many pixels.", got=got, expected=expected, mend="make it smaller.")


def _check_shape(size: tuple[int, int], picture: str) -> None:
    (width, height), (shorter, longer) = size, sorted(size)
    shape = f"{width} x {height} pixels"
    if width * height > MOST_PIXELS:
        raise _too_many_pixels(picture, f"{shape}, {width * height / 1e6:.1f} million")
    if shorter < LEAST_SIDE:
        raise DatasetError(
            f"{picture} is too small.",
            got=shape,
            expected=f"at least {LEAST_SIDE} pixels on each side",
            mend="upload a larger version of it.",
        )
    if longer > MOST_RATIO * shorter:
        raise DatasetError(
            f"{picture} is too narrow: as a square it would be squeezed beyond recognition.",
            got=shape,
            expected=f"a longer side of at most {MOST_RATIO} times the shorter one",
            mend="cut out the part that matters, and upload that.",
        )


def _upright_rgb(image: Image.Image, picture: str) -> Image.Image:
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    if image.mode == "F" or image.mode.startswith("I"):
        image = _eight_bits(image, picture)
    rgb = to_rgb(image)
    rgb.info = {}  # exif_transpose would write the metadata anew, which fails for odd ones
    rgb.getexif()[ExifTags.Base.Orientation] = orientation
    ImageOps.exif_transpose(rgb, in_place=True)
    rgb.getexif().clear()
    return rgb


def _eight_bits(image: Image.Image, picture: str) -> Image.Image:
    """Return deep grey as 8 bits; refuse it if it is not known which value is black and which is white."""
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    got, expected = f"values from {low:g} to {high:g}", "whole numbers from 0 to 65535, or floats from 0 to 255"
    if image.mode == "F":
        fits = low >= 0 and 1 < high <= 255  # false for NaN
        expected += " of which the largest is above 1"
    else:
        fits = low >= 0 and high <= 65535
    if fits and isinstance(image, TiffImagePlugin.TiffImageFile):  # Pillow neither stretches 12 bits nor inverts these
        bits, inverted = image.tag_v2[258][0], image.tag_v2.get(262, 0) == 0
        fits = bits >= 16 and not inverted
        got, expected = f"{bits} bits, 0 is {'white' if inverted else 'black'}", "16 or 32 bits, 0 is black"
    if not fits:
        raise DatasetError(
            f"{picture} has grey levels of an unknown range.", got=got, expected=expected, mend=_SAVE_AGAIN
        )
    return Image.fromarray((np.rint(values) if image.mode == "F" else values >> 8).astype(np.uint8))
