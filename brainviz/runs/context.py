"""What a computation is given: where it computes and tells how far it is, and one subject's data with its split."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainviz.datasets.base import HEMISPHERE_NAMES, Dataset
from brainviz.datasets.images import image_array
from brainviz.datasets.splits import Split, split_pictures
from brainviz.errors import DatasetError, SpecError
from brainviz.runs.remembered import load_dataset
from brainviz.runs.spec_base import Spec, SplitFields
from brainviz.runs.store import Run, Store

if TYPE_CHECKING:
    from brainviz.datasets.index import DatasetIndex

#: With two pictures every correlation is 1 or -1.
MIN_TEST_PICTURES = 3

#: Progress is written down at most so often.
PROGRESS_SECONDS = 0.5


class Context:
    """Where a run computes, and where it tells how far it is.

    Parameters
    ----------
    store : Store
        Holds the runs that this one builds on.
    path : Path
        The run's own folder.
    asked_device : str
        ``"auto"``, ``"cpu"`` or ``"cuda"``.
    event : callable
        Takes one progress event, a mapping that JSON can hold.
    """

    def __init__(self, store: Store, path: Path, asked_device: str, event: Callable[[Mapping[str, Any]], None]) -> None:
        self.store, self.path, self.asked_device, self.event = store, path, asked_device, event
        self._told, self._told_text = 0.0, ""

    @cached_property
    def device(self) -> str:
        """Where the run computes: ``"cpu"`` or ``"cuda"``.

        Raises
        ------
        SpecError
            CUDA was asked for and there is none.
        """
        import torch

        if self.asked_device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        if self.asked_device == "cuda" and not torch.cuda.is_available():
            raise SpecError("There is no CUDA device on this machine.", got="device cuda", mend="ask for cpu, or auto.")
        return self.asked_device

    def progress(self, text: str) -> Callable[[int, int], None]:
        """Return a function that writes down ``(done, total)`` of the step called `text`, not too often."""

        def tell(done: int, total: int) -> None:
            now = time.monotonic()
            if text != self._told_text or done == total or now - self._told >= PROGRESS_SECONDS:
                self._told, self._told_text = now, text
                self.event({"event": "progress", "text": text, "done": done, "total": total})

        return tell

    def report(self, event: Mapping[str, Any]) -> None:
        """Write down what a fit tells: a note for the reader, or the figures of an epoch."""
        self.event({"event": "note", "text": event["note"]} if "note" in event else {"event": "epoch", **event})

    def finished(self, spec: Spec) -> Run:
        """Return the finished run that answers a spec.

        Raises
        ------
        RunError
            It is not done.
        """
        run = self.store.run_of(spec)
        run.manifest()
        return run


@dataclass(frozen=True)
class Pictures:
    """One subject's data, with the pictures divided.

    Attributes
    ----------
    dataset : Dataset
    index : DatasetIndex
    subject : str
    split : Split
        Rows of the training and of the test pictures.
    """

    dataset: Dataset
    index: DatasetIndex
    subject: str
    split: Split

    @property
    def digests(self) -> tuple[str, ...]:
        """One per row: equal pictures have equal ones."""
        return self.index.subjects[self.subject].image_digests

    def groups(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return a number for each of these rows' pictures, shape (m,); equal pictures have equal ones."""
        return np.unique(np.array(self.digests)[rows], return_inverse=True)[1]


def open_pictures(spec: Spec, splitting: SplitFields, context: Context) -> Pictures:
    """Return the subject's data, verified against the fingerprint, and how its pictures are divided."""
    dataset, index = load_dataset(spec.dataset, context.store.cache, context.progress("checking the data set"))
    dataset.require_subject(spec.subject)
    split = split_pictures(index, splitting.test_share, splitting.split_seed)[spec.subject]
    if len(split.train) < 2 or len(split.test) < MIN_TEST_PICTURES:
        raise DatasetError(
            f"{spec.subject} has too few pictures to divide.",
            got=f"{len(split.train)} to train and {len(split.test)} to test",
            expected=f"at least 2 to train and {MIN_TEST_PICTURES} to test",
            mend="choose another test share.",
        )
    return Pictures(dataset, index, spec.subject, split)


def read_responses(pictures: Pictures, hemi: str, roi: str) -> NDArray[np.float32]:
    """Return the responses of a ROI to all pictures, shape (n, v).

    Raises
    ------
    DatasetError
        Some are not numbers.
    """
    responses = np.asarray(pictures.dataset.responses(pictures.subject, hemi, roi))
    # A sum over a column is finite unless a value is not, or overflows: no mask of the size of the data.
    broken = np.flatnonzero(~np.isfinite(responses.sum(axis=0, dtype=np.float64)))
    if broken.size:
        raise DatasetError(
            f"{roi} of {pictures.subject} in the {HEMISPHERE_NAMES[hemi]} has responses that are not numbers.",
            got=f"NaN or infinite values in {broken.size} of {responses.shape[1]} vertices",
            expected="finite numbers",
            mend="repair the data (`python -m brainviz check` says where), or choose a ROI without them.",
        )
    return responses


def read_together(pictures: Pictures, hemi: str, rois: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the vertices of one ROI or more, each once: their columns, (v,) ascending, and responses, (n, v).

    Raises
    ------
    DatasetError
        Some responses are not numbers.
    """
    own = {roi: pictures.dataset.columns(pictures.subject, hemi, roi) for roi in rois}
    columns = np.unique(np.concatenate(list(own.values())))
    read = {roi: read_responses(pictures, hemi, roi) for roi in rois}
    responses = next(iter(read.values()))
    if len(rois) > 1:  # a vertex of two ROIs is one vertex
        responses = np.empty((len(responses), len(columns)), np.float32)
        for roi, values in read.items():
            responses[:, np.searchsorted(columns, own[roi])] = values
    return columns, responses


def standardised(responses: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the responses with mean 0 and standard deviation 1 over `rows`; a vertex that is constant there becomes 0.

    Parameters
    ----------
    responses : (n, v) array
    rows : (m,) int array
        The pictures that are fitted: statistics of others would leak.
    """
    fitted = responses[rows].astype(np.float64)
    scale = fitted.std(axis=0)
    scale[fitted.max(axis=0) == fitted.min(axis=0)] = np.inf
    result: NDArray[np.float32] = ((responses - fitted.mean(axis=0)) / scale).astype(np.float32)
    return result


def read_images(pictures: Pictures, size: int, context: Context) -> NDArray[np.uint8]:
    """Return the subject's pictures, shape (n, size, size, 3); decoded once and kept in the cache."""
    images = pictures.dataset.images(pictures.subject)
    folder = context.store.cache / "images"
    return image_array(images, pictures.digests, size, folder, context.progress("decoding pictures"))
