"""What `dataset.toml`, at the root of a data set, may say about it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from brainviz.config import nearest
from brainviz.datasets.base import HEMISPHERES

#: In place of a subject's name: what holds for all.
EVERYONE = ""


@dataclass(frozen=True)
class Settings:
    """What `dataset.toml` says, with the defaults of the Algonauts package where it is silent.

    `repeats` holds, for a subject or for all (`EVERYONE`), how many pictures were shown how often: {k: n_k}.
    """

    name: str
    mesh: str = "fsaverage"
    hemispheres: tuple[str, ...] | None = None
    unit: str = "vertex"
    response: str = ""
    subjects: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    repeats: Mapping[str, Mapping[int, int]] = field(default_factory=dict)

    def repeats_of(self, subject: str) -> Mapping[int, int] | None:
        """Return how many of the subject's pictures were shown how often, {k: n_k}; None where the file is silent."""
        return self.repeats.get(subject, self.repeats.get(EVERYONE))


@dataclass(frozen=True)
class Finding:
    """Something wrong with a folder or a file: a word for `check`, and for opening where it is an error."""

    level: str
    file: str
    message: str


def read_settings(path: Path, name: str) -> tuple[Settings, tuple[Finding, ...]]:
    """Return the settings in a dataset.toml, which need not exist, and what is wrong with them.

    A wrong one is replaced by its default; the data set's default name is `name`.
    """
    default = Settings(name)
    if not path.exists():
        return default, ()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return default, (
            Finding("error", path.name, f"The file cannot be read as TOML: {error}. Correct the line that is named."),
        )
    findings, values = [], dict[str, Any](name=name)
    for key, value in content.items():
        if key not in _SETTING_RULES:
            close = nearest(key, _SETTING_RULES)
            hint = f" Did you mean {close!r}?" if close else ""
            findings.append(Finding("warning", path.name, f"The key {key!r} is unknown and is ignored.{hint}"))
        elif not _SETTING_RULES[key][0](value):
            findings.append(Finding("error", path.name, f"{key!r} must be {_SETTING_RULES[key][1]}, but is {value!r}."))
        else:
            values[key] = _CONVERSIONS.get(key, _unchanged)(value)
    return Settings(**values), tuple(findings)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _unchanged(value: Any) -> Any:
    return value


def _repeats(value: Any) -> dict[str, dict[int, int]] | None:
    """Return subject (or `EVERYONE`) -> {k: n_k}; None for what does not say how often pictures were shown."""
    counts = _counts(value)
    if counts is not None:
        return {EVERYONE: counts}
    if not isinstance(value, dict) or any(name.isdecimal() for name in value):
        return None
    of_subjects = {subject: counts for subject, each in value.items() if (counts := _counts(each)) is not None}
    return of_subjects if value and len(of_subjects) == len(value) else None


def _counts(value: Any) -> dict[int, int] | None:
    """Return {k: n_k} of a number of repeats, or of a table of them, whose keys TOML gives as texts."""
    if type(value) is int and value >= 1:
        return {value: 1}
    if not isinstance(value, dict) or not all(re.fullmatch("0*[1-9][0-9]*", shown) for shown in value):
        return None
    counts = {int(shown): images for shown, images in value.items()}
    sound = all(type(images) is int and images >= 0 for images in counts.values())
    return counts if sound and any(counts.values()) else None


#: Key of dataset.toml: what is made of a value that will do, where it is not taken as it is.
_CONVERSIONS: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {"hemispheres": lambda value: tuple(h for h in HEMISPHERES if h in value), "repeats": _repeats}
)

#: Key of dataset.toml: whether a value will do, and what would do, in words.
_SETTING_RULES: Mapping[str, tuple[Any, str]] = MappingProxyType(
    {
        "name": (_is_text, "a text"),
        "mesh": (_is_text, 'the name of a mesh, such as "fsaverage", or "none"'),
        "hemispheres": (
            lambda value: isinstance(value, list) and bool(value) and all(h in HEMISPHERES for h in value),
            'a list of "lh", "rh" or both',
        ),
        "unit": (_is_text, 'a text, such as "vertex"'),
        "response": (_is_text, "a text"),
        "subjects": (
            lambda value: isinstance(value, dict) and all(isinstance(text, str) for text in value.values()),
            "a table with one text per subject",
        ),
        "defaults": (lambda value: isinstance(value, dict), "a table of settings"),
        "repeats": (
            lambda value: _repeats(value) is not None,
            "how often every picture was shown, such as 3, or a table of how many pictures were shown how often, such"
            " as {1 = 200, 2 = 300, 3 = 9500}, or a table with one of these per subject",
        ),
    }
)
