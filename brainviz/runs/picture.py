"""One picture that a person uploads, attributed in a process of its own: nothing of it is ever on a disk.

``python -m brainviz.runs.picture RUN ...`` reads the picture from its standard input as an npy array, (s, s, 3) uint8
per run, and the class after it, and writes the maps to its standard output as npz. The runs are finished lateralization
runs, whose networks and targets are used.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from brainviz.config import cache_dir
from brainviz.datasets.images import cut_out, squeezed
from brainviz.errors import BrainvizError, RunError
from brainviz.runs.context import Context
from brainviz.runs.lateralize import INTERCEPT, WEIGHTS, attributed
from brainviz.runs.networks import open_state
from brainviz.runs.processes import SLEEPING_THREADS
from brainviz.runs.specs import LateralizationSpec
from brainviz.runs.store import Run, Store

#: A picture may take so long.
SECONDS = 300.0

#: Instead of a class: the one that each network gives the highest score.
LIKELIEST = -1


@dataclass(frozen=True)
class PictureMaps:
    """What a run's network looks at in one picture.

    Attributes
    ----------
    images : (2, s, s, 3) uint8 array
        The picture as the network saw it, and its mirror image.
    maps : (2, h, w) float32 array
        Signed, of both.
    values : (2,) float64 array
        The number that was attributed.
    target : int
        Which one: the class, or 0.
    """

    images: NDArray[np.uint8]
    maps: NDArray[np.float32]
    values: NDArray[np.float64]
    target: int


def fitted(image: Image.Image, spec: LateralizationSpec) -> NDArray[np.uint8]:
    """Return a picture as a run's network sees pictures, (s, s, 3): its middle for classes, else squeezed."""
    size = spec.network_state.image_size
    return cut_out(image, size) if spec.classification is not None else squeezed(image, size)


def attribute_picture(runs: Sequence[Run], image: Image.Image, target: int = LIKELIEST) -> dict[str, PictureMaps]:
    """Attribute a picture with the networks of finished lateralization runs, in another process; wait for it.

    Parameters
    ----------
    runs : sequence of Run
    image : Pillow image, RGB
    target : int
        The class, for runs about classes; `LIKELIEST` for each network's own.

    Returns
    -------
    dict
        Run id -> `PictureMaps`.

    Raises
    ------
    RunError
        It failed, or took longer than `SECONDS`.
    """
    seen: dict[str, Any] = {run.id: fitted(image, _spec(run)) for run in runs}
    sent = io.BytesIO()
    np.savez(sent, target=np.int64(target), **seen)
    command = [sys.executable, "-m", "brainviz.runs.picture", *seen]
    env = {**os.environ, **SLEEPING_THREADS, "BRAINVIZ_CACHE": str(cache_dir())}
    try:
        done = subprocess.run(
            command, input=sent.getvalue(), capture_output=True, timeout=SECONDS, env=env, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise RunError(
            "The picture took too long.", got=f"over {SECONDS:.0f} s", mend="choose fewer models or a quicker method."
        ) from error
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise RunError("The picture could not be attributed.", got=words[-1] if words else f"exit {done.returncode}")
    with np.load(io.BytesIO(done.stdout)) as found:
        return {
            run_id: PictureMaps(
                np.stack([picture, picture[:, ::-1]]),
                found[f"{run_id}_maps"],
                found[f"{run_id}_values"],
                int(found[f"{run_id}_target"]),
            )
            for run_id, picture in seen.items()
        }


def _spec(run: Run) -> LateralizationSpec:
    spec = run.spec
    if not isinstance(spec, LateralizationSpec):
        raise RunError("Pictures are attributed with lateralization runs.", got=spec.kind)
    return spec


def _attribute(store: Store, run: Run, picture: NDArray[np.uint8], target: int) -> Mapping[str, Any]:
    """Attribute a picture and its mirror image with the network of one run."""
    from brainviz.analyses.attribution import LinearReadout
    from brainviz.runs.lateralize import normalised

    spec = _spec(run)
    context = Context(store, run.path, "auto", lambda _event: None)
    weights, intercept = np.load(run.file(WEIGHTS)), np.load(run.file(INTERCEPT))
    network = LinearReadout(open_state(spec.network_state, context), spec.readout, weights, intercept)
    images = np.stack([picture, picture[:, ::-1]])
    if target == LIKELIEST or weights.shape[1] == 1:
        import torch

        with torch.no_grad():
            network.eval()
            target = int(network(normalised(images[:1])).argmax())
    found = attributed(network, images, np.full(2, target), spec, context.device)
    return {"maps": found.maps, "values": found.values, "target": np.int64(target)}


def main(run_ids: Sequence[str]) -> int:
    """Read a picture per run from standard input, write the maps to standard output; return the exit status."""
    store = Store()
    answer: dict[str, Any] = {}
    try:
        with np.load(io.BytesIO(sys.stdin.buffer.read())) as sent:
            for run_id in run_ids:
                found = _attribute(store, store.get(run_id), sent[run_id], int(sent["target"]))
                answer |= {f"{run_id}_{name}": value for name, value in found.items()}
    except BrainvizError as error:
        sys.stderr.write(str(error).replace("\n", " "))
        return 1
    packed = io.BytesIO()
    np.savez(packed, **answer)
    sys.stdout.buffer.write(packed.getvalue())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
