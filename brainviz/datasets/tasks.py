"""Classification tasks: pictures with classes, in any of the layouts that such collections come in.

Recognised in a folder, in this order:

* Caltech256: ``256_ObjectCategories/001.ak47/001_0001.jpg`` ..., itself, or in the folder or its ``caltech256``. The
  class ``257.clutter``, pictures of nothing in particular, is left out: it is no category.
* Places365, validation images: ``places365_val.txt``, ``categories_places365.txt`` and ``val_256/`` or ``val_large/``;
  of the two, ``val_256/`` is used.
* ImageNet, validation images: ``val/n01440764/*.JPEG`` ..., or the folders named by WordNet ids alone. Classes are in
  the order of the ids, which is that of a network's 1000 logits. Their names come from ``LOC_synset_mapping.txt``,
  ``synset_words.txt`` or ``imagenet_class_index.json`` in the folder or above it; without such a file the ids are the
  names. The ``meta.bin`` of torchvision is a pickle and is not read.
* Any other collection: one folder per class, ``cat/001.jpg``, as torchvision's `ImageFolder`.

torchvision's dataset classes open these, too, but import torch, which the app must not, read a pickle (ImageNet), want
the official files by their digests (Places365), rely on files numbered without a gap (Caltech256), or give damaged
pictures no name. The layouts are therefore read here; the tests compare with torchvision.

The demo has two tasks of its own: `demo-objects`, the kind of the main object, which the compact network was trained
on, and `demo-quarters`, in which quarter of the picture it is, which the network was not trained to tell.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainviz.config import cache_dir, load_config, nearest
from brainviz.datasets.base import Dataset, ImageSet
from brainviz.datasets.images import SUFFIXES
from brainviz.datasets.index import Progress, _Memo, scan
from brainviz.errors import DatasetError, SpecError

#: The demo's tasks, and the column of its table of labels that each is about.
DEMO_TASKS: Mapping[str, str] = {"demo-objects": "object", "demo-quarters": "quarter"}

#: Version of the demo's task pictures: another version, another folder.
_DEMO_PICTURES_VERSION = 2

#: Under this name the pictures' digests are remembered, beside those of data sets.
_MEMO = "task"

#: File name endings of pictures that other libraries read and brainviz does not.
_OTHER_PICTURES = (".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp")

#: Folders that divide a collection into parts, and are no classes.
_PARTS = frozenset({"train", "training", "val", "valid", "validation", "test"})

_WORDNET_ID = re.compile(r"n\d{8}")
_CALTECH, _CLUTTER = "256_ObjectCategories", "257.clutter"
_PLACES_FILES, _PLACES_CLASSES = "places365_val.txt", "categories_places365.txt"
_PLACES_FOLDERS = ("val_256", "val_large")
_IMAGENET_NAMES = ("LOC_synset_mapping.txt", "synset_words.txt", "imagenet_class_index.json")

#: How many files, classes or folders an error names.
_NAMED = 5

_LAYOUTS = (
    f"{_CALTECH}/001.ak47/001_0001.jpg (Caltech256); {_PLACES_FILES}, {_PLACES_CLASSES} and val_256/*.jpg (Places365); "
    "val/n01440764/*.JPEG (ImageNet); or one folder of PNG or JPEG pictures per class, such as cat/001.jpg"
)


@dataclass(frozen=True, eq=False)
class Task:
    """A classification task: pictures, and the class of each. Opened, but no picture is read.

    Attributes
    ----------
    name : str
        What it was opened by.
    layout : {"demo", "caltech256", "places365", "imagenet", "folders"}
        How it was read.
    root : Path
        The folder.
    classes : tuple of str
        Names of the C classes, all different.
    labels : (N,) int64 array
        Class of each picture, 0 to C - 1; read-only.
    images : ImageSet
        The N pictures; an item is a PIL image, RGB. Their ids are the paths below the folder.
    """

    name: str
    layout: str
    root: Path
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    images: ImageSet

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class TaskIndex:
    """What a task's contents are.

    Attributes
    ----------
    fingerprint : str
        SHA-256 over classes, labels and pixels: the same wherever the folder lies and whatever it is called.
    image_digests : tuple of str
        `brainviz.datasets.images.pixel_digest` of every picture: the `groups` of `split`.
    """

    fingerprint: str
    image_digests: tuple[str, ...]


def task_names() -> tuple[str, ...]:
    """Names that `open_task` knows: the demo's two, then those of `brainviz.toml`."""
    return (*DEMO_TASKS, *load_config().tasks)


def tasks_of(dataset: Dataset) -> tuple[str, ...]:
    """Names of the tasks for networks tuned on a data set: those of `brainviz.toml`; the demo's first for the demo."""
    from brainviz.datasets.demo import holds_demo

    own = tuple(DEMO_TASKS) if holds_demo(dataset.root) else ()
    return (*own, *load_config().tasks)


def open_task(name_or_path: str | Path) -> Task:
    """Open a task by name or by folder. Folders are listed and lists of labels read, but no picture.

    Parameters
    ----------
    name_or_path : str or Path
        One of `task_names`, or a folder in one of the layouts of the module. The pictures of the demo's tasks are
        drawn if they are not there yet, which takes some seconds.

    Raises
    ------
    DatasetError
        There is no such task, or its folder is in none of the layouts, is incomplete, or has fewer than two classes.
    """
    if name_or_path in DEMO_TASKS:
        return _open_demo(str(name_or_path))
    tasks = load_config().tasks
    name = str(name_or_path)
    named = isinstance(name_or_path, str) and name in tasks
    root = tasks[name] if named else Path(name_or_path).expanduser()
    if not root.is_dir():
        names = task_names()
        close = nearest(name, names)
        raise DatasetError(
            f"The folder of the task {name!r} does not exist."
            if named
            else f"There is no classification task {name!r}.",
            got=str(root),
            expected=f"one of {', '.join(names)}, or a folder",
            mend=f"did you mean {close!r}?"
            if close and not named
            else "correct the path, or name the folder under [tasks] in brainviz.toml.",
        )
    return _open_folder(name, root.resolve())


def build_task_index(task: Task, memo_dir: Path, progress: Progress | None = None) -> TaskIndex:
    """Read every picture that is not remembered yet, and return what the task's contents are.

    Parameters
    ----------
    task : Task
    memo_dir : Path
        Where the digests of pictures are remembered, by path, size and time of change; made if needed.
    progress : callable, optional
        Called with (pictures done, pictures in all).

    Raises
    ------
    DatasetError
        Pictures are missing or damaged; the first of them are named.
    """
    facts = scan({_MEMO: ((), task.images.paths)}, task.root, memo_dir, progress)[_MEMO]
    broken = [path for path in task.images.paths if facts[path].problem]
    if broken:
        raise DatasetError(
            f"Pictures of the task {task.name!r} cannot be read.",
            got=f"{len(broken)} of {len(task)}: {_listed(str(path) for path in broken)}. "
            f"The first: {facts[broken[0]].problem}",
            expected="whole PNG or JPEG files",
            mend="fetch these files again, or remove them.",
        )
    return _index(task, [facts[path].digest for path in task.images.paths])


def remembered_task_index(task: Task, memo_dir: Path) -> TaskIndex | None:
    """Return the index if every picture is remembered, as it is now and undamaged, else None. No picture is opened.

    Parameters
    ----------
    task, memo_dir
        As in `build_task_index`.
    """
    memo = _Memo(memo_dir, task.root, _MEMO)
    digests = [memo.digest(path) for path in task.images.paths]
    known = [digest for digest in digests if digest]
    return _index(task, known) if len(known) == len(task) else None


def _index(task: Task, digests: Sequence[str]) -> TaskIndex:
    content = {"classes": task.classes, "labels": task.labels.tolist(), "images": digests}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return TaskIndex(hashlib.sha256(text.encode()).hexdigest(), tuple(digests))


def split(
    labels: NDArray[np.integer],
    seed: int,
    test_share: float = 0.15,
    *,
    groups: Sequence[str] | NDArray[np.generic] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide the pictures of a task into a training and a test part.

    Shuffled, not stratified, like the paper's. Classes may therefore have more or less than their share of test
    pictures, or none; but every class has a training picture.

    Parameters
    ----------
    labels : (N,) int array
        Classes.
    seed : int
        Another seed, another division.
    test_share : float
        Share of the pictures that are for testing, between 0 and 1; rounded, at least one in each part.
    groups : N values, optional
        Equal values mark equal pictures (`TaskIndex.image_digests`), which go to the same part; the share is then that
        of the distinct ones.

    Returns
    -------
    train, test : int64 arrays
        Picture numbers, ascending; together they are all.

    Raises
    ------
    SpecError
        A share out of range, or `groups` of another length.
    DatasetError
        Fewer than two distinct pictures, or a class without a training picture.

    References
    ----------
    Mulrooney & Brockmeier 2024, arXiv 2410.06067 (85/15).
    """
    n = len(labels)
    if not 0 < test_share < 1 or (groups is not None and len(groups) != n):
        raise SpecError(
            "The pictures cannot be divided this way.",
            got=f"test share {test_share}, {n} labels, {n if groups is None else len(groups)} groups",
            expected="a share between 0 and 1, and one group per label",
        )
    distinct, group = np.unique(np.arange(n) if groups is None else np.asarray(groups), return_inverse=True)
    if len(distinct) < 2:
        raise DatasetError(
            "There are too few pictures to divide.", got=f"{len(distinct)} distinct", expected="at least 2"
        )
    count = min(max(round(test_share * len(distinct)), 1), len(distinct) - 1)
    is_test = np.isin(group, np.random.default_rng(seed).permutation(len(distinct))[:count])
    absent = np.setdiff1d(labels[is_test], labels[~is_test])
    if absent.size:
        raise DatasetError(
            "A class has no training picture.",
            got=f"all pictures of {len(absent)} classes are in the test part: {_listed(map(str, absent))}",
            expected="at least one training picture per class",
            mend="choose another seed or a smaller test share, or leave out classes with very few pictures.",
        )
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)


# --- layouts ----------------------------------------------------------------------------------------------------------


def _open_demo(name: str) -> Task:
    from brainviz.datasets.demo.scenes import KINDS
    from brainviz.datasets.demo.task_pictures import QUARTERS, TABLE, write_task_pictures

    root = write_task_pictures(cache_dir() / f"demo-tasks-{_DEMO_PICTURES_VERSION}").resolve()
    with (root / TABLE).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    classes = {"object": KINDS, "quarter": QUARTERS}[DEMO_TASKS[name]]
    labels = [classes.index(row[DEMO_TASKS[name]]) for row in rows]
    return _task(name, "demo", root, classes, [root / row["file"] for row in rows], labels)


def _open_folder(name: str, root: Path) -> Task:
    caltech = [folder for folder in (root, root / _CALTECH, root / "caltech256" / _CALTECH) if folder.name == _CALTECH]
    for folder in caltech:
        if folder.is_dir():
            return _open_caltech(name, root, folder)
    if (root / _PLACES_FILES).is_file() or (root / _PLACES_CLASSES).is_file():
        return _open_places(name, root)
    for folder in (root / "val", root):
        found = _folders(folder)
        if found and all(_WORDNET_ID.fullmatch(each.name) for each in found):
            return _open_imagenet(name, root, found)
    return _open_classes(name, root)


def _open_caltech(name: str, root: Path, folder: Path) -> Task:
    """Open Caltech256. Only pictures directly in a class's folder count: ``056.dog/greg`` holds others."""
    found = [each for each in _folders(folder) if each.name != _CLUTTER]
    pictures = {each: _pictures(each, below=False) for each in found}
    return _of_folders(name, "caltech256", root, pictures, [each.name.partition(".")[2] or each.name for each in found])


def _open_imagenet(name: str, root: Path, found: Sequence[Path]) -> Task:
    names = _wordnet_names(root)
    unknown = [each.name for each in found if names and each.name not in names]
    if unknown:
        raise DatasetError(
            "The list of class names is not complete.",
            got=f"no name for {_listed(unknown)}",
            expected="one line per WordNet id",
            mend="correct or remove the list beside the folders.",
        )
    titles = [names.get(each.name, each.name) for each in found]
    return _of_folders(name, "imagenet", root, {each: _pictures(each) for each in found}, titles)


def _wordnet_names(root: Path) -> dict[str, str]:
    """Return the first name of each WordNet id, from the first list of names there is; empty without one."""
    for path in (folder / file for folder in (root, root.parent) for file in _IMAGENET_NAMES):
        if not path.is_file():
            continue
        text = _text(path)
        if path.suffix == ".txt":
            pairs = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
            named = {pair[0]: pair[1].split(",")[0].strip() for pair in pairs if len(pair) == 2}
        else:
            named = _wordnet_names_of_json(path, text)
        if not named or not all(_WORDNET_ID.fullmatch(key) for key in named):
            raise DatasetError(
                f"{path.name} is not a list of class names.",
                got=str(path),
                expected="lines such as: n01440764 tench, Tinca tinca",
                mend="correct or remove it.",
            )
        return named
    return {}


def _wordnet_names_of_json(path: Path, text: str) -> dict[str, str]:
    """Return the names in ``{"0": ["n01440764", "tench"], ...}``."""
    try:
        return {str(key): str(value).replace("_", " ") for key, value in json.loads(text).values()}
    except (ValueError, AttributeError, TypeError) as error:
        raise DatasetError(
            f"{path.name} is not a list of class names.",
            got=f"{path} ({error})",
            expected='{"0": ["n01440764", "tench"], ...}',
            mend="correct or remove it.",
        ) from error


def _open_places(name: str, root: Path) -> Task:
    folders = [root / folder for folder in _PLACES_FOLDERS if (root / folder).is_dir()]
    absent = [file for file in (_PLACES_FILES, _PLACES_CLASSES) if not (root / file).is_file()]
    if absent or not folders:
        raise DatasetError(
            f"The Places365 folder {root} is incomplete.",
            got=f"no {', no '.join([*absent, *([] if folders else [' or '.join(_PLACES_FOLDERS)])])}",
            expected=f"{_PLACES_FILES}, {_PLACES_CLASSES}, and val_256/ or val_large/",
            mend="fetch the validation images and the file lists of Places365-Standard, and unpack them here.",
        )
    number_of = dict(_pairs(root / _PLACES_CLASSES, "/a/airfield 0"))
    if sorted(number_of.values()) != list(range(len(number_of))):
        raise _bad_list(root / _PLACES_CLASSES, "numbers that are not 0, 1, 2, ...", "/a/airfield 0")
    # "/a/apartment_building/outdoor": the letter is no part of the name.
    titles = [re.sub(r"^/[a-z]/", "", title) for title in sorted(number_of, key=number_of.__getitem__)]
    listed = _pairs(root / _PLACES_FILES, "Places365_val_00000001.jpg 165")
    if wrong := [file for file, number in listed if not 0 <= number < len(titles) or Path(file).name != file]:
        raise _bad_list(root / _PLACES_FILES, f"{wrong[0]!r}", "a file's name, and a class of the other list")
    present = {path.name for path in _files(folders[0])}
    if missing := [file for file, _ in listed if file not in present]:
        raise DatasetError(
            f"Pictures that {_PLACES_FILES} lists are not in {folders[0].name}.",
            got=f"{len(missing)} of {len(listed)} are missing: {_listed(missing)}",
            mend="fetch them, or take their lines out of the list.",
        )
    paths, labels = [folders[0] / file for file, _ in listed], [number for _, number in listed]
    return _task(name, "places365", root, _distinct(titles, list(number_of)), paths, labels)


def _pairs(path: Path, example: str) -> list[tuple[str, int]]:
    """Return the lines of a list of names and class numbers."""
    pairs = []
    for line in filter(None, map(str.strip, _text(path).splitlines())):
        title, _, number = line.rpartition(" ")
        if not title or not number.isdecimal():
            raise _bad_list(path, f"the line {line!r}", example)
        pairs.append((title.strip(), int(number)))
    if len(dict(pairs)) != len(pairs):
        raise _bad_list(path, "a name that comes twice", example)
    return pairs


def _bad_list(path: Path, got: str, expected: str) -> DatasetError:
    return DatasetError(
        f"{path.name} has a line that cannot be used.", got=got, expected=expected, mend=f"fetch {path} again."
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path.name} cannot be read.", got=f"{path} ({error})", mend="fetch it again.") from error


def _open_classes(name: str, root: Path) -> Task:
    """Open a folder of one folder per class, the pictures at any depth, as torchvision's `ImageFolder`."""
    found = _folders(root)
    pictures = {each: _pictures(each) for each in found}
    parts = [each.name for each in found if each.name.lower() in _PARTS and pictures[each]]
    if not any(pictures.values()) or len(parts) == len(found):
        contents = sorted(path.name for path in root.iterdir())
        raise DatasetError(
            f"{root} is in no layout of a classification task that is known.",
            got=_listed(contents) if contents else "an empty folder",
            expected=_LAYOUTS,
            mend=_hint(root, parts),
        )
    return _of_folders(name, "folders", root, pictures, [each.name for each in found])


def _hint(root: Path, parts: Sequence[str]) -> str:
    flat = [folder for folder in (root, root / "val") if folder.is_dir() and _pictures(folder, below=False)]
    if flat:
        return f"sort the pictures in {flat[0]} into one folder per class."
    if parts:
        return f"name one of its parts, such as {root / parts[0]}."
    return "name the folder that holds one of these layouts."


def _of_folders(
    name: str, layout: str, root: Path, pictures: Mapping[Path, Sequence[Path]], titles: Sequence[str]
) -> Task:
    empty = [folder.name for folder, paths in pictures.items() if not paths]
    if empty:
        raise DatasetError(
            f"Folders of {root} hold no PNG or JPEG picture.",
            got=f"{len(empty)} of {len(pictures)}: {_listed(empty)}",
            expected="at least one picture per class",
            mend="remove these folders, or put the pictures there.",
        )
    paths = [path for of_class in pictures.values() for path in of_class]
    labels = [number for number, of_class in enumerate(pictures.values()) for _ in of_class]
    return _task(name, layout, root, _distinct(titles, [folder.name for folder in pictures]), paths, labels)


def _task(
    name: str, layout: str, root: Path, classes: Sequence[str], paths: Sequence[Path], labels: Sequence[int]
) -> Task:
    if len(classes) < 2:
        raise DatasetError(
            f"A classification needs at least two classes; {root} has fewer.",
            got=_listed(classes) or "none",
            expected=_LAYOUTS,
            mend="name the folder that holds the classes' folders.",
        )
    numbers = np.array(labels, np.int64)
    absent = np.flatnonzero(np.bincount(numbers, minlength=len(classes)) == 0)
    if absent.size:
        raise DatasetError(
            f"Classes of {root} have no picture.",
            got=f"{absent.size} of {len(classes)}: {_listed(classes[number] for number in absent.tolist())}",
            expected="at least one picture per class",
            mend="complete the pictures and their list.",
        )
    numbers.setflags(write=False)
    ids = tuple(path.relative_to(root).as_posix() for path in paths)
    return Task(name, layout, root, tuple(classes), numbers, ImageSet(tuple(paths), ids))


def _distinct(titles: Sequence[str], folders: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the classes; those that several have (ImageNet has two cranes) with the folder's name."""
    count = Counter(titles)
    return tuple(
        f"{title} ({folder})" if count[title] > 1 else title for title, folder in zip(titles, folders, strict=True)
    )


def _folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted by name; hidden ones do not count. Without such a folder: none."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _files(folder: Path) -> list[Path]:
    """Return the files in a folder, sorted by name; hidden ones, such as macOS puts beside pictures, do not count."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if not entry.name.startswith(".") and not entry.is_dir())
    return [folder / name for name in names]


def _pictures(folder: Path, *, below: bool = True) -> list[Path]:
    """Return the pictures in a folder and, with `below`, in all folders below it.

    Raises
    ------
    DatasetError
        There are pictures of a kind that is not read: leaving them out unsaid would change the task.
    """
    files = _files(folder)
    if other := [path for path in files if path.suffix.lower() in _OTHER_PICTURES]:
        raise DatasetError(
            f"{folder} holds pictures of a kind that brainviz does not read.",
            got=_listed(path.name for path in other),
            expected="PNG or JPEG pictures",
            mend="convert them, or move them elsewhere.",
        )
    found = [path for path in files if path.suffix.lower() in SUFFIXES]
    return found + [path for inner in (_folders(folder) if below else ()) for path in _pictures(inner)]


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
    return ", ".join(every[:_NAMED]) + more
