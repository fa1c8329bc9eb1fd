"""One text that a person asks for, embedded in a process of its own, as the app imports no torch.

``python -m brainviz.runs.search`` reads which image-text network, and the text, from its standard input, as JSON, and
writes the vector to its standard output, as npy.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import numpy as np
from numpy.typing import NDArray

from brainviz.config import cache_dir
from brainviz.errors import BrainvizError, RunError
from brainviz.runs.concept_specs import ClipFields
from brainviz.runs.processes import SLEEPING_THREADS

#: A text may take so long: reading the network takes seconds.
SECONDS = 120.0


def embed_text(network: ClipFields, text: str) -> NDArray[np.float32]:
    """Return the unit vector of a text, (p,), from another process; wait for it.

    Parameters
    ----------
    network : ClipFields
        Which image-text network.
    text : str

    Raises
    ------
    RunError
        The network can make nothing of the text, its weights cannot be had, or it took longer than `SECONDS`.
    """
    fields = {name: getattr(network, name) for name in ClipFields.model_fields}
    command = [sys.executable, "-m", "brainviz.runs.search"]
    env = {**os.environ, **SLEEPING_THREADS, "BRAINVIZ_CACHE": str(cache_dir())}
    sent = json.dumps({"network": fields, "text": text}).encode()
    try:
        done = subprocess.run(command, input=sent, capture_output=True, timeout=SECONDS, env=env, check=False)
    except subprocess.TimeoutExpired as error:
        raise RunError("The text took too long.", got=f"over {SECONDS:.0f} s", mend="try again.") from error
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise RunError("The text cannot be searched for.", got=words[-1] if words else f"exit {done.returncode}")
    vector: NDArray[np.float32] = np.load(io.BytesIO(done.stdout))
    return vector


def main() -> int:
    """Read network and text from standard input, write the vector to standard output; return the exit status."""
    from brainviz.runs.embed import open_image_text

    asked = json.loads(sys.stdin.buffer.read())
    try:
        network = open_image_text(ClipFields(**asked["network"]), cache_dir())
        vector = network.embed_texts([asked["text"]])[0]
    except BrainvizError as error:
        sys.stderr.write(str(error).replace("\n", " "))
        return 1
    packed = io.BytesIO()
    np.save(packed, vector)
    sys.stdout.buffer.write(packed.getvalue())
    return 0


if __name__ == "__main__":
    sys.exit(main())
