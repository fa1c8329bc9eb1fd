"""Encoding and comparison runs: ridge from layers to the responses of ROIs, and tests of one method against another.

The vertex axis of an encoding run's arrays, length e, is its areas (hemisphere and ROI) one after the other; a vertex
that lies in two of them is there twice. ``areas.json`` says where each begins and ends.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainviz.datasets.base import ALL_VERTICES, HEMISPHERE_NAMES, MIN_ROI_VERTICES
from brainviz.datasets.splits import Split
from brainviz.errors import DatasetError
from brainviz.runs.context import Context, Pictures, open_pictures, read_responses
from brainviz.runs.requests import require_roi
from brainviz.runs.specs import ComparisonSpec, EncodingSpec
from brainviz.runs.store import Run, atomic_file, write_array, write_json

if TYPE_CHECKING:
    import pandas as pd

    from brainviz.encoding.ridge import RidgeDesign

#: Table of an encoding run, one row per hemisphere, ROI and layer; and of a comparison, one per hemisphere and ROI.
ROIS = "rois.parquet"

#: Where each area of an encoding run is on the vertex axis.
AREAS = "areas.json"

#: Rate of false discoveries at which a ROI counts as different.
FALSE_DISCOVERY_RATE = 0.05


@dataclass(frozen=True)
class Area:
    """One ROI of one hemisphere, or all its vertices.

    Attributes
    ----------
    hemi, roi : str
    responses : (n, v) array
        To all pictures; a memory map where it is all vertices.
    columns : (v,) int array
        Columns of the subject's responses.
    positions : (v,) int array or None
        Index on the mesh.
    ceiling : (v,) float array
        Share of the variance that is signal; NaN where nothing says.
    parts : mapping of str to (v_part,) int array
        ROIs to report on, as indices into the area's vertices: the area itself, and for all vertices also every ROI.
    """

    hemi: str
    roi: str
    responses: NDArray[np.float32]
    columns: NDArray[np.int64]
    positions: NDArray[np.int64] | None
    ceiling: NDArray[np.float64]
    parts: Mapping[str, NDArray[np.int64]]


def open_areas(pictures: Pictures, areas: Sequence[tuple[str, str]]) -> list[Area]:
    """Return areas with their responses, in order; a ROI that is one of them is no part of another."""
    return [open_area(pictures, hemi, roi, {other for where, other in areas if where == hemi}) for hemi, roi in areas]


def open_area(pictures: Pictures, hemi: str, roi: str, apart: Collection[str] = ()) -> Area:
    """Return an area with its responses; ROIs that are `apart` are not among its parts.

    Raises
    ------
    DatasetError
        There is no such ROI, it is too small, or its responses are not all numbers.
    """
    dataset, subject = pictures.dataset, pictures.subject
    require_roi(dataset, subject, hemi, roi)
    columns = dataset.columns(subject, hemi, roi)
    positions, ceiling = dataset.positions(subject, hemi), dataset.noise_ceiling(subject, hemi)
    parts = {roi: np.arange(len(columns))}
    if roi == ALL_VERTICES:
        masks = dataset.rois(subject, hemi)
        known = {name: np.flatnonzero(mask) for name, mask in masks.items() if mask.sum() >= MIN_ROI_VERTICES}
        parts |= {name: part for name, part in known.items() if name not in apart}
    return Area(
        hemi,
        roi,
        read_responses(pictures, hemi, roi),
        columns,
        None if positions is None else positions[columns],
        np.full(len(columns), np.nan) if ceiling is None else ceiling[columns].astype(np.float64),
        parts,
    )


# --- encoding ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LayerFit:
    """How well one layer predicts an area.

    Attributes
    ----------
    alpha, cv_r, r : (v,) float64 array
        Penalty, cross-validated r inside the training pictures, r on the test pictures.
    low, high : (v,) float64 array
        Bootstrap interval of r.
    predicted : (v, n_test) float32 array
        Response predicted for the test pictures, less `offset`.
    offset : (v,) float64 array
        Mean response to the training pictures.
    replicates : (B, parts) float32 array
        Mean r of each part of the area, per resample.
    """

    alpha: NDArray[np.float64]
    cv_r: NDArray[np.float64]
    r: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    predicted: NDArray[np.float32]
    offset: NDArray[np.float64]
    replicates: NDArray[np.float32]


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

    order = _pairing(pictures.split, len(pictures.digests), spec)
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
    from brainviz.encoding.metrics import pearson_r
    from brainviz.encoding.statistics import bootstrap_r, interval

    selection = design.select(area.responses, rows=train)
    n_vertices = len(area.columns)
    r, low, high, offset = np.empty((4, n_vertices))
    predicted = np.empty((n_vertices, len(test)), np.float32)
    sums, counts = np.zeros((2, len(weights), len(area.parts)))
    member = np.zeros((n_vertices, len(area.parts)))
    for place, part in enumerate(area.parts.values()):
        member[part, place] = 1
    for columns, values, means in design.predict(scores_test, area.responses, selection.alpha, rows=train):
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
    return LayerFit(selection.alpha, selection.cv_r, r, low, high, predicted, offset, mean_r)


class _Record:
    """Collects the fits of all layers and areas; keeps predictions and intervals of each area's best layer only."""

    def __init__(self, areas: Sequence[Area], n_layers: int) -> None:
        self.areas = areas
        ends = np.cumsum([len(area.columns) for area in areas]).tolist()
        self.spans = [slice(end - len(area.columns), end) for end, area in zip(ends, areas, strict=True)]
        e = int(ends[-1])
        self.r, self.cv_r, self.alpha, self.protocol_r = np.full((4, n_layers, e), np.nan)
        self.best: dict[int, tuple[float, int, LayerFit]] = {}
        self.replicates: dict[tuple[int, int], NDArray[np.float32]] = {}

    def add(self, layer: int, place: int, fit: LayerFit, protocol: NDArray[np.float64]) -> None:
        """Take the fit of an area on a layer, given in the order of the layers, and its score by the authors' way."""
        span = self.spans[place]
        self.protocol_r[layer, span] = protocol
        self.r[layer, span], self.cv_r[layer, span], self.alpha[layer, span] = fit.r, fit.cv_r, fit.alpha
        self.replicates[place, layer] = fit.replicates
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
        fits = [fit for _, _, fit in best]
        sizes = [len(area.columns) for area in self.areas]
        own = np.repeat([layer for _, layer, _ in best], sizes)
        test = pictures.split.test
        arrays = {
            "r": self.r,
            "cv_r": self.cv_r,
            "alpha": self.alpha,
            "protocol_r": self.protocol_r,
            "own": own,
            "r_low": np.concatenate([fit.low for fit in fits]),
            "r_high": np.concatenate([fit.high for fit in fits]),
            "predicted": np.concatenate([fit.predicted for fit in fits]),
            "offset": np.concatenate([fit.offset for fit in fits]),
            "test_rows": test,
            "columns": np.concatenate([area.columns for area in self.areas]),
        }
        positions = [area.positions for area in self.areas if area.positions is not None]
        if len(positions) == len(self.areas):
            arrays["positions"] = np.concatenate(positions)
        rows, replicates = self._rows(layers)
        arrays["replicates"] = replicates
        for name, array in arrays.items():
            write_array(context.path / f"{name}.npy", array)
        write_table(context, ROIS, rows)
        spans = zip(self.areas, self.spans, strict=True)
        write_json(
            context.path / AREAS,
            [{"hemi": area.hemi, "roi": area.roi, "start": span.start, "stop": span.stop} for area, span in spans],
        )
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
        where = np.concatenate([[f"{area.hemi} {column}" for column in area.columns] for area in self.areas])
        vertices = np.sort(np.unique(where, return_index=True)[1])
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
        if np.any(ceiling > 0):
            from brainviz.encoding.metrics import algonauts_score

            scalars["algonauts_score"] = algonauts_score(r, ceiling).mean
        return scalars


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
        low, high = interval(replicates[number], estimate=_number(mean))
        rows.append(
            {
                "hemi": hemi,
                "roi": roi,
                "layer": layer,
                "own": number == own,
                "n_vertices": r.shape[1],
                "nan_vertices": int(np.isnan(r[number]).sum()),
                "r_mean": _number(mean),
                "r_low": float(low),
                "r_high": float(high),
                "r_median": _number(finite_median(r[number])),
                "cv_r_mean": _number(means[number]),
                "cv_r_median": _number(finite_median(cv_r[number])),
                "protocol_r_mean": _number(protocol_means[number]),
                "protocol_own": number == protocol_own,
                "ceiling": _number(finite_mean(ceiling)),
                "ceiling_r": _number(finite_mean(root)),
                "r_over_ceiling": _number(finite_mean(r[number] / np.where(has, root, np.nan))),
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


def _pairing(split: Split, n: int, spec: EncodingSpec) -> NDArray[np.int64]:
    """Return the picture each response is paired with, shape (n,): its own, or a random one of its part."""
    order = np.arange(n)
    if spec.shuffle_images:
        rng = np.random.default_rng(spec.seed)
        for rows in (split.train, split.test):
            order[rows] = rng.permutation(rows)
    return order


# --- comparison -------------------------------------------------------------------------------------------------------


def comparison(spec: ComparisonSpec, context: Context) -> dict[str, Any]:
    """Test, per ROI, whether the first method's mean r differs from the second's.

    Writes ``rois.parquet``: ``hemi roi layer_first layer_second n_vertices r_first r_second difference low high
    improved p q``. The interval comes from the two runs' paired bootstrap replicates, p from exchanging the two
    methods' predictions image by image, q from Benjamini and Hochberg's procedure over all rows.
    """
    from brainviz.encoding.metrics import share_improved
    from brainviz.encoding.statistics import false_discovery, interval, permutation_test

    pictures = open_pictures(spec, spec.first[0].features, context)
    test = pictures.split.test
    tell = context.progress("permutation tests")
    rows: list[dict[str, Any]] = []
    for number, pair in enumerate(zip(spec.first, spec.second, strict=True)):
        tell(number, len(spec.first))
        first, second = (EncodingRun(each, pictures, context) for each in pair)
        for area in first.areas:
            measured = np.asarray(area.responses[test])
            for roi, part in area.parts.items():
                if roi != area.roi and (area.hemi, roi) in spec.areas:
                    continue  # it has a pair of its own
                one, other = first.at(area.hemi, roi, spec.layer), second.at(area.hemi, roi, spec.layer)
                if one is None or other is None:
                    continue
                outcome = permutation_test(
                    first.predicted(area, one.layer)[part].T,
                    second.predicted(area, other.layer)[part].T,
                    measured[:, part],
                    [np.arange(len(part))],
                    n_permutations=spec.n_permutations,
                    seed=spec.exchange_seed,
                    groups=pictures.groups(test),
                    device=context.device,
                )
                low, high = interval(one.replicates - other.replicates)
                r_first, r_second = first.r(area, one.layer)[part], second.r(area, other.layer)[part]
                rows.append(
                    {
                        "hemi": area.hemi,
                        "roi": roi,
                        "layer_first": one.layer,
                        "layer_second": other.layer,
                        "n_vertices": int((np.isfinite(r_first) & np.isfinite(r_second)).sum()),
                        "r_first": one.r_mean,
                        "r_second": other.r_mean,
                        "difference": _number(finite_mean(r_first - r_second)),
                        "low": float(low),
                        "high": float(high),
                        "improved": share_improved(r_first, r_second),
                        "p": float(outcome.p[0]),
                    }
                )
    tell(len(spec.first), len(spec.first))
    for row, q in zip(rows, false_discovery(np.array([row["p"] for row in rows])), strict=True):
        row["q"] = float(q)
    write_table(context, ROIS, rows)
    differences = np.array([row["difference"] for row in rows])
    return {
        "n_rois": len(rows),
        "n_test": len(test),
        "n_permutations": spec.n_permutations,
        "difference_mean": finite_mean(differences),
        "n_significant": int(sum(row["q"] < FALSE_DISCOVERY_RATE for row in rows)),
    }


@dataclass(frozen=True)
class _AtLayer:
    """A ROI of an encoding run at one layer."""

    layer: str
    r_mean: float
    replicates: NDArray[np.float32]


class EncodingRun:
    """A finished encoding run with its data: what it predicts at any of its layers.

    Parameters
    ----------
    spec : EncodingSpec
    pictures : Pictures
    context : Context
    """

    def __init__(self, spec: EncodingSpec, pictures: Pictures, context: Context) -> None:
        self.spec, self.pictures, self.context = spec, pictures, context
        self.run: Run = context.finished(spec)
        self.areas = open_areas(pictures, spec.areas)
        self._table = read_table(self.run)
        self._replicates = self.run.array("replicates")
        self._known: dict[tuple[str, str, str], NDArray[np.float32]] = {}

    def at(self, hemi: str, roi: str, layer: str) -> _AtLayer | None:
        """Return a ROI at a layer; empty stands for its own best one, and None for a ROI of constant vertices only."""
        table = self._table
        chosen = (table["hemi"] == hemi) & (table["roi"] == roi)
        chosen &= (table["layer"] == layer) if layer else table["own"]
        if not chosen.any():
            return None
        row = int(np.flatnonzero(chosen)[0])
        return _AtLayer(
            str(table["layer"].iloc[row]), float(table["r_mean"].iloc[row]), np.asarray(self._replicates[:, row])
        )

    def r(self, area: Area, layer: str) -> NDArray[np.float64]:
        """Return the test r of an area's vertices at a layer, shape (v,)."""
        number = self.spec.features.layers.index(layer)
        return np.asarray(self.run.array("r")[number, self._span(area)])

    def predicted(self, area: Area, layer: str) -> NDArray[np.float32]:
        """Return the predicted responses to the test pictures less their offset, shape (v, n_test).

        Refitted where they are not kept: at any layer but the area's best one.
        """
        span, number = self._span(area), self.spec.features.layers.index(layer)
        if self.run.array("own")[span.start] == number:
            return np.asarray(self.run.array("predicted")[span])
        key = (area.hemi, area.roi, layer)
        if key not in self._known:
            self._known[key] = self._refit(area, layer, np.asarray(self.run.array("alpha")[number, span]))
        return self._known[key]

    def _refit(self, area: Area, layer: str, alpha: NDArray[np.float64]) -> NDArray[np.float32]:
        from brainviz.encoding.ridge import prepare_ridge

        split = self.pictures.split
        scores = self.context.finished(self.spec.features).array(f"scores_{layer}")
        order = _pairing(split, len(scores), self.spec)
        design = prepare_ridge(scores[order[split.train]], alpha[:1], self.spec.n_folds, device=self.context.device)
        predicted = np.empty((len(alpha), len(split.test)), np.float32)
        for columns, values, _ in design.predict(scores[order[split.test]], area.responses, alpha, rows=split.train):
            predicted[columns] = values.T
        return predicted

    def _span(self, area: Area) -> slice:
        spans = json.loads(self.run.file(AREAS).read_text(encoding="utf-8"))
        mine = next(span for span in spans if (span["hemi"], span["roi"]) == (area.hemi, area.roi))
        return slice(mine["start"], mine["stop"])


# --- tables and scalars -----------------------------------------------------------------------------------------------


def write_table(context: Context, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as a parquet file of the run."""
    import pandas as pd

    buffer = BytesIO()
    pd.DataFrame(rows).to_parquet(buffer, index=False)
    with atomic_file(context.path / name) as file:
        file.write(buffer.getvalue())


def read_table(run: Run) -> pd.DataFrame:
    """Return the table of ROIs of an encoding or comparison run.

    Raises
    ------
    RunError
        The run is not done, or its table is damaged.
    """
    import pandas as pd

    return pd.read_parquet(run.file(ROIS))


def finite_mean(values: NDArray[np.floating]) -> float | None:
    """Return the mean of the values that are defined; None when there is none (JSON knows no NaN)."""
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if defined.size else None


def finite_median(values: NDArray[np.floating]) -> float | None:
    """Return the median of the values that are defined; None when there is none."""
    defined = values[np.isfinite(values)]
    return float(np.median(defined)) if defined.size else None


def none_if_nan(value: float) -> float | None:
    """Return the value as JSON can hold it."""
    return value if np.isfinite(value) else None


def _number(value: float | None) -> float:
    return np.nan if value is None else value
