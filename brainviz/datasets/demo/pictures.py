"""Draws a part of the demo's pictures: `python -m brainviz.datasets.demo.pictures ROOT PART PARTS`.

`write_demo` starts several of these. They are plain child processes because, unlike multiprocessing's, these need
neither an importable main module nor a fork of a process that already runs threads.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from brainviz.datasets.demo.drawing import PICTURE_SIZE, draw_scene
from brainviz.datasets.demo.energy import CHANNELS, FILTERED_SIZE, GRID, energy_maps
from brainviz.datasets.demo.plan import PICTURES, energy_file, plan_pictures, scene_of

_BATCH = 64  # pictures filtered at once


def draw_part(root: Path, part: int, parts: int, report: Callable[[int], None]) -> None:
    """Draw the pictures ``part, part + parts, ...`` for all subjects who see them, and keep their energy maps.

    Parameters
    ----------
    root : Path
        The data set's folder; the subjects' picture folders exist.
    part, parts : int
        Which share of the pictures.
    report : callable
        Called with the number of pictures drawn so far.
    """
    files: dict[int, list[Path]] = {}
    for subject, shown in plan_pictures().items():
        for entry in (*shown.training, *shown.test):
            files.setdefault(entry.number, []).append(root / subject / entry.file)
    numbers = range(part, PICTURES, parts)
    maps = np.empty((len(numbers), len(CHANNELS), GRID, GRID), np.float16)
    for start in range(0, len(numbers), _BATCH):
        batch = [(draw_scene(scene_of(number)), files[number]) for number in numbers[start : start + _BATCH]]
        for picture, (first, *copies) in batch:
            picture.save(first, compress_level=1)
            for copy in copies:
                shutil.copyfile(first, copy)
        maps[start : start + len(batch)] = energy_maps(np.stack([luminance(picture) for picture, _ in batch]))
        report(start + len(batch))
    np.save(energy_file(root, part), maps)


def luminance(picture: Image.Image) -> NDArray[np.float32]:
    """Return a demo picture's luminance, 0..1, at the size that `energy_maps` takes."""
    return np.asarray(picture.convert("L").reduce(PICTURE_SIZE // FILTERED_SIZE), np.float32) / np.float32(255)


def _tell_parent(done: int) -> None:
    sys.stdout.write(f"{done}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    draw_part(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), _tell_parent)
