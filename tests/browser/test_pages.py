"""Every page in a real browser: it opens by its link, shows what it is for, and complains about nothing."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import expect

PAGES = {
    "": "Data",
    "finetune": "Fine-tune",
    "encoding": "Encoding",
    "bottleneck": "Bottleneck",
    "classification": "Classification",
    "landscape": "Landscape",
    "lateralization": "Lateralization",
    "concepts": "Concepts",
}


def test_a_link_to_a_page_is_a_fresh_servers_first_visit(start_server: Any, visitor: Any) -> None:
    """Streamlit would run the page's file alone, without navigation or configuration: see `begin_page`."""
    one = visitor()
    one.go(f"{start_server().url}/encoding?epochs=5")
    one.see("Start here")
    links = one.page.get_by_test_id("stSidebarNavLink")
    expect(links).to_contain_text(list(PAGES.values()))
    assert one.page.title() == "brainviz"


@pytest.mark.parametrize(("path", "title"), PAGES.items())
def test_a_page_opens(tiny_server: Any, visitor: Any, path: str, title: str) -> None:
    one = visitor()
    one.go(f"{tiny_server.url}/{path}?dataset=tiny")
    expect(one.page.get_by_role("heading", name=title, exact=True)).to_be_visible()
    expect(one.page.get_by_test_id("stSidebarNavLink")).to_have_count(len(PAGES))


def test_the_rois_are_drawn_on_the_cortex(tiny_server: Any, visitor: Any) -> None:
    one = visitor()
    one.go(f"{tiny_server.url}/?dataset=tiny")
    one.page.get_by_role("tab", name="ROIs on the cortex").click()
    expect(one.page.locator(".viewer[data-pictures] .stage canvas")).to_be_visible()
    assert "tab=ROIs" in one.page.url


def test_the_url_restores_the_page(tiny_server: Any, visitor: Any) -> None:
    one, other = visitor(), visitor()
    one.go(f"{tiny_server.url}/finetune?dataset=tiny")
    one.page.get_by_role("button", name="rh", exact=True).click()
    one.settle()
    one.page.get_by_text("All settings").click()
    epochs = one.page.get_by_role("spinbutton", name="Epochs")
    epochs.fill("3")
    epochs.press("Enter")
    one.see("Start fine-tuning (1 run)")
    one.settle()
    assert "epochs=3" in one.page.url
    assert "hemi=lh" in one.page.url

    other.go(one.page.url)
    other.see("Start fine-tuning (1 run)")
    other.page.get_by_text("All settings").click()
    expect(other.page.get_by_role("spinbutton", name="Epochs")).to_have_value("3")
    assert other.page.url == one.page.url
    assert tiny_server.store.runs() == []


def test_choices_go_along_from_page_to_page(tiny_server: Any, visitor: Any) -> None:
    one = visitor()
    one.go(f"{tiny_server.url}/finetune?dataset=tiny&epochs=7&roi=V2v")
    one.see("Runs chosen")
    one.settle()
    one.page.get_by_role("link", name="Encoding").click()
    expect(one.page.get_by_role("heading", name="Encoding", exact=True)).to_be_visible()
    one.settle()
    for chosen in ("dataset=tiny", "epochs=7", "roi=V2v"):
        expect(one.page).to_have_url(re.compile(f"/encoding.*{chosen}"))
