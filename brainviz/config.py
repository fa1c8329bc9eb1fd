"""Where results are kept (`BRAINVIZ_CACHE`), and what `brainviz.toml` names: data sets, weights, tasks and so on."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from brainviz.errors import ConfigError

#: The folder that holds app.py.
REPOSITORY = Path(__file__).resolve().parents[1]

#: Tables of `brainviz.toml` in which the user gives names to paths, with the names that brainviz keeps for itself.
TABLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "datasets": ("demo",),
        "weights": ("imagenet", "demo", "random"),
        "tasks": ("demo-objects", "demo-quarters"),
        "texts": ("words", "demo-words", "demo-captions"),
    }
)
#: Keys of the table [meshes].
MESH_KEYS = ("folder",)


@dataclass(frozen=True)
class Config:
    """What `brainviz.toml` says; empty where there is no such file.

    Attributes
    ----------
    path : Path or None
        The file that was read.
    datasets, weights, tasks, texts : mapping of str to Path
        Folders of data sets, files of network weights, folders of classification tasks and files of words or captions
        by name. They need not exist: a disk may not be mounted today.
    meshes : Path or None
        Folder of the finer fsaverage meshes, as `brainviz.figures.meshes.load_mesh` reads them. It need not exist.
    """

    path: Path | None = None
    datasets: Mapping[str, Path] = field(default_factory=dict)
    weights: Mapping[str, Path] = field(default_factory=dict)
    tasks: Mapping[str, Path] = field(default_factory=dict)
    texts: Mapping[str, Path] = field(default_factory=dict)
    meshes: Path | None = None


def cache_dir() -> Path:
    """Return the folder for results, created: `BRAINVIZ_CACHE`, else ``cache`` beside app.py.

    Raises
    ------
    ConfigError
        The folder cannot be created.
    """
    folder = Path(os.environ.get("BRAINVIZ_CACHE") or REPOSITORY / "cache").expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            "The folder for results cannot be created.",
            got=f"{folder} ({error.strerror})",
            mend="name a folder that you may write to in the environment variable BRAINVIZ_CACHE.",
        ) from error
    return folder


def load_config() -> Config:
    """Read the file that `BRAINVIZ_CONFIG` names, else `brainviz.toml` beside app.py, which need not exist.

    Relative paths in it are relative to the file; ``~`` is the home folder.

    Raises
    ------
    ConfigError
        The file named by `BRAINVIZ_CONFIG` does not exist, is not TOML, or has an unknown table or a wrong value.
    """
    named = os.environ.get("BRAINVIZ_CONFIG")
    path = Path(named).expanduser().absolute() if named else REPOSITORY / "brainviz.toml"
    if not named and not path.exists():
        return Config()
    tables = _read_toml(path)
    refuse_unknown(path, "table", tables, (*TABLES, "meshes"))
    named_paths = {table: MappingProxyType(_paths(path, table, tables.get(table, {}))) for table in TABLES}
    meshes = _paths(path, "meshes", tables.get("meshes", {}))
    refuse_unknown(path, "key in [meshes]", meshes, MESH_KEYS)
    return Config(path, meshes=meshes.get("folder"), **named_paths)


def mesh_folder() -> Path | None:
    """Return the folder of meshes that `brainviz.toml` names, or None where it names none.

    Raises
    ------
    ConfigError
        As `load_config`; or the folder does not exist.
    """
    config = load_config()
    if config.meshes is not None and not config.meshes.is_dir():
        raise ConfigError(
            f"The folder of meshes that {config.path} names does not exist.",
            got=str(config.meshes),
            expected="a folder with the files of fsaverage6 or fsaverage",
            mend="correct or remove folder under [meshes]; without it, fsaverage5 is shown.",
        )
    return config.meshes


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like `name`, or None where none is alike."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)), None)


def refuse_unknown(path: Path, kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Raise `ConfigError` if one of the `names` found in `path` is not among the `known` ones."""
    known = list(known)
    for name in names:
        if name not in known:
            close = nearest(name, known)
            raise ConfigError(
                f"{path} has an unknown {kind} {name!r}.",
                got=name,
                expected=", ".join(known),
                mend=f"write {close!r} instead." if close else "remove it.",
            )


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            "The configuration file cannot be read.",
            got=f"{path} ({error.strerror})",
            mend="correct or unset the environment variable BRAINVIZ_CONFIG.",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is not a TOML file.", got=str(error), mend="correct the line that is named."
        ) from error


def _paths(path: Path, table: str, content: Any) -> dict[str, Path]:
    """Return the paths in one table, made absolute."""
    if not isinstance(content, dict):
        raise ConfigError(
            f"{table!r} in {path} must be a table.", got=repr(content), expected=f"[{table}] and below it name = path"
        )
    for name, value in content.items():
        if not isinstance(value, str) or not value:
            raise ConfigError(
                f"[{table}] {name} in {path} must be a path in quotes.", got=repr(value), expected=f'{name} = "/path"'
            )
        if name in TABLES.get(table, ()):
            raise ConfigError(
                f"[{table}] {name} in {path} takes a name that brainviz keeps for itself.",
                got=name,
                mend="choose another name.",
            )
    return {name: Path(os.path.normpath(path.parent / Path(value).expanduser())) for name, value in content.items()}
