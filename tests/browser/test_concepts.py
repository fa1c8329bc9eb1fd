"""Concepts in a real browser: one is opened, named and kept; a text is searched; weight space is drawn round."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect

from brainviz.runs import share
from brainviz.runs.notes import Note, read_notes
from brainviz.runs.store import Run


@pytest.fixture(scope="module")
def shared_server(start_server: Callable[..., Any], shared_root: Path) -> Any:
    """Return a dashboard on the data set of shared concepts, which has been read."""
    return start_server(shared=shared_root)


@pytest.fixture
def planted_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a planted map of weights in place of UMAP, which takes seconds: point i is at (i, -i)."""
    monkeypatch.setattr(
        "brainviz.analyses.concept_measures.map_weights",
        lambda vectors, **_: np.outer(np.arange(len(vectors)), [1.0, -1.0]).astype(np.float32),
    )


@pytest.fixture
def finished(
    shared_server: Any, finish_concepts: Callable[..., Run], planted_map: None, monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Finish concepts in the server's cache."""
    monkeypatch.setenv("BRAINVIZ_CACHE", str(shared_server.cache))
    return finish_concepts(map_points=61)


@pytest.fixture
def link(shared_server: Any, finished: Run) -> str:
    """Return a link to the page with the finished run."""
    return f"{shared_server.url}/concepts?dataset=shared&map_points=61"


def expect_concept(page: Any, label: str) -> None:
    """Wait until this is the concept that the control names."""
    control = page.get_by_test_id("stSelectbox").filter(has=page.get_by_text("Concept", exact=True))
    expect(control.get_by_role("combobox")).to_have_value(label)


def test_a_concept_is_opened_and_stays_when_it_is_named(link: str, finished: Run, visitor: Any) -> None:
    one, other = visitor(), visitor()
    one.go(link)
    one.see("3 concepts in")
    one.page.locator(".st-key-open_card_2").get_by_role("button").click()
    one.see("Most associated")
    expect(one.page).to_have_url(re.compile("concept=2"))
    other.go(one.page.url)
    other.see("Most associated")
    one.page.get_by_role("button", name="Name, note, hide").click()
    one.page.get_by_role("textbox", name="Name").fill("things *to* eat")
    one.page.get_by_role("button", name="Save").click()
    expect_concept(one.page, "2 things *to* eat")
    one.settle()
    assert read_notes(finished) == {2: Note("things *to* eat")}
    # Whatever is done next, by whoever has the old name in the browser or in the link, it is still this concept.
    for visiting in (one, other):
        visiting.page.get_by_role("radio", name="Words", exact=True).click()
        visiting.see("through the text encoder")
        visiting.settle()
        expect_concept(visiting.page, "2 things *to* eat")
    late = visitor()
    late.go(f"{link}&show=One concept&concept=2 an old name")
    expect_concept(late.page, "2 things *to* eat")


def test_the_usual_concept_is_named_and_two_people_do_not_overwrite_each_other(
    link: str, finished: Run, visitor: Any
) -> None:
    one, other = visitor(), visitor()
    for visiting in (one, other):
        visiting.go(f"{link}&show=One concept")
        visiting.see("Most associated")
        visiting.settle()  # a page that is being drawn anew loses what is typed
        visiting.page.get_by_role("button", name="Name, note, hide").click()
        visiting.page.get_by_role("textbox", name="Name").fill("cats" if visiting is one else "pets")
    one.page.get_by_role("button", name="Save").click()
    expect_concept(one.page, "0 cats")
    other.page.get_by_role("button", name="Save").click()
    other.see("Somebody else has written here meanwhile")
    assert read_notes(finished)[0] == Note("cats")
    expect(other.page.get_by_role("textbox", name="Name")).to_have_value("pets")
    other.page.get_by_role("button", name="Save").click()
    expect_concept(other.page, "0 pets")
    other.settle()
    assert read_notes(finished)[0] == Note("pets")


def test_a_point_of_the_chart_opens_its_concept(link: str, visitor: Any) -> None:
    one = visitor()
    one.go(link)
    chart = one.page.locator(".st-key-concept_chart .js-plotly-plot")
    chart.locator(".points path").first.wait_for()
    chart.scroll_into_view_if_needed()
    concept, x, y = chart.evaluate(
        """chart => {
          const { xaxis, yaxis } = chart._fullLayout;
          const box = chart.getBoundingClientRect();
          const first = chart.calcdata[0][0];
          return [chart.data[0].customdata[0][0], box.left + xaxis._offset + xaxis.c2p(first.x),
                  box.top + yaxis._offset + yaxis.c2p(first.y)];
        }"""
    )
    one.page.mouse.click(x, y)
    one.page.locator(f".st-key-open_chart_{concept}").get_by_role("button").click()
    one.see("Most associated")
    one.settle()


def test_a_text_is_searched(link: str, visitor: Any) -> None:
    one = visitor()
    one.go(f"{link}&show=Search")
    one.see("Write what to look for")
    field = one.page.get_by_role("textbox", name="Text", exact=True)
    field.fill("cat")
    field.press("Enter")
    one.see("Pictures most like the text")
    expect(one.page.locator(".viewer[data-pictures] .stage canvas")).to_be_visible()
    one.settle()
    assert "find=cat" in one.page.url
    # What the network cannot read is said, by a process of its own.
    field.fill("qwertzuiop")
    field.press("Enter")
    one.see("The text cannot be searched for")
    one.settle()


def test_a_line_round_vertices_shows_them_on_the_cortex(link: str, finished: Run, visitor: Any) -> None:
    one = visitor()
    one.go(f"{link}&show=Weight space")
    chart = one.page.locator(".js-plotly-plot").first
    chart.locator(".gl-canvas-context").wait_for()
    chart.scroll_into_view_if_needed()
    n = len(np.load(finished.file(share.MAP_POINTS)))
    # Round the first five points, which lie on a line downwards.
    corners = one.page.evaluate(
        """() => {
          const chart = document.querySelector(".js-plotly-plot");
          const { xaxis, yaxis } = chart._fullLayout;
          const box = chart.getBoundingClientRect();
          const at = (x, y) => [box.left + xaxis._offset + xaxis.d2p(x), box.top + yaxis._offset + yaxis.d2p(y)];
          return [at(-0.5, 0.5), at(4.5, 0.5), at(4.5, -4.5), at(-0.5, -4.5), at(-0.5, 0.5)];
        }"""
    )
    for number, corner in enumerate(corners):
        one.page.mouse.move(*corner, steps=4)
        if number == 0:
            one.page.mouse.down()
    one.page.mouse.up()
    one.see("5 selected vertices")
    one.settle()
    assert n > 5
    # In other colours it is the same selection, until it is forgotten.
    one.page.get_by_role("radio", name="subject", exact=True).click()
    one.settle()
    one.see("5 selected vertices")
    one.button("Forget the selection")
    one.see("Vertices of concepts")
    one.settle()
