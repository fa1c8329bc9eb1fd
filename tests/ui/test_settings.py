"""The form of settings: defaults, limits, and what follows the network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from brainviz.runs.requests import field_table
from brainviz.ui.settings import NOT_DRAWN, for_method, layers_of


def finetune_form() -> None:
    import streamlit as st

    from brainviz.ui.settings import settings_form
    from brainviz.ui.sources import require_source

    st.session_state["got"] = settings_form("finetune", require_source())


def encoding_form() -> None:
    import streamlit as st

    from brainviz.ui.settings import settings_form
    from brainviz.ui.sources import require_source

    st.session_state["got"] = settings_form("encoding", require_source(), all_layers=True)


@pytest.fixture
def form(serve: Callable[..., None], tiny_root: Path) -> Callable[..., AppTest]:
    """Return a function that opens a form on the tiny data set, with settings in the URL."""

    def open_form(page: Callable[[], None], **url: str) -> AppTest:
        serve("tiny", tiny_root)
        at = AppTest.from_function(page, default_timeout=30)
        at.query_params["dataset"] = "tiny"
        for name, value in url.items():
            at.query_params[name] = value
        at.run()
        assert not at.exception
        return at

    return open_form


def test_defaults_are_the_data_sets_over_the_methods(form: Callable[..., AppTest]) -> None:
    got = form(finetune_form).session_state["got"]
    assert (got["network"], got["weights"], got["image_size"]) == ("alexnet_compact", "random", 32)
    assert (got["learning_rate"], got["batch_size"], got["epochs"], got["temperature"]) == (1e-4, 1024, 30, 0.3)


@pytest.mark.parametrize(("kind", "page"), [("finetune", finetune_form), ("encoding", encoding_form)])
def test_every_setting_of_the_kind_is_there(kind: str, page: Callable[[], None], form: Callable[..., AppTest]) -> None:
    drawn = {field.name for field in field_table(kind)} - NOT_DRAWN
    if kind == "encoding":
        drawn = drawn - {"method"} | {"layers"}
    assert set(form(page).session_state["got"]) == drawn


def test_the_url_sets_settings(form: Callable[..., AppTest]) -> None:
    got = form(finetune_form, epochs="3", learning_rate="0.002", loss="symmetric", zscore="true").session_state["got"]
    assert (got["epochs"], got["learning_rate"], got["loss"], got["zscore"]) == (3, 0.002, "symmetric", True)


@pytest.mark.parametrize(("name", "value"), [("network", "/etc/passwd"), ("weights", "/etc/passwd"), ("loss", "other")])
def test_the_url_offers_no_other_choices(name: str, value: str, form: Callable[..., AppTest]) -> None:
    assert form(finetune_form, **{name: value}).session_state["got"][name] != value


def test_what_belongs_to_a_network_follows_it(form: Callable[..., AppTest]) -> None:
    at = form(finetune_form, weights="demo", epochs="3")
    at.selectbox(key="network").select("alexnet").run()
    got = at.session_state["got"]
    assert (got["weights"], got["image_size"]) == ("imagenet", 224)
    assert "demo" not in at.selectbox(key="weights").options
    at.selectbox(key="network").select("alexnet_compact").run()
    assert at.session_state["got"]["image_size"] == 32
    assert at.session_state["got"]["epochs"] == 3


def test_layers() -> None:
    assert layers_of("alexnet", all_layers=False) == ("classifier.6",)
    assert len(layers_of("alexnet", all_layers=True)) == 8


def test_untuned_takes_no_settings_of_the_tuning() -> None:
    values = {"epochs": 3, "network": "alexnet", "n_folds": 5}
    assert for_method("encoding", "untuned", values) == {"network": "alexnet", "n_folds": 5}
    assert for_method("encoding", "contrastive", values) == values
