"""Controls bound to the URL: links restore them, pages hand them on, and they follow what they depend on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypedDict

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from brainviz.ui.errors import plain

#: Characters of a link's parameter that are quoted.
QUOTED = 60

#: Where a session remembers the keys of its bound controls, the page it is on, and that it has just been switched to.
_KEYS, _PAGE, _DRAWN_ONCE = "_bound controls", "_page", "_page drawn once"


class Binding(TypedDict):
    """The arguments of a control that is bound to the URL."""

    key: str
    bind: Literal["query-params"]
    on_change: Callable[[str], None]
    args: tuple[str]


def bound(key: str) -> Binding:
    """Return the arguments that bind a control to the URL under its key."""
    st.session_state.setdefault(_KEYS, {})[key] = True
    return {"key": key, "bind": "query-params", "on_change": _forget_unknown, "args": (key,)}


def say_unknown(key: str, offered: Sequence[str], kind: str, place: Any = st) -> None:
    """Say so when a link names what is not offered here; Streamlit drops it without a word. Call it before the control.

    Parameters
    ----------
    key : str
        The control's.
    offered : sequence of str
        Its options.
    kind : str
        What these are, in a word or two.
    place : Streamlit container, optional
        Where to say it.
    """
    if unknown := _unusable(key, lambda name: name in offered):
        place.warning(f"The link names the {kind} {unknown}, which is not here.", icon=":material/link_off:")


def say_no_number(key: str, label: str, minimum: float | None, maximum: float | None) -> None:
    """Say so when a link gives what cannot be the value of a number's control. Call it before the control.

    Parameters
    ----------
    key, label : str
        The control's.
    minimum, maximum : float or None
        Its limits.
    """

    def usable(text: str) -> bool:
        try:
            number = float(text)
        except ValueError:
            return False
        return (minimum is None or number >= minimum) and (maximum is None or number <= maximum)

    if unusable := _unusable(key, usable):
        st.warning(f"The link gives {unusable} as “{plain(label)}”, which is not possible.", icon=":material/link_off:")


def _unusable(key: str, usable: Callable[[str], bool]) -> str:
    """Return what the link says of a control that is not usable, until the visitor chooses something else."""
    if key not in st.session_state:
        st.session_state[_unknown(key)] = [said for said in st.query_params.get_all(key) if not usable(said)]
    return ", ".join(plain(said[:QUOTED]) for said in st.session_state.get(_unknown(key)) or ())


def _unknown(key: str) -> str:
    """Return where a session remembers what a link named that is not offered."""
    return f"_{key} not offered"


def _forget_unknown(key: str) -> None:
    """Forget it: the visitor has chosen something else."""
    st.session_state.pop(_unknown(key), None)


def follow(key: str, followed: Any, default: Any) -> None:
    """Put a control back to its default when what the default depends on has changed.

    At the first drawing nothing is changed, so that the URL decides. Call it before the control is drawn.

    Parameters
    ----------
    key : str
        The control's.
    followed : object
        What the default depends on, e.g. the data set.
    default : object
    """
    memory = f"_{key} follows"
    if memory in st.session_state and st.session_state[memory] != followed:
        st.session_state[key] = default
    st.session_state[memory] = followed


def keep_among(key: str, options: Sequence[Any], default: Any) -> None:
    """Put a control back to its default when what is chosen is no longer offered. Call it before the control is drawn.

    Parameters
    ----------
    key : str
        The control's.
    options : sequence
        What is offered now.
    default : object
    """
    if key in st.session_state and st.session_state[key] not in options:
        st.session_state[key] = default


def keep_those_among(key: str, options: Sequence[Any]) -> None:
    """Drop from a choice of several what is no longer offered. Call it before the control is drawn."""
    chosen = st.session_state.get(key)
    if chosen and not set(chosen) <= set(options):
        st.session_state[key] = [each for each in chosen if each in options]


@contextmanager
def carried_along(page: str) -> Iterator[None]:
    """Run a page inside this, so that it begins with the choices made on the page before.

    Streamlit draws a page that was just switched to with its controls' defaults, and restores what was chosen elsewhere
    only later. So set the choices beforehand; and, as the browser's address bar was cleared at the switch, run once
    more and write it anew.

    Parameters
    ----------
    page : str
        What tells the page from others.
    """
    before = st.session_state.get(_PAGE, page)
    switched, drawn_once = before != page, st.session_state.pop(_DRAWN_ONCE, False)
    st.session_state[_PAGE] = page
    if switched or drawn_once:
        for key in st.session_state.get(_KEYS, ()):
            if key in st.session_state:
                st.session_state[key] = st.session_state[key]
    try:
        yield
    finally:
        if switched:
            st.session_state[_DRAWN_ONCE] = True
            st.rerun()
        if drawn_once:
            write_address()


def write_address() -> None:
    """Have the browser's address bar show all bound controls: any change of the address sends them all, also none."""
    st.query_params.update()


def came_by_history() -> bool:
    """Return whether this run was asked for by the browser's Back or Forward, so that the address decides."""
    context = get_script_run_ctx()
    return context is not None and context.is_history_navigation
