"""Texts that people ask for, embedded in a process of its own, as the app imports no torch.

``python -m brainviz.runs.search`` reads requests from its standard input, a line of JSON each, and answers each with a
line of JSON. It keeps the networks that it has read, which takes seconds, and ends when nobody has asked for a while or
the one who started it has ended.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from threading import Lock
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainviz.config import cache_dir
from brainviz.errors import BrainvizError, RunError
from brainviz.runs.concept_specs import ClipFields
from brainviz.runs.processes import SLEEPING_THREADS

if TYPE_CHECKING:
    from brainviz.models.clip import ImageText

#: A text may take so long, with reading the network.
SECONDS = 120.0

#: The process ends after so long without a text.
IDLE_SECONDS = 900.0


def embed_text(network: ClipFields, text: str) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Return the unit vector of a text, (p,), and the words left out of it, from the other process; wait for it.

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
    found = _READER.ask({"network": fields, "text": text, "cache": str(cache_dir())})
    if "vector" not in found:
        raise RunError("The text cannot be searched for.", got=found["error"])
    return np.array(found["vector"], np.float32), tuple(found["unknown"])


def log_file() -> Path:
    """Return where the other process's messages are."""
    return cache_dir() / "search.log"


class Reader:
    """The other process: started when it is needed, and again when it has ended. One text at a time."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Number of the process; None while there is none."""
        return None if self._process is None else self._process.pid

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request, and return the answer to it.

        Raises
        ------
        RunError
            It took too long, or the process ended twice without an answer.
        """
        line = json.dumps(request).encode() + b"\n"
        with self._lock:
            for _ in range(2):  # one that has waited for too long, or was killed, is started again
                if answer := self._answer(line):
                    known: dict[str, Any] = json.loads(answer)
                    return known
                status = self._end()
        raise RunError(
            "The text cannot be searched for.",
            got=f"its process ended, exit {status}",
            mend=f"try again; what it printed is in {log_file()}.",
        )

    def _answer(self, line: bytes) -> bytes:
        """Return the process's answer to a line; empty where it has ended."""
        if self._process is None:
            command = [sys.executable, "-m", "brainviz.runs.search"]
            cache_dir().mkdir(parents=True, exist_ok=True)
            with log_file().open("wb") as log:
                pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log, "bufsize": 0}
                self._process = subprocess.Popen(command, env={**os.environ, **SLEEPING_THREADS}, **pipes)  # type: ignore[call-overload]
        assert self._process is not None
        to, back = self._process.stdin, self._process.stdout
        assert to is not None
        assert back is not None
        try:
            to.write(line)
        except BrokenPipeError:
            return b""
        return self._read(back)

    def _read(self, back: IO[bytes]) -> bytes:
        answer, until = b"", time.monotonic() + SECONDS
        while not answer.endswith(b"\n"):
            ready, _, _ = select.select([back], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                self._end()
                raise RunError("The text took too long.", got=f"over {SECONDS:.0f} s", mend="try again.")
            part = os.read(back.fileno(), 2**16)
            if not part:
                return b""
            answer += part
        return answer

    def _end(self) -> int:
        """End the process, if it has not yet; return its exit status."""
        process, self._process = self._process, None
        assert process is not None
        process.kill()
        with process:  # closes the pipes, and waits
            pass
        return process.returncode


_READER = Reader()


def answer_to(request: dict[str, Any], opened: dict[str, ImageText]) -> dict[str, Any]:
    """Return the vector of a requested text, or why there is none; `opened` keeps the networks."""
    from brainviz.runs.embed import open_image_text

    fields = ClipFields(**request["network"])
    key = fields.model_dump_json() + request["cache"]
    try:
        if key not in opened:
            opened[key] = open_image_text(fields, Path(request["cache"]))
        vector = opened[key].embed_texts([request["text"]])[0]
    except BrainvizError as error:
        return {"error": str(error).replace("\n", " ")}
    return {"vector": vector.tolist(), "unknown": opened[key].unknown_words(request["text"])}


def main() -> int:
    """Answer requests until there are no more; return the exit status."""
    opened: dict[str, ImageText] = {}
    # What a library prints must not get among the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    # Unbuffered: what a buffer holds, `select` does not see.
    with open(0, "rb", buffering=0, closefd=False) as asked:
        while select.select([asked], [], [], IDLE_SECONDS)[0] and (line := asked.readline()):
            answers.write(json.dumps(answer_to(json.loads(line), opened)).encode() + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
