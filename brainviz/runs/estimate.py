"""How long runs will take, judged from the runs that this machine finished before."""

from __future__ import annotations

import json
import socket
import statistics
from collections.abc import Iterable
from itertools import islice
from typing import Any

from brainviz.errors import SpecError
from brainviz.runs.bottleneck_specs import BottleneckSpec, JointFeaturesSpec, PretrainingSpec
from brainviz.runs.concept_specs import ClipFields, ConceptsSpec, DecoderSpec, EmbeddingSpec, TextsSpec
from brainviz.runs.network_specs import EncodingSpec, FeaturesSpec, FinetuneSpec
from brainviz.runs.spec_base import SEPARATOR, Spec
from brainviz.runs.specs import (
    ClassificationSpec,
    ComparisonSpec,
    LandscapeSpec,
    LateralizationSpec,
    SubmissionSpec,
    network_of,
)
from brainviz.runs.store import Run, Store

#: An estimate rests on the median of this many latest runs.
RUNS_LOOKED_AT = 10

#: What reading, components and tests of a small bottleneck run take, as pictures times epochs times weights.
AROUND_TRAINING = 2e10


def missing(specs: Iterable[Spec], store: Store | None = None) -> list[Spec]:
    """Return the specs, and those they build on, that have no finished run; each once, dependencies first."""
    store = store or Store()
    found: dict[str, Spec] = {}

    def visit(spec: Spec) -> None:
        run = store.find(spec)
        if spec.run_id in found or (run is not None and run.state == "done"):
            return
        for needed in spec.dependencies():
            visit(needed)
        found[spec.run_id] = spec

    for spec in specs:
        visit(spec)
    return list(found.values())


def estimate_seconds(specs: Iterable[Spec], store: Store | None = None) -> float | None:
    """Return how many seconds the missing ones of these runs will take, one after the other.

    Each is compared with the latest runs on this machine of the same kind, network and image size, by the seconds they
    took per unit of work (see `work`).

    Returns
    -------
    float or None
        0 when nothing is missing; None when some kind of run has no finished one to compare with.
    """
    store = store or Store()
    rates: dict[tuple[Any, ...], float | None] = {}
    total = 0.0
    for spec in missing(specs, store):
        key = likeness(spec)
        if key not in rates:
            rates[key] = _seconds_per_work(key, store)
        rate = rates[key]
        if rate is None:
            return None
        total += rate * work(spec, store)
    return total


def likeness(spec: Spec) -> tuple[Any, ...]:
    """Return what two runs must share for one to tell about the other: kind, network, image size, method of tuning."""
    if (image_text := image_text_of(spec)) is not None:
        return (spec.kind, image_text.clip_network)
    network = network_of(spec)
    method = spec.method if isinstance(spec, FinetuneSpec) else ""
    return (spec.kind, network.network, network.image_size, method)


def image_text_of(spec: Spec) -> ClipFields | None:
    """Return the part of a spec that says which image-text network it is about; None where it is about none."""
    if isinstance(spec, ConceptsSpec):
        return spec.described_by
    if isinstance(spec, BottleneckSpec | PretrainingSpec):
        return image_text_of(spec.features)
    if isinstance(spec, JointFeaturesSpec):
        return spec if spec.source == "image-text" else None
    if isinstance(spec, DecoderSpec):
        return spec.embedding
    return spec if isinstance(spec, EmbeddingSpec | TextsSpec) else None


def work(spec: Spec, store: Store) -> float:
    """Return the size of a run: pictures times epochs (finetune), layers (features, classification), layers and ROIs
    (encoding), permutations and ROIs (comparison), pairs of models (landscape), or pictures that pass the network
    (lateralization); pictures (embedding), texts taken together (texts), steps of all seeds (decoder), pairs of
    participants times clusterings (concepts), pictures (joint features), pictures times epochs times weights of the
    hidden layer, and what comes before and after (pretraining, bottleneck), or encoders (submission).
    """
    if isinstance(spec, TextsSpec):
        return 1.0
    if isinstance(spec, SubmissionSpec):
        return float(len(spec.encoders))
    if isinstance(spec, DecoderSpec):
        return spec.n_seeds * spec.iterations
    if isinstance(spec, ConceptsSpec):
        participants = len(spec.decoders)
        return participants**2 * (1 + 3 * len(spec.scanned_eps) + participants * spec.leave_one_out)
    images = _n_images(spec, store)
    if isinstance(spec, EmbeddingSpec | JointFeaturesSpec):
        return images
    if isinstance(spec, BottleneckSpec | PretrainingSpec):
        return AROUND_TRAINING + images * spec.bottleneck_epochs * (1 if spec.linear else spec.bottleneck_width**2)
    if isinstance(spec, LandscapeSpec):
        return images * len(spec.models) ** 2
    if isinstance(spec, LateralizationSpec):
        passes = {"integrated-gradients": spec.n_steps, "occlusion": (2 / spec.window_share) ** 2}
        return spec.n_images * passes.get(spec.attribution, 1) * max(1, spec.noise_samples)
    if isinstance(spec, ClassificationSpec):
        return images * len(spec.readouts)
    if isinstance(spec, FinetuneSpec):
        return images * spec.epochs
    if isinstance(spec, ComparisonSpec):
        return images * spec.n_permutations * len(spec.areas)
    features = network_of(spec)
    assert isinstance(features, FeaturesSpec)
    areas = len(spec.areas) if isinstance(spec, EncodingSpec) else 1
    return images * len(features.layers) * areas


def _n_images(spec: Spec, store: Store) -> float:
    """Return the number of the subjects' or the task's pictures, as remembered; 1 where nothing is remembered."""
    try:
        if image_text_of(spec) is None and isinstance(network := network_of(spec), ClassificationSpec):
            return float(_remembered(store, "tasks", network.task_fingerprint)["n_images"])
        known = _remembered(store, "datasets", spec.dataset)["n_images"]
        return float(sum(known[subject] for subject in spec.subject.split(SEPARATOR)))
    except FileNotFoundError:
        return 1.0


def _remembered(store: Store, folder: str, digest: str) -> dict[str, Any]:
    known: dict[str, Any] = json.loads((store.cache / folder / f"{digest}.json").read_text(encoding="utf-8"))
    return known


def _seconds_per_work(key: tuple[Any, ...], store: Store) -> float | None:
    runs = (run for run in store.runs(kind=key[0], state="done") if _is_like(run, key) and _ran_here(run))
    rates = [run.manifest()["seconds"] / work(run.spec, store) for run in islice(runs, RUNS_LOOKED_AT)]
    return statistics.median(rates) if rates else None


def _is_like(run: Run, key: tuple[Any, ...]) -> bool:
    try:
        return likeness(run.spec) == key
    except SpecError:  # written by another version
        return False


def _ran_here(run: Run) -> bool:
    return bool(run.manifest()["host"] == socket.gethostname())
