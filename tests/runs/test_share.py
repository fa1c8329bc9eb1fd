"""Concepts runs against the clustering itself, plain re-statements, and what is planted in the data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
from sklearn.metrics import adjusted_rand_score

from brainviz.analyses.concept_measures import consistency, participant_vectors, turned_at_random
from brainviz.analyses.concepts import cluster_shared, expand_within
from brainviz.cli import main
from brainviz.datasets import open_dataset
from brainviz.datasets.base import Dataset
from brainviz.datasets.demo.plan import scene_of
from brainviz.datasets.demo.scenes import CATEGORY_OF
from brainviz.datasets.index import build_index
from brainviz.datasets.splits import split_pictures
from brainviz.datasets.texts import open_texts
from brainviz.errors import DatasetError
from brainviz.runs.decode import BIAS, COLUMNS, HALVES, SIDES, WEIGHT
from brainviz.runs.embed import read_embeddings
from brainviz.runs.remembered import memo_dir
from brainviz.runs.share import (
    CONCEPTS,
    DIRECTIONS,
    EVIDENCE,
    LABELS,
    MAP,
    MAP_POINTS,
    OWN_DIRECTIONS,
    PICTURES,
    POINT_COLUMNS,
    POINT_SIDES,
    SCAN,
    SIMILARITY,
    STAGE,
    TEXT_SIMILARITY,
    WHO,
    Points,
    by_size,
)
from brainviz.runs.store import Run, Store

Finish = Callable[..., Run]

SUBJECTS = ("subj01", "subj02", "subj03", "subj04")

#: Which ROI likes what, as the fixture plants it.
LIKED = {"FFA-1": "faces", "PPA": "places", "EBA": "food", "VWFA-1": "words"}

#: Here the second stage adds vertices, and some stay outside.
TIGHT: dict[str, Any] = {"eps": 0.26, "expansion": 0.04}


def load(run: Run, name: str) -> np.ndarray:
    return np.asarray(np.load(run.file(name)))


def table(run: Run, name: str) -> pd.DataFrame:
    return pd.read_parquet(run.file(name))


def decoders(run: Run) -> list[Run]:
    spec: Any = run.spec
    return [Store().run_of(decoder) for decoder in spec.decoders]


def weights(run: Run) -> np.ndarray:
    """Return all participants' weights, one after the other."""
    return np.concatenate([load(each, WEIGHT) for each in decoders(run)])


def unit(vectors: np.ndarray) -> np.ndarray:
    wide = vectors.astype(np.float64)
    return np.asarray(wide / np.linalg.norm(wide, axis=-1, keepdims=True))


def directions_of(vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the mean of each cluster's unit vectors, normalised."""
    return np.array([unit(unit(vectors[labels == k]).mean(axis=0)) for k in range(labels.max() + 1)])


# --- clusters ---------------------------------------------------------------------------------------------------------


def test_points_are_the_decoders_vertices(finish_concepts: Finish) -> None:
    run = finish_concepts()
    n = [len(load(each, WEIGHT)) for each in decoders(run)]
    assert n == run.result()["points_of_participants"] == [140, 140, 120, 120]
    np.testing.assert_array_equal(load(run, WHO), np.repeat(range(4), n))
    for name, of_decoder in ((POINT_SIDES, SIDES), (POINT_COLUMNS, COLUMNS)):
        np.testing.assert_array_equal(
            load(run, name), np.concatenate([load(each, of_decoder) for each in decoders(run)])
        )


@pytest.mark.parametrize("settings", [{}, TIGHT, {**TIGHT, "expansion": 0}, {"min_participants": 1}])
def test_labels_are_those_of_clustering_the_weights(finish_concepts: Finish, settings: dict[str, Any]) -> None:
    run = finish_concepts(**settings)
    spec: Any = run.spec
    vectors, who = weights(run), load(run, WHO)
    first = cluster_shared(vectors, who, spec.eps, spec.min_participants)
    labels = first.labels
    if spec.expansion:
        labels = expand_within(vectors, who, labels, spec.radius)
        sizes = [(labels == concept).sum() for concept in range(labels.max() + 1)]
        larger = sorted(range(len(sizes)), key=lambda concept: -sizes[concept])  # equal ones stay in their order
        labels = np.array([-1 if label < 0 else larger.index(label) for label in labels])
    np.testing.assert_array_equal(load(run, LABELS), labels)
    stage = [
        0 if label < 0 else 1 if core else 2 if before >= 0 else 3
        for label, core, before in zip(labels, first.core, first.labels, strict=True)
    ]
    np.testing.assert_array_equal(load(run, STAGE), stage)
    result = run.result()
    assert (result["n_concepts"], result["n_noise"]) == (labels.max() + 1, (labels < 0).sum())
    assert (result["n_core"], result["n_second_stage"]) == (first.core.sum(), stage.count(3))
    assert result["share_in_concepts"] == pytest.approx((labels >= 0).mean())
    assert result["largest"] == pytest.approx(np.bincount(labels[labels >= 0]).max() / len(labels))
    assert (stage.count(3) > 0) == (settings == TIGHT)


def test_concepts_are_numbered_by_their_size_after_the_second_stage(
    finish_concepts: Finish, monkeypatch: pytest.MonkeyPatch
) -> None:
    """12 vertices against 8, to which 12 are added: each at cosine distance 0.43 from them, 0.68 from each other."""
    basis = np.eye(128, dtype=np.float32)
    added = 0.57 * basis[1] + np.sqrt(1 - 0.57**2) * basis[2:14]
    vectors = np.concatenate([np.tile(basis[0], (12, 1)), np.tile(basis[1], (8, 1)), added]).astype(np.float32)
    who = np.concatenate([np.arange(12) % 4, np.arange(8) % 4, np.arange(12) % 4])
    planted = Points(vectors, who, np.zeros(32, np.int8), np.arange(32), None)
    monkeypatch.setattr("brainviz.runs.share.read_points", lambda decoders: planted)
    run = finish_concepts(eps=0.4, expansion=0.05, map_seed=77)
    assert table(run, CONCEPTS)["n_vertices"].tolist() == [20, 12]
    assert run.result()["largest"] == 20 / 32


def test_concepts_are_the_planted_categories(finish_concepts: Finish, shared_dataset: Dataset) -> None:
    """Those that everybody has; what two participants have alone is noise, unless one other is enough."""
    run = finish_concepts()
    rois = []
    for who, side, column in zip(load(run, WHO), load(run, POINT_SIDES), load(run, POINT_COLUMNS), strict=True):
        masks = shared_dataset.rois(SUBJECTS[who], ("lh", "rh")[side])
        rois.append(next(roi for roi in LIKED if masks[roi][column]))
    labels, liked = load(run, LABELS), np.array([LIKED[roi] for roi in rois])
    assert run.result()["n_concepts"] == 3
    category = [set(liked[labels == concept]) for concept in range(3)]
    assert sorted(map(tuple, category)) == [("faces",), ("food",), ("places",)]
    assert set(liked[labels < 0]) == {"words"}
    assert (table(run, CONCEPTS)["n_participants"] == 4).all()
    found, words = table(run, PICTURES), open_texts("demo-words").texts
    for (own,), similarity, to_texts in zip(category, load(run, SIMILARITY), load(run, TEXT_SIMILARITY), strict=True):
        shown = [CATEGORY_OF[scene_of(int(name[4:])).main.kind] for name in found["picture"]]
        ranked = [shown[i] for i in np.argsort(-similarity)]
        assert ranked[:20].count(own) >= 18
        assert ranked[-20:].count(own) == 0
        nearest = words[int(to_texts.argmax())]
        assert CATEGORY_OF.get(nearest, nearest) == own
    one_is_enough = finish_concepts(min_participants=1)
    last = table(one_is_enough, CONCEPTS).iloc[3]
    assert (one_is_enough.result()["n_concepts"], last["n_participants"], last["share_left"]) == (4, 2, 1)
    assert set(liked[load(one_is_enough, LABELS) == 3]) == {"words"}


def test_the_order_of_participants_does_not_matter(finish_concepts: Finish) -> None:
    assert finish_concepts(subject="subj04,subj02,subj03,subj01").id == finish_concepts().id


def test_the_table_of_concepts(finish_concepts: Finish) -> None:
    run = finish_concepts(**TIGHT)
    vectors, who, labels, stage = unit(weights(run)), load(run, WHO), load(run, LABELS), load(run, STAGE)
    found = table(run, CONCEPTS)
    directions = directions_of(vectors, labels)
    np.testing.assert_allclose(load(run, DIRECTIONS), directions, atol=1e-6)
    own = load(run, OWN_DIRECTIONS)
    assert own.shape == (len(directions), 4, 128)
    for row in found.itertuples():
        members = labels == row.concept
        assert row.n_vertices == members.sum()
        assert (row.n_core, row.n_second_stage) == ((stage[members] == 1).sum(), (stage[members] == 3).sum())
        assert row.n_participants == len(set(who[members]))
        assert row.share_left == pytest.approx((load(run, POINT_SIDES)[members] == 0).mean())
        assert row.tightness == pytest.approx((vectors[members] @ directions[row.concept]).mean())
        of = {i: unit(vectors[members & (who == i)].mean(axis=0)) for i in sorted(set(who[members]))}
        for i, direction in of.items():
            np.testing.assert_allclose(own[row.concept, i], direction, atol=1e-6)
        alike = [each @ unit(np.mean([other for j, other in of.items() if j != i], axis=0)) for i, each in of.items()]
        assert row.consistency == pytest.approx(np.mean(alike))
        assert row.least_consistency == pytest.approx(min(alike))


# --- pictures and texts -----------------------------------------------------------------------------------------------


def test_pictures_seen_by_several_are_counted_once(finish_concepts: Finish, shared_dataset: Dataset) -> None:
    run = finish_concepts()
    found = table(run, PICTURES)
    seen: dict[str, set[str]] = {}
    for subject in SUBJECTS:
        for name in shared_dataset.images(subject).ids:
            seen.setdefault(name, set()).add(subject)
    assert len(found) == len(seen) == 4 * 120 - 3 * 32
    assert dict(zip(found["picture"], found["n_subjects"], strict=True)) == {k: len(v) for k, v in seen.items()}
    assert load(run, SIMILARITY).shape == load(run, EVIDENCE).shape == (3, len(found))
    split = split_pictures(build_index(shared_dataset, memo_dir()))
    for row in found.itertuples():
        assert shared_dataset.images(row.subject).ids[row.row] == row.picture
        assert row.held_out == (row.row in split[row.subject].test)
    assert found["held_out"].sum() == run.result()["n_held_out"]
    np.testing.assert_array_equal(np.isfinite(load(run, EVIDENCE)).all(axis=0), found["held_out"])


def test_similarities_are_cosines_of_embeddings(finish_concepts: Finish) -> None:
    run = finish_concepts()
    spec: Any = run.spec
    found, directions = table(run, PICTURES), load(run, DIRECTIONS)
    embeddings = {each.subject: read_embeddings(Store().run_of(each.embedding)) for each in spec.decoders}
    vectors = np.stack([embeddings[row.subject][row.row] for row in found.itertuples()])
    np.testing.assert_allclose(load(run, SIMILARITY), directions @ vectors.T, atol=1e-5)
    texts = read_embeddings(Store().run_of(spec.described_by))
    np.testing.assert_allclose(load(run, TEXT_SIMILARITY), directions @ texts.T, atol=1e-5)


def test_evidence_of_one_picture_by_hand(finish_concepts: Finish, shared_dataset: Dataset) -> None:
    """Of a held-out picture that all have seen: z-score, decode, take the cosine; mean over the four."""
    run = finish_concepts()
    found, split = table(run, PICTURES), split_pictures(build_index(shared_dataset, memo_dir()))
    held_out = found[found["held_out"]]
    assert len(held_out) < len(found) / 4
    for n_subjects in (4, 1):
        name = held_out[held_out["n_subjects"] == n_subjects]["picture"].iloc[0]
        cosines = []
        for subject, decoder in zip(SUBJECTS, decoders(run), strict=True):
            names = shared_dataset.images(subject).ids
            if name not in names:
                continue
            sides, columns, train = load(decoder, SIDES), load(decoder, COLUMNS), split[subject].train
            responses = np.concatenate(
                [
                    shared_dataset.responses(subject, hemi)[:, columns[sides == side]]
                    for side, hemi in enumerate(("lh", "rh"))
                ],
                axis=1,
            ).astype(np.float64)
            z = (responses[names.index(name)] - responses[train].mean(axis=0)) / responses[train].std(axis=0)
            cosines.append(load(run, DIRECTIONS) @ unit(z @ load(decoder, WEIGHT) + load(decoder, BIAS)))
        assert len(cosines) == n_subjects
        np.testing.assert_allclose(
            load(run, EVIDENCE)[:, found["picture"] == name][:, 0], np.mean(cosines, axis=0), atol=1e-5
        )
    evidence, similarity = (load(run, file)[:, found["held_out"]].astype(np.float64) for file in (EVIDENCE, SIMILARITY))
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(evidence, similarity, strict=True)]
    np.testing.assert_allclose(table(run, CONCEPTS)["evidence_r"], r, atol=1e-5)
    assert min(r) > 0.5


def test_texts_that_the_network_cannot_read_are_like_nothing(finish_concepts: Finish, tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("food\nxylophone\n")
    run = finish_concepts(texts=str(file))
    similarity = load(run, TEXT_SIMILARITY)
    assert similarity.shape == (3, 2)
    assert (similarity[:, 1] == 0).all()
    assert (similarity[:, 0] != 0).all()


# --- stability --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [TIGHT, {"min_participants": 2}])
def test_leaving_one_out_by_hand(finish_concepts: Finish, settings: dict[str, Any]) -> None:
    run = finish_concepts(**settings)
    spec: Any = run.spec
    vectors, who, labels = weights(run), load(run, WHO), load(run, LABELS)
    cosines = []
    for left_out in range(4):
        rest = who != left_out
        # Three are left: a vertex has two others at most.
        again = cluster_shared(vectors[rest], who[rest], spec.eps, min(spec.min_participants, 2)).labels
        if spec.expansion:
            again = expand_within(vectors[rest], who[rest], again, spec.eps + spec.expansion)
        others = directions_of(vectors[rest], again)
        cosines.append((directions_of(vectors, labels) @ others.T).max(axis=1))
    np.testing.assert_allclose(table(run, CONCEPTS)["left_out"], np.mean(cosines, axis=0), atol=1e-6)
    assert (np.mean(cosines, axis=0) > 0.9).all()
    without = finish_concepts(**settings, leave_one_out=False)
    assert table(without, CONCEPTS)["left_out"].isna().all()


def test_nobody_is_left_out_of_two(finish_concepts: Finish) -> None:
    run = finish_concepts(subject="subj01,subj02", min_participants=1)
    found = table(run, CONCEPTS)
    assert run.result()["n_concepts"] == 4
    assert found["left_out"].isna().all()
    assert found["reseeded"].notna().all()
    assert set(table(run, SCAN)["min_participants"]) == {1}


def test_reseeding_by_hand(finish_concepts: Finish) -> None:
    run = finish_concepts()
    labels = load(run, LABELS)
    halves = np.concatenate([load(each, HALVES) for each in decoders(run)], axis=1)
    even, odd = (directions_of(half, labels) for half in halves)
    np.testing.assert_allclose(table(run, CONCEPTS)["reseeded"], (even * odd).sum(axis=1), atol=1e-6)
    scanned, compared = table(run, SCAN), 0
    for row in scanned[scanned["min_participants"] == 3].itertuples():
        one, other = (cluster_shared(half, load(run, WHO), row.eps, 3).labels for half in halves)
        both, either = (one >= 0) & (other >= 0), (one >= 0) | (other >= 0)
        if len(set(one[both])) > 1 and len(set(other[both])) > 1:
            assert row.rand == pytest.approx(adjusted_rand_score(one[both], other[both]))
            assert row.overlap == pytest.approx(both.sum() / either.sum())
            compared += 1
    assert compared
    assert scanned[scanned["min_participants"] != 3][["rand", "overlap"]].isna().all(axis=None)


@pytest.mark.parametrize("eps", [0.4, 0.9])
def test_what_is_shared_by_chance(finish_concepts: Finish, eps: float) -> None:
    """The same settings, on weights of which every participant's have been turned at random."""
    run = finish_concepts(eps=eps, expansion=0.05, expansion_limit=0.95, turn_seed=7)
    who = load(run, WHO)
    turned = turned_at_random(weights(run), who, 7)
    labels = expand_within(turned, who, cluster_shared(turned, who, eps, 3).labels, eps + 0.05)
    found = run.result()["by_chance"]
    assert found["n_concepts"] == labels.max() + 1
    assert found["share_in_concepts"] == pytest.approx((labels >= 0).mean())
    if found["n_concepts"]:
        alike = consistency(participant_vectors(turned, who, labels, 4))
        assert found["consistency"] == pytest.approx(np.nanmean(alike))
    assert (found["n_concepts"] > 0) == (eps > 0.5)  # so near each other, vertices are only where there is a reason
    scanned = table(run, SCAN)
    for row in scanned.itertuples():
        by_chance = cluster_shared(turned, who, row.eps, row.min_participants)
        assert row.n_concepts_by_chance == by_chance.n_clusters
        assert row.share_by_chance == pytest.approx((by_chance.labels >= 0).mean())


def test_one_seed_cannot_be_compared_with_others(finish_concepts: Finish) -> None:
    run = finish_concepts(n_seeds=1, iterations=30)
    assert not any(decoder.has(HALVES) for decoder in decoders(run))
    assert run.state == "done"
    assert table(run, SCAN)[["rand", "overlap"]].isna().all(axis=None)


def test_the_scan_is_every_clustering(finish_concepts: Finish) -> None:
    run = finish_concepts(scanned_eps="0.5,0.25")
    vectors, who, found = weights(run), load(run, WHO), table(run, SCAN)
    assert list(zip(found["eps"], found["min_participants"], strict=True)) == [
        (eps, n) for eps in (0.25, 0.5) for n in (1, 2, 3)
    ]
    for row in found.itertuples():
        labels = cluster_shared(vectors, who, row.eps, row.min_participants).labels
        having = [len(set(who[labels == concept])) for concept in range(labels.max() + 1)]
        assert row.n_concepts == len(having)
        assert row.share == pytest.approx((labels >= 0).mean())
        assert row.mean_participants == pytest.approx(np.mean(having) if having else 0)
        assert row.fewest_participants == min(having, default=0)
        assert row.largest == pytest.approx((labels == 0).mean())
    assert not finish_concepts(scanned_eps="").has(SCAN)


@pytest.mark.slow
def test_the_map_of_weights(finish_concepts: Finish) -> None:
    run = finish_concepts(map_points=60)
    drawn, places, labels = load(run, MAP_POINTS), load(run, MAP), load(run, LABELS)
    assert (len(drawn), places.shape) == (60, (60, 2))
    assert ((labels[drawn] < 0).sum(), (labels[drawn] >= 0).sum()) == (30, 30)
    assert np.isfinite(places).all()
    assert not finish_concepts(map_points=9).has(MAP)


# --- what is not there ------------------------------------------------------------------------------------------------


def test_a_participant_without_vertices_is_left_out_and_named(finish_concepts: Finish) -> None:
    settings = {"vertex_threshold": 0.6, "min_participants": 2}
    run, three = finish_concepts(**settings), finish_concepts(**settings, subject="subj01,subj02,subj03")
    result = run.result()
    assert result["without_vertices"] == ["subj04"]
    assert result["points_of_participants"] == [140, 140, 120, 0]
    assert result["n_concepts"] == 3
    assert three.result()["without_vertices"] == []
    np.testing.assert_array_equal(load(run, LABELS), load(three, LABELS))
    pd.testing.assert_frame_equal(
        table(run, CONCEPTS).drop(columns="evidence_r"), table(three, CONCEPTS).drop(columns="evidence_r")
    )
    assert np.isnan(load(run, OWN_DIRECTIONS)[:, 3]).all()
    assert len(table(run, PICTURES)) == 384, "the pictures of the one without vertices are there all the same"


def test_fewer_than_two_with_vertices_is_an_error_that_says_so(
    finish_concepts: Finish, shared_root: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(shared_root, tmp_path / "copy"))
    for hemi in ("lh", "rh"):
        file = root / f"subj03/noise_ceiling/{hemi}_noise_ceiling.npy"
        np.save(file, np.load(file) / 2)
    with pytest.raises(DatasetError, match=r"fewer than two have usable vertices(?s:.*)Got: subj02\n"):
        finish_concepts(open_dataset(root), vertex_threshold=0.6, subject="subj02,subj03,subj04")
    with pytest.raises(DatasetError, match=r"fewer than two have usable vertices(?s:.*)Got: none"):
        finish_concepts(vertex_threshold=0.9)


def test_no_concept_at_all_is_a_result(finish_concepts: Finish) -> None:
    run = finish_concepts(eps=0.01)
    result = run.result()
    assert (result["n_concepts"], result["n_noise"], result["largest"]) == (0, 520, 0)
    assert (load(run, LABELS) == -1).all()
    assert load(run, DIRECTIONS).shape == (0, 128)
    assert load(run, SIMILARITY).shape == (0, 384)
    assert len(table(run, CONCEPTS)) == 0
    assert len(table(run, SCAN)) == 9, "the scan says where there are some"


def test_one_giant_concept_is_a_result(finish_concepts: Finish) -> None:
    run = finish_concepts(eps=1.9)
    assert (run.result()["n_concepts"], run.result()["n_noise"], run.result()["largest"]) == (1, 0, 1)
    assert table(run, CONCEPTS)["n_participants"].tolist() == [4]


def test_more_participants_than_there_are_find_nothing(finish_concepts: Finish) -> None:
    assert finish_concepts(min_participants=4).result()["n_concepts"] == 0


# --- the command line -------------------------------------------------------------------------------------------------


def answer_of(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    return answer


def test_the_command_line_prints_concepts_and_noise(
    finish_concepts: Finish, shared_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finish_concepts()
    assert main(["concepts", "--dataset", str(shared_root), "--json"]) == 0
    answer = answer_of(capsys)
    assert (answer["run"], answer["kind"], answer["state"]) == (run.id, "concepts", "done")
    assert (answer["result"]["n_concepts"], answer["result"]["n_noise"]) == (3, 40)
    assert main(["concepts", "--dataset", str(shared_root)]) == 0
    assert "n_concepts" in capsys.readouterr().out
    where = ["--dataset", str(shared_root), "--subject", "subj01"]
    for kind, arguments, name in (
        ("decoder", where, "top1"),
        ("embedding", where, "n_images"),
        ("texts", where[:2], "n_unreadable"),
    ):
        assert main([kind, *arguments, "--json"]) == 0
        assert name in answer_of(capsys)["result"]
        assert main([kind, *arguments]) == 0
        assert name in capsys.readouterr().out


@pytest.mark.usefixtures("cache")
def test_the_command_line_refuses_what_cannot_be(shared_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (
        (["--subject", "subj01"], "at least 2 subjects"),
        (["--epss", "0.5"], "did you mean --eps"),
        (["--eps", "3"], "eps: Input should be less than 2"),
        (["--texts", "nowhere.txt"], "no texts 'nowhere.txt'"),
    ):
        assert main(["concepts", "--dataset", str(shared_root), *arguments]) == 2
        assert words in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_line_computes_what_is_missing(
    finish_concepts: Finish, shared_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finish_concepts()
    try:
        assert main(["concepts", "--dataset", str(shared_root), "--eps", "0.45", "--hemi", "lh", "--json"]) == 0
    finally:
        for run in Store().runs():
            worker = run.status().worker
            if worker is not None and worker.alive():
                psutil.Process(worker.pid).kill()
    answer = answer_of(capsys)
    assert answer["result"]["n_concepts"] == 3
    assert answer["result"]["points_of_participants"] == [80, 80, 60, 60]


def test_numbering_by_size() -> None:
    assert by_size(np.array([0, 0, -1, 1, 1, 1, 2, 2])).tolist() == [1, 1, -1, 0, 0, 0, 2, 2]
    assert by_size(np.array([-1, -1])).tolist() == [-1, -1]
