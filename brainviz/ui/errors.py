"""How a deliberate error looks on a page: what is wrong, what was found and expected, how to mend it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from brainviz.errors import BrainvizError

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|<>~$:-])")


def plain(text: str) -> str:
    """Return text with Markdown's signs escaped, so that names and paths are shown as they are."""
    return _MARKDOWN.sub(r"\\\1", text)


def show_error(error: BrainvizError) -> None:
    """Show a deliberate error, one part per line."""
    st.error(plain(str(error)).replace("\n", "  \n"), icon=":material/error:")


@contextmanager
def errors_shown() -> Iterator[None]:
    """Show a `BrainvizError` raised inside instead of a traceback, and end the page there."""
    try:
        yield
    except BrainvizError as error:
        show_error(error)
        st.stop()
