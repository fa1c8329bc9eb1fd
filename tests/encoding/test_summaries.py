"""Group and subject summaries against means, resampling and t intervals written out."""

import numpy as np
import pytest
from scipy import stats

from brainviz.encoding.statistics import bootstrap_r, bootstrap_weights, interval
from brainviz.encoding.summaries import (
    GROUPS,
    AreaScore,
    differences,
    group_differences,
    group_scores,
    over_subjects,
)

N_TEST, N_VERTICES = 60, 40

#: A group of the caller's own.
CHOSEN = {"chosen": ("V1v", "V1d", "V2v")}


@pytest.fixture(scope="module")
def world():
    """Return scores of two subjects, three ROIs and two methods, with the responses and predictions behind them."""
    rng = np.random.default_rng(0)
    scores, behind = {}, {}
    for subject in ("subj01", "subj02"):
        weights = bootstrap_weights(N_TEST, 300, seed=0)
        for hemi, roi in (("lh", "V1v"), ("rh", "hV4"), ("lh", "FFA-1")):
            if (subject, roi) == ("subj02", "FFA-1"):
                continue
            signal = rng.standard_normal((N_TEST, N_VERTICES))
            measured = signal + rng.standard_normal(signal.shape)
            for method, noise in (("untuned", 2.0), ("contrastive", 1.0)):
                predicted = signal + noise * rng.standard_normal(signal.shape)
                r = np.array([np.corrcoef(predicted[:, v], measured[:, v])[0, 1] for v in range(N_VERTICES)])
                replicates = bootstrap_r(predicted, measured, weights).mean(axis=1)
                scores[subject, hemi, roi, method] = AreaScore(r, replicates)
                behind[subject, hemi, roi, method] = (predicted, measured)
    return scores, behind, weights


def test_no_group_holds_a_union_or_a_roi_twice():
    for name, rois in GROUPS.items():
        assert len(set(rois)) == len(rois)
        assert not {"V1", "V2", "V3", "early-visual", "all"} & set(rois), name
    assert set(GROUPS["early"]) | set(GROUPS["higher"]) == set(GROUPS["all ROIs"])
    assert not set(GROUPS["early"]) & set(GROUPS["higher"])


def test_a_group_is_the_mean_of_its_rois(world):
    scores, _, _ = world
    table = group_scores(scores).set_index(["subject", "group", "method"])
    early = [scores["subj01", "lh", "V1v", "untuned"], scores["subj01", "rh", "hV4", "untuned"]]
    row = table.loc["subj01", "early", "untuned"]
    assert row["r"] == pytest.approx(np.mean([each.r.mean() for each in early]))
    assert row["n_rois"] == 2
    assert row["low"] < row["r"] < row["high"]
    assert table.loc["subj01", "all ROIs", "untuned"]["n_rois"] == 3
    assert ("subj02", "faces", "untuned") not in table.index
    assert ("subj01", "words", "untuned") not in table.index


def test_a_groups_interval_is_that_of_resampled_images(world):
    scores, behind, weights = world
    row = group_scores(scores).set_index(["subject", "group", "method"]).loc["subj02", "early", "contrastive"]
    means = []
    for counts in weights:
        rows = np.repeat(np.arange(N_TEST), counts.astype(int))
        r = [
            np.mean([np.corrcoef(x[rows, v], y[rows, v])[0, 1] for v in range(N_VERTICES)])
            for x, y in (behind["subj02", hemi, roi, "contrastive"] for hemi, roi in (("lh", "V1v"), ("rh", "hV4")))
        ]
        means.append(np.mean(r))
    expected = interval(np.array(means), estimate=row["r"])
    assert (row["low"], row["high"]) == pytest.approx(tuple(map(float, expected)), abs=1e-4)


def test_groups_hold_what_all_methods_have(world):
    scores, _, _ = world
    fewer = {key: score for key, score in scores.items() if key != ("subj01", "lh", "V1v", "untuned")}
    table = group_scores(fewer).set_index(["subject", "group", "method"])
    only = scores["subj01", "rh", "hV4", "contrastive"]
    assert table.loc["subj01", "early", "contrastive"]["r"] == pytest.approx(only.r.mean())
    assert table.loc["subj01", "early", "contrastive"]["n_rois"] == 1


def test_differences_are_paired(world):
    scores, _, _ = world
    table = differences(scores, "contrastive", "untuned")
    assert len(table) == 5
    for row in table.itertuples():
        one, other = (scores[row.subject, row.hemi, row.roi, method] for method in ("contrastive", "untuned"))
        assert row.difference == pytest.approx((one.r - other.r).mean())
        assert row.improved == np.mean(one.r > other.r)
        expected = np.percentile(one.replicates - other.replicates, [2.5, 97.5])
        assert (row.low, row.high) == pytest.approx(tuple(expected), abs=1e-6)
        assert row.low > 0  # twice the noise makes a worse prediction
    opposite = differences(scores, "untuned", "contrastive")
    np.testing.assert_allclose(opposite["difference"], -table["difference"])
    assert differences(scores, "contrastive", "regression").empty


def test_undefined_vertices_are_left_out_of_both_sides(world):
    scores, _, _ = world
    key = ("subj01", "lh", "V1v", "untuned")
    r = scores[key].r.copy()
    r[:5] = np.nan
    table = differences({**scores, key: AreaScore(r, scores[key].replicates)}, "contrastive", "untuned")
    row = table.iloc[0]
    assert row["n_vertices"] == N_VERTICES - 5
    assert row["difference"] == pytest.approx((scores[*key[:3], "contrastive"].r - r)[5:].mean())
    assert np.isnan(AreaScore(np.full(3, np.nan), np.zeros(2)).mean)


def test_group_differences_count_every_roi_once_and_every_vertex(world):
    scores, _, _ = world
    table = group_differences(scores, "contrastive", "untuned").set_index(["subject", "group"])
    pairs = [
        [scores["subj01", hemi, roi, method] for method in ("contrastive", "untuned")]
        for hemi, roi in (("lh", "V1v"), ("rh", "hV4"), ("lh", "FFA-1"))
    ]
    row = table.loc["subj01", "all ROIs"]
    assert row["difference"] == pytest.approx(np.mean([a.r.mean() - b.r.mean() for a, b in pairs]))
    assert row["improved"] == np.mean(np.concatenate([a.r > b.r for a, b in pairs]))
    assert row["low"] < row["difference"] < row["high"]


def test_over_subjects_is_a_t_interval(world):
    scores, _, _ = world
    table = over_subjects(differences(scores, "contrastive", "untuned"), ["hemi", "roi"], "difference")
    values = differences(scores, "contrastive", "untuned")
    v1v = values[values["roi"] == "V1v"]["difference"].to_numpy()
    row = table[table["roi"] == "V1v"].iloc[0]
    expected = stats.t.interval(0.95, 1, loc=v1v.mean(), scale=v1v.std(ddof=1) / np.sqrt(2))
    assert (row["n_subjects"], row["mean"]) == (2, pytest.approx(v1v.mean()))
    assert (row["low"], row["high"]) == pytest.approx(expected)
    alone = table[table["roi"] == "FFA-1"].iloc[0]
    assert alone["n_subjects"] == 1
    assert np.isnan(alone["low"])
    assert np.isnan(alone["sd"])


def planted_scores(r: dict[str, dict[str, float]]) -> dict[tuple[str, str, str, str], AreaScore]:
    """Return results of one vertex per ROI and method; replicates are r - 0.2, ..., r + 0.2."""
    steps = np.linspace(-0.2, 0.2, 101)
    return {
        ("s", "lh", roi, method): AreaScore(np.array([value]), value + (2 if method == "b" else 1) * steps)
        for method, values in r.items()
        for roi, value in values.items()
    }


def test_means_are_over_what_all_methods_have() -> None:
    planted = planted_scores({"a": {"V1v": 0.3, "V1d": 0.5, "V2v": 0.9}, "b": {"V1v": 0.1, "V1d": 0.2}})
    found = group_scores(planted, CHOSEN)
    assert list(found["n_rois"]) == [2, 2]
    np.testing.assert_allclose(found["r"], [0.4, 0.15])
    # Replicates from -0.2 to 0.2, evenly: 95 % of them lie within 0.19.
    np.testing.assert_allclose(found["high"] - found["low"], [0.38, 0.76])


def test_the_interval_of_a_difference_is_paired() -> None:
    planted = planted_scores({"a": {"V1v": 0.3, "V1d": 0.5}, "b": {"V1v": 0.4, "V1d": 0.2}})
    found = group_differences(planted, "b", "a", CHOSEN).iloc[0]
    np.testing.assert_allclose(found["difference"], -0.1)
    # Replicates of b scatter twice as far, with those of a: the difference scatters as far as a.
    np.testing.assert_allclose(found["high"] - found["low"], 0.38)
    assert found["improved"] == 0.5


def test_a_difference_is_that_of_the_means_beside_it() -> None:
    """Also where a third method lacks a ROI that the two have."""
    planted = planted_scores({"a": {"V1v": 0.3, "V1d": 0.5}, "b": {"V1v": 0.4, "V1d": 0.2}, "c": {"V1v": 0.1}})
    means = group_scores(planted, CHOSEN).set_index("method")["r"]
    (difference,) = group_differences(planted, "b", "a", CHOSEN)["difference"]
    np.testing.assert_allclose(difference, means["b"] - means["a"])
    assert group_differences(planted, "b", "nobody", CHOSEN).empty


def test_nothing_in_common_is_an_empty_summary() -> None:
    planted = planted_scores({"a": {"V1v": 0.3}, "b": {"V1d": 0.4}})
    assert group_scores(planted, CHOSEN).empty
    assert group_differences(planted, "a", "b", CHOSEN).empty
