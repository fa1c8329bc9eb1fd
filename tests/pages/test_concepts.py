"""The Concepts page: its form, every view of really computed concepts, names and notes, links, downloads, advice."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from matplotlib.figure import Figure
from PIL import Image
from streamlit.testing.v1 import AppTest

from brainviz.datasets import open_dataset
from brainviz.errors import RunError
from brainviz.figures.small_maps import small_maps
from brainviz.figures.style import Provenance
from brainviz.runs import share
from brainviz.runs.concept_specs import ClipFields, ConceptsSpec
from brainviz.runs.embed import read_embeddings
from brainviz.runs.notes import NOTES, Note, read_notes, write_note
from brainviz.runs.remembered import load_texts
from brainviz.runs.requests import make_spec
from brainviz.runs.spec_base import Spec
from brainviz.runs.specs import parse_spec
from brainviz.runs.store import Run, Store
from brainviz.ui.navigation import _ENTERED

Visit = Callable[..., AppTest]
Finish = Callable[..., Run]
Charts = Callable[[AppTest], list[dict[str, Any]]]
Offered = dict[str, Callable[[], Any]]

VIEWS = ("Overview", "One concept", "Search", "Weight space", "Choose eps", "Decoders", "Table")
PARTS = ("Pictures", "Words", "Cortex", "Areas")
SUBJECTS = ["subj01", "subj02", "subj03", "subj04"]
#: A link to every view with something to look for that the texts know, so that no process is needed.
LINK = {"dataset": "shared", "find": "cat"}
MAP = {"map_points": 61}
HOSTILE = "<b>bold</b> *star* [x](http://y) $z$"


@pytest.fixture
def shared(serve: Callable[..., None], shared_root: Path) -> None:
    """Serve the data set of shared concepts, read."""
    serve("shared", shared_root)


@pytest.fixture
def run(shared: None, finish_concepts: Finish) -> Run:
    """Return the finished run that the page shows by itself: three concepts of four participants."""
    return finish_concepts()


@pytest.fixture
def planted_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a planted map of weights in place of UMAP, which takes seconds: point i is at (i, -i)."""

    def planted(vectors: np.ndarray, **_: Any) -> np.ndarray:
        return np.outer(np.arange(len(vectors)), [1.0, -1.0]).astype(np.float32)

    monkeypatch.setattr("brainviz.analyses.concept_measures.map_weights", planted)


@pytest.fixture
def mapped(shared: None, finish_concepts: Finish, planted_map: None) -> Run:
    """Return a finished run with a planted map of weights."""
    return finish_concepts(**MAP)


@pytest.fixture(autouse=True)
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return which texts were asked for in another process; answer all but "unreadable" with a planted vector."""
    asked = []

    def embed(network: ClipFields, text: str) -> tuple[np.ndarray, tuple[str, ...]]:
        asked.append(text)
        if text == "unreadable":
            raise RunError("The text cannot be searched for.", got="<b>nothing</b>")
        unit = np.zeros(np.load(Store().runs("concepts")[0].file(share.DIRECTIONS)).shape[1], np.float32)
        unit[0] = 1
        return unit, ("zebra",) if "zebra" in text else ()

    monkeypatch.setattr("brainviz.ui.concept_search.embed_text", embed)
    return asked


@pytest.fixture(autouse=True)
def quick_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw a blank sheet in place of the small maps, which take seconds."""

    def blank(maps: Any, scale: Any, provenance: Provenance) -> Figure:
        figure = Figure((1, 1))
        figure.set_label(json.dumps(provenance.fields()))
        return figure

    monkeypatch.setattr("brainviz.ui.concept_cortex.small_maps", blank)


def said(at: AppTest) -> str:
    """Return what the page says in its notes."""
    return "\n".join(each.value for group in (at.caption, at.info, at.warning, at.markdown, at.error) for each in group)


def keys(elements: Any) -> list[str]:
    """Return the keys of controls."""
    return [str(each.key) for each in elements]


def table_in(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text), comment="#", keep_default_na=False, na_values=[""])


def numbers(figure: dict[str, Any]) -> list[Any]:
    """Return what the points of a figure tell of themselves first."""
    return [row[0] for trace in figure["data"] for row in trace.get("customdata", ())]


def concepts_of(run: Run) -> pd.DataFrame:
    return pd.read_parquet(run.file(share.CONCEPTS))


def select(at: AppTest, points: list[int]) -> None:
    """Have the browser tell that a line was drawn round these on the page's first figure."""
    chart = at.get("plotly_chart")[0]
    states = at._tree.get_widget_states()
    widget = states.widgets.add()
    told = {"points": [{"customdata": [point]} for point in points], "point_indices": [], "box": [], "lasso": []}
    widget.id, widget.string_value = chart.proto.id, json.dumps({"selection": told})
    at._run(states)
    assert not at.exception, [error.message for error in at.exception]


def write_on_page(at: AppTest, name: str = "", note: str = "", hidden: bool = False) -> None:
    """Fill in the form beside a concept, and save it."""
    (field,) = [each for each in at.text_input if each.label == "Name"]
    field.set_value(name)
    at.text_area[0].set_value(note)
    (box,) = [each for each in at.checkbox if each.label.startswith("Hide")]
    box.set_value(hidden)
    (save,) = [each for each in at.button if each.label == "Save"]
    # AppTest runs the page's file alone, and beginning again through app.py would forget what was pressed.
    at.session_state[_ENTERED] = True
    save.click().run()
    assert not at.exception, [error.message for error in at.exception]


def drawn_text(at: AppTest, charts: Charts) -> str:
    """Return all that figures say, as plotly gets it, but for the line of provenance; groups are not drawn."""
    figures = charts(at)
    for figure in figures:
        figure["data"] = [{**trace, "legendgroup": ""} for trace in figure["data"]]
        notes = figure["layout"].get("annotations", ())
        figure["layout"]["annotations"] = [each for each in notes if each.get("name") != "provenance"]
    return json.dumps(figures, default=str)


def files_of(run: Run) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in run.path.iterdir() if file.name != NOTES and file.is_file()}


# --- before anything is done ------------------------------------------------------------------------------------------


def test_before_anything_was_run(shared: None, visit: Visit) -> None:
    for view in ("Overview", "Search"):
        at = visit("concepts", **LINK, show=view, concept="1")
        assert "Nothing to show for this choice yet. Press “Start concepts”" in said(at)
        assert "show" not in keys(at.button_group)
    assert {metric.label: metric.value for metric in at.metric}["Runs chosen"] == "1"
    assert Store().runs() == []
    for nothing in ({"participants": ["subj02"]}, {"participants": ""}, {"hemi": ""}, {"concept_roi": ""}):
        at = visit("concepts", **{"dataset": "shared"} | nothing)
        assert "Choose at least two participants, a hemisphere and a ROI." in said(at)
        assert "start" not in keys(at.button)


def test_start_submits_what_was_chosen(shared: None, visit: Visit) -> None:
    link = {"participants": ["subj03", "subj01"], "hemi": "rh", "concept_roi": ["PPA", "FFA-1"], "eps": "0.5"}
    link |= {"min_participants": "1", "n_seeds": "4", "vertex_threshold": "0.3", "leave_one_out": "false"}
    at = visit("concepts", dataset="shared", **link)
    assert "which is not here" not in said(at)
    at.button(key="start").click().run()
    assert not at.exception
    (found,) = Store().runs("concepts")
    spec = found.spec
    assert isinstance(spec, ConceptsSpec)
    assert spec == wanted(
        subject="subj01,subj03", hemi="rh", roi="PPA,FFA-1", eps=0.5, min_participants=1, n_seeds=4,
        vertex_threshold=0.3, leave_one_out=False,
    )  # fmt: skip
    assert {(each.n_seeds, each.vertex_threshold, each.hemi) for each in spec.decoders} == {(4, 0.3, "rh")}
    assert {run.id for run in Store().runs("decoder")} == {decoder.run_id for decoder in spec.decoders}
    assert [run.id for run in Store().runs("texts")] == [spec.described_by.run_id]
    assert "start" not in keys(at.button)


def wanted(**settings: Any) -> Spec:
    """Return the request that the command line would make."""
    from brainviz.runs import preparation

    report = preparation.report("shared")
    assert report is not None
    assert report.index is not None
    return make_spec("concepts", open_dataset("shared"), report.index, **settings)


def test_another_network_has_weights_of_its_own(shared: None, visit: Visit) -> None:
    assert visit("concepts", dataset="shared").selectbox(key="clip_weights").value == "demo"
    at = visit("concepts", dataset="shared", clip_network="ViT-B-32")
    assert at.selectbox(key="clip_weights").value == "openai"


def test_every_vertex_may_be_used(shared: None, visit: Visit) -> None:
    at = visit("concepts", dataset="shared", selection="none", vertex_threshold="0.5")
    at.button(key="start").click().run()
    assert not at.error
    (found,) = Store().runs("concepts")
    assert found.spec == wanted(subject=",".join(SUBJECTS), selection="none")


# --- every view -------------------------------------------------------------------------------------------------------


def test_every_view_of_a_finished_run(mapped: Run, visit: Visit, charts: Charts, embedded: list[str]) -> None:
    before = {run.id: run.state for run in Store().runs()}
    at = visit("concepts", **LINK, map_points="61")
    for view, n in zip(VIEWS, (1, 2, 1, 1, 1, 2, 1), strict=True):
        at.button_group(key="show").set_value(view).run()
        assert not at.exception, (view, [error.message for error in at.exception])
        assert not at.error, view
        assert "3 concepts in" in said(at)
        assert len(charts(at)) == n, view
        assert all(figure["data"] for figure in charts(at)), view
    at.button_group(key="show").set_value("One concept").run()
    for part, n in zip(PARTS, (2, 1, 0, 1), strict=True):
        at.button_group(key="about").set_value(part).run()
        assert not at.exception, (part, [error.message for error in at.exception])
        assert not at.error, part
        assert len(charts(at)) == n, part
    assert {run.id: run.state for run in Store().runs()} == before
    assert embedded == []


def test_cards_and_points_are_the_concepts(run: Run, visit: Visit, charts: Charts, offered: Offered) -> None:
    table = concepts_of(run)
    at = visit("concepts", dataset="shared")
    (figure,) = charts(at)
    assert sorted(numbers(figure)) == [0, 1, 2]
    drawn = {
        row[0]: (x, y)
        for trace in figure["data"]
        for row, x, y in zip(trace["customdata"], trace["x"], trace["y"], strict=True)
    }
    for row in table.itertuples():
        assert drawn[row.concept] == pytest.approx((row.consistency, row.n_vertices))
    opened = [key for key in keys(at.button) if key.startswith("open_card")]
    largest = table.sort_values("n_vertices", ascending=False, kind="stable")["concept"]
    assert opened == [f"open_card_{concept}" for concept in largest]
    at.button_group(key="concepts_first").set_value("most consistent").run()
    opened = [key for key in keys(at.button) if key.startswith("open_card")]
    assert opened == [f"open_card_{n}" for n in table.sort_values("consistency", ascending=False)["concept"]]
    for row in table.itertuples():
        assert f"{row.n_vertices:,} vertices · {row.n_participants} participants" in said(at)
    listed = table_in(offered[f"shared_concepts_{run.id[:8]}_concepts.csv"]())
    assert set(listed["concept"]) == {0, 1, 2}
    at.button(key="open_card_2").click().run()
    assert not at.exception
    assert (at.session_state["show"], at.selectbox(key="concept").value) == ("One concept", 2)


def test_a_point_of_the_chart_can_be_opened(run: Run, visit: Visit) -> None:
    at = visit("concepts", dataset="shared")
    select(at, [1])
    at.button(key="open_chart_1").click().run()
    assert not at.exception
    assert at.selectbox(key="concept").value == 1


# --- one concept ------------------------------------------------------------------------------------------------------


def test_the_pictures_of_a_concept(run: Run, visit: Visit, charts: Charts, offered: Offered) -> None:
    at = visit("concepts", dataset="shared", show="One concept", concept="1")
    stem = f"shared_concepts_{run.id[:8]}_1"
    similarity, evidence = (np.load(run.file(name))[1] for name in (share.SIMILARITY, share.EVIDENCE))
    ranking = table_in(offered[f"{stem}_ranking.csv"]())
    np.testing.assert_allclose(ranking["cosine"], np.sort(similarity)[::-1], rtol=1e-5)
    decoded = evidence[np.isfinite(evidence)]
    np.testing.assert_allclose(np.sort(ranking["decoded"].dropna()), np.sort(decoded), rtol=1e-5)
    pictures = pd.read_parquet(run.file(share.PICTURES))
    assert list(ranking["picture"][:5]) == list(pictures["picture"].iloc[np.argsort(-similarity)[:5]])
    captions = [each.value for each in at.caption]
    rows = [each for each in captions if each.startswith(("Most associated", "At ", "Least associated"))]
    assert [row.partition(":")[0] for row in rows[1:-1]] == ["At 10%", "At 50%", "At 90%"]  # 1% would meet the first
    assert (rows[0], rows[-1]) == ("Most associated", "Least associated, from the last one")
    with Image.open(io.BytesIO(offered[f"{stem}_pictures.png"]())) as sheet:
        assert sheet.height > 5 * 96
        assert json.loads(sheet.info["Description"])["runs"] == [run.id]
    histogram, curve = charts(at)
    assert np.sum(histogram["data"][0]["y"], dtype=int) == len(similarity)
    assert len(curve["data"][0]["y"]) == min(10, np.isfinite(evidence).sum() // 10)
    facts = {metric.label: metric.value for metric in at.metric}
    row = concepts_of(run).iloc[1]
    assert facts["Vertices"] == f"{int(row['n_vertices']):,}"
    assert facts["Participants"] == "4 of 4"
    assert facts["Consistency"] == f"{row['consistency']:.2f}"
    at.toggle(key="held_out").set_value(True).run()
    assert not at.exception
    ranking = table_in(offered[f"{stem}_ranking.csv"]())
    assert ranking["held_out"].all()
    assert len(ranking) == pictures["held_out"].sum()


def test_relatives_are_listed_with_participants(run: Run, visit: Visit) -> None:
    at = visit("concepts", dataset="shared", show="One concept", concept="0")
    nearest, participants = (each.value for each in at.dataframe)
    unit = np.load(run.file(share.DIRECTIONS))
    np.testing.assert_allclose(nearest["cosine"], np.sort(unit[1:] @ unit[0])[::-1], atol=1e-5)
    labels, who = np.load(run.file(share.LABELS)), np.load(run.file(share.WHO))
    assert list(participants["participant"]) == SUBJECTS
    assert list(participants["vertices"]) == np.bincount(who[labels == 0], minlength=4).tolist()
    assert (participants["left"] + participants["right"] == participants["vertices"]).all()


def test_the_words_of_a_concept(run: Run, visit: Visit, offered: Offered) -> None:
    visit("concepts", dataset="shared", show="One concept", about="Words", concept="2")
    words = table_in(offered[f"shared_concepts_{run.id[:8]}_2_words.csv"]())
    assert isinstance(run.spec, ConceptsSpec)
    texts = load_texts(run.spec.described_by.texts_digest).texts
    cosines = np.load(run.file(share.TEXT_SIMILARITY))[2]
    known = {text: cosine for text, cosine in zip(texts, cosines, strict=True) if cosine != 0}
    assert words["cosine"].is_monotonic_decreasing
    assert dict(zip(words["text"], words["cosine"], strict=True)) == pytest.approx(known, rel=1e-5)


def test_the_cortex_of_a_concept(run: Run, visit: Visit, offered: Offered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brainviz.ui.concept_cortex.small_maps", small_maps)
    at = visit("concepts", dataset="shared", show="One concept", about="Cortex", concept="1", who="subj03")
    assert at.selectbox(key="who").value == "subj03"
    stem = f"shared_concepts_{run.id[:8]}_1"
    labels, who = np.load(run.file(share.LABELS)), np.load(run.file(share.WHO))
    every = table_in(offered[f"{stem}_weights_subj03.csv"]())
    own = who == 2
    assert len(every) == own.sum()
    assert isinstance(run.spec, ConceptsSpec)
    vectors = share.read_points([Store().run_of(decoder) for decoder in run.spec.decoders]).vectors[own]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(every["value"], unit @ np.load(run.file(share.DIRECTIONS))[1], atol=1e-5)
    at.button_group(key="cortex_shows").set_value("members").run()
    assert not at.exception
    members = table_in(offered[f"{stem}_members_subj03.csv"]())
    np.testing.assert_array_equal(members["value"].notna(), labels[own] == 1)
    assert any(name.endswith("lh.func.gii") for name in offered)
    assert run.id.encode() in offered[f"{stem}_members_participants.svg"]()


def test_the_areas_of_a_concept(run: Run, visit: Visit, charts: Charts, offered: Offered) -> None:
    at = visit("concepts", dataset="shared", show="One concept", about="Areas", concept="0")
    table = table_in(offered[f"shared_concepts_{run.id[:8]}_0_areas.csv"]())
    # Every subject has its colour, and each area is drawn once per subject and hemisphere.
    dots = {trace["name"]: trace["marker"]["color"] for trace in charts(at)[0]["data"] if trace["name"] in SUBJECTS}
    assert len(set(dots.values())) == 4
    assert not table.duplicated(["hemi", "roi", "subject"]).any()
    assert table["share"].between(0, 1).all()
    # A concept lies where one category is liked.
    assert table.groupby("roi")["share"].mean().max() > 0.9
    assert table.groupby("roi")["share"].mean().min() < 0.1


# --- search -----------------------------------------------------------------------------------------------------------


def test_a_text_that_the_run_knows_needs_no_process(
    run: Run, visit: Visit, charts: Charts, offered: Offered, embedded: list[str]
) -> None:
    assert isinstance(run.spec, ConceptsSpec)
    described = run.spec.described_by
    texts = load_texts(described.texts_digest).texts
    vector = np.asarray(read_embeddings(Store().run_of(described)))[texts.index("cat")]
    at = visit("concepts", dataset="shared", show="Search", find="cat")
    expected = np.load(run.file(share.DIRECTIONS)) @ vector
    (figure,) = charts(at)
    np.testing.assert_allclose(figure["data"][0]["x"], np.sort(expected)[::-1], atol=1e-5)
    found = table_in(offered[f"shared_concepts_{run.id[:8]}_search_found.csv"]())
    assert list(found["concept"]) == np.argsort(-expected).tolist()
    points = table_in(offered[f"shared_concepts_{run.id[:8]}_search_subj01.csv"]())
    assert points["value"].between(-1, 1).all()
    assert embedded == []


def test_other_texts_are_read_in_another_process(run: Run, visit: Visit, embedded: list[str], charts: Charts) -> None:
    at = visit("concepts", dataset="shared", show="Search")
    assert "Write what to look for" in said(at)
    at.text_input(key="find").set_value("a small red house").run()
    assert not at.exception
    assert not at.error
    assert len(charts(at)) == 1
    at.text_input(key="find").set_value("unreadable").run()
    assert "The text cannot be searched for" in at.error[0].value
    assert "<b>" not in at.error[0].value
    assert charts(at) == []
    at.text_input(key="find").set_value(HOSTILE).run()
    assert not at.exception
    assert embedded == ["a small red house", "unreadable", HOSTILE]
    assert "<b>bold" not in drawn_text(at, charts)
    assert "<b>" not in said(at)


# --- weight space -----------------------------------------------------------------------------------------------------


def test_weight_space_has_every_mapped_vertex_once(mapped: Run, visit: Visit, charts: Charts, offered: Offered) -> None:
    at = visit("concepts", dataset="shared", show="Weight space", map_points="61")
    drawn = np.load(mapped.file(share.MAP_POINTS))
    labels, who = (np.load(mapped.file(name)) for name in (share.LABELS, share.WHO))
    assert sorted(numbers(charts(at)[0])) == sorted(drawn)
    table = table_in(offered[f"shared_concepts_{mapped.id[:8]}_weights_map.csv"]())
    np.testing.assert_array_equal(table["point"], drawn)
    np.testing.assert_array_equal(table["x"], np.arange(len(drawn)))
    assert list(table["subject"]) == [SUBJECTS[number] for number in who[drawn]]
    assert [name.split()[0] for name in table["concept"]] == [str(n) if n >= 0 else "none" for n in labels[drawn]]
    assert "Vertices of concepts" in said(at)
    for colour in ("subject", "hemi", "roi"):
        at.button_group(key="map_colour").set_value(colour).run()
        assert not at.exception
        assert sorted(numbers(charts(at)[0])) == sorted(drawn)
    names = {trace["name"] for trace in charts(at)[0]["data"]}
    assert names <= {"none", "FFA-1", "PPA", "EBA", "VWFA-1"}


def test_a_line_round_vertices_shows_what_they_have_in_common(mapped: Run, visit: Visit, offered: Offered) -> None:
    at = visit("concepts", dataset="shared", show="Weight space", map_points="61")
    labels, who = (np.load(mapped.file(name)) for name in (share.LABELS, share.WHO))
    drawn = np.load(mapped.file(share.MAP_POINTS))
    chosen = [int(point) for point in drawn if labels[point] == 1]
    select(at, chosen)
    assert f"{len(chosen)} selected vertices" in [each.value for each in at.subheader]
    counts = at.dataframe[0].value
    assert counts["vertices"].sum() == len(chosen)
    assert set(counts["concept"]) == {"1"}
    shown = table_in(offered[f"shared_concepts_{mapped.id[:8]}_selected_subj01.csv"]())
    assert shown["value"].notna().sum() == (who[chosen] == 0).sum()
    select(at, [])  # as when the figure is drawn in other colours
    assert f"{len(chosen)} selected vertices" in [each.value for each in at.subheader]
    next(button for button in at.button if button.label == "Forget the selection").click().run()
    assert "Vertices of concepts" in said(at)


def test_a_vertex_picked_on_the_cortex_has_a_ring(mapped: Run, visit: Visit, charts: Charts) -> None:
    drawn = np.load(mapped.file(share.MAP_POINTS))
    who, sides, columns = (np.load(mapped.file(name)) for name in (share.WHO, share.POINT_SIDES, share.POINT_COLUMNS))
    point = next(each for each in drawn if (who[each], sides[each]) == (1, 0))
    places = open_dataset("shared").positions("subj02", "lh")
    assert places is not None
    link = {"dataset": "shared", "show": "Weight space", "map_points": "61"}
    at = visit("concepts", **link, who="subj02", vertex=f"lh {places[columns[point]]}")
    (ring,) = [trace for trace in charts(at)[0]["data"] if trace["name"] == "highlighted"]
    assert list(ring["x"]) == [list(drawn).index(point)]
    at = visit("concepts", **link, vertex="lh 9999999")
    assert not at.error
    assert "highlighted" not in [trace["name"] for trace in charts(at)[0]["data"]]


def test_without_a_map_the_page_says_so(run: Run, visit: Visit, charts: Charts) -> None:
    at = visit("concepts", dataset="shared", show="Weight space")
    assert "This run has no map" in said(at)
    assert charts(at) == []


# --- eps, decoders, table ---------------------------------------------------------------------------------------------


def test_the_scan_and_the_decoders_are_the_runs(run: Run, visit: Visit, charts: Charts, offered: Offered) -> None:
    stem = f"shared_concepts_{run.id[:8]}"
    at = visit("concepts", dataset="shared", show="Choose eps")
    scanned = pd.read_parquet(run.file(share.SCAN))
    pd.testing.assert_frame_equal(table_in(offered[f"{stem}_scan.csv"]()), scanned, check_dtype=False)
    chosen = [trace for trace in charts(at)[0]["data"] if trace["name"].startswith("chosen")]
    assert f"eps {run.spec.eps:g}, {run.spec.min_participants}" in chosen[0]["name"]  # type: ignore[attr-defined]
    at.button_group(key="show").set_value("Decoders").run()
    table = table_in(offered[f"{stem}_retrieval.csv"]())
    assert isinstance(run.spec, ConceptsSpec)
    for decoder in run.spec.decoders:
        result = Store().run_of(decoder).result()
        rows = table[table["subject"] == decoder.subject]
        assert list(rows["decoder"]) == pytest.approx([each["decoder"] for each in result["retrieval"]])
        assert set(rows["n"]) == {result["n_candidates"]}
    facts = at.dataframe[0].value
    assert list(facts["participant"]) == SUBJECTS
    assert list(facts["run"]) == [decoder.run_id for decoder in run.spec.decoders]
    loss = {trace["name"]: trace["line"]["color"] for trace in charts(at)[1]["data"]}
    assert list(loss) == SUBJECTS
    assert len(set(loss.values())) == 4


def test_a_run_without_a_scan_says_so(shared: None, finish_concepts: Finish, visit: Visit, charts: Charts) -> None:
    spec = finish_concepts().spec
    # The form offers no other scan, so this is a run whose file is not there.
    run = Store().run_of(spec)
    manifest = json.loads((run.path / "manifest.json").read_text())
    del manifest["files"][share.SCAN]
    (run.path / "manifest.json").write_text(json.dumps(manifest))
    at = visit("concepts", dataset="shared", show="Choose eps")
    assert "asked for without a scan" in said(at)
    assert charts(at) == []


def test_the_table(run: Run, visit: Visit, charts: Charts, offered: Offered) -> None:
    at = visit("concepts", dataset="shared", show="Table")
    shown = at.dataframe[0].value
    pd.testing.assert_frame_equal(shown[list(concepts_of(run).columns)], concepts_of(run))
    assert len(table_in(offered[f"shared_concepts_{run.id[:8]}.csv"]())) == 3
    unit = np.load(run.file(share.DIRECTIONS))
    np.testing.assert_allclose(charts(at)[0]["data"][0]["z"], unit @ unit.T, atol=1e-5)


# --- names and notes --------------------------------------------------------------------------------------------------


def test_what_is_written_is_beside_the_run_and_everybody_sees_it(
    run: Run, visit: Visit, charts: Charts, offered: Offered
) -> None:
    before = files_of(run)
    link = {"dataset": "shared", "show": "One concept", "concept": "1"}
    at, other = visit("concepts", **link), visit("concepts", **link)
    write_on_page(at, name=" cups ", note="first line\nsecond line")
    assert read_notes(run) == {1: Note("cups", "first line\nsecond line")}
    assert files_of(run) == before
    assert run.state == "done"
    other.run()
    for one in (at, other):
        assert one.selectbox(key="concept").value == 1
        assert "1 cups" in one.selectbox(key="concept").options
        assert "first line  \nsecond line" in said(one)
    for view in VIEWS:
        other.button_group(key="show").set_value(view).run()
        assert not other.exception, view
        if view == "Overview":
            assert "**cups**" in said(other)
            assert "cups" in json.dumps(charts(other)[0], default=str)
        elif view == "Table":
            assert list(other.dataframe[0].value["name"])[1] == "cups"
    assert "cups" in offered[f"shared_concepts_{run.id[:8]}.csv"]()
    # Taken back, nothing is left of it.
    write_on_page(at)
    assert read_notes(run) == {}
    assert at.selectbox(key="concept").value == 1


def test_two_concepts_of_one_name_stay_two(mapped: Run, visit: Visit, charts: Charts) -> None:
    for concept in (0, 1, 2):
        write_note(mapped, concept, Note("none"), before=Note())
    at = visit("concepts", dataset="shared", map_points="61", show="One concept", concept="2 none")
    assert at.selectbox(key="concept").value == 2
    assert at.selectbox(key="concept").options == ["0 none", "1 none", "2 none"]
    at.button_group(key="show").set_value("Weight space").run()
    names = {trace["name"] for trace in charts(at)[0]["data"]}
    assert {"0 none", "1 none", "2 none"} <= names
    at.button_group(key="show").set_value("Table").run()
    assert len(set(charts(at)[0]["data"][0]["x"])) == 3


def test_a_name_is_shown_letter_by_letter(mapped: Run, visit: Visit, charts: Charts, offered: Offered) -> None:
    write_note(mapped, 0, Note(HOSTILE, f"{HOSTILE}\n# heading"), before=Note())
    at = visit("concepts", **LINK, map_points="61", concept="0")
    escaped = re.compile(r"(?<!\\)[<*\[$]")
    for view in VIEWS:
        at.button_group(key="show").set_value(view).run()
        assert not at.exception, view
        texts = [each.value for group in (at.caption, at.info, at.warning, at.error) for each in group]
        texts += [each.value.removeprefix("**").removesuffix("**") for each in at.markdown]
        texts += [each.help.replace("**", "") for group in (at.button, at.metric) for each in group if each.help]
        for text in texts:
            assert "bold" not in text or not escaped.search(text), (view, text)
        assert "<b>bold" not in drawn_text(at, charts), view
    at.button_group(key="show").set_value("One concept").run()
    assert at.selectbox(key="concept").options[0] == f"0 {HOSTILE}"
    for part in PARTS:
        at.button_group(key="about").set_value(part).run()
        assert not at.exception, part
        assert "<b>bold" not in drawn_text(at, charts), part
        assert "<b>" not in said(at)
    page = offered[f"shared_concepts_{mapped.id[:8]}_0_weights_subj01.html"]()
    assert "<b>bold" not in page
    assert "star" in page


def test_a_hidden_concept_is_left_out_of_the_overview(run: Run, visit: Visit, charts: Charts) -> None:
    at = visit("concepts", dataset="shared", show="One concept", concept="2")
    write_on_page(at, hidden=True)
    assert at.selectbox(key="concept").value == 2
    at.button_group(key="show").set_value("Overview").run()
    assert "hidden" in keys(at.toggle)
    assert "open_card_2" not in keys(at.button)
    assert sorted(numbers(charts(at)[0])) == [0, 1]
    at.toggle(key="hidden").set_value(True).run()
    assert "open_card_2" in keys(at.button)
    assert sorted(numbers(charts(at)[0])) == [0, 1, 2]
    for concept in (0, 1):
        write_note(run, concept, Note(hidden=True), before=Note())
    at.toggle(key="hidden").set_value(False).run()
    assert not at.exception
    assert "Every concept is hidden." in said(at)
    assert charts(at) == []


def test_notes_that_cannot_be_read_are_an_error_in_words(run: Run, visit: Visit) -> None:
    (run.path / NOTES).write_text('{"0": ')
    for view in ("Overview", "One concept", "Table"):
        at = visit("concepts", dataset="shared", show=view)
        assert "names and notes of this run cannot be read" in at.error[0].value


# --- less than everything ---------------------------------------------------------------------------------------------


def test_without_a_concept_there_is_advice_in_every_view(
    shared: None, finish_concepts: Finish, visit: Visit, charts: Charts, planted_map: None
) -> None:
    finish_concepts(eps=0.01, **MAP)
    at = visit("concepts", **LINK, eps="0.01", map_points="61", concept="1")
    for view in VIEWS:
        at.button_group(key="show").set_value(view).run()
        assert not at.exception, (view, [error.message for error in at.exception])
        assert not at.error, view
        assert "0 concepts in 0% of" in said(at)
        assert "there is no concept. Choose a larger eps" in said(at), view
        assert len(charts(at)) == {"Weight space": 1, "Choose eps": 1, "Decoders": 2}.get(view, 0), view
        if view == "Weight space":
            assert {trace["name"] for trace in charts(at)[0]["data"]} == {"none"}
            select(at, numbers(charts(at)[0])[:3])
            assert "3 selected vertices" in [each.value for each in at.subheader]


def test_more_participants_than_there_are_can_have_nothing_in_common(
    shared: None, finish_concepts: Finish, visit: Visit
) -> None:
    finish_concepts(min_participants=4)
    at = visit("concepts", dataset="shared", min_participants="4")
    assert "each participant has 3 others, and 4 are asked for" in said(at)


def test_one_giant_is_said_to_be_one(shared: None, finish_concepts: Finish, visit: Visit) -> None:
    finish_concepts(eps=1.9)
    at = visit("concepts", dataset="shared", eps="1.9")
    assert "1 concept in 100% of" in said(at)
    assert "eps is so large that meanings merge" in said(at)
    at.button_group(key="show").set_value("One concept").run()
    assert not at.exception
    assert not at.error


def test_a_participant_without_usable_vertices_is_named(
    shared: None, finish_concepts: Finish, visit: Visit, charts: Charts
) -> None:
    finish_concepts(vertex_threshold=0.6, min_participants=2)
    at = visit("concepts", **LINK, vertex_threshold="0.6", min_participants="2")
    for view in VIEWS:
        at.button_group(key="show").set_value(view).run()
        assert not at.exception, (view, [error.message for error in at.exception])
        assert "subj04 has no usable vertex and takes no part" in said(at)
    at.button_group(key="show").set_value("One concept").run()
    for part in PARTS:
        at.button_group(key="about").set_value(part).run()
        assert not at.exception, part
        assert not at.error, part
    at.button_group(key="about").set_value("Cortex").run()
    assert at.selectbox(key="who").options == SUBJECTS[:3]
    at.button_group(key="show").set_value("Decoders").run()
    assert list(at.dataframe[0].value["vertices used"])[3] == 0
    assert {trace["name"] for trace in charts(at)[1]["data"]} == set(SUBJECTS[:3])


def test_a_data_set_without_a_mesh(
    serve: Any, shared_root: Path, finish_concepts: Finish, visit: Visit, tmp_path: Path, charts: Charts
) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for part in shared_root.iterdir():
        if part.is_dir():
            (flat / part.name).symlink_to(part)
    text = (shared_root / "dataset.toml").read_text()
    (flat / "dataset.toml").write_text(text.replace('"fsaverage5"', '"none"'))
    serve("flat", flat)
    st.cache_resource.clear()
    finish_concepts(open_dataset("flat"))
    at = visit("concepts", dataset="flat", find="cat", about="Cortex")
    for view in VIEWS:
        at.button_group(key="show").set_value(view).run()
        assert not at.exception, (view, [error.message for error in at.exception])
        assert not at.error, view
        if view in ("One concept", "Search"):
            assert "no place on a cortex" in said(at), view
            assert "vertex" not in keys(at.text_input)
            assert charts(at)
    st.cache_resource.clear()


# --- links ------------------------------------------------------------------------------------------------------------


def test_links_restore_the_page(shared: None, finish_concepts: Finish, visit: Visit) -> None:
    finish_concepts(subject="subj01,subj02,subj03", min_participants=2)
    link = {"dataset": "shared", "participants": SUBJECTS[:3], "min_participants": "2", "show": "One concept"}
    at = visit("concepts", **link, concept="2", about="Areas")
    assert at.multiselect(key="participants").value == SUBJECTS[:3]
    assert (at.button_group(key="show").value, at.button_group(key="about").value) == ("One concept", "Areas")
    assert at.selectbox(key="concept").value == 2
    # The address has the concept's label, and a link with an old one still means the number.
    label = at.selectbox(key="concept").options[2]
    assert label.startswith("2 ")
    for old in (label, "2 as it was called once"):
        assert visit("concepts", **link, concept=old).selectbox(key="concept").value == 2
    at = visit("concepts", **link | {"show": "Search"}, find="cat")
    assert at.text_input(key="find").value == "cat"


@pytest.mark.parametrize("view", ["One concept", "Search", "Weight space", "../../etc/passwd"])
def test_no_traceback_on_hostile_links(mapped: Run, visit: Visit, view: str) -> None:
    hostile = "<script>alert(1)</script>[x](javascript:0)\x00"
    names = ("participants", "concept_roi", "clip_network", "clip_weights", "texts", "selection", "concept", "about")
    names += ("who", "vertex", "cortex_shows", "map_colour", "concepts_first")
    link = dict.fromkeys(names, hostile) | {"eps": "nan", "n_seeds": "-1", "iterations": "1e99", "hidden": "2"}
    link |= {"min_participants": "x", "find": f"{hostile} {'long ' * 200}"}
    at = visit("concepts", dataset="shared", map_points="61", show=view, **link)
    assert "which is not here" in said(at)
    assert "<script>" not in said(at)


@pytest.mark.parametrize("concept", ["99", "9" * 5000, "²", ""])
def test_a_link_to_no_concept_shows_the_first(run: Run, visit: Visit, concept: str) -> None:
    at = visit("concepts", dataset="shared", show="One concept", concept=concept)
    assert at.selectbox(key="concept").value == 0


@pytest.mark.parametrize(
    "link", [{"eps": "0"}, {"expansion_limit": "0"}, {"decoder_learning_rate": "0"}, {"test_share": "0"}]
)
def test_settings_out_of_range_are_an_error_in_words(shared: None, visit: Visit, link: dict[str, str]) -> None:
    at = visit("concepts", dataset="shared", **link)
    (name,) = link
    assert len(at.error) == 1
    assert name in at.error[0].value.replace("\\", "")
    assert "start" not in keys(at.button)


@pytest.mark.parametrize("link", [{"eps": "5"}, {"min_participants": "-3"}, {"n_seeds": "0"}, {"map_points": "1e9"}])
def test_settings_beyond_their_limits_are_the_usual_ones(run: Run, visit: Visit, link: dict[str, str]) -> None:
    at = visit("concepts", dataset="shared", **link)
    assert not at.error
    ((name, value),) = link.items()
    assert f"The link gives {value.replace('-', chr(92) + '-')} as" in said(at)
    control = next(each for each in at.number_input if each.key == name)
    control.set_value(control.value + 1).run()
    assert "The link gives" not in said(at)


@pytest.mark.parametrize(
    ("show", "link"),
    [
        ("One concept", {"concept": "77 nix"}),
        ("One concept", {"about": "zz"}),
        ("One concept", {"about": "Cortex", "cortex_shows": "zz"}),
        ("One concept", {"about": "Cortex", "who": "subj77"}),
        ("Weight space", {"map_colour": "zz", "map_points": "61"}),
    ],
)
def test_links_that_name_what_is_not_there_say_so(
    mapped: Run, run: Run, visit: Visit, show: str, link: dict[str, str]
) -> None:
    at = visit("concepts", dataset="shared", show=show, **link)
    assert not at.exception
    assert "which is not here" in said(at)


def test_the_threshold_shown_is_the_one_that_is_used(
    shared: None, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where pictures are few, r has to be higher than a noise ceiling; what is typed is taken as it is."""
    asked: list[dict[str, Any]] = []

    def note(kind: str, *args: Any, **values: Any) -> Any:
        spec = make_spec(kind, *args, **values)
        asked.append({decoder.subject: decoder.vertex_threshold for decoder in spec.decoders})  # type: ignore[attr-defined]
        return spec

    monkeypatch.setattr("brainviz.ui.concept_form.make_spec", note)
    at = visit("concepts", dataset="shared")
    threshold = lambda: at.number_input(key="vertex_threshold").value  # noqa: E731
    assert set(asked[-1].values()) == {threshold()} == {0.08}
    at.selectbox(key="selection").set_value("encoding").run()
    assert set(asked[-1].values()) == {threshold()}
    assert threshold() > 0.2
    at.number_input(key="vertex_threshold").set_value(0.08).run()
    assert set(asked[-1].values()) == {threshold()} == {0.08}


def test_more_others_than_there_are_is_said_before_the_start(shared: None, visit: Visit) -> None:
    at = visit("concepts", dataset="shared", participants=["subj01", "subj02"])
    assert "each participant has 1 other, and 3 are asked for" in said(at)


def test_words_that_are_left_out_of_a_search_are_named(run: Run, visit: Visit) -> None:
    assert "does not know zebra" in said(visit("concepts", dataset="shared", show="Search", find="zebra food"))


# --- downloads --------------------------------------------------------------------------------------------------------


def test_downloads_say_where_they_come_from(mapped: Run, visit: Visit, offered: Offered) -> None:
    at = visit("concepts", **LINK, map_points="61")
    for view in VIEWS:
        at.button_group(key="show").set_value(view).run()
    at.button_group(key="show").set_value("One concept").run()
    for part in PARTS:
        at.button_group(key="about").set_value(part).run()
    kinds = {name: Path(name).suffix for name in offered}
    assert {".csv", ".html", ".json", ".png", ".svg", ".pdf", ".gii"} <= set(kinds.values())
    for name, kind in kinds.items():
        if kind == ".csv":
            text = offered[name]()
            head = text[: text.index("\n", text.rindex("\n# "))] if "\n# " in text else ""
            assert mapped.id in head, name
            assert "# dataset: shared" in head, name
            assert "subj01" in head, name
        elif kind == ".json":
            content = json.loads(offered[name]())
            assert content["provenance"]["runs"] == [mapped.id], name
            assert all(parse_spec(spec).run_id for spec in content["specs"]), name
        elif kind == ".gii":
            assert mapped.id.encode() in offered[name](), name
    for name in ("concepts.html", "0_weights_subj01.html"):
        assert mapped.id[:8] in offered[f"shared_concepts_{mapped.id[:8]}_{name}"](), name
