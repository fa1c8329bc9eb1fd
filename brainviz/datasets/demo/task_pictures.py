"""Draws the pictures of the demo's two classification tasks: scenes like the demo's, but none that a subject has seen.

A network tuned on responses to a picture has been told what is in it, as far as the responses tell. Pictures of their
own keep that out of the classification tasks, as ImageNet's are kept apart from NSD's.
"""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import numpy as np

from brainviz.datasets.demo.drawing import draw_scene
from brainviz.datasets.demo.plan import SEED
from brainviz.datasets.demo.scenes import Scene, Thing, sample_scene

#: Number of pictures. Every picture has a label for both tasks.
PICTURES = 3000

#: The table of labels, beside the pictures.
TABLE = "labels.csv"

#: Columns of the table: the picture's file, and its class in each task.
COLUMNS = ("file", "object", "quarter")

#: Where the main object can be: above or below the middle, left or right of it.
QUARTERS = ("upper left", "upper right", "lower left", "lower right")


def task_scene(number: int) -> Scene:
    """Return what the picture of this number shows; the demo's own pictures come from other seeds."""
    return sample_scene(np.random.default_rng([SEED, 3, number]))


def quarter_of(thing: Thing) -> str:
    """Return in which quarter of the picture the middle of an object is."""
    return f"{'upper' if thing.y >= 0 else 'lower'} {'left' if thing.x < 0 else 'right'}"


def write_task_pictures(out: Path, count: int = PICTURES) -> Path:
    """Draw the pictures and write their labels; do nothing where `out` is already. The same files come out every time.

    Everything goes to a temporary folder beside `out`, which is then renamed: `out` is complete or absent.

    Parameters
    ----------
    out : Path
        The folder to make: ``pictures/0000.png`` ... and ``labels.csv``.
    count : int
        Number of pictures.

    Returns
    -------
    Path
        `out`.
    """
    if out.exists():
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        complete = Path(scratch) / "complete"
        (complete / "pictures").mkdir(parents=True)
        rows = []
        for number in range(count):
            scene, file = task_scene(number), f"pictures/{number:04d}.png"
            draw_scene(scene).save(complete / file, compress_level=1)
            rows.append((file, scene.main.kind, quarter_of(scene.main)))
        with (complete / TABLE).open("w", newline="", encoding="utf-8") as file_of_labels:
            table = csv.writer(file_of_labels, lineterminator="\n")
            table.writerow(COLUMNS)
            table.writerows(rows)
        try:
            complete.replace(out)
        except OSError:  # another process was quicker: a folder that is not empty is never replaced
            if not out.exists():
                raise
    return out
