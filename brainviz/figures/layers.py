"""Which layer predicts which ROI best: cross-validated r of every layer, with the layers that subjects chose marked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brainviz.datasets.base import HEMISPHERE_NAMES
from brainviz.figures.panels import appearance
from brainviz.figures.style import INK, LINE_PIXELS, Provenance, finish, method_colours

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

#: Height of a cell, and of the room between two rows of panels.
CELL_PIXELS, GAP_PIXELS = 20, 24
#: Length of the colour bar, title included, at least.
MIN_COLOUR_BAR_PIXELS = 170
#: From so many columns on, names of layers are written upwards.
STEEP = 20


def layer_heatmap(rows: pd.DataFrame, provenance: Provenance) -> go.Figure:
    """Draw mean cross-validated r as ROI x layer: a row of panels per hemisphere, a column of panels per method.

    A cell is the mean over subjects. With one subject its best layers are outlined; with several a number says how many
    subjects have their best layer there.

    Parameters
    ----------
    rows : frame
        Columns ``subject``, ``hemi``, ``roi``, ``method``, ``layer``, ``cv_r``, ``own`` (whether it is the area's best
        layer by cross-validated r). ROIs and layers are shown in order of first appearance: layers are to come in the
        network's order.
    provenance : Provenance

    Returns
    -------
    plotly figure
    """
    from plotly.subplots import make_subplots

    hemispheres = [hemi for hemi in HEMISPHERE_NAMES if (rows["hemi"] == hemi).any()]
    methods, rois = list(method_colours(rows["method"])), appearance(_sequences(rows, "roi"))
    layers = appearance(_sequences(rows, "layer"))
    plot = len(hemispheres) * CELL_PIXELS * max(len(rois), 6) + (len(hemispheres) - 1) * GAP_PIXELS
    figure = make_subplots(
        rows=len(hemispheres),
        cols=len(methods),
        shared_xaxes=True,
        shared_yaxes=True,
        column_titles=methods,
        horizontal_spacing=0.02,
        vertical_spacing=GAP_PIXELS / plot,
    )
    figure.update_annotations(font={"size": 14, "color": INK})
    several = len(set(rows["subject"])) > 1
    for row, hemi in enumerate(hemispheres, start=1):
        for column, method in enumerate(methods, start=1):
            cells = rows[(rows["hemi"] == hemi) & (rows["method"] == method)]
            where = f"{HEMISPHERE_NAMES[hemi]}, %{{customdata[0]}}, %{{customdata[1]}}<br>{method}"
            traces = [_heatmap(cells, rois, layers, where, several)]
            if not several:
                traces += _outlines(cells, rois, layers, legend=(row, column) == (1, 1))
            for trace in traces:
                figure.add_trace(trace, row=row, col=column)
        figure.update_yaxes(title={"text": HEMISPHERE_NAMES[hemi], "font": {"size": 14}}, row=row, col=1)
    steep = len(methods) * len(layers) > STEEP
    figure.update_xaxes(
        tickvals=list(range(len(layers))), ticktext=layers, tickangle=-90 if steep else -45, showgrid=False
    )
    figure.update_yaxes(
        tickvals=list(range(len(rois))), ticktext=rois, range=[len(rois) - 0.5, -0.5], showgrid=False, zeroline=False
    )
    note = "Colour: mean over subjects. Number: subjects whose best layer this is." if several else ""
    below = 24 + round((7.5 if steep else 5.5) * max(map(len, layers)))
    height = plot + 90 + below + 3 * LINE_PIXELS
    finish(figure, provenance, height=height, below=below, characters=110, note=note, above=24)
    figure.update_xaxes(zeroline=False)
    return figure.update_layout(
        coloraxis={
            "colorscale": "Viridis",
            "colorbar": {
                "title": {"text": "mean<br>cross-<br>validated<br>r", "side": "top"},
                "thickness": 14,
                "tickformat": ".2f",
                "lenmode": "pixels",
                "len": max(min(plot, 300), MIN_COLOUR_BAR_PIXELS),
                "y": 1,
                "yanchor": "top",
            },
        }
    )


def _sequences(rows: pd.DataFrame, name: str) -> list[pd.Series]:
    return [part[name] for _, part in rows.groupby(["subject", "hemi", "method"], sort=False)]


def _heatmap(cells: pd.DataFrame, rois: list[str], layers: list[str], where: str, several: bool) -> Any:
    """Return one panel's colours, its numbers if there are several subjects, and what a cell says."""
    import plotly.graph_objects as go

    means = cells.groupby(["roi", "layer"])["cv_r"].mean()
    known = cells.dropna(subset=["cv_r"]).groupby(["roi", "layer"])["subject"].nunique()
    best = cells[cells["own"].astype(bool)].groupby(["roi", "layer"])["subject"].unique()

    def said(roi: str, layer: str) -> list[str]:
        n, names = int(known.get((roi, layer), 0)), sorted(best.get((roi, layer), ()))
        mean = f"mean of {n} subject{'s' if n != 1 else ''}"
        return [roi, layer, mean + (f"<br>best layer of {', '.join(names)}" if names else "")]

    return go.Heatmap(
        z=[[float(means.get((roi, layer), "nan")) for layer in layers] for roi in rois],
        x=list(range(len(layers))),
        y=list(range(len(rois))),
        coloraxis="coloraxis",
        text=[[str(len(best.get((roi, layer), ())) or "") for layer in layers] for roi in rois],
        texttemplate="%{text}" if several else None,
        textfont={"size": 12},
        customdata=[[said(roi, layer) for layer in layers] for roi in rois],
        hoverongaps=False,
        xgap=1,
        ygap=1,
        hovertemplate=f"{where}: cross-validated r %{{z:.3f}}<br>%{{customdata[2]}}<extra></extra>",
    )


def _outlines(cells: pd.DataFrame, rois: list[str], layers: list[str], *, legend: bool) -> list[Any]:
    """Return frames around the best layers: dark within white, to be seen on every colour."""
    import plotly.graph_objects as go

    x: list[float | None] = []
    y: list[float | None] = []
    for roi, layer in zip(*(cells.loc[cells["own"].astype(bool), name] for name in ("roi", "layer")), strict=True):
        right, down = layers.index(layer), rois.index(roi)
        x += [right + side * 0.44 for side in (-1, 1, 1, -1, -1)] + [None]
        y += [down + side * 0.4 for side in (-1, -1, 1, 1, -1)] + [None]
    return [
        go.Scatter(
            x=x,
            y=y,
            mode="lines",
            line={"color": colour, "width": width},
            name="best layer",
            legendgroup="best",
            showlegend=legend and colour == INK,
            hoverinfo="skip",
        )
        for colour, width in (("white", 5), (INK, 2))
    ]
