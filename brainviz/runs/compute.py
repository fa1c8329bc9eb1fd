"""From a spec to result files: reads data, calls training and encoding, and writes what they return.

One function per kind; each writes into the run's folder and returns the scalars of ``result.json``. Nothing here knows
who asked, or who computes: the queue calls it in a process of its own, a test may call it directly.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainviz.datasets.base import HEMISPHERE_NAMES, Dataset
from brainviz.datasets.images import image_array
from brainviz.datasets.splits import Split, hold_out, split_pictures
from brainviz.errors import DatasetError, RunError, SpecError, WeightsError
from brainviz.runs.requests import load_dataset, require_roi, weights_path
from brainviz.runs.specs import EncodingSpec, FeaturesSpec, FinetuneSpec, NetworkFields, Spec, SplitFields
from brainviz.runs.store import Run, Store, atomic_file, write_array

if TYPE_CHECKING:
    from torch import nn

    from brainviz.datasets.index import DatasetIndex

#: File of a fine-tuned network's state.
WEIGHTS = "weights.safetensors"

#: Pictures that pass through the network at a time when features are read; does not change the result.
FEATURE_BATCH = 64

#: Features, before PCA, that are in memory or on the disk at a time.
PASS_BYTES = 3 * 2**30

#: Progress is written down at most so often.
PROGRESS_SECONDS = 0.5


class Context:
    """Where a run computes, and where it tells how far it is.

    Parameters
    ----------
    store : Store
        Holds the runs that this one builds on.
    path : Path
        The run's own folder.
    asked_device : str
        ``"auto"``, ``"cpu"`` or ``"cuda"``.
    event : callable
        Takes one progress event, a mapping that JSON can hold.
    """

    def __init__(self, store: Store, path: Path, asked_device: str, event: Callable[[Mapping[str, Any]], None]) -> None:
        self.store, self.path, self.asked_device, self.event = store, path, asked_device, event
        self._told, self._told_text = 0.0, ""

    @cached_property
    def device(self) -> str:
        """Where the run computes: ``"cpu"`` or ``"cuda"``.

        Raises
        ------
        SpecError
            CUDA was asked for and there is none.
        """
        import torch

        if self.asked_device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        if self.asked_device == "cuda" and not torch.cuda.is_available():
            raise SpecError("There is no CUDA device on this machine.", got="device cuda", mend="ask for cpu, or auto.")
        return self.asked_device

    def progress(self, text: str) -> Callable[[int, int], None]:
        """Return a function that writes down ``(done, total)`` of the step called `text`, not too often."""

        def tell(done: int, total: int) -> None:
            now = time.monotonic()
            if text != self._told_text or done == total or now - self._told >= PROGRESS_SECONDS:
                self._told, self._told_text = now, text
                self.event({"event": "progress", "text": text, "done": done, "total": total})

        return tell

    def report(self, event: Mapping[str, Any]) -> None:
        """Write down what a fit tells: a note for the reader, or the figures of an epoch."""
        self.event({"event": "note", "text": event["note"]} if "note" in event else {"event": "epoch", **event})

    def finished(self, spec: Spec) -> Run:
        """Return the finished run that answers a spec.

        Raises
        ------
        RunError
            It is not done.
        """
        run = self.store.run_of(spec)
        run.manifest()
        return run


@dataclass(frozen=True)
class Pictures:
    """One subject's data, with the pictures divided.

    Attributes
    ----------
    dataset : Dataset
    index : DatasetIndex
    subject : str
    split : Split
        Rows of the training and of the test pictures.
    """

    dataset: Dataset
    index: DatasetIndex
    subject: str
    split: Split

    @property
    def digests(self) -> tuple[str, ...]:
        """One per row: equal pictures have equal ones."""
        return self.index.subjects[self.subject].image_digests

    def groups(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return a number for each of these rows' pictures, shape (m,); equal pictures have equal ones."""
        return np.unique(np.array(self.digests)[rows], return_inverse=True)[1]


def compute(spec: Spec, context: Context) -> dict[str, Any]:
    """Compute a run and write its result files.

    Parameters
    ----------
    spec : Spec
        Of any kind in `specs.SPEC_CLASSES`; the runs it builds on are done.
    context : Context

    Returns
    -------
    dict
        The scalars of ``result.json``.

    Raises
    ------
    BrainvizError
        Data, weights or settings do not allow it.
    """
    if isinstance(spec, FinetuneSpec):
        return finetune(spec, context)
    if isinstance(spec, FeaturesSpec):
        return features(spec, context)
    if isinstance(spec, EncodingSpec):
        return encoding(spec, context)
    raise RunError("Nothing here computes this kind of run.", got=spec.kind)


def finetune(spec: FinetuneSpec, context: Context) -> dict[str, Any]:
    """Tune a network on the responses of one ROI (methods, section 1).

    Writes ``weights.safetensors``: the tuned backbone (``backbone.*``) and the heads.
    """
    pictures = open_pictures(spec, spec, context)
    require_roi(pictures.dataset, spec.subject, spec.hemi, spec.roi)
    fit_rows, validation_rows = hold_out(pictures.split.train, pictures.digests, spec.validation_share, spec.split_seed)
    responses = read_responses(pictures, spec.hemi, spec.roi)
    if spec.zscore:
        responses = standardised(responses, fit_rows)
    images = read_images(pictures, spec.image_size, context)

    # Only now that the data are known to be good: torch takes seconds.
    import torch
    from safetensors.torch import save

    from brainviz.models.backbones import count_logits
    from brainviz.models.contrastive import ContrastiveNetwork, head_sizes
    from brainviz.models.states import flat_state
    from brainviz.training.fit import ContrastiveObjective, fit

    backbone = open_backbone(spec, spec.seed, context)
    n_logits = count_logits(backbone, spec.image_size)
    hidden, embedding = head_sizes(responses.shape[1], spec.hidden_ratio, spec.embedding_ratio)
    network = ContrastiveNetwork(backbone, n_logits, responses.shape[1], hidden, embedding, seed=spec.seed)
    outcome = fit(
        network,
        ContrastiveObjective(network, spec.temperature, spec.loss),
        images,
        responses,
        fit_rows,
        validation_rows,
        epochs=spec.epochs,
        batch_size=spec.batch_size,
        learning_rate=spec.learning_rate,
        seed=spec.seed,
        device=torch.device(context.device),
        report=context.report,
    )
    with atomic_file(context.path / WEIGHTS) as file:
        file.write(save(flat_state(network)))
    n_validation = len(validation_rows)
    return {
        "epochs": outcome.epochs,
        "loss": outcome.loss,
        "retrieval_top1": outcome.monitored.get("retrieval_top1"),
        "retrieval_chance": 1 / n_validation if n_validation else None,
        "seconds": outcome.seconds,
        "images_per_second": outcome.images_per_second,
        "batch_size": outcome.batch_size,
        "micro_batch_size": outcome.micro_batch_size,
        "n_fit": len(fit_rows),
        "n_validation": n_validation,
        "n_test": len(pictures.split.test),
        "n_vertices": responses.shape[1],
        "n_logits": n_logits,
        "hidden": hidden,
        "embedding": embedding,
    }


def standardised(responses: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the responses with mean 0 and standard deviation 1 over `rows`; a vertex that is constant there becomes 0.

    Parameters
    ----------
    responses : (n, v) array
    rows : (m,) int array
        The pictures that are fitted: statistics of others would leak.
    """
    fitted = responses[rows].astype(np.float64)
    scale = fitted.std(axis=0)
    scale[fitted.max(axis=0) == fitted.min(axis=0)] = np.inf
    result: NDArray[np.float32] = ((responses - fitted.mean(axis=0)) / scale).astype(np.float32)
    return result


def features(spec: FeaturesSpec, context: Context) -> dict[str, Any]:
    """Pass all pictures through a network and keep the PCA scores of some of its layers (methods, section 2).

    Writes ``scores_<layer>`` (n, k) and ``explained_<layer>`` (k,), shares of the training pictures' variance.
    """
    from brainviz.encoding.features import layer_features
    from brainviz.encoding.pca import fit_pca
    from brainviz.models.backbones import IMAGENET_MEAN, IMAGENET_STD, load_tuned_backbone

    pictures = open_pictures(spec, spec, context)
    images = read_images(pictures, spec.image_size, context)
    if spec.finetune is not None:
        backbone = load_tuned_backbone(spec.network, context.finished(spec.finetune).file(WEIGHTS))
    else:
        backbone = open_backbone(spec, spec.seed, context)
    n_components: dict[str, int] = {}
    explained: dict[str, float] = {}
    for layers in passes(backbone, spec.layers, images):
        with scratch(context) as folder:
            found = layer_features(
                backbone,
                layers,
                images,
                IMAGENET_MEAN,
                IMAGENET_STD,
                device=context.device,
                batch_size=FEATURE_BATCH,
                folder=folder,
                progress=context.progress(f"features of {', '.join(layers)}"),
            )
            for layer in layers:
                context.progress(f"PCA of {layer}")(len(explained), len(spec.layers))
                pca = fit_pca(found.pop(layer), pictures.split.train, spec.n_components, device=context.device)
                write_array(context.path / f"scores_{layer}.npy", pca.scores)
                write_array(context.path / f"explained_{layer}.npy", pca.explained_variance_ratio)
                n_components[layer] = pca.scores.shape[1]
                explained[layer] = float(pca.explained_variance_ratio.sum())
    return {
        "n_images": len(images),
        "n_train": len(pictures.split.train),
        "n_components": n_components,
        "explained_variance": explained,
    }


def passes(backbone: nn.Module, layers: Sequence[str], images: NDArray[np.uint8]) -> list[tuple[str, ...]]:
    """Divide layers into groups, in order, whose features together take at most `PASS_BYTES`, or hold one layer."""
    from brainviz.encoding.features import layer_features
    from brainviz.models.backbones import IMAGENET_MEAN, IMAGENET_STD

    groups: list[tuple[str, ...]] = []
    held = 0
    for layer, one in layer_features(backbone, layers, images[:1], IMAGENET_MEAN, IMAGENET_STD).items():
        size = one.nbytes * len(images)
        if groups and held + size <= PASS_BYTES:
            groups[-1] = (*groups[-1], layer)
            held += size
        else:
            groups.append((layer,))
            held = size
    return groups


def encoding(spec: EncodingSpec, context: Context) -> dict[str, Any]:
    """Predict a ROI's responses from every layer's scores; keep the layer with the highest mean cross-validated r.

    Writes ``r`` and ``alpha`` (v,) of the best layer, ``cv_r`` (L, v), ``columns`` (v,), and ``positions`` (v,) on a
    mesh.
    """
    pictures = open_pictures(spec, spec.features, context)
    require_roi(pictures.dataset, spec.subject, spec.hemi, spec.roi)
    train, test = pictures.split.train, pictures.split.test
    responses = read_responses(pictures, spec.hemi, spec.roi)
    scored = context.finished(spec.features)
    from brainviz.encoding.metrics import pearson_r
    from brainviz.encoding.ridge import cross_validate_ridge, refit_ridge

    order, measured = _pairing(pictures.split, len(responses), spec), responses[train]
    layers = spec.features.layers
    selections = []
    for number, layer in enumerate(layers):
        context.progress(f"ridge on {layer}")(number, len(layers))
        scores = scored.array(f"scores_{layer}")[order[train]]
        selections.append(
            cross_validate_ridge(
                scores,
                measured,
                spec.alphas,
                spec.n_folds,
                groups=pictures.groups(order[train]),
                seed=spec.seed,
                extend=True,
                device=context.device,
            )
        )
    cv_r = np.stack([selection.cv_r for selection in selections])
    best = best_layer(cv_r)
    alpha = selections[best].alpha
    scores = scored.array(f"scores_{layers[best]}")[order]
    coef, intercept = refit_ridge(scores[train], measured, alpha, device=context.device)
    r = pearson_r(scores[test] @ coef + intercept, responses[test])

    columns = pictures.dataset.columns(spec.subject, spec.hemi, spec.roi)
    positions = pictures.dataset.positions(spec.subject, spec.hemi)
    arrays = {"r": r, "cv_r": cv_r, "alpha": alpha, "columns": columns}
    if positions is not None:
        arrays["positions"] = positions[columns]
    for name, array in arrays.items():
        write_array(context.path / f"{name}.npy", array)
    return {
        "layer": layers[best],
        "n_train": len(train),
        "n_test": len(test),
        "n_vertices": len(columns),
        "nan_vertices": int(np.isnan(r).sum()),
        "r_mean": finite_mean(r),
        "r_median": finite_median(r),
        "cv_r_mean": finite_mean(cv_r[best]),
        "cv_r_median": finite_median(cv_r[best]),
    }


def _pairing(split: Split, n: int, spec: EncodingSpec) -> NDArray[np.int64]:
    """Return the picture each response is paired with, shape (n,): its own, or a random one of its part."""
    order = np.arange(n)
    if spec.shuffle_images:
        rng = np.random.default_rng(spec.seed)
        for rows in (split.train, split.test):
            order[rows] = rng.permutation(rows)
    return order


def best_layer(cv_r: NDArray[np.float64]) -> int:
    """Return the row with the highest mean, undefined vertices aside.

    Parameters
    ----------
    cv_r : (L, v) array

    Raises
    ------
    DatasetError
        No vertex has a cross-validated r.
    """
    means = [finite_mean(row) for row in cv_r]
    ranked = [(mean, -number) for number, mean in enumerate(means) if mean is not None]
    if not ranked:
        raise DatasetError(
            "No vertex of the ROI can be predicted.",
            got="constant responses only",
            mend="check the data set, or choose another ROI.",
        )
    return -max(ranked)[1]


def finite_mean(values: NDArray[np.floating]) -> float | None:
    """Return the mean of the values that are defined; None when there is none (JSON knows no NaN)."""
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if defined.size else None


def finite_median(values: NDArray[np.floating]) -> float | None:
    """Return the median of the values that are defined; None when there is none."""
    defined = values[np.isfinite(values)]
    return float(np.median(defined)) if defined.size else None


def open_pictures(spec: Spec, splitting: SplitFields, context: Context) -> Pictures:
    """Return the subject's data, verified against the fingerprint, and how its pictures are divided."""
    dataset, index = load_dataset(spec.dataset, context.store.cache, context.progress("checking the data set"))
    dataset.require_subject(spec.subject)
    split = split_pictures(index, splitting.test_share, splitting.split_seed)[spec.subject]
    if len(split.train) < 2 or len(split.test) < 2:
        raise DatasetError(
            f"{spec.subject} has too few pictures to divide.",
            got=f"{len(split.train)} to train and {len(split.test)} to test",
            expected="at least 2 of each",
            mend="choose another test share.",
        )
    return Pictures(dataset, index, spec.subject, split)


def read_responses(pictures: Pictures, hemi: str, roi: str) -> NDArray[np.float32]:
    """Return the responses of a ROI to all pictures, shape (n, v).

    Raises
    ------
    DatasetError
        Some are not numbers.
    """
    responses = np.asarray(pictures.dataset.responses(pictures.subject, hemi, roi))
    # A sum over a column is finite unless a value is not, or overflows: no mask of the size of the data.
    broken = np.flatnonzero(~np.isfinite(responses.sum(axis=0, dtype=np.float64)))
    if broken.size:
        raise DatasetError(
            f"{roi} of {pictures.subject} in the {HEMISPHERE_NAMES[hemi]} has responses that are not numbers.",
            got=f"NaN or infinite values in {broken.size} of {responses.shape[1]} vertices",
            expected="finite numbers",
            mend="repair the data (`python -m brainviz check` names the rows), or choose a ROI without them.",
        )
    return responses


def read_images(pictures: Pictures, size: int, context: Context) -> NDArray[np.uint8]:
    """Return the subject's pictures, shape (n, size, size, 3); decoded once and kept in the cache."""
    images = pictures.dataset.images(pictures.subject)
    folder = context.store.cache / "images"
    return image_array(images, pictures.digests, size, folder, context.progress("decoding pictures"))


def open_backbone(spec: NetworkFields, seed: int, context: Context) -> nn.Module:
    """Return the untuned network that a spec names.

    Raises
    ------
    WeightsError
        A local weights file was asked for and its place is not known, or its contents have changed.
    """
    from brainviz.models.backbones import load_backbone

    path = None
    if spec.weights == "file" and (path := weights_path(spec.weights_digest, context.store.cache)) is None:
        raise WeightsError(
            "Nobody remembers where this weights file is.",
            got=f"SHA-256 {spec.weights_digest}",
            mend="ask for the run again and name the file.",
        )
    return load_backbone(spec.network, spec.weights, spec.weights_digest, path, seed)


@contextmanager
def scratch(context: Context) -> Iterator[Path]:
    """Yield a folder inside the run's for what is too large to keep, removed afterwards."""
    folder = context.path / "scratch"
    folder.mkdir(exist_ok=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
