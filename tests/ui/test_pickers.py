"""Pickers: what they begin with, what they offer, and what they follow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest


def pickers() -> None:
    import streamlit as st

    from brainviz.ui.pickers import pick_hemispheres, pick_rois, pick_subject, pick_subjects
    from brainviz.ui.sources import require_source

    source = require_source()
    subjects = pick_subjects(source)
    st.session_state["got"] = (pick_subject(source), subjects, pick_hemispheres(source), pick_rois(source, subjects))


@pytest.fixture
def at(serve: Callable[..., None], tiny_root: Path) -> AppTest:
    serve("tiny", tiny_root)
    at = AppTest.from_function(pickers, default_timeout=30)
    at.query_params["dataset"] = "tiny"
    return at


def test_a_newcomer_finds_something_sensible_picked(at: AppTest) -> None:
    at.run()
    assert at.session_state["got"] == ("subj01", ["subj01"], ["lh", "rh"], ["V1"])
    assert at.multiselect(key="roi").options == ["V1v", "V1d", "V2v", "FFA-1", "V1", "all"]


def test_the_url_restores_a_choice_and_nothing_else(at: AppTest) -> None:
    at.query_params["subject"] = "subj02"
    at.query_params["subjects"] = ["subj02", "subj01", "nobody"]
    at.query_params["hemi"] = "rh"
    at.query_params["roi"] = ["V2v", "../../etc"]
    at.run()
    assert at.session_state["got"] == ("subj02", ["subj02", "subj01"], ["rh"], ["V2v"])


def method_pickers() -> None:
    import streamlit as st

    from brainviz.ui.pickers import pick_methods, pick_tuning

    tuning = pick_tuning() if st.session_state.get("page", "tuning") == "tuning" else None
    st.session_state["got"] = (tuning, pick_methods())


def test_methods_begin_with_what_was_tuned() -> None:
    at = AppTest.from_function(method_pickers).run()
    assert at.session_state["got"] == (["contrastive"], ["untuned", "contrastive"])
    at.button_group(key="methods").set_value(["contrastive", "random"]).run()
    assert at.session_state["got"][1] == ["random", "contrastive"]
    at.button_group(key="tuning").set_value(["regression", "contrastive"]).run()
    assert at.session_state["got"] == (["contrastive", "regression"], ["untuned", "regression", "contrastive"])
    at.session_state["page"] = "other"
    at.run().run()
    assert at.session_state["got"] == (None, ["untuned", "regression", "contrastive"])
