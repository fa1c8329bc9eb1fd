"""How methods are compared: one row of controls, bound to the URL."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from brainviz.ui.binding import bound, keep_among, say_unknown
from brainviz.ui.comparison import OWN_BEST, PROTOCOL, TEST_R, How

#: The comparison that the page is there for.
USUAL = ("contrastive", "untuned")


def pick_how(methods: Sequence[str], layers: Sequence[str]) -> How:
    """Draw the controls of a comparison.

    Parameters
    ----------
    methods : sequence of str
        Those chosen.
    layers : sequence of str
        Those that the encoding models were fitted on.
    """
    first, second = default_pair(methods)
    # Widths instead of columns: where the page is narrow, the row wraps, and nothing is cut off.
    with st.container(border=True, horizontal=True, vertical_alignment="bottom"):
        layer = _pick("Layer", "layer", [OWN_BEST, *layers], OWN_BEST, LAYER_HELP, 160)
        score = _pick("Score", "score", [TEST_R, PROTOCOL], TEST_R, SCORE_HELP, 175)
        a = _pick("A", "a", methods, first, A_HELP, 135)
        b = _pick("B", "b", methods, second, "The method that A is compared with.", 135)
        published = st.toggle("Published", **bound("published"), help=PUBLISHED_HELP, width="content")
    if a == b and len(methods) > 1:
        st.info("A and B are the same method: choose two to see a difference.", icon=":material/arrow_upward:")
    return How(layer, score, None if a == b else (a, b), published)


def default_pair(methods: Sequence[str]) -> tuple[str, str]:
    """Return which methods A and B are at first: contrastive against untuned, or the second against the first."""
    if set(USUAL) <= set(methods):
        return USUAL
    return (methods[1], methods[0]) if len(methods) > 1 else (methods[0], methods[0])


LAYER_HELP = (
    f"“{OWN_BEST}”: every method at its own best layer of each ROI, chosen by cross-validation inside the training "
    "pictures. Or all methods at one layer: that hides most of what tuning gains (published: .390 → .393 over all "
    "ROIs, against .366 → .386 at own best layers), as tuning changes which layer is best."
)
A_HELP = "The method whose advantage over B is shown: differences are A minus B."
SCORE_HELP = (
    f"“{TEST_R}”: r on pictures that nothing was fitted or chosen on. “{PROTOCOL}”: r cross-validated inside those "
    "held-out pictures, at the penalty and layer which that same cross-validation chose; optimistic, and here only to "
    "compare with published numbers."
)
PUBLISHED_HELP = (
    "Lays the values of Mulrooney & Brockmeier 2024 beside yours. Another protocol on other data produced them: see "
    "the note under the figures."
)


def _pick(label: str, key: str, options: Sequence[str], default: str, help: str, pixels: int) -> str:
    keep_among(key, options, default)
    say_unknown(key, options, label)
    return st.selectbox(label, options, index=list(options).index(default), **bound(key), help=help, width=pixels)
