"""Content digests of a data set, remembered per file, and the fingerprint made of them.

Every file is read once. What was found is remembered by path, size and time of change, so that asking again only looks
at the files' metadata.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from brainviz.datasets.base import Dataset
from brainviz.datasets.images import decode, pixel_digest, worker_threads
from brainviz.datasets.npy import NpyFile, open_npy
from brainviz.errors import DatasetError

#: Version of what is remembered: raise it when the same file would be described otherwise.
_VERSION = 1

#: One step of progress: a picture, or this much of another file.
_STEP_BYTES = 8 << 20

#: How many columns with a fault are named.
_NAMED_COLUMNS = 5

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Problem:
    """Something wrong with a data set, in words a researcher can act on.

    Attributes
    ----------
    level : str
        ``"error"``: something cannot be used as it is; ``"warning"``: worth knowing.
    subject, file : str
        Where; empty where it concerns all. The file is relative to the data set's folder.
    message : str
        What is wrong, and how to mend it.
    """

    level: str
    subject: str
    file: str
    message: str


@dataclass(frozen=True)
class SubjectIndex:
    """What one subject's data are.

    Attributes
    ----------
    subject : str
    digest : str
        SHA-256 over the contents of all the subject's files, test pictures left out.
    image_digests : tuple of str
        `brainviz.datasets.images.pixel_digest` of every training picture, in the order of the response rows; empty
        for a picture that cannot be decoded.
    """

    subject: str
    digest: str
    image_digests: tuple[str, ...]


@dataclass(frozen=True)
class DatasetIndex:
    """What a data set is: its fingerprint is the same wherever the folder lies and whatever it is called."""

    fingerprint: str
    subjects: Mapping[str, SubjectIndex]


@dataclass(frozen=True)
class ColumnFault:
    """How many columns of a matrix have a fault, and the first of them."""

    count: int = 0
    first: tuple[int, ...] = ()


@dataclass(frozen=True)
class FileFacts:
    """What reading a file once told.

    Attributes
    ----------
    digest : str
        SHA-256 of the bytes, or `pixel_digest` of a picture; empty where the file cannot be read.
    problem : str
        Why the file cannot be read, or the picture not decoded.
    not_finite, constant : ColumnFault
        Of a matrix: columns with NaN or infinite values, and columns whose values are all equal.
    """

    digest: str
    problem: str = ""
    not_finite: ColumnFault = ColumnFault()
    constant: ColumnFault = ColumnFault()


def build_index(dataset: Dataset, memo_dir: Path, progress: Progress | None = None) -> DatasetIndex:
    """Read every file of a data set that is not remembered yet, and return its index.

    Parameters
    ----------
    dataset : Dataset
    memo_dir : Path
        Where what was found is remembered; made if needed.
    progress : callable, optional
        Called with (steps done, steps in all).
    """
    contents = {subject: (dataset.sources(subject), dataset.images(subject).paths) for subject in dataset.subjects}
    return index_of(dataset, scan(contents, dataset.root, memo_dir, progress))


def remembered_index(dataset: Dataset, memo_dir: Path) -> DatasetIndex | None:
    """Return the index if everything it needs is remembered, else None. No file of the data set is opened."""
    subjects = {}
    for subject in dataset.subjects:
        memo = _Memo(memo_dir, dataset.root, subject)
        paths = (*dataset.sources(subject), *dataset.images(subject).paths)
        digests = {path: digest for path in paths if (digest := memo.digest(path)) is not None}
        if len(digests) < len(paths):
            return None
        subjects[subject] = _subject_index(dataset, subject, digests)
    return _dataset_index(dataset, subjects)


def index_of(dataset: Dataset, facts: Mapping[str, Mapping[Path, FileFacts]]) -> DatasetIndex:
    """Return the index of a data set whose files were scanned."""
    subjects = {}
    for subject in dataset.subjects:
        digests = {path: known.digest for path, known in facts[subject].items()}
        subjects[subject] = _subject_index(dataset, subject, digests)
    return _dataset_index(dataset, subjects)


def test_picture_digests(dataset: Dataset, subject: str, memo_dir: Path) -> tuple[tuple[str, ...], str]:
    """Return the digests of a subject's pictures without responses, and one of all; the fingerprint leaves them out.

    Raises
    ------
    DatasetError
        There are none, or one cannot be decoded.
    """
    paths = dataset.test_images(subject).paths
    if not paths:
        raise DatasetError(
            f"{subject} has no test pictures.",
            expected="pictures in test_split/test_images, as the challenge's package has them",
        )
    facts = scan({subject: ((), paths)}, dataset.root, memo_dir)[subject]
    for path in paths:
        if facts[path].problem:
            raise DatasetError(f"A test picture of {subject} cannot be used.", got=facts[path].problem)
    digests = tuple(facts[path].digest for path in paths)
    return digests, _json_digest(digests)


def _dataset_index(dataset: Dataset, subjects: Mapping[str, SubjectIndex]) -> DatasetIndex:
    digests = {subject: known.digest for subject, known in subjects.items()}
    return DatasetIndex(_json_digest({"mesh": dataset.mesh, "subjects": digests}), subjects)


def _subject_index(dataset: Dataset, subject: str, digests: Mapping[Path, str]) -> SubjectIndex:
    images = tuple(digests[path] for path in dataset.images(subject).paths)
    sources = sorted([path.name, digests[path]] for path in dataset.sources(subject))
    content: dict[str, Any] = {"images": images, "files": sources}
    repeats = dataset.repeats(subject)
    if repeats is not None:  # a noise ceiling may depend on them
        content["repeats"] = sorted(repeats.items())
    return SubjectIndex(subject, _json_digest(content), images)


def _json_digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def scan(
    contents: Mapping[str, tuple[Sequence[Path], Sequence[Path]]],
    root: Path,
    memo_dir: Path,
    progress: Progress | None = None,
) -> dict[str, dict[Path, FileFacts]]:
    """Read every file that is not remembered, with as many threads as there are processors.

    Parameters
    ----------
    contents : mapping of str to (files, pictures)
        Per subject.
    root, memo_dir : Path
        The data set's folder, and where what was found is remembered: per subject, so that little is lost when the
        process ends early.
    progress : callable, optional
        Called with (steps done, steps in all).

    Returns
    -------
    dict of str to dict of Path to FileFacts
        A file that is missing or damaged has a `FileFacts.problem`; nothing is raised for it.
    """
    done, total = 0, sum(sum(map(_steps, files)) + len(pictures) for files, pictures in contents.values())
    facts: dict[str, dict[Path, FileFacts]] = {}
    with ThreadPoolExecutor(worker_threads()) as pool:
        for subject, (files, pictures) in contents.items():
            memo = _Memo(memo_dir, root, subject)
            is_picture = set(pictures)
            paths = [*files, *pictures]
            found = pool.map(lambda path, memo=memo, pictures=is_picture: memo.facts(path, path in pictures), paths)
            facts[subject] = {}
            for path, known in zip(paths, found, strict=True):
                facts[subject][path] = known
                done += 1 if path in is_picture else _steps(path)
                if progress:
                    progress(done, total)
            memo.save()
    return facts


def _steps(path: Path) -> int:
    try:
        return 1 + path.stat().st_size // _STEP_BYTES
    except OSError:
        return 1


def examine_picture(path: Path) -> FileFacts:
    """Decode a picture and digest its pixels."""
    try:
        return FileFacts(pixel_digest(decode(path)))
    except DatasetError as error:
        return FileFacts("", one_line(error))


def examine_file(path: Path) -> FileFacts:
    """Digest a file's bytes, and look for faulty columns if it is a matrix of numbers; the file is read once."""
    try:
        array = open_npy(path)
    except DatasetError as error:
        return FileFacts(_digest_of_bytes(path), one_line(error))
    if len(array.shape) != 2 or 0 in array.shape or array.dtype.kind not in "fiu":
        return FileFacts(_digest_of_bytes(path))
    try:
        return _examine_matrix(array)
    except DatasetError as error:
        return FileFacts("", one_line(error))


def _digest_of_bytes(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _examine_matrix(array: NpyFile) -> FileFacts:
    with array.path.open("rb") as file:
        digest = hashlib.sha256(file.read(array.offset))
    low, high = (np.empty(array.shape[1], array.dtype) for _ in range(2))
    for start, block in array.blocks():
        digest.update(block.data)
        if array.fortran:
            low[start : start + len(block)], high[start : start + len(block)] = block.min(1), block.max(1)
        else:
            # A NaN anywhere makes the minimum NaN.
            low = np.minimum(low, block.min(0)) if start else block.min(0)
            high = np.maximum(high, block.max(0)) if start else block.max(0)
    not_finite = ~(np.isfinite(low) & np.isfinite(high))
    return FileFacts(digest.hexdigest(), "", _fault(not_finite), _fault((low == high) & ~not_finite))


def _fault(columns: np.ndarray[Any, np.dtype[np.bool_]]) -> ColumnFault:
    numbers = np.flatnonzero(columns)
    return ColumnFault(len(numbers), tuple(numbers[:_NAMED_COLUMNS].tolist()))


def one_line(error: DatasetError) -> str:
    """Return the error's text in one line, for a table."""
    return " ".join(f"{line}." if line[-1] not in ".!?" else line for line in str(error).splitlines())


class _Memo:
    """What is known of one subject's files, by path, size and time of change; a JSON file under `memo_dir`.

    Two processes may use it at once: each replaces the whole file, and what the other found is at worst found again.
    """

    def __init__(self, memo_dir: Path, root: Path, subject: str) -> None:
        name = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
        self._path = memo_dir / f"files-{name}" / f"{subject}.json"
        self._entries = dict(_load(self._path))
        self._changed = False

    def digest(self, path: Path) -> str | None:
        """Return the remembered digest of a file, None if there is none or the file has changed."""
        entry = self._entries.get(str(path))
        return entry[2] if entry is not None and entry[:2] == _state(path) else None

    def facts(self, path: Path, picture: bool) -> FileFacts:
        """Return what is remembered of a file, or else read it; called from several threads."""
        state = _state(path)  # before reading: a change in the meantime is noticed next time
        entry = self._entries.get(str(path))
        if entry is not None and entry[:2] == state:
            return _from_entry(entry)
        known = examine_picture(path) if picture else examine_file(path)
        self._entries[str(path)] = [*state, *_to_entry(known)]
        self._changed = True
        return known

    def save(self) -> None:
        """Write what was found, if anything was."""
        if self._changed:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary = self._path.with_name(f".{self._path.name}.{uuid.uuid4().hex}.tmp")
            temporary.write_text(json.dumps({"version": _VERSION, "files": self._entries}))
            temporary.replace(self._path)


def _state(path: Path) -> list[int]:
    """Return size and time of change, [-1, -1] for a missing file."""
    try:
        status = os.stat(path)  # noqa: PTH116 -- a third faster than Path.stat, for tens of thousands of pictures
    except OSError:
        return [-1, -1]
    return [status.st_size, status.st_mtime_ns]


def _to_entry(facts: FileFacts) -> list[Any]:
    """Return the values to remember; for a sound picture only its digest, as there are many."""
    faults = [[fault.count, fault.first] for fault in (facts.not_finite, facts.constant)]
    return [facts.digest, facts.problem, *faults] if facts != FileFacts(facts.digest) else [facts.digest]


def _from_entry(entry: Sequence[Any]) -> FileFacts:
    digest, *rest = entry[2:]
    if not rest:
        return FileFacts(digest)
    problem, *faults = rest
    return FileFacts(digest, problem, *(ColumnFault(count, tuple(first)) for count, first in faults))


def _load(path: Path) -> Mapping[str, list[Any]]:
    try:
        status = path.stat()
    except OSError:
        return {}
    return _parse(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=64)
def _parse(path: Path, _mtime_ns: int, _size: int) -> Mapping[str, list[Any]]:
    """Parse a memo file once per change: the app asks at every click."""
    try:
        content = json.loads(path.read_bytes())
        return dict(content["files"]) if content["version"] == _VERSION else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}  # what cannot be read is as good as nothing: the data set's files are read again
