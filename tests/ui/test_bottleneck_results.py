"""Finished bottleneck networks as tables, on planted numbers, against slow re-statements: means, paired intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from scipy import stats

from brainviz.encoding.statistics import interval
from brainviz.figures.style import Provenance
from brainviz.runs.bottleneck_specs import BottleneckSpec, variant_of
from brainviz.runs.network_specs import EncodingSpec
from brainviz.runs.requests import make_spec
from brainviz.runs.specs import Encoder
from brainviz.runs.store import Run, Store
from brainviz.ui.bottleneck_encoders import RECONSTRUCTION, averaged, difference, differences, encoders_of, vertices_of
from brainviz.ui.bottleneck_form import VARIANTS, settings_of
from brainviz.ui.bottleneck_map import CEILING, Compared, interval_of, less, other_encoders
from brainviz.ui.bottleneck_results import OWN, PRETRAINING, BottleneckResults, band, lag_row
from brainviz.ui.bottleneck_views import lag_words
from brainviz.ui.choices import Choice
from brainviz.ui.comparison import finished
from brainviz.ui.sources import Source

IMAGE_TEXT = {"source": "image-text", "clip_network": "clip_compact", "clip_weights": "demo", "pooled": ""}
FORM = {**IMAGE_TEXT, "leak_alpha": 0.03, "bottleneck_width": 9, "bottleneck_rate": 1e-4, "bottleneck_epochs": 3}
N_RESAMPLES, N_EPOCHS = 300, 3

Finish = Callable[..., Run]


@pytest.fixture(autouse=True)
def nothing_averaged() -> None:
    """Fake runs of two tests may have one id."""
    st.cache_resource.clear()


@pytest.fixture
def finish_network(source: Source, finish_run: Callable[..., Run]) -> Finish:
    """Return a function that writes a finished bottleneck run with r drawn at random around a mean, from its spec.

    Replicates of each ROI's mean are that mean plus noise, of which part is the same for all runs of a subject.
    """

    def finish(spec: Encoder, mean: float, *, n_undefined: int = 0, noisy: bool = True) -> Run:
        dataset = source.dataset
        rng = np.random.default_rng([int(spec.run_id[:8], 16)])
        common = np.random.default_rng(int(spec.subject[-2:])).normal(0, 0.02, N_RESAMPLES)
        rows, replicates, r, places, start = [], [], [], [], 0
        columns, positions = [], []
        for hemi, roi in spec.areas:
            own_columns = dataset.columns(spec.subject, hemi, roi)
            own = rng.normal(mean, 0.1, len(own_columns))
            own[:n_undefined] = np.nan
            masks = dataset.rois(spec.subject, hemi) if roi == "all" else {}
            parts = {roi: np.arange(len(own))} | {name: np.flatnonzero(mask) for name, mask in masks.items()}
            for name, part in parts.items():
                undefined, center = int(np.isnan(own[part]).sum()), float(np.nanmean(own[part]))
                replicates.append(center + common + rng.normal(0, 0.01, N_RESAMPLES))
                rows.append({"hemi": hemi, "roi": name, "layer": "bottleneck", "own": True, "n_vertices": len(part)})
                rows[-1] |= {"nan_vertices": undefined, "r_mean": center, "r_median": float(np.nanmedian(own[part]))}
                rows[-1] |= {"ceiling_r": 0.9, "reconstruction_r_mean": 0.8 + 0.01 * mean, "ceiling": np.nan}
            r.append(own)
            columns.append(own_columns)
            positions.append(np.asarray(dataset.positions(spec.subject, hemi))[own_columns])
            places.append({"hemi": hemi, "roi": roi, "start": start, "stop": start + len(own)})
            start += len(own)
        together = np.concatenate(r)
        arrays = {"r": together[None], "own": np.zeros(start, np.int64), "reconstruction_r": together + 0.3}
        arrays |= {"replicates": np.stack(replicates, axis=1).astype(np.float32)}
        arrays |= {"columns": np.concatenate(columns), "positions": np.concatenate(positions)}
        scalars = {"r_mean": float(np.nanmean(together)), "ceiling_r_mean": 0.8 + 0.01 * mean, "epoch": 2}
        if noisy:
            arrays["plain_r"] = together + 0.01
            scalars["plain_r_mean"] = scalars["r_mean"] + 0.01
        s = {"s_left": [0.2, 0.4, 0.5], "s_right": [0.3, 0.35, 0.45], "loss": [-0.5, -0.7, -0.8]}
        contents = {"areas": places, "curves": s | {"validation_r": [0.1, 0.3, 0.2], "best": 1}}
        return finish_run(spec, scalars, tables={"rois": pd.DataFrame(rows)}, contents=contents, **arrays)

    return finish


@pytest.fixture
def ask(source: Source) -> Callable[..., Choice]:
    """Return a function that asks for networks of subjects, variants and so many seeds."""

    def choose(subjects: Sequence[str] = ("subj01",), variants: Sequence[str] = ("full",), n_seeds: int = 1) -> Choice:
        asked = []
        for subject, variant, seed in product(subjects, variants, range(n_seeds)):
            own = settings_of(variant, FORM, asked_rate=False) | {"bottleneck_seed": seed}
            asked.append((variant, make_spec("bottleneck", source.dataset, source.index, subject=subject, **own)))
        return Choice(tuple(asked), ())

    return choose


@pytest.fixture
def show(source: Source) -> Callable[[Choice], BottleneckResults]:
    """Return a function that shows what is done of a choice."""

    def of(choice: Choice) -> BottleneckResults:
        about = Provenance("tiny", "subj01", ("all",), "15% test pictures", "bottleneck network")
        return BottleneckResults(source, choice, finished(choice, Store()), about)

    return of


def mean_and_replicates(runs: list[Run]) -> tuple[float, np.ndarray]:
    """Re-state the mean r over all vertices of both hemispheres, and its replicates: vertex by vertex, seed by seed."""
    means, replicates = [], []
    for run in runs:
        r = np.load(run.path / "r.npy")[0]
        means.append(np.nanmean(r))
        table = pd.read_parquet(run.path / "rois.parquet")
        drawn, total, n = np.load(run.path / "replicates.npy"), 0.0, 0
        for number, row in table.iterrows():
            if row["roi"] == "all":
                defined = row["n_vertices"] - row["nan_vertices"]
                total, n = total + defined * drawn[:, number].astype(float), n + defined
        replicates.append(total / n)
    return float(np.mean(means)), np.mean(replicates, axis=0)


# --- what is asked for ------------------------------------------------------------------------------------------------


def test_variants_are_made_by_their_switches(ask: Any) -> None:
    choice = ask(variants=tuple(VARIANTS), n_seeds=2)
    assert [variant for variant, _ in choice.asked] == [name for name in VARIANTS for _ in range(2)]
    for variant, spec in choice.asked:
        assert variant_of(spec) == variant
        assert isinstance(spec, BottleneckSpec)
        assert spec.bottleneck_epochs == 3
    by_variant = dict(choice.asked)
    assert by_variant["full"].leak_alpha == 0.03
    assert by_variant["no leak"].leak_alpha == by_variant["linear"].leak_alpha == 0.02
    assert by_variant["no leak"].bottleneck_width == 9
    assert by_variant["linear"].bottleneck_rate == pytest.approx(10 * by_variant["full"].bottleneck_rate)
    assert settings_of("linear", FORM, asked_rate=True)["bottleneck_rate"] == 1e-4


# --- ablations --------------------------------------------------------------------------------------------------------


def test_scores_are_means_over_seeds_with_bootstrap_intervals(ask: Any, show: Any, finish_network: Finish) -> None:
    choice = ask(n_seeds=3)
    runs = [finish_network(spec, 0.3 + 0.02 * number) for number, spec in enumerate(choice.specs)]
    (row,) = show(choice).scores.to_dict("records")
    r, replicates = mean_and_replicates(runs)
    low, high = interval(replicates, estimate=r)
    np.testing.assert_allclose([row["r"], row["low"], row["high"]], [r, low, high], rtol=1e-5)
    each = [run.result()["r_mean"] for run in runs]
    np.testing.assert_allclose([row["sd"], row["plain_r"]], [np.std(each, ddof=1), np.mean(each) + 0.01])
    assert (row["n_seeds"], row["epochs"], row["subject"], row["variant"]) == (3, "2 2 2", "subj01", "full")
    assert np.isnan(row["difference"])
    assert np.isnan(row["algonauts_score"])


def test_undefined_vertices_do_not_count(ask: Any, show: Any, finish_network: Finish) -> None:
    choice = ask()
    run = finish_network(choice.specs[0], 0.3, n_undefined=20, noisy=False)
    (row,) = show(choice).scores.to_dict("records")
    r, replicates = mean_and_replicates([run])
    np.testing.assert_allclose([row["r"], row["low"]], [r, interval(replicates, estimate=r)[0]], rtol=1e-5)
    # Without noise, r is the r without noise.
    np.testing.assert_allclose(row["plain_r"], run.result()["r_mean"])


def test_the_difference_to_full_is_paired_over_the_seeds_that_both_have(
    ask: Any, show: Any, finish_network: Finish
) -> None:
    choice = ask(variants=("full", "no leak"), n_seeds=3)
    full, lacking = choice.of("full", "subj01"), choice.of("no leak", "subj01")
    ones = [finish_network(spec, 0.25) for spec in lacking[1:]]
    others = [finish_network(spec, 0.3) for spec in full[:2]]
    shown = show(choice)
    row = shown.scores.set_index("variant").loc["no leak"]
    # Seed 1 alone is there of both.
    one, other = mean_and_replicates(ones[:1]), mean_and_replicates(others[1:])
    low, high = interval(one[1] - other[1])
    found = [row["difference"], row["difference_low"], row["difference_high"]]
    np.testing.assert_allclose(found, [one[0] - other[0], low, high], rtol=1e-4, atol=1e-7)
    # Much shorter than if the two had been resampled apart.
    assert high - low < 0.6 * (row["high"] - row["low"])
    assert row["n_seeds"] == 2
    assert shown.missing == ["subj01 full (2 of 3 seeds)", "subj01 no leak (2 of 3 seeds)"]


def test_over_subjects_are_means_with_t_intervals(ask: Any, show: Any, finish_network: Finish) -> None:
    choice = ask(("subj01", "subj02"), ("full", "linear"))
    for number, spec in enumerate(choice.specs):
        finish_network(spec, 0.3 + 0.05 * number, noisy=False)
    shown = show(choice)
    over, scores = shown.over.set_index("variant"), shown.scores
    for variant in ("full", "linear"):
        r = scores.loc[scores["variant"] == variant, "r"]
        np.testing.assert_allclose(over.loc[variant, "r"], r.mean())
        reach = stats.t.ppf(0.975, 1) * r.std() / np.sqrt(2)
        np.testing.assert_allclose(over.loc[variant, "high"], min(r.mean() + reach, 1))
    less = scores.loc[scores["variant"] == "linear", "difference"]
    np.testing.assert_allclose(over.loc["linear", "difference"], less.mean())
    assert over.loc["full", "n_subjects"] == 2
    assert shown.seeds[["subject", "variant", "seed"]].to_numpy().tolist()[0] == ["subj01", "full", 0]
    assert show(ask(("subj01",), ("full",))).over.empty


# --- per ROI ----------------------------------------------------------------------------------------------------------


def test_rois_are_means_over_seeds(ask: Any, show: Any, finish_network: Finish) -> None:
    choice = ask(n_seeds=2)
    runs = [finish_network(spec, 0.2 + 0.1 * number) for number, spec in enumerate(choice.specs)]
    shown = show(choice)
    tables = [pd.read_parquet(run.path / "rois.parquet") for run in runs]
    replicates = np.mean([np.load(run.path / "replicates.npy") for run in runs], axis=0)
    for number in (0, 1, 7):
        row = shown.rois.iloc[number]
        r = np.mean([table["r_mean"][number] for table in tables])
        assert (row["hemi"], row["roi"]) == tuple(tables[0].loc[number, ["hemi", "roi"]])
        np.testing.assert_allclose(row["r"], r)
        low, high = interval(replicates[:, number].astype(float), estimate=r)
        np.testing.assert_allclose([row["low"], row["high"]], [low, high], rtol=1e-4)
    found = shown.reconstruction.iloc[0]
    np.testing.assert_allclose([found["low"], found["high"]], [0.802, 0.803])
    assert list(shown.table["seed"].drop_duplicates()) == [0, 1]
    assert len(shown.table) == sum(map(len, tables))
    assert set(shown.table["run"]) == {run.id for run in runs}


def test_a_band_is_of_what_is_known() -> None:
    table = pd.DataFrame({"hemi": ["lh", "lh", "rh"], "roi": ["V1", "V1", "V1"], "x": [0.2, 0.4, np.nan]})
    assert band(table, "x").to_numpy().tolist() == [["lh", "V1", 0.2, 0.4]]


# --- the race ---------------------------------------------------------------------------------------------------------


def test_the_race_has_both_stages_of_every_seed(
    ask: Any, show: Any, finish_network: Finish, finish_run: Callable[..., Run]
) -> None:
    choice = ask(variants=("full", "no pre-training"), n_seeds=2)
    for spec in choice.specs:
        finish_network(spec, 0.3)
        if spec.pretraining is not None:
            lists = {"s_left": [0.1], "s_right": [0.2], "loss": [-0.3], "validation_r": [0.1], "best": 0}
            finish_run(spec.pretraining, {}, contents={"curves": lists})
    shown = show(choice)
    race = shown.race("subj01", "full")
    assert list(dict.fromkeys(race["stage"])) == [PRETRAINING.format(2), OWN]
    assert race.groupby(["stage", "seed"]).size().to_dict() == {
        (OWN, 0): 3, (OWN, 1): 3, (PRETRAINING.format(2), 0): 1, (PRETRAINING.format(2), 1): 1,
    }  # fmt: skip
    own = race[(race["stage"] == OWN) & (race["seed"] == 1)]
    assert list(own["epoch"]) == [1, 2, 3]
    assert list(own["kept"]) == [False, True, False]
    np.testing.assert_allclose(own["s_left"], [0.2, 0.4, 0.5])
    assert set(shown.race("subj01", "no pre-training")["stage"]) == {OWN}
    lags = shown.lags.set_index(["variant", "stage"])
    assert tuple(lags.loc[("full", OWN), ["epochs", "lh", "rh", "last"]]) == (3, 1, 2, "rh")
    assert tuple(lags.loc[("full", PRETRAINING.format(2)), ["lh", "rh", "last"]]) == (1, 0, "lh")
    assert len(lags) == 3


@pytest.mark.parametrize(
    ("left", "right", "words"),
    [
        ([0.2, 0.4, 0.5], [0.3, 0.35, 0.45], "the right hemisphere lagged in 2 of 3 epochs, the left hemisphere in 1. "
         "At the end the right hemisphere is behind by 0.050. Kept: epoch 2."),
        ([0.2, 0.3], [0.3, 0.3], "the left hemisphere lagged in 1 of 2 epochs. Kept: epoch 2."),
        ([0.3], [0.3], "neither hemisphere lagged. Kept: epoch 1."),
    ],
)  # fmt: skip
def test_which_hemisphere_lagged_in_words(left: list[float], right: list[float], words: str) -> None:
    epochs = np.arange(1, len(left) + 1)
    race = pd.DataFrame({"stage": OWN, "seed": 0, "epoch": epochs, "s_left": left, "s_right": right})
    row = lag_row(race.assign(kept=epochs == min(2, len(left))))
    assert lag_words(next(pd.DataFrame([row]).itertuples())) == words


# --- one against another ----------------------------------------------------------------------------------------------


def test_vertices_are_means_over_seeds_and_each_is_there_once(ask: Any, finish_network: Finish, source: Source) -> None:
    runs = [finish_network(spec, 0.3) for spec in ask(n_seeds=2).specs]
    values = vertices_of(runs)
    np.testing.assert_allclose(values["value"], np.mean([np.load(run.path / "r.npy")[0] for run in runs], axis=0))
    np.testing.assert_allclose(vertices_of(runs, RECONSTRUCTION)["value"], values["value"] + 0.3)
    assert not values.duplicated(["hemi", "column"]).any()
    for hemi, rows in values.groupby("hemi"):
        places = source.dataset.positions("subj01", str(hemi))
        assert places is not None
        np.testing.assert_array_equal(rows["position"], places[rows["column"]])


@pytest.fixture
def encode(source: Source, finish_network: Finish) -> Callable[..., Run]:
    """Return a function that writes a finished encoding run of one layer."""

    def finish(hemi: str, roi: str, mean: float = 0.2, **settings: Any) -> Run:
        network = {"network": "alexnet_compact", "weights": "demo", "image_size": 32, "layers": ("classifier.6",)}
        spec = make_spec(
            "encoding", source.dataset, source.index, subject="subj01", hemi=hemi, roi=roi, **network, **settings
        )
        assert isinstance(spec, EncodingSpec)
        return finish_network(spec, mean, noisy=False)

    return finish


def test_a_network_against_an_encoding_model_of_a_roi(ask: Any, finish_network: Finish, encode: Any) -> None:
    network, other = finish_network(ask().specs[0], 0.4), encode("lh", "V1")
    compared = Compared("untuned", (network,), (other,))
    both = less(compared)
    assert set(both["hemi"]) == {"lh"}
    assert len(both) == 58
    r = vertices_of([network]).set_index(["hemi", "column"])["value"]
    theirs = np.load(other.path / "r.npy")[0]
    for row, value in zip(both.itertuples(), theirs, strict=True):
        np.testing.assert_allclose(row.value, r.loc[("lh", row.column)] - value)
    # The interval is that of the ROI's rows, paired.
    table = pd.read_parquet(network.path / "rois.parquet")
    number = int(np.flatnonzero((table["hemi"] == "lh") & (table["roi"] == "V1"))[0])
    mine, its = (np.load(run.path / "replicates.npy").astype(float) for run in (network, other))
    low, high = interval(mine[:, number] - its[:, 0])
    found = interval_of(compared)
    assert found is not None
    np.testing.assert_allclose([found.low, found.high], [low, high], rtol=1e-5)
    np.testing.assert_allclose(found.difference, both["value"].mean(), rtol=1e-6)
    (row,) = differences(averaged([network]), averaged([other])).to_dict("records")
    assert (row["hemi"], row["roi"], row["n_vertices"]) == ("lh", "V1", 58)
    np.testing.assert_allclose([row["difference"], row["low"]], [found.difference, low], rtol=1e-5)


def test_there_is_no_interval_where_nothing_is_paired(ask: Any, finish_network: Finish, encode: Any) -> None:
    network = finish_network(ask().specs[0], 0.4)
    otherwise = encode("lh", "V1", seed=7)
    found = interval_of(Compared("untuned", (network,), (otherwise,)))
    assert found is not None
    assert np.isnan(found.low)
    assert np.isfinite(found.difference)
    overlapping = encode("lh", "V1,V1v")
    assert interval_of(Compared("untuned", (network,), (overlapping,))) is None
    assert len(differences(averaged([network]), averaged([overlapping]))) == 2
    assert interval_of(Compared(CEILING, (network,), (network,), RECONSTRUCTION)) is None
    one = averaged([network])
    assert difference(one, one, [("lh", "nowhere")]) is None
    np.testing.assert_allclose(less(Compared(CEILING, (network,), (network,), RECONSTRUCTION))["value"], -0.3)


def test_other_encoders_are_those_of_the_subject_and_its_test_pictures(
    ask: Any, show: Any, finish_network: Finish, encode: Any, source: Source
) -> None:
    choice = ask()
    network = finish_network(choice.specs[0], 0.4)
    usable, otherwise_resampled = encode("lh", "V1"), encode("rh", "V1", seed=3)
    encode("lh", "V1", test_share=0.3)
    encode("lh", "V1", shuffle_images=True)
    elsewhere = finish_network(ask(("subj02",)).specs[0], 0.3)
    unasked = finish_network(ask(n_seeds=2).specs[1], 0.3)
    found = {run.id for run in other_encoders(show(choice), "subj01")}
    assert found == {usable.id, otherwise_resampled.id, unasked.id}
    everything = {run.id for run in encoders_of(source.index.fingerprint)}
    assert everything == found | {network.id, elsewhere.id} | {
        run.id for run in Store().runs("encoding") if run.spec.features.test_share == 0.3
    }
    assert encoders_of("0" * 64) == []
