"""Words and captions that concepts are described by: brainviz's own lists, a user's list, captions of pictures.

A name stands for ``words`` (a list of common English words for what can be seen), ``demo-words`` and ``demo-captions``
(what the demo's pictures are made of, and their captions), or a file that `brainviz.toml` names under ``[texts]``:

* ``.txt``: a word or a text per line; empty lines and lines that begin with ``#`` are left out.
* ``.csv`` with a column ``caption``, or ``text``, and maybe ``picture``: which picture it is about.
* ``.json``: COCO's captions (``captions_train2017.json``). With ``nsd_stim_info_merged.csv`` in the same folder, only
  those of NSD's pictures are taken, under the pictures' names there; without it all of them, about no picture.
"""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from brainviz.config import load_config, nearest
from brainviz.datasets.demo.plan import PICTURES, Shown, scene_of
from brainviz.datasets.demo.scenes import CATEGORIES, COLOURS, PLACES_TO_BE
from brainviz.errors import DatasetError, SpecError

#: Lists that brainviz has itself.
WORDS, DEMO_WORDS, DEMO_CAPTIONS = "words", "demo-words", "demo-captions"
OWN_TEXTS = (WORDS, DEMO_WORDS, DEMO_CAPTIONS)

#: In which file NSD says which of COCO's pictures each of its own is.
NSD_STIMULI = "nsd_stim_info_merged.csv"

_SUFFIXES = (".txt", ".csv", ".json")

#: UTF-8, with or without the mark that spreadsheets write before the first letter.
_ENCODING = "utf-8-sig"


@dataclass(frozen=True)
class Texts:
    """Words or captions.

    Attributes
    ----------
    name : str
    texts : tuple of str
        Each once, in the order of the file.
    pictures : tuple of tuple of str
        Names of the pictures that each text is about, such as ``nsd-00013``; empty for words.
    """

    name: str
    texts: tuple[str, ...]
    pictures: tuple[tuple[str, ...], ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the texts and what they are about, 64 hexadecimal digits."""
        return hashlib.sha256(json.dumps([self.texts, self.pictures]).encode()).hexdigest()


def text_names() -> tuple[str, ...]:
    """Return the names that texts have: brainviz's own, and those in `brainviz.toml`."""
    return (*OWN_TEXTS, *load_config().texts)


def open_texts(name: str, *, allow_path: bool = True) -> Texts:
    """Return the texts of this name.

    Parameters
    ----------
    name : str
        One of `text_names`; a path where `allow_path`.
    allow_path : bool
        False refuses paths: what a form or a link says is never used as one.

    Raises
    ------
    SpecError
        There are no such texts.
    DatasetError
        The file is absent or damaged, or holds no text.
    """
    if name in OWN_TEXTS:
        return _own(name)
    path = load_config().texts.get(name)
    if path is None and not allow_path:
        close = nearest(name, text_names())
        raise SpecError(
            "There are no such texts.",
            got=repr(name),
            expected=", ".join(text_names()),
            mend=f"did you mean {close!r}?" if close else "name a file of yours in the table [texts] of brainviz.toml.",
        )
    path = path or Path(name)
    if path.suffix not in _SUFFIXES or not path.is_file():
        raise DatasetError(
            f"There are no texts {name!r}.",
            got=str(path),
            expected=f"a file that ends with {', '.join(_SUFFIXES)}, or one of {', '.join(text_names())}",
        )
    beside = path.with_name(NSD_STIMULI)
    read = [path, beside] if path.suffix == ".json" and beside.is_file() else [path]
    return _read(name, path, tuple((each.stat().st_size, each.stat().st_mtime_ns) for each in read))


@lru_cache(maxsize=len(OWN_TEXTS))
def _own(name: str) -> Texts:
    if name == WORDS:
        return _listed(name, Path(__file__).with_name("words.txt"))
    if name == DEMO_WORDS:
        words = [*CATEGORIES, *(kind for kinds in CATEGORIES.values() for kind in kinds), *COLOURS, *PLACES_TO_BE]
        return Texts(name, tuple(words), ((),) * len(words))
    about = [(scene_of(number).caption, Shown(number, "").name) for number in range(PICTURES)]
    return _gathered(name, about)


# A page asks at every click.
@lru_cache(maxsize=8)
def _read(name: str, path: Path, _states: tuple[tuple[int, int], ...]) -> Texts:
    try:
        if path.suffix == ".json":
            found = _coco(name, path)
        else:
            found = _listed(name, path) if path.suffix == ".txt" else _table(name, path)
    except (OSError, UnicodeDecodeError, csv.Error, json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f"The texts in {path} cannot be read.",
            got=f"{type(error).__name__}: {error}".splitlines()[0],
            expected="lines (.txt), a table with a column caption or text (.csv), or COCO's captions (.json)",
            mend="correct the file, or name another one under [texts] in brainviz.toml.",
        ) from error
    if not found.texts:
        raise DatasetError(f"{path} holds no text.", mend="put a word or a text on each line.")
    return found


def _listed(name: str, path: Path) -> Texts:
    lines = (line.strip() for line in path.read_text(encoding=_ENCODING).splitlines())
    return _gathered(name, [(line, "") for line in lines if line and not line.startswith("#")])


def _table(name: str, path: Path) -> Texts:
    with path.open(encoding=_ENCODING, newline="") as file:
        table = csv.DictReader(file)
        columns = table.fieldnames or []
        column = next((known for known in ("caption", "text") if known in columns), None)
        if column is None:
            raise ValueError(f"no column caption or text, but {', '.join(columns) or 'none'}")
        return _gathered(name, [(row[column] or "", row.get("picture") or "") for row in table])


def _coco(name: str, path: Path) -> Texts:
    annotations: list[dict[str, Any]] = json.loads(path.read_text(encoding=_ENCODING))["annotations"]
    stimuli = path.with_name(NSD_STIMULI)
    if not stimuli.is_file():
        return _gathered(name, [(str(one["caption"] or ""), "") for one in annotations])
    try:
        with stimuli.open(encoding=_ENCODING, newline="") as file:
            names = {int(row["cocoId"]): f"nsd-{int(row['nsdId']):05d}" for row in csv.DictReader(file)}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f"{stimuli} cannot be read, so that nobody knows which captions are of NSD's pictures.",
            got=f"{type(error).__name__}: {error}".splitlines()[0],
            expected="NSD's own table, with columns cocoId and nsdId",
            mend="copy it again, or move it away to describe concepts by all of COCO's captions.",
        ) from error
    known = [one for one in annotations if int(one["image_id"]) in names]
    return _gathered(name, [(str(one["caption"] or ""), names[int(one["image_id"])]) for one in known])


def _gathered(name: str, about: list[tuple[str, str]]) -> Texts:
    """Return every text once, with all pictures that it is about."""
    found: dict[str, list[str]] = {}
    for text, picture in about:
        cleaned = " ".join(text.split())
        if cleaned:
            found.setdefault(cleaned, []).extend([picture] if picture else [])
    return Texts(name, tuple(found), tuple(tuple(dict.fromkeys(pictures)) for pictures in found.values()))
