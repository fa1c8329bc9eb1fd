"""Fixtures of the run tests: specs without data, a data set that never answers, a worker that ends with its test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from brainviz.config import REPOSITORY
from brainviz.datasets.base import Dataset
from brainviz.datasets.index import build_index
from brainviz.runs.network_specs import EncodingSpec, FeaturesSpec, FinetuneSpec
from brainviz.runs.processes import ProcessIdentity
from brainviz.runs.queue import worker_slot
from brainviz.runs.remembered import memo_dir
from brainviz.runs.requests import make_spec
from brainviz.runs.spec_base import Spec
from brainviz.runs.store import Store, enqueue, locked

#: A network that is quick and whose weights are no file.
SMALL = {"network": "squeezenet1_1", "weights": "random", "image_size": 32}


@pytest.fixture
def store(cache: Path) -> Store:
    """Return the store in the test's own cache."""
    return Store()


@pytest.fixture
def finetune_spec() -> Callable[..., FinetuneSpec]:
    """Return a function that makes finetune specs of a data set that nobody knows."""

    def make(**fields: Any) -> FinetuneSpec:
        return FinetuneSpec(**{"dataset": "0" * 64, "subject": "subj01", "hemi": "lh", "roi": "V1v", **fields})

    return make


@pytest.fixture
def encoding_spec(finetune_spec: Callable[..., FinetuneSpec]) -> EncodingSpec:
    """Return an encoding spec that builds on a features run, which builds on a finetune run."""
    common = {"dataset": "0" * 64, "subject": "subj01"}
    features = FeaturesSpec(**common, layers=("features.2",), finetune=finetune_spec())
    return EncodingSpec(**common, hemi="lh", roi="V1v", features=features)


@pytest.fixture
def queued(store: Store) -> Callable[..., Any]:
    """Return a function that queues a spec without starting a worker."""

    def queue(spec: Any, device: str = "auto") -> Any:
        run = store.run_of(spec)
        with locked(run):
            enqueue(run, spec, device)
        return run

    return queue


@pytest.fixture
def endless_spec(
    store: Store, tiny_copy: Path, finetune_spec: Callable[..., FinetuneSpec]
) -> Callable[..., FinetuneSpec]:
    """Return a function that makes specs whose computation never ends: reading a picture blocks, as on a dead disk."""
    picture = next((tiny_copy / "subj01/training_split/training_images").iterdir())
    picture.unlink()
    os.mkfifo(picture)
    known = store.cache / "datasets" / f"{'0' * 64}.json"
    known.parent.mkdir()
    known.write_text(json.dumps({"root": str(tiny_copy), "name": "dead disk", "n_images": {"subj01": 40}}))
    return finetune_spec


@pytest.fixture
def worker(store: Store, eventually: Callable[..., None]) -> Iterator[subprocess.Popen[bytes]]:
    """Start a worker on the test's cache; it is ended with the test, and its children with it."""

    def has_slot() -> bool:
        with worker_slot(store) as free:
            return not free

    process = subprocess.Popen([sys.executable, "-m", "brainviz", "worker"], cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    eventually(has_slot)  # or `submit` would start another one
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Return a function that waits until a condition holds, and fails when it does not in time."""

    def wait(condition: Callable[[], object], seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "did not happen in time"
            time.sleep(0.05)

    return wait


@pytest.fixture
def dead_process() -> ProcessIdentity:
    """Return the identity of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    identity = ProcessIdentity.of(process.pid)
    process.kill()
    process.wait()
    return identity


@pytest.fixture
def ask(cache: Path) -> Callable[..., Spec]:
    """Return `make_spec`, V1v of subj01 with a small network unless said otherwise."""

    def make(kind: str, dataset: Dataset, **values: Any) -> Spec:
        index = build_index(dataset, memo_dir())
        return make_spec(kind, dataset, index, **{"subject": "subj01", "hemi": "lh", "roi": "V1v", **SMALL, **values})

    return make
