"""Where runs are kept: one folder per run, whose manifest, written last, is the only thing that means done.

::

    <cache>/runs/<kind>/<run id>/
        spec.json        what was asked for
        state.json       queued, running, failed, cancelled or lost; who computes, since when, and why it ended
        events.jsonl     progress, one JSON object per line
        log.txt          what the computing process printed, tracebacks included
        heartbeat        touched by the computing process; its age tells other hosts that the process lives
        cancel           present while somebody asks the run to stop
        result files     *.npy, *.safetensors, result.json
        manifest.json    the result files with their SHA-256, versions, device, seconds, memory

Every file is written under a temporary name in the same folder, flushed to the disk and renamed, so that a reader sees
a whole file or none. State changes happen under a `flock` on the run's own lock file, so two processes cannot race. No
pickle.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from brainviz.config import cache_dir
from brainviz.datasets.npy import open_npy
from brainviz.errors import RunError
from brainviz.runs.processes import ProcessIdentity
from brainviz.runs.spec_base import Spec
from brainviz.runs.specs import SPEC_CLASSES, parse_spec

if TYPE_CHECKING:
    import pandas as pd

State = Literal["queued", "running", "done", "failed", "cancelled", "lost"]
STATES: tuple[State, ...] = get_args(State)

#: States in which nothing more happens to a run unless somebody asks.
ENDED: frozenset[State] = frozenset({"done", "failed", "cancelled", "lost"})

#: A process on another host is taken for dead when its heartbeat is older than this.
HEARTBEAT_LIMIT_SECONDS = 60.0

#: Result files up to this size are compared with their digest when they are first read; larger ones by size only.
DIGESTED_BYTES = 64 * 2**20

SPEC, STATE, EVENTS, LOG, RESULT, MANIFEST = (
    "spec.json",
    "state.json",
    "events.jsonl",
    "log.txt",
    "result.json",
    "manifest.json",
)
HEARTBEAT, CANCEL, LOCK = "heartbeat", "cancel", ".lock"

#: Files that tell how a run went; everything else in its folder is a result.
BOOKKEEPING = frozenset({SPEC, STATE, EVENTS, LOG, MANIFEST, HEARTBEAT, CANCEL, LOCK})


@dataclass(frozen=True)
class Status:
    """Where a run stands.

    Attributes
    ----------
    state : str
        One of `STATES`.
    device : str
        Where it was asked to compute: ``"auto"``, ``"cpu"`` or ``"cuda"``. Kept with the request and not in the spec:
        the same question asked of a CPU and of a GPU has one answer, up to rounding, and a lab that shares a cache
        wants it once. The device that did compute is in the manifest.
    submitted, started, finished : float or None
        Seconds since 1970.
    reason : str
        Why it failed, was cancelled or got lost.
    process : ProcessIdentity or None
        Who computes it.
    worker : ProcessIdentity or None
        The process's parent, which writes down how it ended.
    """

    state: State
    device: str = "auto"
    submitted: float | None = None
    started: float | None = None
    finished: float | None = None
    reason: str = ""
    process: ProcessIdentity | None = None
    worker: ProcessIdentity | None = None


@dataclass(frozen=True)
class Progress:
    """How far a running run is: a few words, and the share done (None where it cannot be said)."""

    text: str
    share: float | None


@dataclass(frozen=True)
class Run:
    """One run on the disk. Every property reads the folder anew, except the spec, which never changes.

    Attributes
    ----------
    id, kind : str
    path : Path
    """

    id: str
    kind: str
    path: Path

    @cached_property
    def spec(self) -> Spec:
        """What was asked for."""
        return parse_spec((self.path / SPEC).read_bytes())

    @property
    def label(self) -> str:
        """A short name for tables and progress lines."""
        return f"{self.kind} {self.spec.label}"

    def status(self) -> Status:
        """Return where the run stands, with the death of its process taken into account."""
        return _read_status(self.path)

    @property
    def state(self) -> State:
        return self.status().state

    def events(self) -> list[dict[str, Any]]:
        """Return the progress events so far; a last line that is still being written is left out."""
        try:
            text = (self.path / EVENTS).read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def progress(self) -> Progress:
        """Return how far the run is, from its last event."""
        events = self.events()
        if not events:
            return Progress("starting", None)
        last = events[-1]
        if last["event"] == "epoch":
            text = f"epoch {last['epoch']} of {last['epochs']}, loss {last['loss']:.3f}"
            if last.get("retrieval_top1") is not None:
                text += f", retrieval {last['retrieval_top1']:.2f}"
            return Progress(text, last["epoch"] / last["epochs"])
        done, total = last.get("done"), last.get("total")
        return Progress(str(last.get("text", last["event"])), done / total if done is not None and total else None)

    def result(self) -> dict[str, Any]:
        """Return the scalars of a run that is done.

        Raises
        ------
        RunError
            The run is not done.
        """
        self._require_done()
        return _read_json(self.path / RESULT)

    def manifest(self) -> dict[str, Any]:
        """Return the manifest of a run that is done: files, versions, device, seconds, memory.

        Raises
        ------
        RunError
            The run is not done.
        """
        self._require_done()
        return _read_json(self.path / MANIFEST)

    def array(self, name: str) -> NDArray[Any]:
        """Return a result array by name (``"r"`` reads ``r.npy``), memory-mapped and read-only.

        Raises
        ------
        RunError
            The run is not done, or has no such array.
        """
        return open_npy(self.file(f"{name}.npy")).map()

    def table(self, name: str) -> pd.DataFrame:
        """Return a result table by name (``"rois"`` reads ``rois.parquet``).

        Raises
        ------
        RunError
            The run is not done, has no such table, or it is damaged.
        """
        import pandas as pd

        return pd.read_parquet(self.file(f"{name}.parquet"))

    def json(self, name: str) -> Any:
        """Return what a result file in JSON holds, by name (``"areas"`` reads ``areas.json``).

        Raises
        ------
        RunError
            The run is not done, has no such file, or it is damaged.
        """
        return json.loads(self.file(f"{name}.json").read_text(encoding="utf-8"))

    def file(self, name: str) -> Path:
        """Return the path of a result file.

        Raises
        ------
        RunError
            The run is not done, has no such file, or the file is no longer what the run wrote.
        """
        files = self.manifest()["files"]
        if name not in files:
            raise RunError(f"Run {self.id[:12]} has no file {name!r}.", got=name, expected=", ".join(files))
        path = self.path / name
        found = path.stat() if path.exists() else None
        if found is None or found.st_size != files[name]["bytes"]:
            raise self._damaged(
                f"{path}, which is {'gone' if found is None else f'{found.st_size} bytes long'}",
                f"{files[name]['bytes']} bytes",
            )
        if found.st_size <= DIGESTED_BYTES:
            digest = _known_digest(path, found.st_size, found.st_mtime_ns)
            if digest != files[name]["sha256"]:
                raise self._damaged(f"{path} with SHA-256 {digest[:12]}", f"SHA-256 {files[name]['sha256'][:12]}")
        return path

    def _damaged(self, got: str, expected: str) -> RunError:
        mend = f"remove the folder {self.path} and start the run again."
        return RunError(
            f"A result of run {self.id[:12]} ({self.kind}) is damaged.", got=got, expected=expected, mend=mend
        )

    def has(self, name: str) -> bool:
        """Return whether a run that is done has this result file."""
        return name in self.manifest()["files"]

    def log(self) -> str:
        """Return what the computing process printed."""
        path = self.path / LOG
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def _require_done(self) -> None:
        if (state := self.state) != "done":
            raise RunError(
                f"Run {self.id[:12]} ({self.kind}) has no result.",
                got=f"state {state}",
                expected="state done",
                mend="wait for it, or start it again.",
            )


class Store:
    """The runs under one cache folder.

    Parameters
    ----------
    cache : Path, optional
        The cache folder; `brainviz.config.cache_dir` unless given.
    """

    def __init__(self, cache: Path | None = None) -> None:
        self.cache = (cache or cache_dir()).resolve()
        self.root = self.cache / "runs"

    def run_of(self, spec: Spec) -> Run:
        """Return the run that answers a spec, whether or not anybody asked for it yet."""
        run_id = spec.run_id
        return Run(run_id, spec.kind, self.root / spec.kind / run_id)

    def find(self, spec: Spec) -> Run | None:
        """Return the run that answers a spec, or None when nobody asked for it yet."""
        run = self.run_of(spec)
        return run if _exists(run.path) else None

    def get(self, prefix: str) -> Run:
        """Return the run whose id begins with `prefix`.

        Raises
        ------
        RunError
            No run, or more than one, begins so.
        """
        found = [run for run in self._all() if run.id.startswith(prefix)] if prefix else []
        if len(found) == 1:
            return found[0]
        if not found:
            raise RunError(f"There is no run {prefix!r}.", mend="`python -m brainviz runs` lists the runs there are.")
        raise RunError(
            f"{len(found)} runs begin with {prefix!r}.",
            got=", ".join(run.id[: len(prefix) + 4] for run in found[:5]),
            mend="give more digits.",
        )

    def runs(self, kind: str | None = None, state: State | None = None) -> list[Run]:
        """Return the runs of a kind and state (None is any), latest submission first."""
        rows = []
        for run in self._all(kind):
            # Most runs are done: one look at the manifest spares reading the state, which the worker's polling is glad
            # of.
            if state is not None and (run.path / MANIFEST).exists() != (state == "done"):
                continue
            status = run.status()
            if state is None or status.state == state:
                rows.append((status.submitted or 0.0, run))
        return [run for _, run in sorted(rows, key=lambda row: row[0], reverse=True)]

    def _all(self, kind: str | None = None) -> Iterator[Run]:
        for name in (kind,) if kind else tuple(SPEC_CLASSES):
            try:
                entries = list(os.scandir(self.root / name))
            except FileNotFoundError:
                continue
            for entry in entries:
                path = Path(entry.path)
                if _exists(path):
                    yield Run(entry.name, name, path)


@contextmanager
def locked(run: Run) -> Iterator[None]:
    """Hold the run's lock: nobody else changes its state meanwhile. Not reentrant."""
    run.path.mkdir(parents=True, exist_ok=True)
    with (run.path / LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def enqueue(run: Run, spec: Spec, device: str) -> None:
    """Write a fresh request, clearing what an earlier attempt left. The caller holds the run's lock."""
    _clear_results(run, also=(EVENTS, LOG))
    write_json(run.path / SPEC, spec.model_dump(mode="json"))
    _write_status(run, Status("queued", device=device, submitted=time.time()))


def change_state(run: Run, allowed: Collection[State], state: State, **fields: Any) -> bool:
    """Move a run to `state` if it is in one of the `allowed` ones.

    Parameters
    ----------
    run : Run
    allowed : collection of str
        States from which the step may be taken, compared under the run's lock, with dead processes seen as lost.
    state : str
        The new state. ``"done"`` is not a step: `write_manifest` takes it.
    **fields
        Fields of `Status` that change with it.

    Returns
    -------
    bool
        Whether the step was taken.
    """
    with locked(run):
        status = run.status()
        if status.state not in allowed:
            return False
        _write_status(run, replace(status, state=state, **fields))
        return True


def abandon(run: Run, state: State, reason: str, by: ProcessIdentity) -> bool:
    """End a running run without a result, removing what it wrote so far.

    Parameters
    ----------
    run : Run
    state : str
        ``"failed"``, ``"cancelled"`` or ``"lost"``.
    reason : str
    by : ProcessIdentity
        The computing process or its worker. Nothing happens when the run is not theirs (any more).

    Returns
    -------
    bool
        Whether the run was theirs to end.
    """
    with locked(run):
        status = run.status()
        if status.state not in ("running", "lost") or by not in (status.process, status.worker):
            return False
        # Results first: a run that reads as ended has none left.
        _clear_results(run)
        _write_status(run, replace(status, state=state, reason=reason, finished=time.time()))
        return True


def _clear_results(run: Run, *, also: Collection[str] = ()) -> None:
    """Remove every result of a run that did not finish. The caller holds the run's lock, and no process computes it.

    Parameters
    ----------
    run : Run
    also : collection of str
        Bookkeeping files to remove as well.
    """
    # The manifest first: no reader may see it beside results that are half gone.
    for name in (MANIFEST, CANCEL, HEARTBEAT, *also):
        (run.path / name).unlink(missing_ok=True)
    for entry in list(run.path.iterdir()):
        if entry.name in BOOKKEEPING:
            continue
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def append_event(run: Run, event: Mapping[str, Any]) -> None:
    """Append one progress event, stamped with the time, as one line."""
    line = json.dumps({"time": time.time(), **event}, allow_nan=False) + "\n"
    with (run.path / EVENTS).open("ab", buffering=0) as file:
        file.write(line.encode())


def write_manifest(run: Run, facts: Mapping[str, Any], process: ProcessIdentity) -> None:
    """Write the manifest, which makes the run done.

    Parameters
    ----------
    run : Run
    facts : mapping
        What is worth knowing about the computation; the result files with their SHA-256 and size are added to it.
    process : ProcessIdentity
        Who computed it.

    Raises
    ------
    RunError
        The run was meanwhile given to somebody else, e.g. because this host was cut off for a while and taken for dead.
    """
    names = {
        entry.relative_to(run.path).as_posix()
        for entry in run.path.rglob("*")
        if entry.is_file() and not entry.name.startswith(".")
    }
    files = {name: file_facts(run.path / name) for name in sorted(names - (BOOKKEEPING - {SPEC, EVENTS}))}
    with locked(run):
        status = run.status()
        if status.state != "running" or status.process != process:
            raise RunError(
                f"Run {run.id[:12]} is no longer this process's.", got=f"state {status.state}", expected="state running"
            )
        write_json(run.path / MANIFEST, {"run": run.id, "kind": run.kind, **facts, "files": files})


def file_facts(path: Path) -> dict[str, Any]:
    """Return the SHA-256 and the size of a file, as manifests hold them."""
    return {"sha256": file_digest(path), "bytes": path.stat().st_size}


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=4096)
def _known_digest(path: Path, size: int, changed: int) -> str:
    """Return a file's digest, taken once as long as its size and time of change stay."""
    return file_digest(path)


def _read_json(path: Path) -> dict[str, Any]:
    """Return what a file of a run says.

    Raises
    ------
    RunError
        It is no JSON.
    """
    try:
        return cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise RunError(
            f"The record of the run {path.parent.name[:12]} is damaged.",
            got=f"{path}: {error}",
            expected="JSON",
            mend=f"remove the folder {path.parent} and start the run again.",
        ) from error


def write_json(path: Path, data: Any) -> None:
    """Write JSON through `atomic_file`. NaN is refused: JSON has none."""
    text = json.dumps(data, indent=1, allow_nan=False) + "\n"
    with atomic_file(path) as file:
        file.write(text.encode())


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write a ``.npy`` file through `atomic_file`."""
    with atomic_file(path) as file:
        np.save(file, array, allow_pickle=False)


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name only when it is whole and on the disk."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _exists(path: Path) -> bool:
    return (path / STATE).exists() and (path / SPEC).exists()


def _write_status(run: Run, status: Status) -> None:
    write_json(run.path / STATE, asdict(status))


def _read_status(path: Path) -> Status:
    if (path / MANIFEST).exists():
        finished = (path / MANIFEST).stat().st_mtime
        return replace(_read_state(path), state="done", finished=finished, reason="")
    status = _read_state(path)
    if status.state != "running" or _anyone_computes(path, status):
        return status
    # It may have come to its end between the two looks: what the dead wrote last is on the disk now.
    if (path / MANIFEST).exists() or _read_state(path) != status:
        return _read_status(path)
    return replace(status, state="lost", reason="The computing process is gone: it was killed, or the machine stopped.")


def _read_state(path: Path) -> Status:
    try:
        data = _read_json(path / STATE)
    except FileNotFoundError:
        raise RunError(f"There is no run in {path.name[:12]}.", mend="start it again.") from None
    for role in ("process", "worker"):
        data[role] = ProcessIdentity(**data[role]) if data[role] else None
    return Status(**data)


def _anyone_computes(path: Path, status: Status) -> bool:
    """Return whether the computing process or its worker is there, as far as this host can tell."""
    alive = [process.alive() for process in (status.process, status.worker) if process is not None]
    return any(alive) or (None in alive and _heartbeat_age(path) <= HEARTBEAT_LIMIT_SECONDS)


def _heartbeat_age(path: Path) -> float:
    try:
        return time.time() - (path / HEARTBEAT).stat().st_mtime
    except FileNotFoundError:
        return float("inf")
