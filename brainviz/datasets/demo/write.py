"""Writes the demo data set to disk in the Algonauts layout: complete or not at all, and the same every time."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainviz.datasets.base import HEMISPHERES
from brainviz.datasets.demo.areas import FOOD_PATCH, ROI_SETS, SUBJECTS, place_areas
from brainviz.datasets.demo.energy import CHANNELS, GRID
from brainviz.datasets.demo.plan import PICTURES, SEED, Shown, energy_file, plan_pictures, scene_of
from brainviz.datasets.demo.responses import (
    BILATERAL_AREA,
    FOOD_SUBJECTS,
    LEAN,
    PREFERENCE,
    REPEATS,
    Tuning,
    measure,
    object_drive,
    plan_tuning,
    signals,
)
from brainviz.datasets.demo.scenes import CATEGORIES, CATEGORY_OF, KINDS, Scene
from brainviz.errors import DatasetError

#: Raised whenever the written data change; an older demo is then replaced.
DEMO_VERSION = 6

_STAMP = "demo.json"
_PROCESSES = 2

_DATASET_TOML = """\
# Written by `python -m brainviz demo`. Pictures and responses are simulated; the truth is under subjXX/truth.
name = "demo"
mesh = "fsaverage5"

# Few and small pictures: the published batch size and learning rate (1024 and 1e-4) would make 30 small steps in all.
[defaults]
network = "alexnet_compact"
weights = "demo"
image_size = 64
batch_size = 128
learning_rate = 2e-3

# Concepts: the compact image-text network, and the words that it knows. Few pictures, and categories as different as
# here, ask for stronger noise, which leaves less of single vertices' weights to chance, and for a smaller eps; the
# higher rate comes to the end in fewer steps.
clip_network = "clip_compact"
clip_weights = "demo"
texts = "demo-words"
n_seeds = 8
iterations = 400
decoder_learning_rate = 3e-3
input_noise = 6.0
eps = 0.25
scanned_eps = [0.15, 0.2, 0.25, 0.3, 0.35, 0.4]

# The bottleneck network: narrower than published, as there are few pictures; that makes it quick, too.
bottleneck_width = 1000
bottleneck_rate = 3e-4
bottleneck_epochs = 20

[defaults.regression]
epochs = 30
"""


def write_demo(out: Path, progress: Callable[[int, int], None] | None = None) -> Path:
    """Write the demo data set; do nothing where it is already.

    Everything goes to a temporary folder beside `out`, which is then renamed: `out` is complete or absent. An older
    version of the demo is replaced. The same files come out every time.

    Parameters
    ----------
    out : Path
        The folder to make.
    progress : callable, optional
        Called with (steps done, steps in all).

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    DatasetError
        `out` holds something else, or the pictures could not be drawn.
    """
    out = Path(out)
    if _written_version(out) == DEMO_VERSION:
        return out
    if out.exists() and _written_version(out) is None and any(out.iterdir()):
        raise DatasetError(
            f"The folder {out} is not empty, and holds no demo data set.", mend="name a new folder, or empty this one."
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        complete = Path(scratch) / "complete"
        complete.mkdir()
        _write_all(complete, progress or (lambda done, total: None))
        _put_in_place(complete, out, Path(scratch) / "older")
    return out


def holds_demo(folder: Path) -> bool:
    """Return whether `write_demo` wrote this folder, in whichever version."""
    return _written_version(folder) is not None


def _written_version(out: Path) -> int | None:
    stamp = out / _STAMP
    return int(json.loads(stamp.read_text())["version"]) if stamp.exists() else None


def _put_in_place(complete: Path, out: Path, older: Path) -> None:
    """Rename `complete` to `out`, an older demo out of the way; where another process was quicker, its demo stays."""
    if out.exists() and _written_version(out) != DEMO_VERSION:
        out.replace(older)
    try:
        complete.replace(out)
    except OSError:  # a folder that is not empty is never replaced
        if _written_version(out) != DEMO_VERSION:
            raise


def _write_all(root: Path, progress: Callable[[int, int], None]) -> None:
    plan = plan_pictures()
    steps = PICTURES + len(plan) * len(HEMISPHERES)
    for subject, shown in plan.items():
        for first in (shown.training[0], shown.test[0]):
            (root / subject / first.file).parent.mkdir(parents=True)
    maps = _draw_pictures(root, lambda done: progress(done, steps))
    scenes = [scene_of(number) for number in range(PICTURES)]
    drive = object_drive(scenes)
    done = PICTURES
    for subject, shown in plan.items():
        numbers = np.array([picture.number for picture in shown.training])
        for hemi in HEMISPHERES:
            _write_hemisphere(root / subject, subject, hemi, maps[numbers], drive[numbers])
            done += 1
            progress(done, steps)
        _write_mappings(root / subject / "roi_masks")
        _write_picture_truth(root / subject / "truth", (*shown.training, *shown.test), scenes)
    (root / "dataset.toml").write_text(_DATASET_TOML)
    (root / _STAMP).write_text(json.dumps({"version": DEMO_VERSION, "seed": SEED}) + "\n")


def _draw_pictures(root: Path, progress: Callable[[int], None]) -> NDArray[np.float16]:
    """Draw all pictures with child processes; return their energy maps, (PICTURES, channels, GRID, GRID)."""
    repository = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join(filter(None, [repository, os.environ.get("PYTHONPATH")]))
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "brainviz.datasets.demo.pictures", str(root), str(part), str(_PROCESSES)],
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for part in range(_PROCESSES)
    ]
    try:
        streams = [child.stdout for child in children if child.stdout]
        for lines in zip(*streams, strict=False):
            progress(sum(int(line) for line in lines))
        for child in children:
            _, complaint = child.communicate()
            if child.returncode:
                raise DatasetError("The demo pictures could not be drawn.", got=complaint.strip()[-2000:])
    finally:
        for child in children:
            child.kill()
            child.wait()
    maps = np.empty((PICTURES, len(CHANNELS), GRID, GRID), np.float16)
    for part in range(_PROCESSES):
        maps[part::_PROCESSES] = np.load(energy_file(root, part))
        energy_file(root, part).unlink()
    return maps


def _write_hemisphere(
    folder: Path, subject: str, hemi: str, maps: NDArray[np.float16], drive: NDArray[np.float32]
) -> None:
    """Write responses, masks, noise ceiling and planted tuning of one hemisphere."""
    rng = np.random.default_rng([SEED, 2, SUBJECTS.index(subject), HEMISPHERES.index(hemi)])
    areas = place_areas(subject, hemi, rng)
    tuning = plan_tuning(subject, hemi, areas, rng)
    values = measure(signals(tuning, maps, drive), tuning.signal_share, rng)
    _save(folder / f"training_split/training_fmri/{hemi}_training_fmri.npy", values)
    _save(folder / f"noise_ceiling/{hemi}_noise_ceiling.npy", tuning.signal_share.astype(np.float32))
    _save(folder / f"roi_masks/{hemi}.all-vertices_fsaverage_space.npy", areas.keep.astype(np.int64))
    for key, label in areas.labels.items():
        _save(folder / f"roi_masks/{hemi}.{key}_fsaverage_space.npy", label)
        _save(folder / f"roi_masks/{hemi}.{key}_challenge_space.npy", label[areas.keep])
    for entry in fields(Tuning):
        _save(folder / f"truth/{hemi}_{entry.name}.npy", getattr(tuning, entry.name).astype(np.float32))
    _save(folder / f"truth/{hemi}_area.npy", areas.area[areas.keep])


def _save(path: Path, array: NDArray[np.generic]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array, allow_pickle=False)


def _write_mappings(folder: Path) -> None:
    """Write the names of the ROI values as the challenge does: the one place where the layout asks for a pickle."""
    for key, names in ROI_SETS.items():
        mapping = np.array({0: "Unknown", **dict(enumerate(names, 1))}, dtype=object)
        np.save(folder / f"mapping_{key}.npy", mapping, allow_pickle=True)


def _write_picture_truth(folder: Path, shown: Sequence[Shown], scenes: Sequence[Scene]) -> None:
    """Write pictures.csv (captions, labels of both tasks), objects.csv, and tuning.json, which explains the arrays."""
    pictures, things = [], []
    for picture in shown:
        scene = scenes[picture.number]
        labels = (scene.main.kind, scene.texture, scene.setting, f"{scene.horizon:.4f}", len(scene.things))
        pictures.append((picture.file, picture.name, scene.caption, *labels))
        for thing in scene.things:
            place = (f"{value:.4f}" for value in (thing.x, thing.y, thing.size))
            things.append((picture.name, CATEGORY_OF[thing.kind], thing.kind, thing.colour, *place))
    columns = ("file", "picture", "caption", "object", "texture", "setting", "horizon", "n_objects")
    _write_table(folder / "pictures.csv", columns, pictures)
    _write_table(folder / "objects.csv", ("picture", "category", "kind", "colour", "x", "y", "size"), things)
    (folder / "tuning.json").write_text(json.dumps(_legend(), indent=2) + "\n")


def _write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(columns)
        table.writerows(rows)


def _legend() -> dict[str, object]:
    return {
        "units": "x to the right and y upwards, each -1..1 across the picture; sigma and wavelength in the same units; "
        "orientation of the bars in degrees counter-clockwise from the horizontal; NaN: no receptive field",
        "arrays": {entry.name: f"{{hemi}}_{entry.name}.npy" for entry in fields(Tuning)},
        "kinds": list(KINDS),
        "categories": {category: list(kinds) for category, kinds in CATEGORIES.items()},
        "preference": PREFERENCE,
        "lean": {category: {"lh": left, "rh": right} for category, (left, right) in LEAN.items()},
        "bilateral_area": BILATERAL_AREA,
        "food": {"area": FOOD_PATCH, "subjects": list(FOOD_SUBJECTS)},
        "repeats": REPEATS,
        "tasks": {"object": "like the backbone's: kind of the main object", "texture": "unlike: bars on the ground"},
    }
