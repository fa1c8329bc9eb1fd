"""Provenance in words and as fields, and its place under every figure."""

import plotly.graph_objects as go

from brainviz import __version__
from brainviz.figures.style import PLOTLY_CONFIG, Provenance, finish


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
