"""Bottleneck runs: common features of several subjects' pictures, pre-training, and one subject's encoder (section 9).

Features and targets go into the network divided by one number each, their root mean square over the pictures that are
fitted: the first weights and the leak then mean the same whichever network the features come from. The relative sizes
of the components are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainviz.datasets.base import HEMISPHERE_NAMES, HEMISPHERES
from brainviz.datasets.images import image_array
from brainviz.datasets.splits import hold_out, split_pictures
from brainviz.errors import DatasetError
from brainviz.runs.areas import Area, each_once, open_areas, write_places
from brainviz.runs.bottleneck_specs import (
    BottleneckFields,
    BottleneckSpec,
    JointFeaturesSpec,
    PretrainingSpec,
)
from brainviz.runs.context import Context, Pictures, open_pictures, read_together
from brainviz.runs.embed import open_image_text
from brainviz.runs.encode import Block, Scored, challenge_score, roi_rows, score_area, write_scored
from brainviz.runs.networks import PICTURES_PER_BLOCK, WEIGHTS, feature_blocks, open_state, scratch, stack_blocks
from brainviz.runs.remembered import load_dataset
from brainviz.runs.store import Run, atomic_file, write_array, write_json
from brainviz.runs.tables import ROIS, finite_mean, finite_median, nan_if_none, none_if_nan, write_table

if TYPE_CHECKING:
    from brainviz.encoding.pca import PCAFit
    from brainviz.models.bottleneck import Bottleneck
    from brainviz.training.bottleneck import Curves, SubjectData

#: What stands for the layer of an image-text network.
HIDDEN = "hidden"

#: File of how the training went.
CURVES = "curves.json"

#: Vertices whose responses are predicted at a time.
VERTICES_PER_BLOCK = 4096


# --- features ---------------------------------------------------------------------------------------------------------


def joint_features(spec: JointFeaturesSpec, context: Context) -> dict[str, Any]:
    """Find principal components on training pictures of all subjects, and score every subject's pictures on them.

    Of more distinct training pictures than `pca_pictures`, a random part is taken. Several layers are reduced one by
    one, divided by their root mean square, and reduced together.

    Writes ``scores_<subject>`` (n, k), ``explained`` (k,), shares of the variance, and per layer ``mean_<layer>`` (p,)
    and ``axes_<layer>`` (k, p): the scores of other pictures are the sum of ``(x - mean) @ axes.T`` over the layers.
    """
    dataset, index = load_dataset(spec.dataset, context.store.cache, context.progress("checking the data set"))
    split = split_pictures(index, spec.test_share, spec.split_seed)
    subjects = [Pictures(dataset, index, name, split[name]) for name in spec.subjects]
    counts = [len(pictures.digests) for pictures in subjects]
    train = _distinct_training_rows(subjects, spec)
    source = FeatureSource(spec, context)
    n, device = spec.feature_components, context.device
    reduced = []
    for layer in source.layers:
        with scratch(context) as folder:
            blocks = (block for one in subjects for block in source.blocks(layer, source.images(one)))
            features = stack_blocks(blocks, sum(counts), layer, folder)
            context.progress(f"PCA of {layer}")(0, 1)
            reduced.append(_reduced(features, train, n, device))
    together, axes = reduced[0], [one.axes for one in reduced]
    if len(reduced) > 1:
        together = _reduced(np.concatenate([one.scores for one in reduced], axis=1), train, n, device)
        parts = np.split(together.axes, np.cumsum([len(own) for own in axes])[:-1], axis=1)
        axes = [part @ own for part, own in zip(parts, axes, strict=True)]
    for layer, one, own in zip(source.layers, reduced, axes, strict=True):
        write_array(context.path / f"mean_{layer}.npy", one.mean)
        write_array(context.path / f"axes_{layer}.npy", own)
    for pictures, scores in zip(subjects, np.split(together.scores, np.cumsum(counts)[:-1]), strict=True):
        write_array(context.path / f"scores_{pictures.subject}.npy", scores.astype(np.float32))
    write_array(context.path / "explained.npy", together.explained)
    return {
        "n_images": sum(counts),
        "n_fitted": len(train),
        "n_components": together.scores.shape[1],
        "explained_variance": float(together.explained.sum()),
    }


@dataclass(frozen=True)
class _Reduced:
    """Features on their principal components, with a root mean square of 1 over the training pictures.

    Attributes
    ----------
    scores : (N, k) float32 array
    mean : (p,) float64 array
    axes : (k, p) float32 array
        ``scores = (features - mean) @ axes.T``.
    explained : (k,) float64 array
        Shares of the training pictures' variance.
    """

    scores: NDArray[np.float32]
    mean: NDArray[np.float64]
    axes: NDArray[np.float32]
    explained: NDArray[np.float64]


def _reduced(features: NDArray[np.float32], train: NDArray[np.int64], n_components: int, device: str) -> _Reduced:
    from brainviz.encoding.pca import fit_pca, principal_axes

    fit = fit_pca(features, train, n_components, device=device)
    mean, axes = principal_axes(features, train, fit)
    scale = np.float32(_root_mean_square(fit.scores[train]))
    return _Reduced(fit.scores / scale, mean, axes / scale, fit.explained_variance_ratio)


class FeatureSource:
    """What a spec takes features from.

    Parameters
    ----------
    spec : JointFeaturesSpec
    context : Context
    """

    def __init__(self, spec: JointFeaturesSpec, context: Context) -> None:
        self.spec, self.context = spec, context
        # At once: missing weights are told before thousands of pictures are decoded.
        self._network: Any = (
            open_image_text(spec, context.store.cache) if spec.source == "image-text" else open_state(spec, context)
        )

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers of the network, or what stands for the image-text network's last hidden state."""
        return (HIDDEN,) if self.spec.source == "image-text" else self.spec.layers

    def images(self, pictures: Pictures) -> NDArray[np.uint8]:
        """Return a subject's pictures as the network takes them."""
        return self.decoded(pictures.dataset.images(pictures.subject), pictures.digests)

    def decoded(self, images: Any, digests: Sequence[str]) -> NDArray[np.uint8]:
        """Return any pictures as the network takes them, (n, s, s, 3); decoded once and kept in the cache."""
        from brainviz.models.clip import clip_fit, clip_image_size

        folder, tell = self.context.store.cache / "images", self.context.progress("decoding pictures")
        if self.spec.source == "network":
            return image_array(images, digests, self.spec.image_size, folder, tell)
        network = self.spec.clip_network
        return image_array(images, digests, clip_image_size(network), folder, tell, fit=clip_fit(network))

    def blocks(self, layer: str, images: NDArray[np.uint8]) -> Iterator[NDArray[np.float32]]:
        """Yield the features of pictures, (m, p) at a time, in order."""
        if self.spec.source == "network":
            yield from feature_blocks(self._network, layer, images, self.context)
            return
        tell = self.context.progress("hidden states")
        for start in range(0, len(images), PICTURES_PER_BLOCK):
            part = np.asarray(images[start : start + PICTURES_PER_BLOCK])
            yield self._network.hidden_states(part, device=self.context.device)
            tell(start + len(part), len(images))


def project(run: Run, source: FeatureSource, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the scores of other pictures on the components of a finished run of joint features, shape (n, k)."""
    scores: NDArray[np.float32] | None = None
    for layer in source.layers:
        mean, axes = np.asarray(run.array(f"mean_{layer}")), np.asarray(run.array(f"axes_{layer}"))
        own = np.concatenate([(x - mean).astype(np.float32) @ axes.T for x in source.blocks(layer, images)])
        scores = own if scores is None else scores + own
    assert scores is not None
    return scores


def _distinct_training_rows(subjects: Sequence[Pictures], spec: JointFeaturesSpec) -> NDArray[np.int64]:
    """Return rows, among all subjects' pictures, of distinct training pictures: all of them, or a random part."""
    digests = np.concatenate([np.array(pictures.digests) for pictures in subjects])
    starts = np.cumsum([0, *(len(pictures.digests) for pictures in subjects)])
    train = np.concatenate([start + pictures.split.train for start, pictures in zip(starts, subjects, strict=False)])
    rows = train[np.unique(digests[train], return_index=True)[1]]
    if len(rows) < 2:
        raise DatasetError(
            "There are too few training pictures to find components on.", got=f"{len(rows)}", expected="at least 2"
        )
    # By digest, which np.unique sorted them by: the same pictures whatever the order of the subjects.
    chosen = np.random.default_rng(spec.split_seed).permutation(len(rows))[: spec.pca_pictures]
    return np.sort(rows[chosen])


def _root_mean_square(values: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


# --- responses --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HemisphereComponents:
    """The principal components of a hemisphere's responses, found on the pictures that are fitted.

    Attributes
    ----------
    columns : (v,) int64 array
        Of the hemisphere's responses, ascending.
    fit : PCAFit
        Scores of all pictures.
    mean : (v,) float64 array
    axes : (k, v) float32 array
    """

    columns: NDArray[np.int64]
    fit: PCAFit
    mean: NDArray[np.float64]
    axes: NDArray[np.float32]


@dataclass(frozen=True)
class Subject:
    """One subject's pictures, and the components of the responses of both hemispheres.

    Attributes
    ----------
    pictures : Pictures
    fitted, validation : int64 arrays
        Rows that networks and components are fitted on, and those that choose the epoch.
    hemispheres : mapping of str to HemisphereComponents
    scale : float
        Root mean square of all fitted scores, which they are divided by.
    """

    pictures: Pictures
    fitted: NDArray[np.int64]
    validation: NDArray[np.int64]
    hemispheres: dict[str, HemisphereComponents]
    scale: float

    @property
    def eigenvalues(self) -> NDArray[np.float64]:
        """Variances of the targets, (2 k,), left and then right."""
        variances = [half.fit.explained_variance for half in self.hemispheres.values()]
        together: NDArray[np.float64] = np.concatenate(variances) / self.scale**2
        return together

    def data(self, scores: NDArray[np.float32]) -> SubjectData:
        """Return what a network is fitted on: the training pictures, those that validate last."""
        from brainviz.training.bottleneck import SubjectData

        rows = np.concatenate([self.fitted, self.validation])
        left, right = (half.fit.scores[rows] / self.scale for half in self.hemispheres.values())
        return SubjectData(scores[rows], left, right, self.eigenvalues, np.arange(len(self.fitted), len(rows)))


def open_subject(spec: BottleneckFields, pictures: Pictures, context: Context) -> Subject:
    """Reduce one subject's responses to principal components, without a look at test or validation pictures.

    Raises
    ------
    DatasetError
        A hemisphere is missing, or has fewer components than are asked for.
    """
    from brainviz.encoding.pca import fit_pca, principal_axes

    split = pictures.split
    fitted, validation = hold_out(split.train, pictures.digests, spec.bottleneck_validation, spec.bottleneck_seed)
    hemispheres: dict[str, HemisphereComponents] = {}
    for hemi in HEMISPHERES:
        pictures.dataset.require_hemisphere(pictures.subject, hemi)
        context.progress(f"PCA of {pictures.subject}'s responses")(len(hemispheres), 2)
        columns, responses = read_together(pictures, hemi, [roi for where, roi in spec.areas if where == hemi])
        fit = fit_pca(responses, fitted, spec.response_components, device=context.device)
        if len(fit.explained_variance) < spec.response_components:
            raise DatasetError(
                f"The {HEMISPHERE_NAMES[hemi]} of {pictures.subject} has too few components.",
                got=f"{len(fit.explained_variance)} from {len(fitted)} pictures and {len(columns)} vertices",
                expected=f"{spec.response_components}",
                mend="ask for fewer response components, or for more ROIs.",
            )
        hemispheres[hemi] = HemisphereComponents(columns, fit, *principal_axes(responses, fitted, fit))
    scale = _root_mean_square(np.concatenate([half.fit.scores[fitted] for half in hemispheres.values()], axis=1))
    return Subject(pictures, fitted, validation, hemispheres, scale)


# --- networks ---------------------------------------------------------------------------------------------------------


def pretraining(spec: PretrainingSpec, context: Context) -> dict[str, Any]:
    """Train one network on all subjects, each with components of its own.

    Writes ``weights.safetensors`` and ``curves.json``.
    """
    joint = context.finished(spec.features)
    data = []
    for name in spec.features.subjects:
        pictures = open_pictures(spec.model_copy(update={"subject": name}), spec.features, context)
        data.append(open_subject(spec, pictures, context).data(np.asarray(joint.array(f"scores_{name}"))))
    from brainviz.training.bottleneck import fit_bottleneck

    fit = fit_bottleneck(data, stage=0, **training_of(spec, context), **_told("pre-training", spec, context))
    _write_network(fit.network, fit.curves, context)
    return {
        "n_subjects": len(data),
        "n_train": sum(len(one.features) - len(one.validation) for one in data),
        "epoch": fit.curves.best + 1,
        "validation_r": float(fit.curves.validation_r[fit.curves.best]),
    }


def bottleneck(spec: BottleneckSpec, context: Context) -> dict[str, Any]:
    """Fit one subject's bottleneck network, and predict the test pictures' responses at every vertex.

    Writes what an encoding run writes (`brainviz.runs.encode.encoding`), for one layer, with NaN for what a choice of
    penalties gives; ``reconstruction_r`` (e,), the r that the true scores of the test pictures reach through the same
    components, which no prediction of scores can be expected to exceed; ``plain_r`` (e,), r without noise at inference,
    where there is noise; ``weights.safetensors``, ``curves.json``, and per hemisphere ``mean_lh`` (v,), ``axes_lh``
    (k, v) and ``vertices_lh`` (v,), which lead from scores to responses.
    """
    pictures = open_pictures(spec, spec.features, context)
    areas = open_areas(pictures, spec.areas)
    subject = open_subject(spec, pictures, context)
    scores = np.asarray(context.finished(spec.features).array(f"scores_{spec.subject}"))
    data = subject.data(scores)
    from brainviz.encoding.metrics import pearson_r
    from brainviz.encoding.statistics import bootstrap_weights
    from brainviz.training.bottleneck import fit_bottleneck

    initial = None
    if spec.pretraining is not None:
        initial = load_network(spec, data.features.shape[1], context.finished(spec.pretraining))
    fit = fit_bottleneck(
        [data], initial=initial, stage=1, **training_of(spec, context), **_told("training", spec, context)
    )
    _write_network(fit.network, fit.curves, context)
    _write_components(subject, context)

    test = pictures.split.test
    predicted = predicted_scores(fit.network, scores[test], subject.eigenvalues, spec, subject.scale)
    plain = predicted_scores(fit.network, scores[test], None, spec, subject.scale) if _is_noisy(spec) else predicted
    true = {hemi: half.fit.scores[test] for hemi, half in subject.hemispheres.items()}
    weights = bootstrap_weights(len(test), spec.n_bootstrap, spec.resample_seed, pictures.groups(test))
    scored: list[Scored] = []
    reconstruction_r, plain_r = [], []
    for place, area in enumerate(areas):
        context.progress("testing")(place, len(areas))
        half = subject.hemispheres[area.hemi]
        scored.append(score_area(_blocks(predicted[area.hemi], half, area), area, test, weights, context.device))
        reconstruction_r.append(_r_of(_blocks(true[area.hemi], half, area), area, test, pearson_r))
        if plain is not predicted:
            plain_r.append(_r_of(_blocks(plain[area.hemi], half, area), area, test, pearson_r))
    return _write_result(spec, subject, areas, scored, reconstruction_r, plain_r, context) | {
        "epoch": fit.curves.best + 1,
        "validation_r": float(fit.curves.validation_r[fit.curves.best]),
    }


def training_of(spec: BottleneckFields, context: Context) -> dict[str, Any]:
    """Return the settings of `brainviz.training.bottleneck.fit_bottleneck` that a spec asks for."""
    return {
        "epochs": spec.bottleneck_epochs,
        "batch_size": spec.bottleneck_batch,
        "learning_rate": spec.bottleneck_rate,
        "weight_decay": spec.weight_decay,
        "loss": spec.bottleneck_loss,
        "validation_noise": spec.inference_noise,
        "seed": spec.bottleneck_seed,
        "device": context.device,
        **_shape(spec),
    }


def _told(step: str, spec: BottleneckFields, context: Context) -> dict[str, Any]:
    """Return callbacks that say how far the training is, and how the hemispheres race."""
    so_far = step

    def report(epoch: int, s_left: float, s_right: float) -> None:
        nonlocal so_far
        so_far = f"{step}, epoch {epoch} of {spec.bottleneck_epochs} done: S left {s_left:.3f}, right {s_right:.3f}"

    return {"report": report, "progress": lambda done, total: context.progress(so_far)(done, total)}


def _shape(spec: BottleneckFields) -> dict[str, Any]:
    return {
        "leak": spec.leak,
        "linear": spec.linear,
        "width": spec.bottleneck_width,
        "dropout": spec.bottleneck_dropout,
        "alpha": spec.leak_alpha,
        "beta": spec.leak_beta,
    }


def _is_noisy(spec: BottleneckFields) -> bool:
    return spec.inference_noise and spec.leak and not spec.linear


def load_network(spec: BottleneckFields, n_features: int, run: Run) -> Bottleneck:
    """Return the network of a finished run of pre-training or of a subject, with as many features."""
    from safetensors.torch import load_file

    from brainviz.models.bottleneck import Bottleneck

    network = Bottleneck(n_features, spec.response_components, **_shape(spec))
    network.load_state_dict(load_file(run.file(WEIGHTS)))
    return network.eval()


def _write_network(network: Bottleneck, curves: Curves, context: Context) -> None:
    from safetensors.torch import save

    with atomic_file(context.path / WEIGHTS) as file:
        file.write(save({name: value.contiguous() for name, value in network.state_dict().items()}))
    lists = ("s_left", "s_right", "loss", "validation_r")
    write_json(context.path / CURVES, {name: getattr(curves, name).tolist() for name in lists} | {"best": curves.best})


def predicted_scores(
    network: Bottleneck,
    features: NDArray[np.float32],
    eigenvalues: NDArray[np.floating] | None,
    spec: BottleneckFields,
    scale: float,
) -> dict[str, NDArray[np.float32]]:
    """Return the predicted scores of pictures per hemisphere, (n, k) each; without eigenvalues, without noise.

    The same pictures in the same order get the same noise.
    """
    from brainviz.training.bottleneck import predict

    noise_seed = spec.bottleneck_seed if eigenvalues is not None and _is_noisy(spec) else None
    halves = predict(network, features, eigenvalues, noise_seed=noise_seed)
    return {hemi: half * np.float32(scale) for hemi, half in zip(HEMISPHERES, halves, strict=True)}


def _write_components(subject: Subject, context: Context) -> None:
    for hemi, half in subject.hemispheres.items():
        write_array(context.path / f"mean_{hemi}.npy", half.mean)
        write_array(context.path / f"axes_{hemi}.npy", half.axes)
        write_array(context.path / f"vertices_{hemi}.npy", half.columns)
    write_array(context.path / "eigenvalues.npy", subject.eigenvalues)


def _blocks(scores: NDArray[np.floating], half: HemisphereComponents, area: Area) -> Iterator[Block]:
    """Yield an area's responses as the components give them from scores, (n, k)."""
    own = np.searchsorted(half.columns, area.columns)
    for start in range(0, len(own), VERTICES_PER_BLOCK):
        block = slice(start, start + VERTICES_PER_BLOCK)
        yield block, scores.astype(np.float32) @ half.axes[:, own[block]], half.mean[own[block]]


def _r_of(blocks: Iterator[Block], area: Area, test: NDArray[np.int64], pearson_r: Any) -> NDArray[np.float64]:
    r = [pearson_r(values, np.asarray(area.responses[test, columns])) for columns, values, _ in blocks]
    return np.concatenate(r)


def _write_result(
    spec: BottleneckSpec,
    subject: Subject,
    areas: Sequence[Area],
    scored: Sequence[Scored],
    reconstruction_r: Sequence[NDArray[np.float64]],
    plain_r: Sequence[NDArray[np.float64]],
    context: Context,
) -> dict[str, Any]:
    """Write the result files, and return the scalars."""
    from brainviz.encoding.statistics import interval

    r, ceiling_r = np.concatenate([each.r for each in scored]), np.concatenate(reconstruction_r)
    write_array(context.path / "r.npy", r[None])
    write_array(context.path / "own.npy", np.zeros(len(r), np.int64))
    for name in ("cv_r", "alpha", "protocol_r"):  # nothing is chosen by cross-validation
        write_array(context.path / f"{name}.npy", np.full((1, len(r)), np.nan))
    write_array(context.path / "reconstruction_r.npy", ceiling_r)
    if plain_r:
        write_array(context.path / "plain_r.npy", np.concatenate(plain_r))
    write_scored(scored, context)
    write_places(areas, subject.pictures.split.test, context)
    rows, replicates = [], []
    for place, area in enumerate(areas):
        for number, (roi, part) in enumerate(area.parts.items()):
            of_part = scored[place].replicates[:, number]
            unknown = np.full((1, len(part)), np.nan)
            own_r = scored[place].r[part][None]
            row = roi_rows(area.hemi, roi, spec.layers, own_r, unknown, unknown, [of_part], area.ceiling[part])[0]
            more = {"reconstruction_r_mean": nan_if_none(finite_mean(reconstruction_r[place][part])), "own": True}
            if plain_r:
                more["plain_r_mean"] = nan_if_none(finite_mean(plain_r[place][part]))
            rows.append(row | more)
            replicates.append(of_part)
    write_array(context.path / "replicates.npy", np.stack(replicates, axis=1))
    write_table(context, ROIS, rows)
    once = each_once(areas)
    mean_r = finite_mean(r[once])
    low, high = interval(_over_all(scored, len(once)), estimate=nan_if_none(mean_r))
    scalars = {
        "layer": spec.layers[0],
        "n_fit": len(subject.fitted),
        "n_validation": len(subject.validation),
        "n_test": len(subject.pictures.split.test),
        "n_vertices": len(once),
        "nan_vertices": int(np.isnan(r[once]).sum()),
        "r_mean": mean_r,
        "r_median": finite_median(r[once]),
        "r_low": none_if_nan(float(low)),
        "r_high": none_if_nan(float(high)),
        "ceiling_r_mean": finite_mean(ceiling_r[once]),
        "target_scale": subject.scale,
    }
    if plain_r:
        scalars["plain_r_mean"] = finite_mean(np.concatenate(plain_r)[once])
    for hemi, half in subject.hemispheres.items():
        scalars[f"explained_variance_{hemi}"] = float(half.fit.explained_variance_ratio.sum())
    return scalars | challenge_score(r[once], np.concatenate([area.ceiling for area in areas])[once])


def _over_all(scored: Sequence[Scored], n_vertices: int) -> NDArray[np.float64]:
    """Return the replicates of the mean r over all areas, (B,); NaN where areas share vertices."""
    defined = np.array([np.isfinite(each.r).sum() for each in scored], float)
    first = np.stack([each.replicates[:, 0] for each in scored])
    if sum(len(each.r) for each in scored) > n_vertices or not defined.any():
        return np.full(first.shape[1], np.nan)
    over_all: NDArray[np.float64] = np.average(first[defined > 0], axis=0, weights=defined[defined > 0])
    return over_all
