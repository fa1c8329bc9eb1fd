"""Contact sheets: many pictures in one, as a grid or in rows with names, for the page and for export as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainviz.errors import SpecError
from brainviz.figures.style import INK

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont

Picture = NDArray[np.uint8]

#: Pixels of labels' letters, and of the strip below a picture that has one.
LABEL_FONT, LABEL_PIXELS = 11, 16
#: Pixels of rows' names, of the room on both sides of them, and the most that names may take.
NAME_FONT, NAME_GAP, NAME_PIXELS = 13, 8, 200
ELLIPSIS = "…"


def contact_sheet(
    images: ArrayLike,
    *,
    columns: int,
    gap: int = 4,
    size: int = 96,
    labels: Sequence[str] | None = None,
    background: str = "white",
) -> Picture:
    """Lay pictures out in a grid, row by row.

    Parameters
    ----------
    images : (n, s, s, 3) array of uint8
    columns : int
        Pictures in a row. Fewer pictures than this make a narrower sheet.
    gap : int
        Pixels between pictures; there is no margin around the sheet.
    size : int
        Pixels of a picture's side on the sheet.
    labels : sequence of n str, optional
        Printed below the pictures, in a strip of `LABEL_PIXELS`; those that are too long end in "…".
    background : str
        A colour that Pillow knows: a name, or ``"#rrggbb"``.

    Returns
    -------
    (h, w, 3) array of uint8
        Picture i begins at row ``(i // columns) * (size + strip + gap)`` and column ``(i % columns) * (size + gap)``.

    Raises
    ------
    SpecError
        No picture, pictures of another shape or type, not a label for each, no column, or an unknown colour.
    """
    from PIL import Image, ImageDraw

    pictures = _checked(images)
    n = len(pictures)
    if n == 0:
        raise SpecError("A contact sheet needs at least one picture.", got="none")
    if labels is not None and len(labels) != n:
        raise SpecError("Every picture has one label, or none has.", got=f"{n} pictures, {len(labels)} labels")
    if columns < 1 or size < 1 or gap < 0:
        raise SpecError(
            "A contact sheet cannot be laid out like this.",
            got=f"{columns} columns, pictures of {size} pixels, {gap} between them",
            expected="at least 1 column, pictures of 1 pixel, 0 between them",
        )
    strip = 0 if labels is None else LABEL_PIXELS
    across, down = min(columns, n), -(-n // columns)
    paper = _colour(background)
    sheet = np.empty((down * (size + strip + gap) - gap, across * (size + gap) - gap, 3), np.uint8)
    sheet[:] = paper
    corners = [(at // columns * (size + strip + gap), at % columns * (size + gap)) for at in range(n)]
    for picture, (top, left) in zip(pictures, corners, strict=True):
        sheet[top : top + size, left : left + size] = _resized(picture, size)
    if labels is None:
        return sheet
    drawing = Image.fromarray(sheet)
    pen, font = ImageDraw.Draw(drawing), _font(LABEL_FONT)
    for label, (top, left) in zip(labels, corners, strict=True):
        where = (left + size / 2, top + size + LABEL_PIXELS / 2)
        pen.text(where, _fitted(pen, label, font, size), fill=_ink(paper), font=font, anchor="mm")
    return np.asarray(drawing)


def binned_sheet(rows: Sequence[tuple[str, ArrayLike]], *, size: int = 96, gap: int = 4) -> Picture:
    """Lay pictures out in one row per rank bin, with its name on the left.

    Parameters
    ----------
    rows : sequence of (str, (n_i, s, s, 3) array of uint8)
        Name of the bin, e.g. ``"1–8"``, ``"top 5 %"``, ``"last 8"``, and its pictures; a row may have none.
    size, gap : int
        Pixels of a picture's side, and between pictures.

    Returns
    -------
    (h, w, 3) array of uint8
        Row i begins at ``i * (size + gap)``. Pictures end at the sheet's right edge in the longest row; in all rows the
        first one stands at the same place.

    Raises
    ------
    SpecError
        No picture in any row, or pictures of another shape or type.
    """
    from PIL import Image, ImageDraw

    named = [(" ".join(name.split()), _checked(images)) for name, images in rows]
    most = max((len(pictures) for _, pictures in named), default=0)
    if most == 0:
        raise SpecError("A contact sheet needs at least one picture.", got="none")
    font = _font(NAME_FONT)
    widest = max(font.getlength(name) for name, _ in named)
    aside = min(int(np.ceil(widest)), NAME_PIXELS) + 2 * NAME_GAP if widest else 0
    paper = _colour("white")
    sheet = np.full((len(named) * (size + gap) - gap, aside + most * (size + gap) - gap, 3), paper, np.uint8)
    for row, (_, pictures) in enumerate(named):
        if len(pictures):
            grid = contact_sheet(pictures, columns=len(pictures), gap=gap, size=size)
            top = row * (size + gap)
            sheet[top : top + size, aside : aside + grid.shape[1]] = grid
    drawing = Image.fromarray(sheet)
    pen = ImageDraw.Draw(drawing)
    for row, (name, _) in enumerate(named):
        where = (aside - NAME_GAP, row * (size + gap) + size / 2)
        pen.text(where, _fitted(pen, name, font, aside - 2 * NAME_GAP), fill=_ink(paper), font=font, anchor="rm")
    return np.asarray(drawing)


def _checked(images: ArrayLike) -> Picture:
    """Return pictures as an array, (n, s, s, 3)."""
    pictures = np.asarray(images)
    if pictures.size == 0:
        return np.empty((0, 1, 1, 3), np.uint8)
    fits = pictures.ndim == 4 and pictures.shape[1] == pictures.shape[2] and pictures.shape[3] == 3
    if not fits or pictures.dtype != np.uint8:
        raise SpecError(
            "Pictures of a contact sheet are square and have three colours.",
            got=f"shape {pictures.shape} of {pictures.dtype}",
            expected="shape (n, s, s, 3) of uint8",
        )
    return pictures


def _resized(picture: Picture, size: int) -> Picture:
    from PIL import Image

    if len(picture) == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.LANCZOS))


def _colour(name: str) -> tuple[int, ...]:
    from PIL import ImageColor

    try:
        return ImageColor.getrgb(name)[:3]
    except ValueError as error:
        raise SpecError("This is no colour.", got=name, expected='a name such as "white", or "#rrggbb"') from error


def _ink(paper: tuple[int, ...]) -> str:
    """Return a colour that can be read on this one."""
    red, green, blue = paper
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else "white"


@lru_cache(maxsize=4)
def _font(pixels: int) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which comes with matplotlib: Pillow's own letters have no accents, dashes or "…"."""
    from matplotlib import get_data_path
    from PIL import ImageFont

    return ImageFont.truetype(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", pixels)


def _fitted(pen: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """Return as much of a text, in one line, as the width has room for."""
    line = " ".join(text.split())
    if pen.textlength(line, font=font) <= width:
        return line
    kept = line
    while kept and pen.textlength(kept.rstrip() + ELLIPSIS, font=font) > width:
        kept = kept[:-1]
    return kept.rstrip() + ELLIPSIS if kept else ""
