"""Lateralization in a real browser: pictures under their maps, links to what was chosen, a picture of one's own."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from brainviz.datasets import open_dataset
from brainviz.runs import preparation
from brainviz.runs.store import Run
from brainviz.ui.choices import choose
from brainviz.ui.sources import Source

NETWORK = {"network": "alexnet_compact", "weights": "demo", "image_size": 32}
METHODS = ["untuned", "contrastive"]
#: Logits of the demo's network, from which a ROI's response is predicted.
N_LOGITS = 80

#: What plotly knows of the figure: kinds of traces, and how opaque maps are.
DRAWN = "document.querySelector('.js-plotly-plot')?._fullData?.map((trace) => [trace.type, trace.opacity])"


@pytest.fixture
def lateralized(
    tiny_server: Any, monkeypatch: pytest.MonkeyPatch, finish_lateralization_run: Callable[..., Run]
) -> str:
    """Finish runs of the left V1, whose readouts work, and return a link to them."""
    monkeypatch.setenv("BRAINVIZ_CACHE", str(tiny_server.cache))
    monkeypatch.setenv("BRAINVIZ_CONFIG", str(tiny_server.cache.parent / "brainviz.toml"))
    report = preparation.report("tiny")
    assert report is not None
    assert report.index is not None
    source = Source("tiny", open_dataset("tiny"), report.index, report)
    settings = dict.fromkeys(METHODS, NETWORK)
    specs = choose("lateralization", source, ["subj01"], ["lh"], ["V1"], METHODS, settings).specs
    rng = np.random.default_rng(4)
    for spec in specs:
        if tiny_server.store.find(spec) is None:
            weights = rng.standard_normal((N_LOGITS, 1)).astype(np.float32)
            finish_lateralization_run(spec, rng.uniform(-0.5, 0.5, 6), weights=weights)
    return f"{tiny_server.url}/lateralization?dataset=tiny&hemi=lh"


def test_pictures_lie_under_their_maps(lateralized: str, visitor: Any) -> None:
    one, other = visitor(), visitor()
    one.go(f"{lateralized}&show=Pictures&opacity=0.35&order=farthest+left")
    # A row per picture: the picture, under the maps of both models, and its mirror image under both.
    expect(one.page.locator(".js-plotly-plot .imagelayer image")).to_have_count(5 * 5)
    expect(one.page.locator(".js-plotly-plot .heatmaplayer image")).to_have_count(5 * 4)
    opacities = {opacity for kind, opacity in one.page.evaluate(DRAWN) if kind == "heatmap"}
    assert opacities == {0.35}
    # A link has the name of the target, and nothing in it is unknown.
    one.page.get_by_role("combobox", name="Target").click()
    one.page.get_by_role("option", name="vertex").click()
    one.see("Vertex")
    expect(one.page).to_have_url(re.compile("target=vertex"))
    one.settle()
    other.go(one.page.url)
    expect(other.page.get_by_role("spinbutton", name="Vertex")).to_be_visible()
    expect(other.page.get_by_text("which is not here")).to_have_count(0)
    assert other.page.url == one.page.url


def test_a_picture_of_ones_own(lateralized: str, visitor: Any, tmp_path: Path) -> None:
    """By a real process, with the demo's network."""
    file = tmp_path / "mine.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(file)
    one = visitor()
    one.go(f"{lateralized}&methods=untuned&show=Your+picture")
    one.page.locator('input[type="file"]').set_input_files(file)
    one.see("Index: mean of the picture's and its mirror image's", seconds=120)
    one.settle()
    expect(one.page.locator(".js-plotly-plot .imagelayer image")).to_have_count(2 * 2)
    expect(one.page.locator(".js-plotly-plot .heatmaplayer image")).to_have_count(2)
    rows = one.page.get_by_test_id("stDataFrame").locator('td[aria-colindex="1"]')
    expect(rows).to_have_text(["left model"])
