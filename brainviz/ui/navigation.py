"""The pages there are, and the head of each."""

from __future__ import annotations

from typing import Any

import streamlit as st

from brainviz.ui.assets import ICON
from brainviz.ui.binding import carried_along
from brainviz.ui.errors import errors_shown

#: Set by the entry script whenever it runs a page.
_ENTERED = "_entered through app.py"


def enter() -> Any:
    """Configure the page, draw the navigation and return the page to run. For the entry script."""
    st.set_page_config(page_title="brainviz", page_icon=str(ICON), layout="wide")
    return st.navigation(
        [
            st.Page("pages/data.py", title="Data", icon=":material/database:", default=True),
            st.Page("pages/finetune.py", title="Fine-tune", icon=":material/model_training:"),
            st.Page("pages/encoding.py", title="Encoding", icon=":material/neurology:"),
            st.Page("pages/bottleneck.py", title="Bottleneck", icon=":material/hourglass:"),
            st.Page("pages/classification.py", title="Classification", icon=":material/category:"),
            st.Page("pages/landscape.py", title="Landscape", icon=":material/landscape:"),
            st.Page("pages/lateralization.py", title="Lateralization", icon=":material/flip:"),
            st.Page("pages/concepts.py", title="Concepts", icon=":material/hub:"),
        ]
    )


def run(page: Any) -> None:
    """Run a page with the choices made on the one before, showing deliberate errors as such. For the entry script."""
    st.session_state[_ENTERED] = True
    with errors_shown(), carried_along(page.url_path):
        page.run()


def begin_page(title: str, words: str) -> None:
    """Draw the head of a page: its title, and in a sentence or two what it is for.

    A page must be entered through app.py. Streamlit runs a script in a folder named ``pages`` by itself when a fresh
    server's first visitor follows a link to that page, as it knows of `st.navigation` only once that was called. So
    call it, and begin again.
    """
    if not st.session_state.pop(_ENTERED, False):
        enter()
        st.rerun()
    st.title(title)
    st.write(words)
