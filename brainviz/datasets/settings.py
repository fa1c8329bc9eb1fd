"""What `dataset.toml`, at the root of a data set, may say about it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from brainviz.config import nearest
from brainviz.datasets.base import HEMISPHERES


@dataclass(frozen=True)
class Settings:
    """What `dataset.toml` says, with the defaults of the Algonauts package where it is silent."""

    name: str
    mesh: str = "fsaverage"
    hemispheres: tuple[str, ...] | None = None
    unit: str = "vertex"
    response: str = ""
    subjects: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)


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
            values[key] = tuple(h for h in HEMISPHERES if h in value) if key == "hemispheres" else value
    return Settings(**values), tuple(findings)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


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
    }
)
