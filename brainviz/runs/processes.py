"""Processes: telling one from another that later got its number, and starting one that outlives its starter."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from brainviz.config import REPOSITORY

#: Start times of one process may differ by this much between two readings, as the system's clock is corrected.
START_TIME_TOLERANCE_SECONDS = 2.0

#: Environment for a process that computes, read when its libraries are loaded. Threads that wait for each other sleep
#: instead of spinning: on a machine that does anything else besides, and where torch's threads take turns with those of
#: numpy's OpenBLAS (which spin 2^26 processor cycles unless told otherwise), spinning makes the same work slower.
SLEEPING_THREADS = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_THREAD_TIMEOUT": "14"}

#: Processes that this one started: whoever starts a process must ask after it, or it stays a zombie.
_started: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class ProcessIdentity:
    """A process that cannot be mistaken for a later one with the same number.

    Attributes
    ----------
    host : str
    pid : int
    started : float
        When the process began, seconds since 1970 as psutil tells it.
    """

    host: str
    pid: int
    started: float

    @classmethod
    def current(cls) -> ProcessIdentity:
        """Return the identity of the calling process."""
        return cls.of(os.getpid())

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity:
        """Return the identity of a process on this host that is there."""
        return cls(socket.gethostname(), pid, psutil.Process(pid).create_time())

    def alive(self) -> bool | None:
        """Return whether the process still runs; None when it belongs to another host."""
        if self.host != socket.gethostname():
            return None
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) <= START_TIME_TOLERANCE_SECONDS
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


def start_detached(arguments: Sequence[str], cache: Path, log: Path) -> ProcessIdentity:
    """Start ``python ARGUMENTS`` in a session of its own, so that it outlives this process and its terminal.

    Parameters
    ----------
    arguments : sequence of str
        What comes after ``python``. It runs in the folder that holds the package, which need not be installed; so no
        path in it may be relative.
    cache : Path
        The cache folder that it is to use.
    log : Path
        Takes what it prints.
    """
    _started[:] = [process for process in _started if process.poll() is None]
    environment = {**os.environ, "BRAINVIZ_CACHE": str(cache)}
    if config := environment.get("BRAINVIZ_CONFIG"):
        environment["BRAINVIZ_CONFIG"] = str(Path(config).expanduser().absolute())
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=REPOSITORY,
            env=environment,
            start_new_session=True,
        )
    _started.append(process)
    return ProcessIdentity.of(process.pid)
