"""The row of controls for how methods are compared."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from brainviz.ui.comparison import How
from brainviz.ui.comparison_controls import default_pair


@pytest.mark.parametrize(
    ("methods", "pair"),
    [
        (["untuned", "contrastive"], ("contrastive", "untuned")),
        (["untuned", "random", "regression", "contrastive"], ("contrastive", "untuned")),
        (["untuned", "regression"], ("regression", "untuned")),
        (["regression", "contrastive"], ("contrastive", "regression")),
        (["random"], ("random", "random")),
    ],
)
def test_what_is_compared_at_first(methods: list[str], pair: tuple[str, str]) -> None:
    assert default_pair(methods) == pair


def controls() -> None:
    import streamlit as st

    from brainviz.ui.comparison_controls import pick_how

    methods = st.multiselect("m", ["untuned", "random", "contrastive"], default=["untuned", "contrastive"], key="m")
    st.session_state["got"] = pick_how(methods, ["features.2", "classifier.6"])


def visit(**url: str) -> AppTest:
    at = AppTest.from_function(controls)
    for name, value in url.items():
        at.query_params[name] = value
    at.run()
    assert not at.exception
    return at


def test_at_first() -> None:
    assert visit().session_state["got"] == How("own best", "test r", ("contrastive", "untuned"), False)


def test_the_url_restores_how() -> None:
    at = visit(layer="features.2", score="authors' protocol", a="untuned", b="contrastive", published="true")
    assert at.session_state["got"] == How("features.2", "authors' protocol", ("untuned", "contrastive"), True)


def test_a_method_is_not_compared_with_itself() -> None:
    at = visit(a="untuned")
    assert at.session_state["got"].pair is None
    assert "the same method" in at.info[0].value


def test_what_is_no_longer_chosen_is_not_compared() -> None:
    at = visit()
    at.multiselect(key="m").set_value(["untuned", "random"]).run()
    assert at.session_state["got"].pair == ("random", "untuned")
    at.multiselect(key="m").set_value(["random"]).run()
    assert at.session_state["got"].pair is None
    assert not at.info
