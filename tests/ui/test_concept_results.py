"""Finished concepts runs as tables, pictures and values per vertex, for their page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainviz.datasets import open_dataset
from brainviz.datasets.images import squeezed
from brainviz.figures.style import Provenance
from brainviz.runs import preparation, share
from brainviz.runs.concept_specs import ConceptsSpec
from brainviz.runs.decode import WEIGHT
from brainviz.runs.embed import read_embeddings
from brainviz.runs.notes import Note, write_note
from brainviz.runs.remembered import load_texts
from brainviz.runs.store import Run, Store
from brainviz.ui.concept_results import COUNTS, MEASURES, THUMBNAIL, ConceptResults
from brainviz.ui.sources import Source

Show = Callable[[Run], ConceptResults]


@pytest.fixture
def show(serve: Callable[..., None], shared_root: Path) -> Show:
    """Return a function that shows a run of the data set of shared concepts, which has been read."""
    serve("shared", shared_root)
    report = preparation.report("shared")
    assert report is not None
    assert report.index is not None
    source = Source("shared", open_dataset("shared"), report.index, report)

    def of(run: Run) -> ConceptResults:
        about = Provenance("shared", "subj01, subj02", ("all",), "15% held-out pictures", "concepts", (run.id,))
        return ConceptResults(source, run, about)

    return of


@pytest.fixture
def shown(show: Show, finish_concepts: Callable[..., Run]) -> ConceptResults:
    """Return three concepts of four participants."""
    return show(finish_concepts())


def test_the_table_is_the_runs_with_words_for_names(shown: ConceptResults) -> None:
    found = pd.read_parquet(shown.run.file(share.CONCEPTS))
    pd.testing.assert_frame_equal(shown.table[list(found.columns)], found)
    assert set(found.columns) == {*COUNTS, *MEASURES}
    texts = load_texts(shown.spec.described_by.texts_digest).texts
    cosines = np.load(shown.run.file(share.TEXT_SIMILARITY))
    for concept, name in zip(shown.table["concept"], shown.table["name"], strict=True):
        first, second = np.argsort(-np.where(cosines[concept] == 0, -2, cosines[concept]), kind="stable")[:2]
        assert name == f"{concept} {texts[first]}, {texts[second]}"
    assert list(shown.labels) == list(shown.table["name"])
    assert shown.words(1, 3)[:2] == shown.words(1, 2)
    assert not shown.table["hidden"].any()
    assert shown.subjects == ("subj01", "subj02", "subj03", "subj04")
    assert shown.stem == f"shared_concepts_{shown.run.id[:8]}"


def test_what_people_wrote_is_in_the_table_and_labels_keep_numbers(shown: ConceptResults, show: Show) -> None:
    before = shown.table
    write_note(shown.run, 1, Note("cups", "a note", hidden=True), before=Note())
    again = show(shown.run)
    assert list(again.table["name"])[1] == "cups"
    assert list(again.table["note"]) == ["", "a note", ""]
    assert list(again.table["hidden"]) == [False, True, False]
    assert again.labels[1] == "1 cups"
    assert again.labels[::2] == list(before["name"])[::2]
    # What was read before stays as it was.
    assert list(shown.table["hidden"]) == [False] * 3


def test_without_concepts_the_table_is_empty_with_all_columns(show: Show, finish_concepts: Callable[..., Run]) -> None:
    shown = show(finish_concepts(eps=0.01))
    assert shown.table.empty
    assert {*COUNTS, *MEASURES, "name", "words", "note", "hidden"} <= set(shown.table.columns)
    assert shown.labels == []
    assert shown.directions.shape[0] == 0
    assert not shown.table[~shown.table["hidden"]].size


def test_texts_that_the_network_cannot_read_have_no_cosine(shown: ConceptResults) -> None:
    cosines = np.load(shown.run.file(share.TEXT_SIMILARITY))
    unread = ~cosines.any(axis=0)
    assert (~unread).sum() > 0
    assert np.isnan(shown.text_similarity[:, unread]).all()
    np.testing.assert_array_equal(shown.text_similarity[:, ~unread], cosines[:, ~unread])
    assert len(shown.texts) == cosines.shape[1]


def test_points_are_vertices_with_their_places_and_concepts(shown: ConceptResults) -> None:
    points = shown.points
    dataset = open_dataset("shared")
    names = (share.WHO, share.POINT_SIDES, share.POINT_COLUMNS, share.LABELS, share.STAGE)
    who, sides, columns, labels, stage = (np.load(shown.run.file(name)) for name in names)
    assert list(points["subject"]) == [shown.subjects[number] for number in who]
    assert list(points["hemi"]) == [("lh", "rh")[side] for side in sides]
    np.testing.assert_array_equal(points["column"], columns)
    np.testing.assert_array_equal(points["concept"], labels)
    assert list(points["stage"]) == [share.STAGES[number] for number in stage]
    for (subject, hemi), rows in points.groupby(["subject", "hemi"]):
        places = dataset.positions(str(subject), str(hemi))
        assert places is not None
        np.testing.assert_array_equal(rows["position"], places[rows["column"]])


def test_cosines_of_vertices_are_those_of_their_weights(shown: ConceptResults) -> None:
    assert isinstance(shown.run.spec, ConceptsSpec)
    weights = np.concatenate([np.load(Store().run_of(each).file(WEIGHT)) for each in shown.run.spec.decoders])
    vector = 7 * np.random.default_rng(0).standard_normal(weights.shape[1])
    expected = weights @ vector / np.linalg.norm(weights, axis=1) / np.linalg.norm(vector)
    np.testing.assert_allclose(shown.cosines(vector), expected, atol=1e-5)
    values = shown.vertex_cosines(vector)
    np.testing.assert_allclose(values["value"], expected, atol=1e-5)
    own = shown.brain_map(values, "subj02", "a title")
    assert own.title == "a title"
    np.testing.assert_array_equal(own.values["value"], values["value"][shown.points["subject"] == "subj02"])
    assert list(own.values.index) == list(range(len(own.values)))
    assert (shown.cosines(np.zeros(weights.shape[1])) == 0).all()


def test_thumbnails_are_the_pictures_asked_for_in_their_order(shown: ConceptResults) -> None:
    numbers = [len(shown.pictures) - 1, 0, 5]
    pictures = shown.thumbnails(numbers)
    assert pictures.shape == (3, THUMBNAIL, THUMBNAIL, 3)
    dataset = open_dataset("shared")
    for picture, number in zip(pictures, numbers, strict=True):
        row = shown.pictures.iloc[number]
        images = dataset.images(row["subject"])
        assert images.ids[row["row"]] == row["picture"]
        np.testing.assert_array_equal(picture, squeezed(images[int(row["row"])], THUMBNAIL))
    assert shown.thumbnails([]).shape == (0, THUMBNAIL, THUMBNAIL, 3)


def test_pictures_and_arrays_are_in_one_order(shown: ConceptResults) -> None:
    assert shown.similarity.shape == shown.evidence.shape == (3, len(shown.pictures))
    np.testing.assert_array_equal(np.isfinite(shown.evidence[0]), shown.pictures["held_out"])
    # A picture's cosine is that of its own embedding.
    row = shown.pictures.iloc[-1]
    assert isinstance(shown.run.spec, ConceptsSpec)
    (decoder,) = (each for each in shown.run.spec.decoders if each.subject == row["subject"])
    vector = read_embeddings(Store().run_of(decoder.embedding))[row["row"]]
    np.testing.assert_allclose(shown.similarity[:, -1], shown.directions @ vector, atol=1e-5)


def test_provenance_can_be_of_one_participant(shown: ConceptResults) -> None:
    about = shown.about("subj03", "concept 1")
    assert (about.subject, about.method) == ("subj03", "concept 1")
    assert about.runs == (shown.run.id,)
    assert shown.about() == shown.provenance


def test_files_that_not_every_run_has(shown: ConceptResults) -> None:
    assert shown.has(share.SCAN)
    assert not shown.has(share.MAP)
    assert set(shown.scan()["min_participants"]) == {1, 2, 3}
