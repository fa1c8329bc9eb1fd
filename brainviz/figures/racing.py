"""The training of a bottleneck network as a race of the two hemispheres: which lags, and which epoch was kept."""

from __future__ import annotations

from itertools import groupby, pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainviz.datasets.base import HEMISPHERE_NAMES
from brainviz.figures.curves import FEW_EPOCHS
from brainviz.figures.style import HEMISPHERE_COLOURS, INK, Provenance, empty_figure, escaped, finish

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

#: The column of each hemisphere's curve.
CURVES = {"lh": "s_left", "rh": "s_right"}
#: Share of colour in the band between the curves, and in the curve of one seed among several.
BAND_OPACITY, SEED_OPACITY = 0.3, 0.35
#: Colour of the validation r.
VALIDATION = "#0072B2"
#: Names in the legend, which are shorter than elsewhere, and the order there.
SIDES = {"lh": "left", "rh": "right"}
RANKS = {"lh": 1, "rh": 2, "lh lags": 3, "rh lags": 4, "validation": 5, "kept": 6}
#: Characters of a line below a figure, which is read on narrow screens, too.
CHARACTERS = 80


def race_chart(curves: pd.DataFrame, provenance: Provenance, *, title: str = "") -> go.Figure:
    """Draw how near both hemispheres come to their targets over the epochs, and the validation r that chose one.

    Parameters
    ----------
    curves : frame
        Columns ``stage`` (its name, in the order in which they are trained), ``seed``, ``epoch`` (from 1), ``s_left``,
        ``s_right`` (mean cosines), ``validation_r`` and ``kept`` (whether the epoch was kept).
    provenance : Provenance
    title : str, optional

    Returns
    -------
    plotly figure
        Stages side by side, each on axes of its own, as the gaps of the later one are small; cosines above, validation
        r below. Between the curves there is a band in the colour of the hemisphere that lags. Of several seeds the
        means are drawn, and each seed as a thin line.
    """
    from plotly.subplots import make_subplots

    if curves.empty:
        return empty_figure("No network has been trained yet.", provenance, title=title)
    stages = list(dict.fromkeys(curves["stage"]))
    figure = make_subplots(
        rows=2,
        cols=len(stages),
        shared_xaxes=True,
        row_heights=[0.64, 0.36],
        horizontal_spacing=0.1,
        vertical_spacing=0.07,
        column_titles=[escaped(stage) for stage in stages],
    )
    figure.update_annotations(font={"size": 14, "color": INK})
    for column, stage in enumerate(stages, start=1):
        rows = curves[curves["stage"] == stage]
        _add_race(figure, rows, {"row": 1, "col": column})
        _add_validation(figure, rows, {"row": 2, "col": column})
        last = int(rows["epoch"].max())
        figure.update_xaxes(dtick=1 if last <= FEW_EPOCHS else None, col=column)
        figure.update_xaxes(title={"text": "epoch", "font": {"size": 14}}, row=2, col=column)
    for row, words in enumerate(("S, mean cosine", "validation r"), start=1):
        figure.update_yaxes(title={"text": words, "font": {"size": 14}}, row=row, col=1)
    seeds = curves["seed"].nunique()
    note = (
        "S: mean cosine of predicted and true components, over the pictures of an epoch as they are trained on: with "
        "dropout, and where there is a leak, with the targets leaking in. Between the curves: the hemisphere that lags."
        + (f" Bold: mean over {seeds} seeds; thin: each seed." if seeds > 1 else "")
    )
    return finish(figure, provenance, height=540, title=title, characters=CHARACTERS, note=note, above=24)


def lag_bands(epochs: ArrayLike, left: ArrayLike, right: ArrayLike) -> dict[str, list[NDArray[np.float64]]]:
    """Return the areas between two curves as polygons, by the hemisphere whose curve is the lower one there.

    Parameters
    ----------
    epochs, left, right : (E,) arrays

    Returns
    -------
    dict of str to list of (n, 2) arrays
        ``"lh"`` and ``"rh"`` -> corners as x and y, around; where the curves cross between epochs, a polygon ends.
    """
    x, both = np.asarray(epochs, np.float64), np.stack([left, right]).astype(np.float64)
    points = [(x[0], *both[:, 0])] if len(x) else []
    for before, after in pairwise(range(len(x))):
        ahead, then = both[0, [before, after]] - both[1, [before, after]]
        if ahead * then < 0:
            share = ahead / (ahead - then)
            crossing = both[:, before] + share * (both[:, after] - both[:, before])
            points.append((x[before] + share * (x[after] - x[before]), *crossing))
        points.append((x[after], *both[:, after]))
    bands: dict[str, list[NDArray[np.float64]]] = {hemi: [] for hemi in CURVES}
    for lags, pairs in groupby(pairwise(points), key=_lagging):
        if lags:
            first, *others = pairs
            corners = [first[0], first[1], *(pair[1] for pair in others)]
            upper = [(at, max(one, other)) for at, one, other in corners]
            lower = [(at, min(one, other)) for at, one, other in reversed(corners)]
            bands[lags].append(np.array([*upper, *lower]))
    return bands


def _lagging(pair: tuple[tuple[float, float, float], tuple[float, float, float]]) -> str:
    """Return which curve is the lower one between two points that have no crossing between them."""
    ahead = sum(left - right for _, left, right in pair)
    return "" if ahead == 0 else "rh" if ahead > 0 else "lh"


def _add_race(figure: go.Figure, rows: pd.DataFrame, place: dict[str, int]) -> None:
    """Draw one stage's two curves, the band between them, and each seed where there are several."""
    mean = rows.groupby("epoch")[list(CURVES.values())].mean()
    first = place["col"] == 1
    for hemi, polygons in lag_bands(mean.index, *(mean[column] for column in CURVES.values())).items():
        corners = [np.vstack([polygon, [[np.nan, np.nan]]]) for polygon in polygons]
        x, y = np.vstack(corners)[:-1].T if corners else ([], [])
        named = not any(trace.legendgroup == f"{hemi} lags" for trace in figure.data)
        if corners:
            figure.add_scatter(
                x=x,
                y=y,
                mode="lines",
                fill="toself",
                fillcolor=_faint(HEMISPHERE_COLOURS[hemi], BAND_OPACITY),
                line={"width": 0},
                name=f"{SIDES[hemi]} lags",
                legendgroup=f"{hemi} lags",
                legendrank=RANKS[f"{hemi} lags"],
                showlegend=named,
                hoverinfo="skip",
                **place,
            )
    for hemi, column in CURVES.items():
        _add_seeds(figure, rows, column, HEMISPHERE_COLOURS[hemi], place)
        figure.add_scatter(
            x=mean.index,
            y=mean[column],
            mode="lines+markers",
            name=f"S, {SIDES[hemi]}",
            legendgroup=hemi,
            legendrank=RANKS[hemi],
            showlegend=first,
            line={"color": HEMISPHERE_COLOURS[hemi], "width": 2.4},
            marker={"size": 5},
            hovertemplate=f"epoch %{{x}}<br>{HEMISPHERE_NAMES[hemi]}: S %{{y:.3f}}<extra></extra>",
            **place,
        )


def _add_validation(figure: go.Figure, rows: pd.DataFrame, place: dict[str, int]) -> None:
    """Draw one stage's validation r, with a ring round every epoch that was kept."""
    mean = rows.groupby("epoch")["validation_r"].mean()
    first = place["col"] == 1
    _add_seeds(figure, rows, "validation_r", VALIDATION, place)
    figure.add_scatter(
        x=mean.index,
        y=mean,
        mode="lines+markers",
        name="validation r",
        legendgroup="validation",
        legendrank=RANKS["validation"],
        showlegend=first,
        line={"color": VALIDATION, "width": 2},
        marker={"size": 5},
        hovertemplate="epoch %{x}<br>validation r %{y:.3f}<extra></extra>",
        **place,
    )
    kept = rows[rows["kept"]]
    figure.add_scatter(
        x=kept["epoch"],
        y=kept["validation_r"],
        mode="markers",
        name="epoch kept",
        legendgroup="kept",
        legendrank=RANKS["kept"],
        showlegend=first,
        marker={"symbol": "circle-open", "size": 13, "color": INK, "line": {"width": 2}},
        customdata=kept["seed"],
        hovertemplate="epoch %{x} was kept<br>validation r %{y:.3f}, seed %{customdata}<extra></extra>",
        **place,
    )


def _add_seeds(figure: go.Figure, rows: pd.DataFrame, column: str, colour: str, place: dict[str, int]) -> None:
    """Draw each seed's curve as a thin line, where there are several."""
    of_seeds = list(rows.groupby("seed"))
    for seed, own in of_seeds if len(of_seeds) > 1 else ():
        figure.add_scatter(
            x=own["epoch"],
            y=own[column],
            mode="lines",
            name=f"seed {seed}",
            showlegend=False,
            line={"color": _faint(colour, SEED_OPACITY), "width": 1},
            hovertemplate=f"epoch %{{x}}, seed {seed}: %{{y:.3f}}<extra></extra>",
            **place,
        )


def _faint(colour: str, opacity: float) -> str:
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {opacity})"
