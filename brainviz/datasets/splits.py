"""Which pictures are for training and which for testing: equal pictures are always in the same part."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainviz.datasets.index import DatasetIndex
from brainviz.errors import DatasetError


@dataclass(frozen=True)
class Split:
    """One subject's rows in the two parts.

    Attributes
    ----------
    train, test : int64 arrays
        Row numbers of the responses, ascending.
    """

    train: NDArray[np.int64]
    test: NDArray[np.int64]


def split_pictures(index: DatasetIndex, test_share: float = 0.15, seed: int = 0) -> dict[str, Split]:
    """Divide the distinct pictures of all subjects together into a training and a test part.

    A picture is in the same part wherever it occurs, within and across subjects, so that nothing that a model was tuned
    on is tested on in transfer or pooling. Pictures that cannot be decoded are in neither part.

    Parameters
    ----------
    index : DatasetIndex
    test_share : float
        Share of the distinct pictures that are for testing; rounded to whole pictures, at least one in each part.
    seed : int
        Another seed, another division.

    Returns
    -------
    dict of str to Split
        Per subject. With few pictures, a subject may have none in one of the parts.

    Raises
    ------
    DatasetError
        There are fewer than two distinct pictures.
    """
    distinct = {digest for known in index.subjects.values() for digest in known.image_digests} - {""}
    test = _draw(distinct, test_share, seed)
    return {subject: _divide(known.image_digests, test) for subject, known in index.subjects.items()}


def hold_out(
    rows: NDArray[np.integer], digests: Sequence[str], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide training rows into those to fit on and those to validate on, equal pictures together.

    Parameters
    ----------
    rows : (n,) int array
        Row numbers, usually `Split.train`.
    digests : sequence of str
        `SubjectIndex.image_digests`: of all the subject's pictures, not only of `rows`.
    share : float
        Share of the distinct pictures among `rows` to validate on; 0 is none.
    seed : int

    Returns
    -------
    fit, validation : int64 arrays
        Row numbers, ascending; together they are `rows`.

    Raises
    ------
    DatasetError
        There are fewer than two distinct pictures.
    """
    chosen = np.sort(np.asarray(rows, np.int64))
    if share == 0:
        return chosen, np.empty(0, np.int64)
    among = [digests[row] for row in chosen]
    split = _divide(among, _draw(set(among), share, seed))
    return chosen[split.train], chosen[split.test]


def _draw(distinct: Iterable[str], share: float, seed: int) -> set[str]:
    """Draw a share of the distinct pictures; which ones depends on their digests and the seed only."""
    pictures = sorted(distinct)
    if len(pictures) < 2:
        raise DatasetError(
            "There are too few pictures to divide.", got=f"{len(pictures)} distinct", expected="at least 2"
        )
    count = min(max(round(share * len(pictures)), 1), len(pictures) - 1)
    order = np.random.default_rng(seed).permutation(len(pictures))
    return {pictures[i] for i in order[:count]}


def _divide(digests: Sequence[str], test: set[str]) -> Split:
    is_test = np.array([digest in test for digest in digests], bool)
    usable = np.array([digest != "" for digest in digests], bool)
    return Split(np.flatnonzero(usable & ~is_test), np.flatnonzero(is_test))
