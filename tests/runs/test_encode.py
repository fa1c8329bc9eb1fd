"""Encoding runs against independent re-statements: scikit-learn's ridge, resampling row by row."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from brainviz.datasets import open_dataset
from brainviz.datasets.index import build_index
from brainviz.datasets.splits import Split, split_pictures
from brainviz.encoding.statistics import bootstrap_weights, interval
from brainviz.errors import DatasetError
from brainviz.runs.areas import pairing
from brainviz.runs.encode import roi_rows
from brainviz.runs.remembered import memo_dir
from brainviz.runs.requests import compare
from brainviz.runs.store import Store

LAYERS = ("features.3", "classifier")


def split_of(dataset, subject="subj01"):
    return split_pictures(build_index(dataset, memo_dir()))[subject]


def restated(run, dataset, hemi, roi, layer, vertex, alpha):
    """Predict one vertex's responses to the test pictures with scikit-learn; return them and the measured ones."""
    split = split_of(dataset)
    scores = Store().run_of(run.spec.features).array(f"scores_{layer}").astype(np.float64)
    responses = dataset.responses("subj01", hemi, roi)[:, vertex].astype(np.float64)
    model = Ridge(alpha=alpha).fit(scores[split.train], responses[split.train])
    return model.predict(scores[split.test]), responses[split.test]


def test_an_encoding_agrees_with_ridge_restated(ask, tiny_dataset, computed):
    run = computed(ask("encoding", tiny_dataset, layers=LAYERS))
    result, r, alpha, cv_r = run.result(), run.array("r"), run.array("alpha"), run.array("cv_r")
    split = split_of(tiny_dataset)
    assert r.shape == alpha.shape == cv_r.shape == (2, 30)
    own = int(cv_r.mean(axis=1).argmax())
    for vertex in range(0, 30, 7):
        for number, layer in enumerate(LAYERS):
            predicted, measured = restated(run, tiny_dataset, "lh", "V1v", layer, vertex, alpha[number, vertex])
            assert r[number, vertex] == pytest.approx(np.corrcoef(predicted, measured)[0, 1], abs=1e-3)
            if number == own:
                kept = run.array("predicted")[vertex] + run.array("offset")[vertex]
                np.testing.assert_allclose(kept, predicted, atol=1e-3)
    assert (result["n_train"], result["n_test"], result["n_vertices"]) == (len(split.train), len(split.test), 30)
    assert result["layer"] == LAYERS[own]
    assert result["r_mean"] == pytest.approx(r[own].mean())
    assert result["r_median"] == pytest.approx(np.median(r[own]))
    assert result["cv_r_mean"] == pytest.approx(cv_r[own].mean())
    assert set(run.array("own")) == {own}
    np.testing.assert_array_equal(run.array("test_rows"), split.test)
    np.testing.assert_array_equal(run.array("columns"), tiny_dataset.columns("subj01", "lh", "V1v"))
    np.testing.assert_array_equal(run.array("positions"), tiny_dataset.positions("subj01", "lh")[run.array("columns")])


def test_intervals_are_those_of_resampled_test_pictures(ask, tiny_dataset, computed):
    run = computed(ask("encoding", tiny_dataset, layers=LAYERS, n_bootstrap=200))
    table, own = run.table("rois"), run.array("own")[0]
    predicted = run.array("predicted").T.astype(np.float64)
    measured = tiny_dataset.responses("subj01", "lh", "V1v")[run.array("test_rows")].astype(np.float64)
    replicates = run.array("replicates")[:, own]
    digests = np.array(build_index(tiny_dataset, memo_dir()).subjects["subj01"].image_digests)
    weights = bootstrap_weights(len(measured), 200, 0, groups=digests[run.array("test_rows")])
    for number, counts in enumerate(weights[:20]):
        rows = np.repeat(np.arange(len(counts)), counts.astype(int))
        if len(set(rows)) < 3:
            continue
        r = [np.corrcoef(predicted[rows, v], measured[rows, v])[0, 1] for v in range(30)]
        assert replicates[number] == pytest.approx(np.mean(r), abs=1e-3)
    mine = table[table["own"]].iloc[0]
    low, high = (float(end) for end in interval(replicates, estimate=mine["r_mean"]))
    assert (mine["r_low"], mine["r_high"]) == pytest.approx((low, high), abs=1e-4)
    assert run.result()["r_low"] == mine["r_low"]
    assert np.all(run.array("r_low") <= run.array("r_high"))


def test_several_rois_at_once_give_what_each_gives_alone(ask, tiny_dataset, computed):
    run = computed(ask("encoding", tiny_dataset, layers=LAYERS, hemi="both", roi="V1v,V1d"))
    spans = json.loads(run.file("areas.json").read_text())
    assert [(span["hemi"], span["roi"]) for span in spans] == list(run.spec.areas)
    table = run.table("rois")
    for span in spans:
        alone = computed(ask("encoding", tiny_dataset, layers=LAYERS, hemi=span["hemi"], roi=span["roi"]))
        part = slice(span["start"], span["stop"])
        for name in ("r", "cv_r", "alpha"):
            np.testing.assert_allclose(run.array(name)[:, part], alone.array(name), rtol=1e-5, atol=1e-5)
        for name in ("own", "columns", "positions"):
            np.testing.assert_array_equal(run.array(name)[part], alone.array(name))
        np.testing.assert_allclose(run.array("predicted")[part], alone.array("predicted"), atol=1e-4)
        rows = table[(table["hemi"] == span["hemi"]) & (table["roi"] == span["roi"])]
        expected = alone.table("rois")
        np.testing.assert_allclose(rows["r_mean"], expected["r_mean"], atol=1e-5)
        np.testing.assert_allclose(rows["r_high"], expected["r_high"], atol=1e-4)
        np.testing.assert_array_equal(rows["own"], expected["own"])
    result = run.result()
    assert result["n_vertices"] == spans[-1]["stop"]
    own = run.array("r")[run.array("own"), np.arange(result["n_vertices"])]
    assert result["r_mean"] == pytest.approx(own.mean())
    assert set(result["layer"].split(", ")) == {LAYERS[number] for number in run.array("own")}


def test_all_vertices_report_on_every_roi(ask, tiny_dataset, computed):
    run = computed(ask("encoding", tiny_dataset, layers=LAYERS, hemi="both", roi="all"))
    table, replicates = run.table("rois"), run.array("replicates")
    assert len(table) == replicates.shape[1]
    r, cv_r = run.array("r"), run.array("cv_r")
    start = 0
    for hemi in ("lh", "rh"):
        masks = tiny_dataset.rois("subj01", hemi)
        assert set(table.loc[table["hemi"] == hemi, "roi"]) == {"all", *masks}
        for roi, mask in masks.items():
            columns = start + np.flatnonzero(mask)
            rows = table[(table["hemi"] == hemi) & (table["roi"] == roi)]
            np.testing.assert_allclose(rows["r_mean"], r[:, columns].mean(axis=1))
            assert rows["own"].to_list().index(True) == cv_r[:, columns].mean(axis=1).argmax()
            assert list(rows["n_vertices"]) == [len(columns)] * 2
            # The fixture's noise ceiling is 0.8 everywhere.
            np.testing.assert_allclose(rows["ceiling"], 0.8, rtol=1e-6)
            np.testing.assert_allclose(rows["ceiling_r"], np.sqrt(0.8), rtol=1e-6)
            np.testing.assert_allclose(rows["r_over_ceiling"], r[:, columns].mean(axis=1) / np.sqrt(0.8), rtol=1e-6)
            score = np.minimum(100 * r[:, columns].clip(0) ** 2 / 0.8, 100).mean(axis=1)
            np.testing.assert_allclose(rows["algonauts_score"], score, rtol=1e-5)
        start += tiny_dataset.n_vertices("subj01", hemi)
    own = r[run.array("own"), np.arange(r.shape[1])]
    assert run.result()["algonauts_score"] == pytest.approx(np.minimum(100 * own.clip(0) ** 2 / 0.8, 100).mean())


def test_without_a_noise_ceiling_there_is_no_score(ask, tiny_dataset, computed):
    run = computed(ask("encoding", tiny_dataset, layers="features.3", subject="subj02"))
    table = run.table("rois")
    assert "algonauts_score" not in run.result()
    assert table[["ceiling", "ceiling_r", "r_over_ceiling", "no_ceiling", "algonauts_score"]].isna().all(axis=None)


def test_wrong_pictures_predict_nothing(ask, tiny_dataset, computed):
    right = computed(ask("encoding", tiny_dataset, layers="features.3", roi="all")).result()
    wrong = computed(ask("encoding", tiny_dataset, layers="features.3", roi="all", shuffle_images=True)).result()
    assert right["cv_r_mean"] > 0.3
    assert wrong["cv_r_mean"] < 0.15
    assert abs(wrong["r_mean"]) < 0.35  # six test pictures


@pytest.mark.parametrize("method", ["contrastive", "regression"])
def test_a_tuned_network_is_used_where_one_was_asked_for(ask, tiny_dataset, computed, method):
    tuned = computed(ask("encoding", tiny_dataset, layers="features.3", method=method, epochs=1, learning_rate=1e-2))
    untuned = computed(ask("encoding", tiny_dataset, layers="features.3"))
    assert tuned.spec.method == method
    assert not np.array_equal(tuned.array("r"), untuned.array("r"))


def test_shuffling_stays_inside_each_part(ask, tiny_dataset):
    spec = ask("encoding", tiny_dataset, layers="features.3", shuffle_images=True)
    split = Split(np.arange(0, 30), np.arange(30, 40))
    order = pairing(split, 40, spec)
    for rows in (split.train, split.test):
        np.testing.assert_array_equal(np.sort(order[rows]), rows)
    assert (order != np.arange(40)).mean() > 0.8


def make_constant(root, roi, which):
    """Make some vertices of a ROI in subj01's left hemisphere constant; return the data set."""
    file = root / "subj01/training_split/training_fmri/lh_training_fmri.npy"
    responses = np.load(file)
    responses[:, open_dataset(root).columns("subj01", "lh", roi)[which]] = 3.0
    np.save(file, responses)
    return open_dataset(root)


def test_constant_vertices_are_counted_and_left_out(ask, tiny_copy, computed):
    run = computed(ask("encoding", make_constant(tiny_copy, "V1v", slice(0, 3)), layers=LAYERS))
    table, r, result = run.table("rois"), run.array("r"), run.result()
    assert np.isnan(r[:, :3]).all()
    assert np.isfinite(r[:, 3:]).all()
    assert list(table["nan_vertices"]) == [3, 3]
    assert result["nan_vertices"] == 3
    np.testing.assert_allclose(table["r_mean"], r[:, 3:].mean(axis=1))
    assert np.isfinite(run.array("replicates")).mean() > 0.99


def test_a_roi_of_constant_vertices_is_named(ask, tiny_copy, computed):
    dataset = make_constant(tiny_copy, "V1v", slice(None))
    with pytest.raises(DatasetError, match="V1v"):
        computed(ask("encoding", dataset, layers=LAYERS))
    everything = computed(ask("encoding", dataset, layers=LAYERS, roi="all"))
    table = everything.table("rois")
    dead = table[table["roi"] == "V1v"]
    assert not dead["own"].any()
    assert dead["r_mean"].isna().all()
    assert table[table["roi"] == "all"]["own"].sum() == 1
    tested = computed(compare([everything.spec], [everything.spec], n_permutations=99))
    assert "V1v" not in set(tested.table("rois")["roi"])


def test_too_many_folds_are_named(ask, tiny_dataset, computed):
    with pytest.raises(DatasetError, match="too few images for 30 folds"):
        computed(ask("encoding", tiny_dataset, layers=LAYERS, n_folds=30))


def test_more_features_than_images(ask, tiny_dataset, computed):
    run = computed(ask("encoding", tiny_dataset, layers="features.3", n_components=1000))
    assert Store().run_of(run.spec.features).array("scores_features.3").shape == (40, 33)  # n_train - 1
    assert np.isfinite(run.array("r")).all()


def test_a_roi_beside_all_vertices_is_reported_and_tested_once(ask, tiny_dataset, computed):
    run = computed(ask("encoding", tiny_dataset, layers=LAYERS, roi="all,V1v"))
    table = run.table("rois")
    assert not table.duplicated(["hemi", "roi", "layer"]).any()
    assert run.result()["n_vertices"] == tiny_dataset.n_vertices("subj01", "lh")  # V1v lies in all: counted once
    tested = computed(ask("comparison", tiny_dataset, layers=LAYERS, roi="V1v,all", n_permutations=99)).table("rois")
    assert not tested.duplicated(["hemi", "roi"]).any()
    assert set(tested["roi"]) == {"all", *tiny_dataset.rois("subj01", "lh")}
    alone = computed(ask("encoding", tiny_dataset, layers=LAYERS, method="contrastive"))
    mine = tested[tested["roi"] == "V1v"].iloc[0]
    assert mine["r_first"] == pytest.approx(alone.result()["r_mean"])


def test_the_authors_protocol_cross_validates_inside_the_test_pictures(ask, tiny_dataset, computed):
    from brainviz.encoding.ridge import fit_ridge

    run = computed(ask("encoding", tiny_dataset, layers=LAYERS, n_folds=2, test_share=0.5))
    rows, table = run.array("test_rows"), run.table("rois")
    digests = np.array(build_index(tiny_dataset, memo_dir()).subjects["subj01"].image_digests)
    measured = tiny_dataset.responses("subj01", "lh", "V1v")[rows]
    for number, layer in enumerate(LAYERS):
        scores = Store().run_of(run.spec.features).array(f"scores_{layer}")[rows]
        expected = fit_ridge(scores, measured, run.spec.alphas, 2, groups=digests[rows], extend=True).cv_r
        np.testing.assert_allclose(run.array("protocol_r")[number], expected, atol=1e-4)
        row = table[table["layer"] == layer].iloc[0]
        assert row["protocol_r_mean"] == pytest.approx(expected.mean(), abs=1e-4)
    assert list(table["protocol_own"]) == [n == table["protocol_r_mean"].argmax() for n in range(2)]


def test_too_few_test_pictures_for_the_folds_have_no_protocol_score(ask, tiny_dataset, computed):
    table = computed(ask("encoding", tiny_dataset, layers=LAYERS)).table("rois")  # six pictures, five folds
    assert table["protocol_r_mean"].isna().all()
    assert not table["protocol_own"].any()


def test_two_test_pictures_are_too_few(ask, tiny_dataset, computed):
    with pytest.raises(DatasetError, match="too few pictures"):
        computed(ask("encoding", tiny_dataset, layers=LAYERS, test_share=0.03))


def test_a_ceiling_of_zero_is_counted_and_scores_nothing(ask, tiny_copy, computed):
    np.save(tiny_copy / "subj01/noise_ceiling/lh_noise_ceiling.npy", np.zeros(120, np.float32))
    table = computed(ask("encoding", open_dataset(tiny_copy), layers=LAYERS)).table("rois")
    assert list(table["no_ceiling"]) == [30, 30]
    assert list(table["ceiling_r"]) == [0, 0]
    assert table[["r_over_ceiling", "algonauts_score"]].isna().all(axis=None)


def test_the_own_layer_is_found_among_undefined_vertices():
    nan = np.nan

    def own(cv_r):
        cv_r = np.array(cv_r)
        layers = [str(number) for number in range(len(cv_r))]
        rows = roi_rows("lh", "V1", layers, cv_r, cv_r, cv_r, [np.zeros(10, np.float32)] * len(cv_r), np.full(2, nan))
        return [row["layer"] for row in rows if row["own"]]

    assert own([[0.1, 0.2], [nan, 0.3], [0.2, 0.2]]) == ["1"]
    assert own([[0.2, nan], [0.2, nan]]) == ["0"]
    assert own([[nan, nan], [nan, nan]]) == []
