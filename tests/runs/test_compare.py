"""Comparison runs against the two encoding runs they stand on."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from brainviz.runs.areas import open_areas
from brainviz.runs.compare import EncoderRun
from brainviz.runs.store import Store

LAYERS = ("features.3", "classifier")


def test_a_comparison_agrees_with_its_runs(ask, tiny_dataset, computed):
    values = {"layers": LAYERS, "hemi": "both", "roi": "V1v,V1d", "n_permutations": 199}
    run = computed(ask("comparison", tiny_dataset, **values, method="contrastive", epochs=1, learning_rate=1e-2))
    table = run.table("rois")
    assert list(zip(table["hemi"], table["roi"], strict=True)) == list(run.spec.areas)
    for row, one, other in zip(table.itertuples(), run.spec.first, run.spec.second, strict=True):
        first, second = Store().run_of(one), Store().run_of(other)
        r = [each.array("r")[each.array("own")[0]] for each in (first, second)]
        assert (row.layer_first, row.layer_second) == (first.result()["layer"], second.result()["layer"])
        assert row.difference == pytest.approx(np.mean(r[0] - r[1]))
        assert row.improved == np.mean(r[0] > r[1])
        replicates = [each.array("replicates")[:, each.array("own")[0]] for each in (first, second)]
        low, high = np.nanpercentile(replicates[0] - replicates[1], [2.5, 97.5])
        assert (row.low, row.high) == pytest.approx((low, high), abs=1e-4)
        assert 1 / 200 <= row.p <= 1
    np.testing.assert_allclose(table["q"], false_discovery_control(table["p"]))
    assert run.result()["n_rois"] == 4
    assert run.result()["n_significant"] == int((table["q"] < 0.05).sum())


def test_a_comparison_at_one_layer_refits_what_is_not_kept(ask, tiny_dataset, computed):
    values = {"layers": LAYERS, "method": "random", "baseline": "untuned", "n_permutations": 99}
    for layer in LAYERS:
        run = computed(ask("comparison", tiny_dataset, **values, layer=layer))
        row = run.table("rois").iloc[0]
        assert (row["layer_first"], row["layer_second"]) == (layer, layer)
        assert (row["difference"], row["p"]) == (0, 1)  # both are the same network


def test_refitted_predictions_are_those_that_were_correlated(ask, tiny_dataset, computed, tmp_path):
    from brainviz.runs.context import Context, open_pictures

    spec = ask("encoding", tiny_dataset, layers=LAYERS)
    run = computed(spec)
    context = Context(Store(), tmp_path, "cpu", event=lambda event: None)
    pictures = open_pictures(spec, spec.features, context)
    opened = EncoderRun(spec, pictures, context)
    area = open_areas(pictures, spec.areas)[0]
    measured = area.responses[run.array("test_rows")]
    for number, layer in enumerate(LAYERS):
        predicted = opened.predicted(area, layer)
        r = [np.corrcoef(predicted[v], measured[:, v])[0, 1] for v in range(30)]
        np.testing.assert_allclose(r, run.array("r")[number], atol=1e-4)
