"""Controls bound to the URL: they follow their default, and go along from page to page."""

from streamlit.testing.v1 import AppTest


def follower() -> None:
    import streamlit as st

    from brainviz.ui.binding import bound, follow

    leader = st.selectbox("leader", ["a", "b"], key="leader")
    default = {"a": 1, "b": 2}[leader]
    follow("number", leader, default)
    st.session_state["got"] = st.number_input("number", value=default, **bound("number"))


def test_a_widget_follows_what_its_default_depends_on() -> None:
    at = AppTest.from_function(follower)
    at.query_params["number"] = "7"
    at.run()
    assert at.session_state["got"] == 7
    at.selectbox(key="leader").select("b").run()
    assert at.session_state["got"] == 2
    at.number_input(key="number").set_value(9).run()
    assert at.session_state["got"] == 9
    at.selectbox(key="leader").select("a").run()
    assert at.session_state["got"] == 1


def chooser() -> None:
    import streamlit as st

    from brainviz.ui.binding import bound, keep_among

    offered = st.multiselect("offered", ["a", "b", "c"], default=["a", "b"], key="offered")
    keep_among("one", offered, offered[0])
    st.session_state["got"] = st.selectbox("one", offered, **bound("one"))


def test_what_is_no_longer_offered_goes_back_to_the_default() -> None:
    at = AppTest.from_function(chooser)
    at.query_params["one"] = "b"
    at.run()
    assert at.session_state["got"] == "b"
    at.multiselect(key="offered").set_value(["c", "b"]).run()
    assert at.session_state["got"] == "b"
    at.multiselect(key="offered").set_value(["c", "a"]).run()
    assert at.session_state["got"] == "c"


def pages() -> None:
    import streamlit as st

    from brainviz.ui.binding import bound, carried_along

    page = st.radio("page", ["one", "two"], key="which")
    runs = st.session_state.get("runs", 0)
    st.session_state["runs"] = runs + 1
    with carried_along(page):
        value = st.text_input("name", value="nobody", **bound("name")) if page == "two" or runs == 0 else None
        st.session_state["got"] = value


def test_a_switch_runs_the_page_once_more() -> None:
    at = AppTest.from_function(pages)
    at.query_params["name"] = "somebody"
    at.run()
    assert (at.session_state["got"], at.session_state["runs"]) == ("somebody", 1)
    at.radio(key="which").set_value("two").run()
    assert (at.session_state["got"], at.session_state["runs"]) == ("somebody", 3)
    at.run()
    assert (at.session_state["got"], at.session_state["runs"]) == ("somebody", 4)
