"""How a visitor looks at the cortex: kept in the address, so that a link shows the same, and handed to exports."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from brainviz.datasets.base import HEMISPHERES
from brainviz.figures.meshes import SURFACES

#: Named directions; any other camera is five numbers (two angles, zoom, two shifts), as `camera.js` writes them.
VIEWS = ("lateral", "medial", "ventral", "posterior")

SIDES = ("both", *HEMISPHERES)

#: What a field can be, where these are few.
CHOICES: Mapping[str, Collection[str]] = {"side": SIDES, "surface": SURFACES}

#: No end of a colour scale is as far from 0.
FAR = 1e6

#: What numbers can be.
RANGES = {"threshold": (0.0, FAR), "floor": (0.0, 1.0)}

#: What a free camera's numbers can be: two angles in degrees, zoom (as in `camera.js`), two shifts in millimetres.
CAMERA_RANGES = ((-360.0, 360.0), (-90.0, 90.0), (0.5, 20.0), (-1000.0, 1000.0), (-1000.0, 1000.0))

#: Cameras that an address can name: one per map.
MOST_CAMERAS = 2

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


def look_from(
    query: Mapping[str, str], default: Look, offered: Mapping[str, Collection[str]] | None = None
) -> tuple[Look, list[str]]:
    """Read a look from an address.

    Parameters
    ----------
    query : mapping of str
        The address's parameters; others than the look's are passed over.
    default : Look
        What is not in the address.
    offered : mapping, optional
        Field -> the names that it can have here; of ``borders`` those that are not here are left out.

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
        try:
            value, unknown = _read(field.name, query[key], {**CHOICES, **(offered or {})})
        except ValueError:
            misunderstood.append(f"{key}={query[key]}")
            continue
        look = replace(look, **{field.name: value})
        if unknown:
            misunderstood.append(f"{key}={unknown}")
    return look, misunderstood


def query_of(look: Look, default: Look, query: Mapping[str, str]) -> dict[str, str]:
    """Return what an address has to say anew to tell of a look.

    Parameters
    ----------
    look, default : Look
        What is as by default need not be in the address; but what is there already, is not taken out.
    query : mapping of str
        What the address says.
    """
    anew = {}
    for field in fields(Look):
        key, value = KEYS.get(field.name, field.name), getattr(look, field.name)
        text = _written(value)
        if (key in query or value != getattr(default, field.name)) and query.get(key) != text:
            anew[key] = text
    return anew


def look_of(told: Mapping[str, Any], default: Look) -> Look:
    """Return the look that the viewer tells of; what cannot be one is left at its default."""
    written = {KEYS.get(name, name): _written(value) for name, value in told.items()}
    return look_from(written, default)[0]


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, (list, tuple)):
        return SEPARATOR.join(_written(each) for each in value) or NONE
    if isinstance(value, (int, float)):
        return f"{value:.4g}"
    return NONE if value is None else str(value) or NONE


def _read(name: str, text: str, offered: Mapping[str, Collection[str]]) -> tuple[Any, str]:
    """Return the value of a field, and what of the text is not offered.

    Raises
    ------
    ValueError
        The text is no value of the field.
    """
    entries = () if text == NONE else tuple(text.split(SEPARATOR))
    usual = getattr(Look, name)
    if name == "borders":
        known = tuple(entry for entry in entries if entry in offered.get(name, entries))
        return known, SEPARATOR.join(entry for entry in entries if entry not in known)
    if name == "cameras":
        if not 1 <= len(entries) <= MOST_CAMERAS:
            raise ValueError(text)
        return tuple(map(_camera, entries)), ""
    if name == "limits":
        if not entries:
            return None, ""
        low, high = (_number(entry, -FAR, FAR) for entry in entries)
        if not low < high:
            raise ValueError(text)
        return (low, high), ""
    if isinstance(usual, bool):
        if text not in offered.get(name, ("0", "1")):
            raise ValueError(text)
        return text == "1", ""
    if isinstance(usual, float):
        return _number(text, *RANGES[name]), ""
    word = "" if text == NONE else text
    if name in offered and word not in offered[name]:
        raise ValueError(text)
    return word, ""


def _camera(text: str) -> str:
    if text in VIEWS:
        return text
    for part, ends in zip(text.split(","), CAMERA_RANGES, strict=True):
        _number(part, *ends)
    return text


def _number(text: str, low: float, high: float) -> float:
    value = float(text)
    if not low <= value <= high:  # also where it is NaN
        raise ValueError(text)
    return value
