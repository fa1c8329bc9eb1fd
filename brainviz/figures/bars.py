"""Bars per ROI or group of ROIs: vertex counts, correlations and their differences, share of vertices improved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brainviz.datasets.base import HEMISPHERE_NAMES
from brainviz.figures.panels import NOT_SIGNIFICANT, NOT_TESTED, SIGNIFICANT, BarPanels, in_order, keyed
from brainviz.figures.style import HEMISPHERE_COLOURS, MUTED, Provenance, finish, method_colours

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


def count_bars(counts: pd.DataFrame, unit: str, provenance: Provenance) -> go.Figure:
    """Draw the number of vertices of every ROI, hemispheres side by side.

    Parameters
    ----------
    counts : frame
        Columns ``roi``, ``hemi``, ``vertices``.
    unit : str
        What one column of the responses is, e.g. ``"vertex"``.
    provenance : Provenance
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    for hemi in in_order(counts["hemi"], HEMISPHERE_NAMES):
        rows = counts[counts["hemi"] == hemi]
        figure.add_bar(
            x=rows["roi"], y=rows["vertices"], name=HEMISPHERE_NAMES[hemi], marker_color=HEMISPHERE_COLOURS[hemi]
        )
    figure.update_layout(barmode="group")
    figure.update_yaxes(title="vertices" if unit == "vertex" else f"{unit}s")
    figure.update_xaxes(tickangle=-35 if counts["roi"].nunique() > 12 else 0)
    return finish(figure, provenance, height=360)


def correlation_bars(
    scores: pd.DataFrame,
    provenance: Provenance,
    *,
    spread: pd.DataFrame | None = None,
    ceiling: pd.DataFrame | None = None,
    published: pd.DataFrame | None = None,
    label: str = "mean test r",
) -> go.Figure:
    """Draw mean r per ROI, methods side by side, one panel per hemisphere.

    Parameters
    ----------
    scores : frame
        Columns ``subject``, ``hemi``, ``roi``, ``method``, ``r``, ``low``, ``high``, the last two the 95 % bootstrap
        interval over test pictures, or NaN. ROIs are shown in order of first appearance.
    provenance : Provenance
    spread : frame, optional
        Columns ``hemi``, ``roi``, ``method``, ``low``, ``high``: 95 % t interval over subjects.
    ceiling : frame, optional
        Columns ``hemi``, ``roi``, ``low``, ``high``: mean square root of the noise ceiling, of the subject with the
        lowest and of the one with the highest. Drawn as a band behind the bars; a line where both are equal.
    published : frame, optional
        Columns ``hemi``, ``roi``, ``method``, ``r``, as `published_rois` returns them. Drawn are those that have a
        place among the bars.
    label : str
        What r is; title of the axis.

    Returns
    -------
    plotly figure
    """
    chart = BarPanels(
        keyed(scores, series="method", value="r"),
        method_colours(scores["method"]),
        label,
        None if spread is None else keyed(spread, series="method"),
    )
    figure = chart.panels()
    if ceiling is not None:
        chart.add_ceiling(figure, keyed(ceiling))
    chart.add_bars(figure)
    if published is not None:
        chart.add_published(figure, keyed(published, series="method", value="r"))
    return chart.finish(figure, provenance)


def difference_bars(
    differences: pd.DataFrame,
    provenance: Provenance,
    *,
    first: str,
    second: str,
    spread: pd.DataFrame | None = None,
) -> go.Figure:
    """Draw by how much the mean r of one method exceeds another's, per ROI, one panel per hemisphere.

    Parameters
    ----------
    differences : frame
        Columns ``subject``, ``hemi``, ``roi``, ``difference``, ``low``, ``high`` (95 % bootstrap interval over test
        pictures, or NaN), and ``significant``: whether a permutation test over test pictures finds a false discovery
        rate below 0.05, NaN where nothing was tested.
    provenance : Provenance
    first, second : str
        The methods: r of `first` minus r of `second`.
    spread : frame, optional
        Columns ``hemi``, ``roi``, ``low``, ``high``: 95 % t interval over subjects.

    Returns
    -------
    plotly figure
    """
    tested = differences["significant"].notna()
    states = [
        (SIGNIFICANT if said else NOT_SIGNIFICANT) if known else NOT_TESTED
        for said, known in zip(differences["significant"], tested, strict=True)
    ]
    chart = BarPanels(
        keyed(differences, one=f"{first} − {second}", value="difference").assign(state=states),
        {f"{first} − {second}": method_colours([first])[first]},
        f"r of {first} minus r of {second}",
        None if spread is None else keyed(spread, one=f"{first} − {second}"),
        named=False,
    )
    figure = chart.panels()
    chart.add_bars(figure)
    figure.update_yaxes(zeroline=True, zerolinewidth=2)
    return chart.finish(figure, provenance)


def improved_bars(
    shares: pd.DataFrame,
    provenance: Provenance,
    *,
    first: str,
    second: str,
    spread: pd.DataFrame | None = None,
) -> go.Figure:
    """Draw the share of vertices that one method predicts better than another, per ROI, with one half marked.

    Parameters
    ----------
    shares : frame
        Columns ``subject``, ``hemi``, ``roi``, ``improved`` (0..1).
    provenance : Provenance
    first, second : str
        The methods: improved is a vertex with a higher r with `first` than with `second`.
    spread : frame, optional
        Columns ``hemi``, ``roi``, ``low``, ``high``: 95 % t interval over subjects.

    Returns
    -------
    plotly figure
    """
    chart = BarPanels(
        # Nothing else: intervals that the frame may have beside it are those of the difference.
        keyed(shares[["subject", "hemi", "roi", "improved"]], one=f"{first} > {second}", value="improved"),
        {f"{first} > {second}": method_colours([first])[first]},
        f"vertices with higher r:<br>{first} > {second}",
        None if spread is None else keyed(spread, one=f"{first} > {second}"),
        number=".1%",
        named=False,
    )
    figure = chart.panels()
    chart.add_bars(figure)
    figure.add_hline(y=0.5, line={"color": MUTED, "dash": "dot", "width": 1.5})
    figure.update_yaxes(range=[0, 1.03], dtick=0.25, tickformat=".0%")
    return chart.finish(figure, provenance)


def group_bars(
    groups: pd.DataFrame,
    provenance: Provenance,
    *,
    spread: pd.DataFrame | None = None,
    published: pd.DataFrame | None = None,
    label: str = "mean test r",
) -> go.Figure:
    """Draw mean r per group of ROIs, methods side by side.

    Parameters
    ----------
    groups : frame
        Columns ``subject``, ``group``, ``method``, ``r``, ``low``, ``high`` (95 % bootstrap interval over test
        pictures, or NaN). Groups are shown in order of first appearance.
    provenance : Provenance
    spread : frame, optional
        Columns ``group``, ``method``, ``low``, ``high``: 95 % t interval over subjects.
    published : frame, optional
        Columns ``group``, ``method``, ``r``, as `published_groups` returns them. Drawn are those that have a place
        among the bars.
    label : str
        What r is; title of the axis.

    Returns
    -------
    plotly figure
    """
    chart = BarPanels(
        keyed(groups, place="group", series="method", value="r"),
        method_colours(groups["method"]),
        label,
        None if spread is None else keyed(spread, place="group", series="method"),
    )
    figure = chart.panels()
    chart.add_bars(figure)
    if published is not None:
        chart.add_published(figure, keyed(published, place="group", series="method", value="r"))
    return chart.finish(figure, provenance)
