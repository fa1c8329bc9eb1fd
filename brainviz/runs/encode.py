"""Encoding runs: ridge from layers to the responses of ROIs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainviz.datasets.base import HEMISPHERE_NAMES
from brainviz.errors import DatasetError
from brainviz.runs.areas import Area, each_once, open_areas, pairing, spans_of, write_places
from brainviz.runs.context import Context, Pictures, open_pictures
from brainviz.runs.network_specs import EncodingSpec
from brainviz.runs.store import write_array
from brainviz.runs.tables import ROIS, finite_mean, finite_median, nan_if_none, none_if_nan, write_table

if TYPE_CHECKING:
    from brainviz.encoding.ridge import RidgeDesign


@dataclass(frozen=True)
class Scored:
    """How well an area is predicted.

    Attributes
    ----------
    r : (v,) float64 array
        On the test pictures.
    low, high : (v,) float64 array
        Bootstrap interval of r.
    predicted : (v, n_test) float32 array
        Response predicted for the test pictures, less `offset`.
    offset : (v,) float64 array
        Mean response to the training pictures.
    replicates : (B, parts) float32 array
        Mean r of each part of the area, per resample.
    """

    r: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    predicted: NDArray[np.float32]
    offset: NDArray[np.float64]
    replicates: NDArray[np.float32]


@dataclass(frozen=True)
class LayerFit:
    """How well one layer predicts an area.

    Attributes
    ----------
    alpha, cv_r : (v,) float64 array
        Penalty, and cross-validated r inside the training pictures.
    scored : Scored
    """

    alpha: NDArray[np.float64]
    cv_r: NDArray[np.float64]
    scored: Scored


def encoding(spec: EncodingSpec, context: Context) -> dict[str, Any]:
    """Predict the responses of ROIs from every layer's scores, and find each ROI's best layer.

    Layer and penalty are chosen by cross-validated r inside the training pictures; r is on the test pictures, which
    nothing was chosen on, for every layer. A tuned network has seen the responses to the training pictures: that makes
    its cross-validated r too high, and its choice of layer and penalty less good, but leaves its test r honest.

    Writes ``areas.json``, ``rois.parquet`` (see `roi_rows`), ``replicates`` (B, rows), ``r``, ``cv_r``, ``alpha``,
    ``protocol_r`` (L, e), ``own`` (e,) the number of the area's best layer, and at that layer
    ``r_low``, ``r_high`` (e,), ``predicted`` (e, n_test) and ``offset`` (e,), whose sum is the predicted response;
    ``test_rows`` (n_test,), ``columns`` (e,), and ``positions`` (e,) on a mesh.
    """
    pictures = open_pictures(spec, spec.features, context)
    scored = context.finished(spec.features)
    areas = open_areas(pictures, spec.areas)
    train, test = pictures.split.train, pictures.split.test
    from brainviz.encoding.ridge import prepare_ridge
    from brainviz.encoding.statistics import bootstrap_weights

    order = pairing(pictures.split, len(pictures.digests), spec)
    weights = bootstrap_weights(len(test), spec.n_bootstrap, spec.seed, pictures.groups(test))
    groups = pictures.groups(order[train])
    layers = spec.features.layers
    record = _Record(areas, len(layers))
    for number, layer in enumerate(layers):
        tell = context.progress(f"ridge on {layer}")
        tell(number * len(areas), len(layers) * len(areas))
        scores = scored.array(f"scores_{layer}")
        design = prepare_ridge(
            scores[order[train]],
            spec.alphas,
            spec.n_folds,
            groups=groups,
            seed=spec.seed,
            extend=True,
            device=context.device,
        )
        protocol = _protocol_design(scores[order[test]], spec, pictures.groups(order[test]), context.device)
        for place, area in enumerate(areas):
            fitted = fit_area(design, scores[order[test]], area, train, test, weights, context.device)
            record.add(number, place, fitted, protocol_r(protocol, area, test))
            tell(number * len(areas) + place + 1, len(layers) * len(areas))
    return record.write(layers, pictures, context)


def _protocol_design(
    scores: NDArray[np.float32], spec: EncodingSpec, groups: NDArray[np.int64], device: str
) -> RidgeDesign | None:
    """Return the test pictures made ready for the authors' protocol; None where they are too few for the folds."""
    from brainviz.encoding.ridge import prepare_ridge

    try:
        return prepare_ridge(
            scores, spec.alphas, spec.n_folds, groups=groups, seed=spec.seed, extend=True, device=device
        )
    except DatasetError:
        return None


def protocol_r(design: RidgeDesign | None, area: Area, test: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the authors' score, shape (v,): r cross-validated inside the held-out pictures, at the best penalty.

    It is optimistic, as penalty and layer are chosen by the score itself. Inside the training pictures it could not be
    taken for tuned networks: these have seen the responses there, and would seem to predict even noise.
    """
    if design is None:
        return np.full(len(area.columns), np.nan)
    return design.select(area.responses, rows=test).cv_r


def fit_area(
    design: RidgeDesign,
    scores_test: NDArray[np.float32],
    area: Area,
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    weights: NDArray[np.float32],
    device: str,
) -> LayerFit:
    """Choose the penalties of an area's vertices on the training pictures, predict the test pictures, and correlate."""
    selection = design.select(area.responses, rows=train)
    blocks = design.predict(scores_test, area.responses, selection.alpha, rows=train)
    return LayerFit(selection.alpha, selection.cv_r, score_area(blocks, area, test, weights, device))


#: Vertices of an area, predicted responses (n_test, v) less their offset, and the offset (v,).
Block = tuple[slice, NDArray[np.floating], NDArray[np.float64]]


def score_area(
    blocks: Iterable[Block], area: Area, test: NDArray[np.int64], weights: NDArray[np.float32], device: str
) -> Scored:
    """Correlate what is predicted for the test pictures with what was measured, per vertex and per part of the area.

    Parameters
    ----------
    blocks : iterable of Block
        Every vertex of the area once.
    area : Area
    test : (n_test,) int array
        Rows of the test pictures.
    weights : (B, n_test) float32 array
        Of `brainviz.encoding.statistics.bootstrap_weights`.
    device : str
    """
    from brainviz.encoding.metrics import pearson_r
    from brainviz.encoding.statistics import bootstrap_r, interval

    n_vertices = len(area.columns)
    r, low, high, offset = np.empty((4, n_vertices))
    predicted = np.empty((n_vertices, len(test)), np.float32)
    sums, counts = np.zeros((2, len(weights), len(area.parts)))
    member = np.zeros((n_vertices, len(area.parts)))
    for place, part in enumerate(area.parts.values()):
        member[part, place] = 1
    for columns, values, means in blocks:
        measured = np.asarray(area.responses[test, columns])
        r[columns] = pearson_r(values, measured)
        predicted[columns], offset[columns] = values.T, means
        replicates = bootstrap_r(values, measured, weights, device=device)
        low[columns], high[columns] = interval(replicates, estimate=r[columns])
        # A vertex whose r is undefined on the test pictures counts in no resample either.
        defined = np.isfinite(replicates) & np.isfinite(r[columns])
        sums += np.where(defined, replicates, 0.0) @ member[columns]
        counts += defined @ member[columns]
    with np.errstate(invalid="ignore"):
        mean_r = (sums / counts).astype(np.float32)
    return Scored(r, low, high, predicted, offset, mean_r)


class _Record:
    """Collects the fits of all layers and areas; keeps predictions and intervals of each area's best layer only."""

    def __init__(self, areas: Sequence[Area], n_layers: int) -> None:
        self.areas = areas
        self.spans = spans_of(areas)
        self.r, self.cv_r, self.alpha, self.protocol_r = np.full((4, n_layers, self.spans[-1].stop), np.nan)
        self.best: dict[int, tuple[float, int, LayerFit]] = {}
        self.replicates: dict[tuple[int, int], NDArray[np.float32]] = {}

    def add(self, layer: int, place: int, fit: LayerFit, protocol: NDArray[np.float64]) -> None:
        """Take the fit of an area on a layer, given in the order of the layers, and its score by the authors' way."""
        span = self.spans[place]
        self.protocol_r[layer, span] = protocol
        self.r[layer, span], self.cv_r[layer, span], self.alpha[layer, span] = fit.scored.r, fit.cv_r, fit.alpha
        self.replicates[place, layer] = fit.scored.replicates
        mean = finite_mean(fit.cv_r)
        if mean is not None and (place not in self.best or mean > self.best[place][0]):
            self.best[place] = (mean, layer, fit)

    def write(self, layers: Sequence[str], pictures: Pictures, context: Context) -> dict[str, Any]:
        """Write the result files, and return the scalars."""
        for place, area in enumerate(self.areas):
            if place not in self.best:
                raise DatasetError(
                    f"No vertex of {area.roi} of {pictures.subject} can be predicted in the "
                    f"{HEMISPHERE_NAMES[area.hemi]}.",
                    got="constant responses only",
                    expected="responses that differ between pictures",
                    mend="check the data set, or leave this ROI out.",
                )
        best = [self.best[place] for place in range(len(self.areas))]
        scored = [fit.scored for _, _, fit in best]
        sizes = [len(area.columns) for area in self.areas]
        own = np.repeat([layer for _, layer, _ in best], sizes)
        test = pictures.split.test
        arrays = {
            "r": self.r,
            "cv_r": self.cv_r,
            "alpha": self.alpha,
            "protocol_r": self.protocol_r,
            "own": own,
        }
        rows, replicates = self._rows(layers)
        arrays["replicates"] = replicates
        for name, array in arrays.items():
            write_array(context.path / f"{name}.npy", array)
        write_scored(scored, context)
        write_places(self.areas, test, context)
        write_table(context, ROIS, rows)
        return self._scalars(layers, own, rows, len(pictures.split.train), len(test))

    def _rows(self, layers: Sequence[str]) -> tuple[list[dict[str, Any]], NDArray[np.float32]]:
        rows, replicates = [], []
        for place, area in enumerate(self.areas):
            span = self.spans[place]
            for number, (roi, part) in enumerate(area.parts.items()):
                of_layers = [self.replicates[place, layer][:, number] for layer in range(len(layers))]
                r, cv_r, protocol = (each[:, span][:, part] for each in (self.r, self.cv_r, self.protocol_r))
                rows += roi_rows(area.hemi, roi, layers, r, cv_r, protocol, of_layers, area.ceiling[part])
                replicates += of_layers
        return rows, np.stack(replicates, axis=1)

    def _scalars(
        self, layers: Sequence[str], own: NDArray[np.int64], rows: Sequence[dict[str, Any]], n_train: int, n_test: int
    ) -> dict[str, Any]:
        """Return the scalars over all vertices, each once and at the best layer of the first area that holds it."""
        vertices = each_once(self.areas)
        r, cv_r = self.r[own[vertices], vertices], self.cv_r[own[vertices], vertices]
        ceiling = np.concatenate([area.ceiling for area in self.areas])[vertices]
        scalars = {
            "layer": ", ".join(dict.fromkeys(layers[number] for number in own)),
            "n_train": n_train,
            "n_test": n_test,
            "n_vertices": len(vertices),
            "nan_vertices": int(np.isnan(r).sum()),
            "r_mean": finite_mean(r),
            "r_median": finite_median(r),
            "cv_r_mean": finite_mean(cv_r),
            "cv_r_median": finite_median(cv_r),
        }
        if len(self.areas) == 1:
            mine = next(row for row in rows if row["own"])
            scalars |= {"r_low": none_if_nan(mine["r_low"]), "r_high": none_if_nan(mine["r_high"])}
        return scalars | challenge_score(r, ceiling)


def write_scored(scored: Sequence[Scored], context: Context) -> None:
    """Write intervals, predictions and offsets of areas, one after the other."""
    for name, field in (("r_low", "low"), ("r_high", "high"), ("predicted", "predicted"), ("offset", "offset")):
        write_array(context.path / f"{name}.npy", np.concatenate([getattr(each, field) for each in scored]))


def challenge_score(r: NDArray[np.float64], ceiling: NDArray[np.float64]) -> dict[str, float | None]:
    """Return the Algonauts score of these vertices as a scalar; nothing where no vertex has a ceiling."""
    if not np.any(ceiling > 0):
        return {}
    from brainviz.encoding.metrics import algonauts_score

    return {"algonauts_score": algonauts_score(r, ceiling).mean}


def roi_rows(
    hemi: str,
    roi: str,
    layers: Sequence[str],
    r: NDArray[np.float64],
    cv_r: NDArray[np.float64],
    protocol: NDArray[np.float64],
    replicates: Sequence[NDArray[np.float32]],
    ceiling: NDArray[np.float64],
) -> list[dict[str, Any]]:
    """Return what is to be said of a ROI, one row per layer.

    Parameters
    ----------
    hemi, roi : str
    layers : L names
    r, cv_r, protocol : (L, v) array
        On the test pictures; cross-validated inside the training pictures; and inside the test pictures (`protocol_r`).
    replicates : L arrays (B,)
        Bootstrap replicates of the mean r.
    ceiling : (v,) array
        Share of the variance that is signal; NaN where nothing says.

    Returns
    -------
    list of dict
        ``hemi roi layer own n_vertices nan_vertices r_mean r_low r_high r_median cv_r_mean cv_r_median``, where ``own``
        marks the layer with the highest mean cv_r; ``protocol_r_mean`` and ``protocol_own``, the authors' score and
        the layer with the highest; and ``ceiling`` (mean), ``ceiling_r`` (mean of its root),
        ``r_over_ceiling`` (mean of r over that root, for vertices that have a ceiling), ``no_ceiling`` (vertices whose
        ceiling is 0 or not known) and ``algonauts_score``, which are NaN where nothing is known.
    """
    from brainviz.encoding.metrics import algonauts_score
    from brainviz.encoding.statistics import interval

    means, own = _best(cv_r)
    protocol_means, protocol_own = _best(protocol)
    has = ceiling > 0
    root = np.sqrt(ceiling)
    rows = []
    for number, layer in enumerate(layers):
        mean = finite_mean(r[number])
        low, high = interval(replicates[number], estimate=nan_if_none(mean))
        rows.append(
            {
                "hemi": hemi,
                "roi": roi,
                "layer": layer,
                "own": number == own,
                "n_vertices": r.shape[1],
                "nan_vertices": int(np.isnan(r[number]).sum()),
                "r_mean": nan_if_none(mean),
                "r_low": float(low),
                "r_high": float(high),
                "r_median": nan_if_none(finite_median(r[number])),
                "cv_r_mean": nan_if_none(means[number]),
                "cv_r_median": nan_if_none(finite_median(cv_r[number])),
                "protocol_r_mean": nan_if_none(protocol_means[number]),
                "protocol_own": number == protocol_own,
                "ceiling": nan_if_none(finite_mean(ceiling)),
                "ceiling_r": nan_if_none(finite_mean(root)),
                "r_over_ceiling": nan_if_none(finite_mean(r[number] / np.where(has, root, np.nan))),
                "no_ceiling": int((~has).sum()) if np.isfinite(ceiling).any() else np.nan,
                "algonauts_score": np.nan if mean is None else algonauts_score(r[number], ceiling).mean,
            }
        )
    return rows


def _best(scores: NDArray[np.float64]) -> tuple[list[float | None], int]:
    """Return each layer's mean over the vertices, (L, v), and the number of the best layer; -1 where there is none."""
    means = [finite_mean(of_layer) for of_layer in scores]
    known = [mean for mean in means if mean is not None]
    return means, means.index(max(known)) if known else -1
