"""How a visitor looks at the cortex: kept in the address, so that a link shows the same, and handed to exports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from brainviz.datasets.base import HEMISPHERES
from brainviz.figures.meshes import SURFACES

#: Named directions; any other camera is five numbers (two angles, zoom, two shifts), as `camera.js` writes them.
VIEWS = ("lateral", "medial", "ventral", "posterior")

SIDES = ("both", *HEMISPHERES)

#: What a field can be, where these are few.
CHOICES = {"side": SIDES, "surface": SURFACES}

#: No end of a colour scale is as far from 0.
FAR = 1e6

#: Separates the entries of a list in the address.
SEPARATOR = "|"

#: Stands for an empty list in the address, where nothing stands for the default.
NONE = "none"


@dataclass(frozen=True)
class Look:
    """What the viewer's controls say.

    Attributes
    ----------
    surface : str
        Of `brainviz.figures.meshes.SURFACES`.
    cameras : tuple of str
        One per map: a name of `VIEWS` or five numbers.
    side : str
        Of `SIDES`.
    threshold : float
        Values nearer to 0 are left grey.
    limits : tuple of two float, or None
        Ends of the colour scale; None for those of the data.
    colours : str
        Name of the colour scale; empty for the first.
    borders : tuple of str
        Areas that are outlined.
    named : bool
        Whether their names are written.
    floor : float
        Vertices with a lower noise ceiling are left grey.
    tested : bool
        Whether only areas that a test found different are painted.
    mirrored, linked : bool
        Whether turning one hemisphere, one map turns the other.
    """

    surface: str = "inflated"
    cameras: tuple[str, ...] = ("medial",)
    side: str = "both"
    threshold: float = 0.0
    limits: tuple[float, float] | None = None
    colours: str = ""
    borders: tuple[str, ...] = ()
    named: bool = True
    floor: float = 0.0
    tested: bool = False
    mirrored: bool = True
    linked: bool = True

    def for_viewer(self) -> dict[str, Any]:
        """Return the look as the viewer reads it."""
        return asdict(self)


#: Names in the address that differ from the fields'.
KEYS = {"cameras": "camera", "named": "names"}


def look_from(query: Mapping[str, str], default: Look) -> tuple[Look, list[str]]:
    """Read a look from an address.

    Parameters
    ----------
    query : mapping of str
        The address's parameters; others than the look's are passed over.
    default : Look
        What is not in the address.

    Returns
    -------
    look : Look
    misunderstood : list of str
        Parameters that mean nothing, as ``name=value``; the default stands in their place.
    """
    look, misunderstood = default, []
    for field in fields(Look):
        key = KEYS.get(field.name, field.name)
        if key not in query:
            continue
        value = _read(field.name, query[key], getattr(Look, field.name))
        if value is None:
            misunderstood.append(f"{key}={query[key]}")
        else:
            look = replace(look, **{field.name: value})
    return look, misunderstood


def query_of(look: Look, default: Look) -> dict[str, str | None]:
    """Return the address's parameters of a look; None for what is as by default, and is left out."""
    pairs = ((field.name, getattr(look, field.name), getattr(default, field.name)) for field in fields(Look))
    return {KEYS.get(name, name): None if value == usual else _written(value) for name, value, usual in pairs}


def look_of(told: Mapping[str, Any], default: Look) -> Look:
    """Return the look that the viewer tells of; what cannot be one is left at its default."""
    written = {KEYS.get(name, name): _written(value) for name, value in told.items() if value is not None}
    return look_from(written, replace(default, limits=None))[0]


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, (list, tuple)):
        return SEPARATOR.join(_written(each) for each in value) or NONE
    return f"{value:.4g}" if isinstance(value, (int, float)) else str(value)


def _read(name: str, text: str, default: Any) -> Any:
    """Return the value of a field, or None where the text is none."""
    entries = () if text == NONE else tuple(text.split(SEPARATOR))
    if name == "borders":
        return entries
    if name == "cameras":
        return entries if entries and all(map(_is_camera, entries)) else None
    if name in CHOICES:
        return text if text in CHOICES[name] else None
    if name == "limits":
        ends = tuple(_number(entry) for entry in entries)
        return ends if len(ends) == 2 and None not in ends and -FAR < ends[0] < ends[1] < FAR else None  # type: ignore[operator]
    if isinstance(default, bool):
        return {"0": False, "1": True}.get(text)
    if isinstance(default, float):
        return _number(text)
    return text


def _is_camera(text: str) -> bool:
    numbers = [_number(part) for part in text.split(",")]
    return text in VIEWS or (len(numbers) == 5 and None not in numbers and numbers[2] > 0)  # type: ignore[operator]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
