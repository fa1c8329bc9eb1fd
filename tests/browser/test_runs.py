"""Runs in a real browser: start, watch, share, cancel, and see what came out."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

#: Settings with which a run on the tiny data set takes seconds.
QUICK = "dataset=tiny&hemi=lh&network=alexnet_compact&weights=demo&image_size=64"
RUN_SECONDS = 120


def test_two_people_share_a_run_and_one_cancels_it(tiny_server: Any, visitor: Any) -> None:
    link = f"{tiny_server.url}/finetune?{QUICK}&epochs=100000&roi=V2v"
    one, other = visitor(), visitor()
    one.go(link)
    one.button("Start fine-tuning (1 run)")
    one.see("1 run in progress")
    other.go(link)
    other.see("1 run in progress")
    expect(other.page.get_by_role("button", name="Start fine-tuning")).to_have_count(0)
    other.see("of 100000, loss", RUN_SECONDS)
    expect(other.page.locator(".js-plotly-plot").first).to_be_visible()
    one.button("Cancel")
    for each in (one, other):
        each.see("Start fine-tuning (1 run)")
    (run,) = tiny_server.store.runs("finetune")
    assert run.state == "cancelled"
    assert not (run.path / "manifest.json").exists()


def test_a_run_goes_on_when_the_page_is_closed(tiny_server: Any, visitor: Any) -> None:
    """From fine-tuning to the difference map, leaving the page in between; then the outcome is taken away."""
    one = visitor()
    one.go(f"{tiny_server.url}/finetune?{QUICK}&epochs=2")
    one.button("Encode these")
    one.see("See what the tuning changed")
    one.page.close()

    other = visitor()
    other.go(f"{tiny_server.url}/encoding?{QUICK}&epochs=2&show=Map")
    other.see("Done: 2 runs of this choice", RUN_SECONDS)
    other.settle()
    expect(other.page.get_by_role("radio", name="difference")).to_be_checked()
    expect(other.page.locator(".viewer[data-pictures] .stage canvas")).to_be_visible()
    for button, ending in (
        ("Vertices, CSV", "tiny_subj01_difference.csv"),
        ("Map lh, GIFTI", "tiny_subj01_difference_lh.func.gii"),
        ("Panels, SVG", "tiny_subj01_difference.svg"),
        ("Figure, HTML", "tiny_subj01_difference.html"),
        ("Requests, JSON", "tiny_subj01_difference.json"),
    ):
        found = other.download(button)
        assert found.suggested_filename == ending
        assert "subj01" in found.path().read_text(errors="replace")


def test_methods_side_by_side(tiny_server: Any, visitor: Any) -> None:
    """Two methods in two ROIs: every view, and the permutation test, started and found."""
    one = visitor()
    one.go(f"{tiny_server.url}/encoding?{QUICK}&roi=V1v&roi=FFA-1&methods=untuned&methods=random")
    one.button("Start encoding (4 runs)")
    one.see("Done: 4 runs of this choice", RUN_SECONDS)
    one.see("Random against untuned")
    expect(one.page.locator(".js-plotly-plot")).to_have_count(3)
    one.see("not tested")
    for view, seen in (
        ("Groups", "Per subject"),
        ("Vertices", "Points above the diagonal"),
        ("Layers", "Only classifier.6 was fitted"),
        ("Map", "Map of"),
        ("Table", "One row per layer"),
        ("Tests", "Does random predict better than untuned"),
    ):
        one.page.get_by_role("radio", name=view, exact=True).click()
        one.see(seen)
        one.settle()
        if view == "Map":
            expect(one.page.locator(".viewer[data-rest]")).to_be_attached()
        assert f"show={view}" in one.page.url
    one.button("Start tests (1 run)")
    one.see("Of 2 ROIs, random is better in", RUN_SECONDS)
    text = one.download("Tests, CSV").path().read_text()
    assert "# method: random against untuned" in text
    assert len([line for line in text.splitlines() if line.startswith("subj01,lh,")]) == 2
    (run,) = tiny_server.store.runs("comparison")
    assert run.state == "done"
    one.page.get_by_role("radio", name="ROIs", exact=True).click()
    one.see("q ≥ 0.05" if run.result()["n_significant"] < 2 else "q < 0.05")


@pytest.mark.slow
def test_a_newcomers_journey_on_the_demo(start_server: Any, visitor: Any) -> None:
    """From nothing to the difference map of V1 on both hemispheres, in few epochs."""
    one = visitor()
    one.go(start_server().url)
    one.button("Make and read the demo")
    one.see("What is there", 120)
    one.page.get_by_role("link", name="Next: fine-tune").click()
    one.see("Runs chosen")
    one.page.get_by_text("All settings").click()
    epochs = one.page.get_by_role("spinbutton", name="Epochs")
    epochs.fill("2")
    epochs.press("Enter")
    one.settle()
    one.button("Start fine-tuning (2 runs)")
    one.see("2 runs in progress")
    one.see("Done: 2 runs of this choice", 300)
    one.button("Encode these")
    one.page.get_by_role("link", name="See what the tuning changed").click()
    one.see("Done: 4 runs of this choice", 300)
    one.see("Vertices improved")
    one.page.get_by_role("radio", name="Map", exact=True).click()
    expect(one.page.locator(".viewer[data-pictures] .stage canvas")).to_be_visible()
