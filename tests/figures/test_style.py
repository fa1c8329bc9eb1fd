"""Provenance in words and as fields, and its place under every figure; colours of methods."""

from itertools import combinations

import numpy as np
import plotly.graph_objects as go
import pytest
from numpy.typing import NDArray

from brainviz import __version__
from brainviz.figures.style import (
    METHOD_COLOURS,
    OTHER_METHOD_COLOURS,
    PLOTLY_CONFIG,
    Provenance,
    distinct,
    empty_figure,
    escaped,
    finish,
    method_colours,
    signed,
    thinned,
)

#: Full colour blindness of each kind, on linear RGB (Machado, Oliveira & Fernandes 2009, IEEE TVCG 15:1291).
VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900],
    ],
}  # fmt: skip


def cielab(colour: str, vision: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert sRGB, as seen with this vision, to CIE L*a*b* under D65."""
    rgb = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(vision @ linear, 0, 1) / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISION)
def test_methods_are_told_apart_with_any_colour_vision(vision: str) -> None:
    seen = {name: cielab(colour, np.array(VISION[vision])) for name, colour in METHOD_COLOURS.items()}
    # A difference of 2 is just noticeable; 20 is plain even for small marks.
    assert min(np.linalg.norm(seen[a] - seen[b]) for a, b in combinations(seen, 2)) > 20


def test_methods_have_their_colours_in_a_fixed_order() -> None:
    assert list(method_colours(["contrastive", "untuned", "random", "regression", "untuned"])) == [
        "random", "untuned", "regression", "contrastive",
    ]  # fmt: skip
    assert method_colours(["contrastive"]) == {"contrastive": METHOD_COLOURS["contrastive"]}


def test_unknown_methods_come_last_with_colours_of_their_own() -> None:
    colours = method_colours(["pooled", "untuned", "bottleneck"])
    assert list(colours) == ["untuned", "bottleneck", "pooled"]
    assert [colours["bottleneck"], colours["pooled"]] == list(OTHER_METHOD_COLOURS[:2])
    assert len(method_colours(f"m{n}" for n in range(9))) == 9


def test_signed_values_have_a_true_minus_sign() -> None:
    assert (signed(-0.12345), signed(0.5)) == ("−0.123", "0.500")


def test_line_names_everything(provenance: Provenance) -> None:
    assert provenance.line() == (
        f"demo · subj01 · V1v, V1d · 15% test pictures · contrastive · run abababab · brainviz {__version__}"
    )


def test_line_stays_short_with_many_runs_and_rois() -> None:
    many = Provenance("d", "s", tuple(f"R{n}" for n in range(9)), runs=tuple(f"{n:064x}" for n in range(10)))
    assert "R5 and 3 more" in many.line()
    assert "and 6 more" in many.line()
    assert len(many.fields()["runs"]) == 10


def test_fields_leave_out_what_is_not_known() -> None:
    assert Provenance("d", "s").fields() == {"dataset": "d", "subject": "s", "version": __version__}


def test_finish_prints_the_provenance_and_breaks_long_lines(provenance: Provenance) -> None:
    wide, narrow = (finish(go.Figure(), provenance, height=300, characters=n) for n in (130, 40))
    assert wide.layout.annotations[0].text == provenance.line()
    assert narrow.layout.annotations[0].text.replace("<br>", " ") == provenance.line()
    assert narrow.layout.margin.b > wide.layout.margin.b


def test_nothing_is_sent_to_a_cloud() -> None:
    assert PLOTLY_CONFIG["showSendToCloud"] is False


def test_finish_prints_the_note_before_the_provenance(provenance: Provenance) -> None:
    plain = finish(go.Figure(), provenance, height=300)
    noted = finish(go.Figure(), provenance, height=300, note="How to read this.")
    printed = {a.name: a for a in noted.layout.annotations}
    assert printed["note"].text == "How to read this."
    assert printed["note"].yshift > printed["provenance"].yshift
    assert printed["provenance"].text == provenance.line()
    assert noted.layout.margin.b > plain.layout.margin.b
    assert [a.name for a in plain.layout.annotations] == ["provenance"]


def test_finish_leaves_room_for_titles_of_panels_below_the_legend(provenance: Provenance) -> None:
    plain, roomy = (finish(go.Figure(), provenance, height=300, above=above) for above in (0, 24))
    assert roomy.layout.margin.t == plain.layout.margin.t + 24
    plot = 300 - roomy.layout.margin.t - roomy.layout.margin.b
    assert (roomy.layout.legend.y - plain.layout.legend.y) * plot == pytest.approx(24)


def test_names_are_shown_letter_by_letter() -> None:
    assert escaped("<b>V1 & V2</b>") == "&lt;b&gt;V1 &amp; V2&lt;/b&gt;"
    # Plotly does not know the entities of quotation marks.
    assert escaped('a "crane\'s"') == 'a "crane\'s"'


def test_names_of_an_axis_are_told_apart_and_otherwise_left_alone() -> None:
    assert distinct(["crane", "dog", "crane", "crane", "a<b"]) == ["crane", "dog", "crane (2)", "crane (3)", "a&lt;b"]
    assert distinct(["crane", "crane (2)", "crane"]) == ["crane", "crane (2)", "crane (3)"]


@pytest.mark.parametrize(("n", "most", "step"), [(40, 40, 1), (41, 40, 2), (80, 40, 2), (81, 40, 3), (0, 40, 1)])
def test_labels_are_thinned_evenly_to_the_number_asked_for(n: int, most: int, step: int) -> None:
    labels = [str(number) for number in range(n)]
    assert thinned(labels, most) == labels[::step]
    assert len(thinned(labels, most)) <= most


def test_a_figure_without_data_says_why_and_has_no_axes(provenance: Provenance) -> None:
    figure = empty_figure("Nothing yet.", provenance, title="Accuracy")
    printed = {annotation.name: annotation.text for annotation in figure.layout.annotations}
    assert printed == {"empty": "Nothing yet.", "provenance": provenance.line()}
    assert (figure.layout.xaxis.visible, figure.layout.yaxis.visible) == (False, False)
    assert figure.layout.title.text == "Accuracy"


def test_the_line_of_provenance_is_shown_letter_by_letter():
    figure = finish(go.Figure(), Provenance("demo", "subj01", method="<b>bold</b> & plain"), height=300)
    drawn = "".join(annotation.text for annotation in figure.layout.annotations)
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; plain" in drawn
    assert "<b>bold" not in drawn
