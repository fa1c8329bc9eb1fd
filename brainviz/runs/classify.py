"""Classification runs: a task's pictures through one network state, and logistic regressions on what it answers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainviz.datasets.images import image_array
from brainviz.datasets.tasks import Task, TaskIndex, split
from brainviz.runs.context import Context
from brainviz.runs.networks import features_of, open_state, passes, scratch
from brainviz.runs.remembered import load_task
from brainviz.runs.specs import ClassificationSpec
from brainviz.runs.store import Run, write_array, write_json

#: Files of the test pictures: their rows in the task, their classes, and the classes' names.
ROWS, LABELS, CLASSES = "rows.npy", "labels.npy", "classes.json"


def classification(spec: ClassificationSpec, context: Context) -> dict[str, Any]:
    """Fit a logistic regression on each readout of a network state (methods, section 5).

    Writes per readout ``probabilities`` (n_test, C), ``coef`` (p, C) and ``intercept`` (C,), all float32; the test
    pictures' ``rows`` and ``labels``, and ``classes.json``. All readouts come from one pass of the pictures.
    """
    task, index = load_task(spec.task_fingerprint, context.store.cache, context.progress("checking the task"))
    train, test = split(task.labels, spec.task_seed, spec.task_test_share, groups=index.image_digests)
    images = task_images(task, index, spec.image_size, context)

    # Only now that the task is known to be good: torch takes seconds.
    from brainviz.analyses.classification import classify

    backbone = open_state(spec, context)
    found: dict[str, dict[str, Any]] = {}
    for layers in passes(backbone, spec.readouts, images):
        with scratch(context) as folder:
            features = features_of(backbone, layers, images, folder, context)
            for layer in layers:
                context.progress(f"classifying from {layer}")(len(found), len(spec.readouts))
                outcome = classify(
                    features.pop(layer),
                    task.labels,
                    train,
                    test,
                    n_classes=len(task.classes),
                    standardised=layer != spec.logits,
                    C=spec.regularisation,
                    device=context.device,
                )
                write_array(context.path / f"probabilities_{layer}.npy", outcome.probabilities)
                write_array(context.path / f"coef_{layer}.npy", outcome.fit.coef.astype(np.float32))
                write_array(context.path / f"intercept_{layer}.npy", outcome.fit.intercept.astype(np.float32))
                found[layer] = {
                    "accuracy": outcome.accuracy,
                    "accuracy_low": outcome.accuracy_low,
                    "accuracy_high": outcome.accuracy_high,
                    "log_loss": outcome.log_loss,
                    "iterations": outcome.fit.n_iter,
                    "converged": outcome.fit.converged,
                }
    write_array(context.path / ROWS, test)
    write_array(context.path / LABELS, task.labels[test])
    write_json(context.path / CLASSES, list(task.classes))
    return {
        **found[spec.readouts[0]],
        "n_train": len(train),
        "n_test": len(test),
        "n_classes": len(task.classes),
        "by_readout": found,
    }


def task_images(task: Task, index: TaskIndex, size: int, context: Context) -> NDArray[np.uint8]:
    """Return a task's pictures, their middles cut out, shape (n, size, size, 3); decoded once and kept in the cache."""
    folder = context.store.cache / "images"
    return image_array(
        task.images, index.image_digests, size, folder, context.progress("decoding pictures"), fit="cut out"
    )


def read_probabilities(run: Run, readout: str) -> NDArray[np.float32]:
    """Return a classification run's class probabilities of the test pictures, (n_test, C), memory-mapped."""
    probabilities: NDArray[np.float32] = np.load(run.file(f"probabilities_{readout}.npy"), mmap_mode="r")
    return probabilities
