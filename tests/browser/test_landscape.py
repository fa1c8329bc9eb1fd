"""The landscape in a real browser: clicking a model and drawing round several lists these alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from brainviz.config import REPOSITORY
from brainviz.datasets import open_dataset
from brainviz.runs import preparation
from brainviz.runs.requests import lay_out
from brainviz.runs.store import Run
from brainviz.ui.choices import choose
from brainviz.ui.sources import Source

METHODS = ["untuned", "contrastive"]
NETWORK = {"network": "alexnet_compact", "weights": "demo", "image_size": 32, "task": "animals"}
LEFT, RIGHT = "subj01 lh V1 contrastive", "subj01 rh V1 contrastive"


@pytest.fixture(scope="module")
def animals_server(start_server: Callable[..., Any], tiny_root: Path, tiny_task_root: Path) -> Any:
    """Return a dashboard on the tiny data set and the tiny classification task, which both have been read."""
    server = start_server(tiny=tiny_root)
    config = server.cache.parent / "brainviz.toml"
    with config.open("a") as file:
        file.write(f"[tasks]\nanimals = {str(tiny_task_root)!r}\n")
    environment = {**os.environ, "BRAINVIZ_CACHE": str(server.cache), "BRAINVIZ_CONFIG": str(config)}
    command = [sys.executable, "-m", "brainviz.runs.preparation", "task:animals"]
    subprocess.run(command, cwd=REPOSITORY, env=environment, check=True)
    return server


@pytest.fixture
def laid_out(
    animals_server: Any,
    monkeypatch: pytest.MonkeyPatch,
    finish_classification_run: Callable[..., Run],
    finish_landscape_run: Callable[..., Run],
) -> str:
    """Finish a landscape of untuned and two tuned models, and return a link to its map."""
    monkeypatch.setenv("BRAINVIZ_CACHE", str(animals_server.cache))
    monkeypatch.setenv("BRAINVIZ_CONFIG", str(animals_server.cache.parent / "brainviz.toml"))
    report = preparation.report("tiny")
    assert report is not None
    assert report.index is not None
    source = Source("tiny", open_dataset("tiny"), report.index, report)
    settings = dict.fromkeys(METHODS, NETWORK)
    models = choose("classification", source, ["subj01"], ["lh", "rh"], ["V1"], METHODS, settings).specs
    if animals_server.store.find(models[0]) is None:
        for spec, right in zip(models, (range(9), range(6, 12), [0, 4, 8]), strict=True):
            finish_classification_run(spec, right)
        finish_landscape_run(lay_out(list(models), readout="classifier.6"))
    return f"{animals_server.url}/landscape?dataset=tiny"


def place_of(page: Page, model: str) -> tuple[float, float]:
    """Return where a model is on the screen, from what plotly knows of the figure."""
    page.locator(".js-plotly-plot .scatterlayer .points").first.wait_for()
    page.locator(".js-plotly-plot").first.scroll_into_view_if_needed()
    x, y = page.evaluate(
        """(model) => {
          const chart = document.querySelector(".js-plotly-plot");
          const trace = chart._fullData.find((each) => (each.customdata ?? []).some((datum) => datum[1] === model));
          const at = trace.customdata.findIndex((datum) => datum[1] === model);
          const { xaxis, yaxis } = chart._fullLayout;
          const box = chart.getBoundingClientRect();
          return [box.left + xaxis._offset + xaxis.d2p(trace.x[at]), box.top + yaxis._offset + yaxis.d2p(trace.y[at])];
        }""",
        model,
    )
    return x, y


def expect_listed(page: Page, *models: str) -> None:
    """Wait until these models are the table's, which is a canvas with its cells beside it for screen readers."""
    cells = page.get_by_test_id("stDataFrame").locator('td[aria-colindex="1"]')
    expect(cells).to_have_text(list(models))


def test_a_click_lists_the_model(laid_out: str, visitor: Any) -> None:
    one = visitor()
    one.go(laid_out)
    place_of(one.page, RIGHT)
    expect_listed(one.page, "untuned", LEFT, RIGHT, "oracle")
    one.page.locator(".js-plotly-plot").first.hover()
    one.page.locator('.modebar-btn[data-attr="dragmode"][data-val="pan"]').click()
    place = place_of(one.page, RIGHT)
    one.page.mouse.move(*place, steps=3)
    # A click is about what the pointer rests on, which plotly shows.
    expect(one.page.locator(".hoverlayer .hovertext")).to_contain_text(RIGHT)
    one.page.mouse.click(*place)
    one.see("Selected models")
    one.settle()
    expect_listed(one.page, RIGHT)


def test_a_line_round_models_lists_these(laid_out: str, visitor: Any) -> None:
    one = visitor()
    one.go(f"{laid_out}&path=true&embedding=MDS")
    x, y = place_of(one.page, LEFT)
    for number, (right, down) in enumerate([(-25, -25), (25, -25), (25, 25), (-25, 25), (-25, -25)]):
        one.page.mouse.move(x + right, y + down, steps=3)
        if number == 0:
            one.page.mouse.down()
    one.page.mouse.up()
    one.see("Selected models")
    one.settle()
    expect_listed(one.page, LEFT)


def test_a_link_restores_the_map(laid_out: str, visitor: Any) -> None:
    one, other = visitor(), visitor()
    one.go(laid_out)
    place_of(one.page, LEFT)
    one.page.get_by_role("radio", name="MDS", exact=True).click()
    expect(one.page).to_have_url(re.compile("embedding=MDS"))
    one.page.get_by_role("radio", name="3", exact=True).click()
    expect(one.page).to_have_url(re.compile("dimensions=3"))
    one.settle()
    other.go(one.page.url)
    expect(other.page.get_by_role("radio", name="MDS", exact=True)).to_have_attribute("aria-checked", "true")
    kinds = "document.querySelector('.js-plotly-plot')?._fullData?.map((trace) => trace.type)"
    other.page.wait_for_function(f"() => {kinds}?.includes('scatter3d')")
    other.settle()
    assert other.page.url == one.page.url
