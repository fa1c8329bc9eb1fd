"""Comparison runs: tests of one method's encoding models against another's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainviz.datasets.base import ALL_VERTICES
from brainviz.runs.areas import Area, open_areas, pairing
from brainviz.runs.context import Context, Pictures, open_pictures
from brainviz.runs.network_specs import EncodingSpec
from brainviz.runs.specs import ComparisonSpec, Encoder, tested_areas
from brainviz.runs.store import Run
from brainviz.runs.tables import ROIS, finite_mean, nan_if_none, write_table

#: Rate of false discoveries at which a ROI counts as different.
FALSE_DISCOVERY_RATE = 0.05


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
        first, second = (EncoderRun(each, pictures, context) for each in pair)
        for area in open_areas(pictures, tested_areas(*pair)):
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
                        "difference": nan_if_none(finite_mean(r_first - r_second)),
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


class EncoderRun:
    """A finished encoding or bottleneck run with its data: what it predicts at any of its layers.

    Parameters
    ----------
    spec : EncodingSpec or BottleneckSpec
    pictures : Pictures
    context : Context
    """

    def __init__(self, spec: Encoder, pictures: Pictures, context: Context) -> None:
        self.spec, self.pictures, self.context = spec, pictures, context
        self.run: Run = context.finished(spec)
        self._table = self.run.table("rois")
        self._replicates = self.run.array("replicates")
        self._known: dict[tuple[str, str, str], NDArray[np.float32]] = {}

    def at(self, hemi: str, roi: str, layer: str) -> _AtLayer | None:
        """Return a ROI at a layer; empty stands for its own best one, and None for a ROI of constant vertices only.

        A bottleneck network has no layers to choose from.
        """
        table, layer = self._table, layer if layer in self.spec.layers else ""
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
        return np.asarray(self.run.array("r")[self.spec.layers.index(layer), self._vertices(area)])

    def predicted(self, area: Area, layer: str) -> NDArray[np.float32]:
        """Return the predicted responses to the test pictures less their offset, shape (v, n_test).

        Refitted where they are not kept: at any layer but the area's best one.
        """
        if self.own_layer(area) == self.spec.layers.index(layer):
            return np.asarray(self.run.array("predicted")[self._vertices(area)])
        key = (area.hemi, area.roi, layer)
        if key not in self._known:
            self._known[key] = self._refit(area, layer, self.alpha(area, layer))
        return self._known[key]

    def own_layer(self, area: Area) -> int:
        """Return the number of the area's best layer."""
        return int(self.run.array("own")[self._vertices(area)][0])

    def alpha(self, area: Area, layer: str) -> NDArray[np.float64]:
        """Return the penalties that were chosen at a layer, shape (v,)."""
        return np.asarray(self.run.array("alpha")[self.spec.layers.index(layer), self._vertices(area)])

    def _refit(self, area: Area, layer: str, alpha: NDArray[np.float64]) -> NDArray[np.float32]:
        from brainviz.encoding.ridge import prepare_ridge

        assert isinstance(self.spec, EncodingSpec)  # a bottleneck network has one layer, whose predictions are kept
        split = self.pictures.split
        scores = self.context.finished(self.spec.features).array(f"scores_{layer}")
        order = pairing(split, len(scores), self.spec)
        design = prepare_ridge(scores[order[split.train]], alpha[:1], self.spec.n_folds, device=self.context.device)
        predicted = np.empty((len(alpha), len(split.test)), np.float32)
        for columns, values, _ in design.predict(scores[order[split.test]], area.responses, alpha, rows=split.train):
            predicted[columns] = values.T
        return predicted

    def _vertices(self, area: Area) -> slice | NDArray[np.int64]:
        """Return where an area is on the vertex axis: by itself, or within all vertices of its hemisphere."""
        spans = self.run.json("areas")
        starts = {(span["hemi"], span["roi"]): span["start"] for span in spans}
        if (area.hemi, area.roi) in starts:
            start = starts[area.hemi, area.roi]
            return slice(start, start + len(area.columns))
        whole: NDArray[np.int64] = starts[area.hemi, ALL_VERTICES] + area.columns
        return whole
