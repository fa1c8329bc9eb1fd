"""Tests of brainviz.datasets.splits: exact shares, and equal pictures never apart."""

from __future__ import annotations

import numpy as np
import pytest

from brainviz.datasets.index import DatasetIndex, SubjectIndex
from brainviz.datasets.splits import hold_out, split_pictures
from brainviz.errors import DatasetError


def _index(**digests: list[str]) -> DatasetIndex:
    return DatasetIndex("f", {name: SubjectIndex(name, "d", tuple(each)) for name, each in digests.items()})


@pytest.fixture
def overlapping() -> DatasetIndex:
    """200 pictures each, 80 of them shared, and some repeated."""
    rng = np.random.default_rng(0)
    pool = [f"{n:032x}" for n in rng.integers(0, 2**60, 320)]
    first, second = pool[:200], pool[120:]
    return _index(subj01=[*first, *first[:7]], subj02=[*rng.permutation(second), second[0]], subj03=[*pool[:40]])


@pytest.mark.parametrize("share", [0.15, 0.5, 0.01])
@pytest.mark.parametrize("seed", [0, 1])
def test_equal_pictures_are_in_the_same_part(overlapping, share, seed):
    splits = split_pictures(overlapping, share, seed)
    parts: dict[str, set[str]] = {}
    for subject, split in splits.items():
        digests = overlapping.subjects[subject].image_digests
        np.testing.assert_array_equal(np.sort(np.concatenate([split.train, split.test])), np.arange(len(digests)))
        for name in ("train", "test"):
            rows = getattr(split, name)
            assert rows.dtype == np.int64
            assert (np.diff(rows) > 0).all()
            for row in rows:
                parts.setdefault(digests[row], set()).add(name)
    assert all(len(found) == 1 for found in parts.values())
    assert len(parts) == 320
    assert sum(found == {"test"} for found in parts.values()) == round(share * 320)


def test_split_depends_on_seed_and_pictures_only(overlapping):
    first = split_pictures(overlapping, 0.15, 0)
    again = split_pictures(DatasetIndex("g", dict(reversed(overlapping.subjects.items()))), 0.15, 0)
    other = split_pictures(overlapping, 0.15, 1)
    np.testing.assert_array_equal(first["subj01"].test, again["subj01"].test)
    assert not np.array_equal(first["subj01"].test, other["subj01"].test)


def test_undecodable_pictures_are_in_neither_part():
    split = split_pictures(_index(subj01=["a", "", "b", "", "c", "d"]), 0.5)["subj01"]
    assert sorted([*split.train, *split.test]) == [0, 2, 4, 5]


def test_each_part_has_a_picture():
    assert len(split_pictures(_index(s=["a", "b", "c"]), 0.01)["s"].test) == 1
    assert len(split_pictures(_index(s=["a", "b", "c"]), 0.99)["s"].train) == 1
    with pytest.raises(DatasetError, match="too few pictures"):
        split_pictures(_index(s=["a", "a"]))


def test_hold_out(overlapping):
    digests = overlapping.subjects["subj01"].image_digests
    rows = split_pictures(overlapping)["subj01"].train
    fit, validation = hold_out(rows, digests, 0.1, 0)
    np.testing.assert_array_equal(np.sort(np.concatenate([fit, validation])), rows)
    assert not {digests[row] for row in fit} & {digests[row] for row in validation}
    assert len({digests[row] for row in validation}) == round(0.1 * len({digests[row] for row in rows}))
    shuffled = hold_out(np.random.default_rng(0).permutation(rows), digests, 0.1, 0)
    np.testing.assert_array_equal(shuffled[1], validation)
    assert len(hold_out(rows, digests, 0, 0)[1]) == 0
    np.testing.assert_array_equal(hold_out(rows, digests, 0, 0)[0], rows)
