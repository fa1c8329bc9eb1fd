"""What the settings of the clustering make of the vertices: concepts over eps and number of participants."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from brainviz.figures.concepts import padded, shade
from brainviz.figures.decoding import CHARACTERS
from brainviz.figures.style import INK, MUTED, Provenance, empty_figure, finish

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

#: Panels of the scan: title, what its lines are, the columns, solid and dotted, and the format of the axis.
SCAN_PANELS = (
    ("concepts", "their number (log axis); dotted: by chance", ("n_concepts", "n_concepts_by_chance"), None),
    ("vertices in concepts", "share of all; dotted: by chance", ("share", "share_by_chance"), ".0%"),
    ("largest concept", "share of all vertices", ("largest", ""), ".0%"),
    ("participants per concept", "solid: mean; dotted: fewest", ("mean_participants", "fewest_participants"), None),
    ("two halves of the seeds", "solid: Rand; dotted: overlap", ("rand", "overlap"), None),
)
ScanPanel = tuple[str, str, tuple[str, str], str | None]

#: Ticks of the number of concepts, which is drawn as log(1 + n): from none to thousands.
COUNTS = (0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000)


def scan_chart(
    table: pd.DataFrame, provenance: Provenance, *, chosen: tuple[float, int] | None, title: str = ""
) -> go.Figure:
    """Draw what the settings of the clustering make of the vertices, in small panels over eps.

    Parameters
    ----------
    table : frame
        Columns ``eps``, ``min_participants``, ``n_concepts``, ``share`` (of all vertices that are in concepts, 0..1),
        ``mean_participants``, ``fewest_participants`` (over concepts), ``largest`` (share of all vertices in the
        largest concept), ``n_concepts_by_chance``, ``share_by_chance`` (of the same weights, every
        participant's turned at random), ``rand``, ``overlap`` (agreement of the clusters from two halves of
        the decoder's seeds; NaN where they were not compared); one row per eps and min_participants.
    provenance : Provenance
    chosen : (float, int) or None
        The eps and min_participants that were used, marked in every panel.
    title : str, optional

    Returns
    -------
    plotly figure
        A point's custom data are its eps, its min_participants and its value.
    """
    from plotly.subplots import make_subplots

    if table.empty:
        return empty_figure("No settings have been tried yet.", provenance, title=title)
    rows = table.sort_values(["min_participants", "eps"])
    # Without concepts there is no number of participants per concept.
    found = rows["n_concepts"] > 0
    rows = rows.assign(**{column: rows[column].where(found) for column in SCAN_PANELS[3][2]})
    figure = make_subplots(
        rows=2,
        cols=3,
        horizontal_spacing=0.09,
        vertical_spacing=0.24,
        specs=[[{}, {}, {}], [{}, {}, None]],
        subplot_titles=[
            f"{words}<br><span style='font-size:11px;color:{MUTED}'>{lines}</span>"
            for words, lines, _, _ in SCAN_PANELS
        ],
    )
    figure.update_annotations(font={"size": 13, "color": INK})
    settings = sorted(set(map(int, rows["min_participants"])))
    shades = {at_least: shade(rank / len(settings)) for rank, at_least in enumerate(settings, start=1)}
    for number, panel in enumerate(SCAN_PANELS):
        _add_scan_panel(figure, rows, number, panel, shades)
        if chosen is not None:
            _mark_chosen(figure, rows, number, panel, chosen)
    eps = sorted(set(rows["eps"]))
    figure.update_xaxes(
        range=padded(eps[0], eps[-1] if len(eps) > 1 else eps[0] + 0.05, 0.06), tickangle=0, nticks=5, zeroline=False
    )
    figure.update_xaxes(title={"text": "eps", "standoff": 4}, row=2)
    figure.update_xaxes(title={"text": "eps", "standoff": 4}, row=1, col=3)
    notes = ["eps: largest cosine distance between neighbours."]
    if chosen is not None and not _chosen(rows, chosen).any():
        notes.append("The settings that were chosen are not in the scan.")
    finish(figure, provenance, height=560, title=title, characters=CHARACTERS, note=" ".join(notes), above=28)
    return figure.update_layout(
        legend={"orientation": "v", "x": 0.74, "xanchor": "left", "y": 0.36, "yanchor": "top", "tracegroupgap": 0}
    )


def _chosen(rows: pd.DataFrame, chosen: tuple[float, int]) -> NDArray[np.bool_]:
    eps, at_least = (rows[name].to_numpy(np.float64) for name in ("eps", "min_participants"))
    return np.asarray(np.isclose(eps, chosen[0], rtol=0, atol=1e-9) & (at_least == chosen[1]))


def _add_scan_panel(
    figure: go.Figure, rows: pd.DataFrame, number: int, panel: ScanPanel, shades: dict[int, str]
) -> None:
    """Draw one quantity, or two, over eps: a line per number of participants."""
    words, _, columns, number_format = panel
    place = _place(number)
    for at_least, colour in shades.items():
        of_setting = rows[rows["min_participants"] == at_least]
        for column, dash in zip(columns, ("solid", "dot"), strict=True):
            if not column or of_setting[column].isna().all():
                continue
            value = f"%{{customdata[2]:{number_format or '.3~f'}}}"
            figure.add_scatter(
                x=of_setting["eps"],
                y=_drawn(of_setting[column], number),
                mode="lines+markers",
                name=f"at least {at_least} other{'s' if at_least != 1 else ''}",
                legendgroup=str(at_least),
                showlegend=number == 0 and dash == "solid",
                line={"color": colour, "width": 2, "dash": dash},
                marker={"size": 5},
                customdata=of_setting[["eps", "min_participants", column]],
                hovertemplate=f"eps %{{x}}, at least {at_least} other participants<br>"
                f"{words} ({column.replace('_', ' ')}): {value}<extra></extra>",
                **place,
            )
    known = rows[[column for column in columns if column]].to_numpy(np.float64)
    nothing = {} if np.isfinite(known).any() else {"range": [0, 1]}
    figure.update_yaxes(tickformat=number_format, rangemode="tozero", nticks=6, **nothing, **place)
    if number == 0:
        most = int(np.nanmax(known, initial=1))
        ticks = [count for count in COUNTS if count <= most]
        figure.update_yaxes(tickvals=np.log1p(ticks), ticktext=[f"{count:,}" for count in ticks], **place)


def _drawn(values: pd.Series, number: int) -> NDArray[np.float64]:
    """Return values of a panel as they are drawn: numbers of concepts on a logarithmic axis that has a 0."""
    drawn = values.to_numpy(np.float64)
    return np.log1p(drawn) if number == 0 else drawn


def _place(number: int) -> dict[str, int]:
    """Return row and column of a panel of the scan."""
    return {"row": number // 3 + 1, "col": number % 3 + 1}


def _mark_chosen(
    figure: go.Figure, rows: pd.DataFrame, number: int, panel: ScanPanel, chosen: tuple[float, int]
) -> None:
    """Mark the chosen eps by a line, and the values of the chosen settings by rings."""
    import pandas as pd

    columns, place = panel[2], _place(number)
    figure.add_vline(chosen[0], line={"color": MUTED, "width": 1, "dash": "dash"}, layer="below", **place)
    picked = rows[_chosen(rows, chosen)]
    drawn = [(row.eps, getattr(row, column)) for row in picked.itertuples() for column in columns if column]
    figure.add_scatter(
        x=[x for x, _ in drawn],
        y=_drawn(pd.Series([y for _, y in drawn], dtype=np.float64), number),
        mode="markers",
        name=f"chosen: eps {chosen[0]:g}, {chosen[1]}",
        legendgroup="chosen",
        showlegend=number == 0 and len(drawn) > 0,
        marker={"symbol": "circle-open", "size": 13, "color": INK, "line": {"width": 2}},
        hoverinfo="skip",
        **place,
    )
