"""Lateralization runs: what a network state predicts of test pictures, traced back to places of the pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainviz.datasets.tasks import TaskIndex
from brainviz.errors import DatasetError, SpecError
from brainviz.runs.areas import open_area, pairing
from brainviz.runs.classify import LABELS, task_images
from brainviz.runs.classify import ROWS as TASK_ROWS
from brainviz.runs.context import Context, open_pictures, read_images
from brainviz.runs.network_specs import EncodingSpec
from brainviz.runs.networks import features_of, open_state, scratch
from brainviz.runs.remembered import load_task
from brainviz.runs.specs import ClassificationSpec, LateralizationSpec
from brainviz.runs.store import Run, write_array
from brainviz.runs.tables import none_if_nan

if TYPE_CHECKING:
    from torch import Tensor

    from brainviz.analyses.attribution import Attribution, How, LinearReadout

#: Files: maps (n, 2, h, w) float16 between -1 and 1, of each picture and its mirror image; what they are to be
#: multiplied with (n, 2); indices (n, 2); the number attributed (n, 2); where attribution lies on the average (h, w).
MAPS, SCALES, INDEX, VALUES, POSITIONS = "maps.npy", "scales.npy", "index.npy", "values.npy", "positions.npy"
#: Rows of the pictures in the subject's data or in the task (n,), numbers that are equal for equal pictures (n,), and
#: which of the numbers was attributed (n,): the class.
ROWS, GROUPS, TARGETS = "rows.npy", "groups.npy", "targets.npy"
#: The linear readout, (p, K) and (K,).
WEIGHTS, INTERCEPT = "readout_weights.npy", "readout_intercept.npy"


#: Rows or columns of features that are in memory in float64 at a time.
_BLOCK = 1024
#: Added to a matrix of products before it is inverted, as a share of its mean eigenvalue.
_JITTER = 1e-11


@dataclass(frozen=True)
class Shown:
    """The pictures that are attributed.

    Attributes
    ----------
    images : (n, s, s, 3) uint8 array
    rows, targets, groups : (n,) int arrays
        Rows in the subject's data or the task; which number is attributed; equal for equal pictures.
    """

    images: NDArray[np.uint8]
    rows: NDArray[np.int64]
    targets: NDArray[np.int64]
    groups: NDArray[np.int64]


def lateralization(spec: LateralizationSpec, context: Context) -> dict[str, Any]:
    """Attribute a target to places of test pictures and of their mirror images, and measure on which side they lie.

    Writes the files named at the head of this module.
    """
    if spec.classification is not None:
        shown, (weights, intercept) = _classes(spec, spec.classification, context)
    else:
        assert spec.encoding is not None
        shown, (weights, intercept) = _responses(spec, spec.encoding, context)

    from brainviz.analyses.attribution import LinearReadout
    from brainviz.analyses.lateralization import laterality_index, mean_estimate, mean_map, pair_index
    from brainviz.encoding.statistics import bootstrap_weights

    network = LinearReadout(open_state(spec.network_state, context), spec.readout, weights, intercept)
    n = len(shown.rows)
    found = []
    for number, (name, images) in enumerate((("pictures", shown.images), ("mirror images", shown.images[:, :, ::-1]))):
        tell = context.progress(f"{spec.attribution} of {name}")
        tell(number * n, 2 * n)
        found.append(attributed(network, images, shown.targets, spec, context.device))
    maps = np.stack([each.maps for each in found], axis=1)
    values = np.stack([each.values for each in found], axis=1)
    residuals = np.stack([each.residuals for each in found], axis=1)
    if not np.isfinite(maps).all():
        raise DatasetError(
            "The attribution is not finite.", got="NaN or infinity", mend="look whether the network's training failed."
        )
    index = pair_index(maps)
    resamples = bootstrap_weights(n, spec.index_resamples, spec.picture_seed, shown.groups)
    estimate = mean_estimate(index, resamples)
    scales = np.abs(maps).max(axis=(2, 3))
    shrunk = maps / np.where(scales > 0, scales, 1)[:, :, None, None]
    for file, array in {
        MAPS: shrunk.astype(np.float16),
        SCALES: scales,
        INDEX: laterality_index(maps),
        VALUES: values,
        POSITIONS: mean_map(maps),
        ROWS: shown.rows,
        GROUPS: shown.groups,
        TARGETS: shown.targets,
        WEIGHTS: weights,
        INTERCEPT: intercept,
    }.items():
        write_array(context.path / file, array)
    return {
        "index": none_if_nan(estimate.value),
        "index_low": none_if_nan(estimate.low),
        "index_high": none_if_nan(estimate.high),
        "n_images": estimate.n,
        "n_without_index": n - estimate.n,
        "map_size": list(maps.shape[2:]),
        "value_mean": float(values.mean()),
        **_completeness(residuals),
    }


def _completeness(residuals: NDArray[np.float64]) -> dict[str, Any]:
    """Return how well maps add up to the change of the target, for methods that promise it."""
    from brainviz.analyses.attribution import COMPLETENESS

    known = np.abs(residuals[~np.isnan(residuals)])
    if not known.size:
        return {}
    finite = known[np.isfinite(known)]
    return {
        "residual_worst": none_if_nan(float(finite.max()) if finite.size else np.nan),
        "n_incomplete": int((known > COMPLETENESS).sum()),
    }


def attributed(
    network: LinearReadout, images: NDArray[np.uint8], targets: NDArray[np.int64], spec: LateralizationSpec, device: str
) -> Attribution:
    """Attribute targets of pictures, (n, s, s, 3) uint8, as a spec says."""
    from brainviz.analyses.attribution import attribute

    return attribute(network, normalised(images), targets, how(spec), device=device)


def normalised(images: NDArray[np.uint8]) -> Tensor:
    """Return pictures (n, s, s, 3) as a network expects them, (n, 3, s, s)."""
    import torch

    from brainviz.encoding.features import normaliser
    from brainviz.models.backbones import IMAGENET_MEAN, IMAGENET_STD

    return normaliser(IMAGENET_MEAN, IMAGENET_STD, torch.device("cpu"))(images)


def how(spec: LateralizationSpec) -> How:
    """Return the settings of a spec in pixels."""
    from brainviz.analyses.attribution import How

    return How(
        spec.attribution,
        layer=spec.cam_layer,
        n_steps=spec.n_steps,
        window=window_of(spec.network_state.image_size, spec.window_share),
        noise_samples=spec.noise_samples,
        noise_sd=spec.noise_sd,
        seed=spec.picture_seed,
    )


def window_of(size: int, share: float) -> int:
    """Return the side of occlusion's square, pixels: the one nearest to a share of the picture's that fits.

    Squares are half of their side apart. Unless they end where the picture ends, captum cuts the last ones short, and a
    network that is the same on both sides would seem to lean.
    """
    fitting = [side for side in range(2, size + 1) if (size - side) % (side // 2) == 0]
    return min(fitting, key=lambda side: abs(side - share * size))


_Readout = tuple[NDArray[np.float32], NDArray[np.float32]]


def _chosen(rows: NDArray[np.int64], spec: LateralizationSpec) -> NDArray[np.int64]:
    """Choose positions among the test pictures: the same ones for every network of the same division."""
    order = np.random.default_rng(spec.picture_seed).permutation(len(rows))
    return np.sort(order[: spec.n_images])


def _classes(spec: LateralizationSpec, classes: ClassificationSpec, context: Context) -> tuple[Shown, _Readout]:
    """Return test pictures of a task with their true classes, and the classifier."""
    run = context.finished(classes)
    task, index = load_task(classes.task_fingerprint, context.store.cache, context.progress("checking the task"))
    rows, labels = np.load(run.file(TASK_ROWS)), np.load(run.file(LABELS))
    picked = _chosen(rows, spec)
    images = task_images(task, index, classes.image_size, context)[rows[picked]]
    shown = Shown(np.asarray(images), rows[picked], labels[picked], _groups(index, rows[picked]))
    weights, intercept = (np.load(run.file(f"{name}_{spec.readout}.npy")) for name in ("coef", "intercept"))
    return shown, (weights, intercept)


def _groups(index: TaskIndex, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.unique(np.array(index.image_digests)[rows], return_inverse=True)[1]


def _responses(spec: LateralizationSpec, predicts: EncodingSpec, context: Context) -> tuple[Shown, _Readout]:
    """Return test pictures of the subject, and the encoding model of the target, linear in the layer's answer."""
    pictures = open_pictures(predicts, predicts.features, context)
    images = read_images(pictures, predicts.features.image_size, context)
    test = pictures.split.test
    rows = test[_chosen(test, spec)]
    shown = Shown(np.asarray(images[rows]), rows, np.zeros(len(rows), np.int64), pictures.groups(rows))

    from brainviz.encoding.ridge import prepare_ridge

    train = pictures.split.train
    number = predicts.features.layers.index(spec.readout)
    scores = context.finished(predicts.features).array(f"scores_{spec.readout}")[
        pairing(pictures.split, len(pictures.digests), predicts)[train]
    ]
    fitted = context.finished(predicts)
    alpha = np.load(fitted.file("alpha.npy"))[number]
    design = prepare_ridge(scores, predicts.alphas, predicts.n_folds, device=context.device)
    of_scores, intercept, start = np.zeros(scores.shape[1]), 0.0, 0
    for hemi, roi in predicts.areas:
        area = open_area(pictures, hemi, roi)
        span = slice(start, start + len(area.columns))
        start = span.stop
        wanted = _weights_of_vertices(spec, hemi, len(area.columns))
        coef, constant = design.refit(area.responses, alpha[span], rows=train)
        of_scores += coef.astype(np.float64) @ wanted
        intercept += float(constant.astype(np.float64) @ wanted)
    order = np.argsort(train)
    with scratch(context) as folder:
        backbone = open_state(predicts.features, context)
        features = features_of(backbone, (spec.readout,), images[train[order]], folder, context)[spec.readout]
        weights, mean = _through_components(features, (scores.astype(np.float64) @ of_scores)[order])
    return shown, (weights[:, None], np.array([intercept - mean @ weights], np.float32))


def _weights_of_vertices(spec: LateralizationSpec, hemi: str, n: int) -> NDArray[np.float64]:
    """Return how much each vertex of an area counts in the target, (n,)."""
    if spec.target == "vertex":
        if spec.vertex >= n:
            raise SpecError("The ROI has no such vertex.", got=str(spec.vertex), expected=f"0 to {n - 1}")
        return np.asarray(np.arange(n) == spec.vertex, np.float64)
    sign = -1 if spec.target == "left-right" and hemi == "rh" else 1
    return np.full(n, sign / n)


def _through_components(
    features: NDArray[np.float32], predicted: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return weights of features, (p,), that give what PCA scores gave for the training pictures, and the mean.

    Parameters
    ----------
    features : (n, p) array
    predicted : (n,) array
        S w, where S = (X - mean) V are the scores and w their weights.

    Notes
    -----
    V w is the shortest solution u of (X - mean) u = S w, as V's columns lie in the rows of X - mean; solved in float64
    through the smaller matrix of products. Taking V from S itself, X' S diag(1 / s's), would lose the small components:
    in float32, the large ones leak into them.
    """
    from scipy import linalg

    n, p = features.shape
    mean = features.mean(axis=0, dtype=np.float64)
    blocks = [slice(start, start + _BLOCK) for start in range(0, max(n, p), _BLOCK)]
    if p <= n:
        products, right = np.zeros((p, p)), np.zeros(p)
        for rows in blocks:
            centred = features[rows] - mean
            products += centred.T @ centred
            right += centred.T @ predicted[rows]
    else:
        products, right = np.zeros((n, n)), predicted
        for columns in blocks:
            centred = features[:, columns] - mean[columns]
            products += centred @ centred.T
    # Features that are constant, or combinations of others, would make the matrix singular.
    products[np.diag_indices_from(products)] += _JITTER * np.trace(products) / len(products)
    solved = linalg.solve(products, right, assume_a="pos", overwrite_a=True)
    if p > n:
        solved = np.concatenate(
            [(features[:, columns] - mean[columns]).T @ solved for columns in blocks if columns.start < p]
        )
    return solved.astype(np.float32), mean


def read_maps(run: Run, rows: NDArray[np.integer] | slice = slice(None)) -> NDArray[np.float32]:
    """Return the signed maps of a finished run's pictures and their mirror images, (n, 2, h, w)."""
    shrunk = np.load(run.file(MAPS), mmap_mode="r")[rows].astype(np.float32)
    scales = np.load(run.file(SCALES))[rows].astype(np.float32)
    maps: NDArray[np.float32] = shrunk * scales[:, :, None, None]
    return maps


def read_index(run: Run) -> NDArray[np.float64]:
    """Return the index of a finished run's pictures, (n,): the mean of the picture's and its mirror image's."""
    index: NDArray[np.float64] = np.load(run.file(INDEX)).mean(axis=1)
    return index
