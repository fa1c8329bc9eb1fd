"""The pages there are, and the head of each."""

from __future__ import annotations

from typing import Any

import streamlit as st

from brainviz.ui.assets import ICON

#: Set by the entry script, once per session.
_ENTERED = "_entered through app.py"


def enter() -> Any:
    """Configure the page, draw the navigation and return the page to run. For the entry script."""
    st.session_state[_ENTERED] = True
    st.set_page_config(page_title="brainviz", page_icon=str(ICON), layout="wide")
    return st.navigation(
        [
            st.Page("pages/data.py", title="Data", icon=":material/database:", default=True),
            st.Page("pages/finetune.py", title="Fine-tune", icon=":material/model_training:"),
            st.Page("pages/encoding.py", title="Encoding", icon=":material/neurology:"),
        ]
    )


def begin_page(title: str, words: str) -> None:
    """Draw the head of a page: its title, and in a sentence or two what it is for.

    A page must be entered through app.py. Streamlit runs a script in a folder named ``pages`` by itself when a fresh
    server's first visitor follows a link to that page, as it knows of `st.navigation` only once that was called. So
    call it, and begin again.
    """
    if _ENTERED not in st.session_state:
        enter()
        st.rerun()
    st.title(title)
    st.write(words)
