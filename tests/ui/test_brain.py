"""The brain on a page: the surface where there is a mesh, a strip and a reason where there is none."""

import pytest
from streamlit.testing.v1 import AppTest


def brain(mesh: str, position: int) -> None:
    import pandas as pd
    import streamlit as st

    from brainviz.figures.style import Provenance
    from brainviz.figures.surface import correlation_scale
    from brainviz.ui.brain import brain_controls, show_brain

    values = pd.DataFrame({"hemi": ["lh", "lh"], "column": [0, 4], "position": [3, position], "value": [0.1, 0.4]})
    view = brain_controls(mesh)
    figure = show_brain(values, mesh, correlation_scale([]), Provenance("d", "s"), view, key="brain")
    st.session_state["got"] = (view, [trace.type for trace in figure.data])


def show(mesh: str, position: int = 9, **url: str) -> AppTest:
    at = AppTest.from_function(brain, args=(mesh, position), default_timeout=30)
    for name, value in url.items():
        at.query_params[name] = value
    at.run()
    assert not at.exception
    return at


def test_surface() -> None:
    view, types = show("fsaverage5").session_state["got"]
    assert (view.surface, view.view, view.threshold) == ("inflated", "medial", 0.0)
    assert types == ["mesh3d"] * 3


def test_the_url_restores_the_view() -> None:
    view, _ = show("fsaverage5", surface="pial", view="ventral", threshold="0.25").session_state["got"]
    assert (view.surface, view.view, view.threshold) == ("pial", "ventral", 0.25)


def test_a_finer_mesh_is_shown_by_its_first_vertices_and_says_so() -> None:
    at = show("fsaverage", position=150_000)
    assert "(1 of the 2 vertices here)" in at.caption[0].value


@pytest.mark.parametrize(("mesh", "why"), [("none", "has no mesh"), ("macaque", "does not know")])
def test_without_a_mesh_values_are_sorted(mesh: str, why: str) -> None:
    at = show(mesh, position=-1)
    assert why in at.info[0].value
    assert at.session_state["got"][1] == ["scatter"]
    assert list(at.dataframe[0].value["value"]) == [0.4, 0.1]
