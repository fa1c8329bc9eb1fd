"""What the workers must know of a fingerprint: which folder or file has the contents that it names.

``<cache>/datasets/<fingerprint>.json``, and so on in ``tasks``, ``weights`` and ``texts``; the last hold the texts
themselves.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainviz.config import cache_dir
from brainviz.datasets.base import Dataset
from brainviz.datasets.tasks import DEMO_TASKS, Task, TaskIndex, build_task_index, open_task
from brainviz.datasets.texts import Texts
from brainviz.errors import DatasetError
from brainviz.runs.store import write_json

if TYPE_CHECKING:
    from brainviz.datasets.index import DatasetIndex


def memo_dir(cache: Path | None = None) -> Path:
    """Return the folder in which the digests of data files are remembered."""
    return (cache or cache_dir()) / "datasets" / "files"


def remember_dataset(dataset: Dataset, index: DatasetIndex) -> None:
    """Remember which folder has the contents that a fingerprint names."""
    _remember(
        cache_dir() / "datasets" / f"{index.fingerprint}.json",
        {
            "root": str(dataset.root.resolve()),
            "name": dataset.name,
            "n_images": {subject: len(known.image_digests) for subject, known in index.subjects.items()},
        },
    )


def load_dataset(
    fingerprint: str, cache: Path | None = None, progress: Callable[[int, int], None] | None = None
) -> tuple[Dataset, DatasetIndex]:
    """Return the data set with this fingerprint, after making sure that its files still have the contents that it
    names.

    Files whose size and modification time are as remembered are trusted; others are read again.

    Raises
    ------
    DatasetError
        Nothing is remembered of it, or its files have changed.
    """
    from brainviz.datasets import open_dataset
    from brainviz.datasets.index import build_index

    cache = cache or cache_dir()
    root = Path(_recalled(cache / "datasets", fingerprint, "data set")["root"])
    dataset = open_dataset(root)
    index = build_index(dataset, memo_dir(cache), progress)
    _require_unchanged(index.fingerprint, fingerprint, f"data in {root}")
    return dataset, index


def remember_task(task: Task, index: TaskIndex) -> None:
    """Remember where the pictures are that a task's fingerprint names."""
    facts = {"name": task.name, "root": str(task.root), "layout": task.layout, "n_images": len(task)}
    _remember(cache_dir() / "tasks" / f"{index.fingerprint}.json", facts)


def load_task(
    fingerprint: str, cache: Path | None = None, progress: Callable[[int, int], None] | None = None
) -> tuple[Task, TaskIndex]:
    """Return the task with this fingerprint, after making sure that its files still have the contents that it names.

    Raises
    ------
    DatasetError
        Nothing is remembered of it, or its files have changed.
    """
    cache = cache or cache_dir()
    known = _recalled(cache / "tasks", fingerprint, "classification task")
    task = open_task(known["name"] if known["name"] in DEMO_TASKS else Path(known["root"]))
    index = build_task_index(task, memo_dir(cache), progress)
    _require_unchanged(index.fingerprint, fingerprint, f"pictures of the task {known['name']} in {task.root}")
    return task, index


def remember_weights(digest: str, path: Path) -> None:
    """Remember which file has the weights that a digest names."""
    _remember(cache_dir() / "weights" / f"{digest}.json", {"path": str(path.resolve())})


def remember_texts(texts: Texts) -> None:
    """Remember the texts that a digest names; the file that they come from may change."""
    facts = {"name": texts.name, "texts": list(texts.texts), "pictures": [list(each) for each in texts.pictures]}
    _remember(cache_dir() / "texts" / f"{texts.digest}.json", facts)


def load_texts(digest: str, cache: Path | None = None) -> Texts:
    """Return the texts with this digest.

    Raises
    ------
    DatasetError
        Nothing is remembered of them.
    """
    known = _recalled((cache or cache_dir()) / "texts", digest, "texts")
    return Texts(known["name"], tuple(known["texts"]), tuple(tuple(each) for each in known["pictures"]))


def weights_path(digest: str, cache: Path | None = None) -> Path | None:
    """Return the file remembered for these weights, or None; whether it still holds them is not looked at."""
    path = (cache or cache_dir()) / "weights" / f"{digest}.json"
    return Path(json.loads(path.read_text(encoding="utf-8"))["path"]) if path.exists() else None


def _recalled(folder: Path, fingerprint: str, what: str) -> dict[str, Any]:
    """Return what is remembered of a fingerprint."""
    path = folder / f"{fingerprint}.json"
    if not path.exists():
        raise DatasetError(
            f"Nothing is known of the {what} with fingerprint {fingerprint[:12]}.",
            mend="ask for the run again from a page or the command line, which name the folder.",
        )
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return known


def _require_unchanged(found: str, expected: str, what: str) -> None:
    """Raise `DatasetError` unless contents are still those that a run was asked about."""
    if found != expected:
        raise DatasetError(
            f"The {what} have changed since the run was asked for.",
            got=f"fingerprint {found[:12]}",
            expected=f"fingerprint {expected[:12]}",
            mend="ask for the run again: it will be another run, about what is there now.",
        )


def _remember(path: Path, facts: Mapping[str, Any]) -> None:
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) == facts:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, facts)
