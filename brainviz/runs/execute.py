"""The computing process of one run: ``python -m brainviz.runs.execute RUN_FOLDER PARENT_PID``, started by the worker.

It adopts the run, computes it, writes the result and then the manifest; a failure is written down with its reason.
While it computes, a thread touches the heartbeat and ends the whole process group when the parent is gone, so that
nothing computes for nobody.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from brainviz import __version__
from brainviz.errors import BrainvizError, RunError
from brainviz.runs.processes import ProcessIdentity
from brainviz.runs.store import (
    HEARTBEAT,
    LOG,
    RESULT,
    Run,
    Store,
    abandon,
    append_event,
    change_state,
    write_json,
    write_manifest,
)

HEARTBEAT_SECONDS = 5.0
PARENT_SECONDS = 0.5

#: Packages whose version can change a number.
PACKAGES = (
    *("torch", "torchvision", "captum", "scikit-learn", "umap-learn"),
    *("numpy", "scipy", "pandas", "pillow", "safetensors", "pydantic"),
)


def execute(folder: Path, parent: int) -> int:
    """Compute the run in `folder`; return the exit status, 0 done and 1 failed.

    Raises
    ------
    RunError
        The run was not given to the parent process.
    """
    run = Run(folder.name, folder.parent.name, folder)
    me = ProcessIdentity.current()
    status = run.status()
    if (
        status.worker is None
        or status.worker.pid != parent
        or not change_state(run, {"running"}, "running", process=me)
    ):
        raise RunError(
            f"Run {run.id[:12]} is not this process's to compute.",
            got=f"state {status.state}",
            expected="state running",
        )
    threading.Thread(target=watch, args=(folder, parent), daemon=True).start()
    (folder / HEARTBEAT).touch()
    try:
        _compute(run, status.device, me)
    except (
        Exception
    ) as error:  # The boundary of the run: whatever went wrong belongs into its record, and nowhere else.
        traceback.print_exc()
        abandon(run, "failed", reason_of(error, folder / LOG), me)
        return 1
    return 0


def _compute(run: Run, device: str, me: ProcessIdentity) -> None:
    from brainviz.runs.compute import compute
    from brainviz.runs.context import Context

    context = Context(
        store=Store(run.path.parents[2]),
        path=run.path,
        asked_device=device,
        event=lambda event: append_event(run, event),
    )
    scalars = compute(run.spec, context)
    write_json(run.path / RESULT, scalars)
    write_manifest(run, facts(context.device, me.started), me)


def watch(folder: Path, parent: int) -> None:
    """Touch the heartbeat every few seconds; end this process group once the parent is gone."""
    beaten = 0.0
    while os.getppid() == parent:
        if time.monotonic() - beaten >= HEARTBEAT_SECONDS:
            (folder / HEARTBEAT).touch()
            beaten = time.monotonic()
        time.sleep(PARENT_SECONDS)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def reason_of(error: Exception, log: Path) -> str:
    """Return what to tell the user: a deliberate error in its own words, another by name and where to read on."""
    if isinstance(error, BrainvizError):
        return str(error)
    return f"{type(error).__name__}: {error}\nThe whole story is in {log}."


def facts(device: str, began: float) -> dict[str, Any]:
    """Return what the manifest tells about the computation: versions, device, threads, seconds and memory."""
    import torch

    # Linux counts kibibytes, macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    cuda = device.startswith("cuda")
    finished = time.time()
    return {
        "versions": {
            "brainviz": __version__,
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
        "host": platform.node(),
        "platform": platform.platform(),
        "device": device,
        "device_name": torch.cuda.get_device_name(device) if cuda else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "started": began,
        "finished": finished,
        "seconds": finished - began,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        "peak_device_memory_bytes": torch.cuda.max_memory_allocated(device) if cuda else None,
    }


def main() -> int:
    """Run the command line of this module."""
    folder, parent = sys.argv[1:]
    return execute(Path(folder).resolve(), int(parent))


if __name__ == "__main__":
    sys.exit(main())
