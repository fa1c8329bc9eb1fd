"""The form of settings: defaults, limits, and what follows the network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from brainviz.runs.fields import field_table
from brainviz.ui.settings import NOT_DRAWN, layers_of, tuning_settings, url_key


def finetune_form() -> None:
    import streamlit as st

    from brainviz.ui.settings import settings_form
    from brainviz.ui.sources import require_source

    st.session_state["got"] = settings_form("finetune", require_source(), ("untuned", "contrastive"))


def encoding_form() -> None:
    import streamlit as st

    from brainviz.ui.pickers import METHODS
    from brainviz.ui.settings import settings_form
    from brainviz.ui.sources import require_source

    st.session_state["got"] = settings_form("encoding", require_source(), METHODS, all_layers=True)


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
    got = form(finetune_form).session_state["got"]["contrastive"]
    assert (got["network"], got["weights"], got["image_size"]) == ("alexnet_compact", "demo", 32)
    assert (got["learning_rate"], got["batch_size"], got["epochs"], got["temperature"]) == (1e-4, 1024, 30, 0.3)


@pytest.mark.parametrize(("kind", "page"), [("finetune", finetune_form), ("encoding", encoding_form)])
def test_every_setting_of_the_kind_is_there(kind: str, page: Callable[[], None], form: Callable[..., AppTest]) -> None:
    drawn = {field.name for field in field_table(kind)} - NOT_DRAWN
    if kind == "encoding":
        drawn |= {"layers"}
    assert set(form(page).session_state["got"]["contrastive"]) == drawn


def test_every_method_has_what_means_something_for_it(form: Callable[..., AppTest]) -> None:
    got = form(encoding_form).session_state["got"]
    assert list(got) == ["untuned", "random", "regression", "contrastive"]
    shared = {field.name for field in field_table("encoding") if not field.tuning} - NOT_DRAWN | {"layers"}
    assert set(got["untuned"]) == shared
    assert set(got["random"]) == shared - {"weights"}
    assert {"epochs", "learning_rate"} <= set(got["regression"])
    assert not {"temperature", "loss", "hidden_ratio"} & set(got["regression"])


def test_methods_have_their_own_defaults_and_names_in_the_url(form: Callable[..., AppTest]) -> None:
    got = form(encoding_form, epochs="3", regression_batch_size="16").session_state["got"]
    assert (got["contrastive"]["epochs"], got["contrastive"]["learning_rate"]) == (3, 1e-4)
    assert (got["regression"]["epochs"], got["regression"]["learning_rate"]) == (75, 2.5e-5)
    assert (got["contrastive"]["batch_size"], got["regression"]["batch_size"]) == (1024, 16)
    assert url_key("epochs", "contrastive") == "epochs"
    assert {"epochs", "batch_size", "zscore", "temperature"} <= tuning_settings()
    # One seed, split and network for all methods, on every page.
    assert not {"seed", "test_share", "split_seed", "network", "weights"} & tuning_settings()


def test_the_url_sets_settings(form: Callable[..., AppTest]) -> None:
    url = {"epochs": "3", "learning_rate": "0.002", "loss": "symmetric", "zscore": "true"}
    got = form(finetune_form, **url).session_state["got"]["contrastive"]
    assert (got["epochs"], got["learning_rate"], got["loss"], got["zscore"]) == (3, 0.002, "symmetric", True)


@pytest.mark.parametrize(("name", "value"), [("network", "/etc/passwd"), ("weights", "/etc/passwd"), ("loss", "other")])
def test_the_url_offers_no_other_choices(name: str, value: str, form: Callable[..., AppTest]) -> None:
    assert form(finetune_form, **{name: value}).session_state["got"]["contrastive"][name] != value


def test_what_belongs_to_a_network_follows_it(form: Callable[..., AppTest]) -> None:
    at = form(finetune_form, weights="random", epochs="3")
    at.selectbox(key="network").select("alexnet").run()
    got = at.session_state["got"]["contrastive"]
    assert (got["weights"], got["image_size"]) == ("imagenet", 224)
    assert "demo" not in at.selectbox(key="weights").options
    at.selectbox(key="network").select("alexnet_compact").run()
    assert at.session_state["got"]["contrastive"]["image_size"] == 32
    assert at.session_state["got"]["contrastive"]["epochs"] == 3


def test_layers() -> None:
    assert layers_of("alexnet", all_layers=False) == ("classifier.6",)
    assert len(layers_of("alexnet", all_layers=True)) == 8
