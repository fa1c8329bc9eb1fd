"""Which pictures the demo data set has, what each shows, and who sees it in which order: all from one seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainviz.datasets.demo.areas import SUBJECTS
from brainviz.datasets.demo.scenes import Scene, sample_scene

SEED = 20240
SHARED_PICTURES = 400  # seen by every subject
OWN_PICTURES = 900  # seen by one subject only
TEST_PICTURES = 30  # without responses, the same for every subject

#: Number of distinct pictures.
PICTURES = SHARED_PICTURES + OWN_PICTURES * len(SUBJECTS) + TEST_PICTURES


@dataclass(frozen=True)
class Shown:
    """A picture in a subject's list.

    Attributes
    ----------
    number : int
        Of the picture, 0 to `PICTURES` - 1: the same picture has the same number for everyone.
    file : str
        Below the subject's folder.
    """

    number: int
    file: str

    @property
    def name(self) -> str:
        """The picture's name in the Algonauts layout, e.g. ``nsd-00013``."""
        return f"nsd-{self.number:05d}"


@dataclass(frozen=True)
class PictureList:
    """What one subject sees, in the order of the files; only `training` has responses."""

    training: tuple[Shown, ...]
    test: tuple[Shown, ...]


def plan_pictures() -> dict[str, PictureList]:
    """Return every subject's pictures: the shared ones and the subject's own, in an order of their own."""
    first_own = SHARED_PICTURES + OWN_PICTURES * np.arange(len(SUBJECTS) + 1)
    test = _listed("test", "test_split/test_images", np.arange(first_own[-1], PICTURES))
    plan = {}
    for index, subject in enumerate(SUBJECTS):
        seen = np.concatenate([np.arange(SHARED_PICTURES), np.arange(first_own[index], first_own[index + 1])])
        order = np.random.default_rng([SEED, 1, index]).permutation(seen)
        plan[subject] = PictureList(_listed("train", "training_split/training_images", order), test)
    return plan


def _listed(split: str, folder: str, numbers: NDArray[np.integer]) -> tuple[Shown, ...]:
    return tuple(
        Shown(int(number), f"{folder}/{split}-{place:04d}_nsd-{number:05d}.png")
        for place, number in enumerate(numbers, 1)
    )


def scene_of(number: int) -> Scene:
    """Return what the picture of this number shows."""
    return sample_scene(np.random.default_rng([SEED, 0, number]))


def energy_file(root: Path, part: int) -> Path:
    """Return where the process that draws a part of the pictures leaves their energy maps."""
    return root / f"energy-{part}.npy"
