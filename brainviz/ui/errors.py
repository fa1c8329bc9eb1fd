"""How a page shows a deliberate error (what is wrong, got, expected, how to mend it), and how it ends early."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import streamlit as st

from brainviz.errors import BrainvizError

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|<>~$&:-])")


def plain(text: str) -> str:
    """Return text with Markdown's signs escaped, so that names and paths are shown as they are."""
    return _MARKDOWN.sub(r"\\\1", text)


def show_error(error: BrainvizError) -> None:
    """Show a deliberate error, one part per line."""
    st.error(plain(str(error)).replace("\n", "  \n"), icon=":material/error:")


class PageEnd(Exception):  # noqa: N818 - no error
    """There is nothing more to draw on a page."""


def end_page() -> NoReturn:
    """End a page here. `st.stop` would do as much, but forbids to run the page again: see `binding.carried_along`."""
    raise PageEnd


@contextmanager
def errors_shown() -> Iterator[None]:
    """Show a `BrainvizError` raised inside instead of a traceback, and go on after the block."""
    try:
        yield
    except BrainvizError as error:
        show_error(error)
    except PageEnd:
        pass
