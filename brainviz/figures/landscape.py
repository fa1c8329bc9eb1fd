"""The model landscape: models as points, how much its axes explain, and the dissimilarities behind it."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from brainviz.datasets.base import ALL_VERTICES, HEMISPHERE_NAMES, ROI_UNIONS
from brainviz.errors import SpecError
from brainviz.figures.style import (
    CATEGORY_COLOURS,
    HEMISPHERE_COLOURS,
    INK,
    LINE_PIXELS,
    METHOD_COLOURS,
    MUTED,
    Provenance,
    distinct,
    empty_figure,
    escaped,
    finish,
    method_colours,
    signed,
    thinned,
)

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

#: What points can be coloured by: names, and numbers with the title and format of their colour bar.
CATEGORIES = ("roi", "group", "hemi", "subject", "method")
QUANTITIES = {"accuracy": ("accuracy", ".0%"), "r": ("mean r", ".2f")}
#: ROIs in the order of their colours (methods, section 11), so that one has the same colour whichever others are there.
ROI_ORDER = (
    *("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4", "EBA", "FBA-1", "FBA-2", "mTL-bodies"),
    *("OFA", "FFA-1", "FFA-2", "mTL-faces", "aTL-faces", "OPA", "PPA", "RSC"),
    *("OWFA", "VWFA-1", "VWFA-2", "mfs-words", "mTL-words"),
    *("early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal"),
    *(*ROI_UNIONS, ALL_VERTICES),
)
#: Symbols of categories: with every further one the ten colours can be used again. Also known in three dimensions.
SYMBOLS = ("circle", "square", "circle-open", "square-open")
#: Models that are tuned to nothing, which have symbols of their own. In three dimensions plotly has no star, and its x
#: is a letter that many fonts lack.
REFERENCES = {
    2: {"untuned": "star", "random": "diamond", "oracle": "cross"},
    3: {"untuned": "square", "random": "diamond", "oracle": "cross"},
}
#: Where their names stand: they may lie close together.
NAME_SIDES = {"untuned": "top center", "random": "bottom center", "oracle": "middle right"}
#: Names of what a category lacks, and of a number that is missing.
NONE, UNKNOWN = "none", "not known"
#: Up to so many tuned models, their names are printed unless the caller says otherwise.
NAMED_MODELS = 12
#: Above this many names, the legend is a column on the right.
WIDE_LEGEND = 6
#: Pixels of the figure, which grows with the legend, and of one of its lines.
HEIGHT, LEGEND_PIXELS = 600, 22
#: At most so many models are named on an axis of the heat map.
MODEL_LABELS = 60
#: Pixels of a model in the heat map, and the least and most of the whole.
CELL_PIXELS, LEAST_PIXELS, MOST_PIXELS = 16, 360, 620
#: How pale a path begins in three dimensions, as a share of its colour.
FIRST_OPACITY = 0.2


def landscape_scatter(
    table: pd.DataFrame,
    provenance: Provenance,
    *,
    colour: str,
    dimensions: int = 2,
    axes: Sequence[str] = ("x", "y", "z"),
    path: Sequence[str] | None = None,
    labels: bool | None = None,
    order: Sequence[str] = (),
    title: str = "",
) -> go.Figure:
    """Draw models as points whose distances tell how much their class probabilities differ.

    A unit has the same length along every axis. Untuned and random models and the oracle, which have no ROI, are black
    symbols with their names.

    Parameters
    ----------
    table : frame
        Columns ``x``, ``y``, with three dimensions ``z``, ``model`` (its name), ``subject``, ``hemi``, ``roi``,
        ``group``, ``method``, ``accuracy`` (0..1), ``r``, ``run``. What does not apply is an empty string or NaN.
        Models without coordinates are left out, and the note says how many.
    provenance : Provenance
    colour : {"roi", "group", "hemi", "subject", "method", "accuracy", "r"}
        What the colours of points mean.
    dimensions : {2, 3}
    axes : sequence of str
        Titles of the axes, one per dimension, e.g. ``"InPCA 1 (+)"`` or ``"InPCA 3 (−, imaginary)"``.
    path : sequence of str, optional
        ROIs: a line runs through the mean coordinates of each, in this order, for every hemisphere of every subject
        and every method; towards the arrow head, or in three dimensions from pale to full colour.
    labels : bool, optional
        Whether to print the name of every model; by default if they are few.
    order : sequence of str, optional
        All categories in the order of their colours (the data set's subjects, say), so that one keeps its colour
        whichever others are drawn. Without it ROIs have a fixed order, and other names are sorted.
    title : str, optional

    Returns
    -------
    plotly figure
        A point's custom data are the id of its run and the name of its model.

    Raises
    ------
    SpecError
        An unknown `colour`, not 2 or 3 dimensions, or fewer titles than axes.
    """
    import plotly.graph_objects as go

    _require(colour, dimensions, axes)
    coordinates = ["x", "y", "z"][:dimensions]
    drawn = table[np.isfinite(table[coordinates].to_numpy(np.float64)).all(axis=1)]
    if drawn.empty:
        return empty_figure("No model has a place in this landscape yet.", provenance, title=title)
    is_reference = drawn["method"].isin(REFERENCES[dimensions]) & ~drawn["roi"].map(_said)
    models, references = drawn[~is_reference], drawn[is_reference]
    figure = go.Figure()
    if path:
        _add_paths(figure, models, path, coordinates)
    named = len(models) <= NAMED_MODELS if labels is None else labels
    size = (11.0 if len(models) <= 60 else 8.0) * (1 if dimensions == 2 else 0.6)
    add = _add_categories if colour in CATEGORIES else _add_quantity
    for name, rows, marker in add(models, colour, order):
        points = _points(rows, coordinates, named, {"size": size, **marker})
        figure.add_trace(points.update(name=name, showlegend=name != ""))
    for method, symbol in REFERENCES[dimensions].items():
        rows = references[references["method"] == method]
        if len(rows):
            marker = {"size": 1.5 * size, "color": "#000000", "symbol": symbol}
            point = _points(rows, coordinates, True, marker)
            figure.add_trace(point.update(name=method, showlegend=False, textposition=NAME_SIDES[method]))
    if dimensions == 2:
        figure.update_layout(dragmode="lasso")
        figure.update_xaxes(title=axes[0])
        # Distances are what is meant: a unit is as long upwards as to the right.
        figure.update_yaxes(title=axes[1], scaleanchor="x", scaleratio=1)
    else:
        scene = {f"{name}axis": {"title": {"text": axes[at]}} for at, name in enumerate(coordinates)}
        figure.update_layout(scene={**scene, "aspectmode": "data"})
    through = [name for name in path or () if name in set(models["roi"])]
    note = _note(figure, through, left_out=len(table) - len(drawn), subjects=models["subject"].nunique())
    named_in_legend = sum(bool(trace.showlegend) for trace in figure.data)
    height = max(HEIGHT, LEGEND_PIXELS * named_in_legend + 140)
    below = 56 if dimensions == 2 else 16
    finish(figure, provenance, height=height, title=title, below=below, characters=100, note=note)
    if colour in QUANTITIES:
        text, number = QUANTITIES[colour]
        bar = {"title": {"text": text}, "tickformat": number, "thickness": 14}
        figure.update_layout(coloraxis={"colorscale": "Viridis", "colorbar": bar})
    if named_in_legend > WIDE_LEGEND:
        figure.update_layout(legend={"orientation": "v", "x": 1.02, "xanchor": "left", "y": 1, "yanchor": "top"})
    return figure.update_layout(legend={"itemsizing": "constant", "tracegroupgap": 0})


def _require(colour: str, dimensions: int, axes: Sequence[str]) -> None:
    known = (*CATEGORIES, *QUANTITIES)
    if colour not in known:
        raise SpecError("Models cannot be coloured by this.", got=colour, expected=", ".join(known))
    if dimensions not in REFERENCES:
        raise SpecError("A landscape has 2 or 3 dimensions.", got=str(dimensions), expected="2 or 3")
    if len(axes) < dimensions:
        raise SpecError("Every axis needs a title.", got=f"{len(axes)} titles", expected=f"{dimensions} titles")


def _said(name: object) -> bool:
    """Whether a cell of the table holds a name."""
    return isinstance(name, str) and name != ""


def _points(rows: pd.DataFrame, coordinates: Sequence[str], named: bool, marker: Mapping[str, Any]) -> Any:
    """Return models as points, with what a click and a hover tell."""
    import plotly.graph_objects as go

    kind = go.Scatter if len(coordinates) == 2 else go.Scatter3d
    return kind(
        **{name: rows[name].to_numpy(np.float64) for name in coordinates},
        mode="markers+text" if named else "markers",
        text=[escaped(model) for model in rows["model"]] if named else None,
        textposition="top center",
        textfont={"size": 12, "color": INK},
        marker={"line": {"color": "white", "width": 0.8}, **marker},
        customdata=rows[["run", "model"]],
        hovertext=[_model_in_words(row) for row in rows.itertuples()],
        hoverinfo="text",
    )


def _model_in_words(row: Any) -> str:
    """Return the hover text of a model: its name in bold, and what of the rest there is."""
    where = [row.subject, HEMISPHERE_NAMES.get(row.hemi, row.hemi), row.roi]
    lines = [
        f"<b>{escaped(row.model)}</b>",
        ", ".join(escaped(part) for part in where if _said(part)),
        ", ".join(escaped(part) for part in (row.group, row.method) if _said(part)),
        f"accuracy {row.accuracy:.1%}" if row.accuracy == row.accuracy else "",
        f"mean r {signed(row.r)}" if row.r == row.r else "",
        f"run {escaped(row.run)[:8]}" if _said(row.run) else "",
    ]
    return "<br>".join(filter(None, lines))


def _add_categories(
    models: pd.DataFrame, colour: str, order: Sequence[str]
) -> Iterator[tuple[str, pd.DataFrame, dict[str, Any]]]:
    """Yield the models of every category with their name and their marker; those of none come last."""
    has_one = models[colour].map(_said)
    for name, marker in _markers(models.loc[has_one, colour], colour, order).items():
        shown = HEMISPHERE_NAMES.get(name, name) if colour == "hemi" else name
        yield escaped(shown), models[models[colour] == name], marker
    if not has_one.all():
        yield NONE, models[~has_one], {"color": MUTED, "symbol": "circle-open"}


def _markers(names: Iterable[str], colour: str, order: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return colour and symbol of every name that is present, in the order of the legend."""
    present = set(names)
    if colour == "method":
        return {name: {"color": shade, "symbol": SYMBOLS[0]} for name, shade in method_colours(present).items()}
    if colour == "hemi":
        others = dict.fromkeys(sorted(present - set(HEMISPHERE_COLOURS)), INK)
        shades = {name: shade for name, shade in HEMISPHERE_COLOURS.items() if name in present} | others
        return {name: {"color": shade, "symbol": SYMBOLS[0]} for name, shade in shades.items()}
    first = order or (ROI_ORDER if colour == "roi" else ())
    every = list(dict.fromkeys([*first, *sorted(present)]))
    ranks = {name: rank for rank, name in enumerate(every) if name in present}
    n = len(CATEGORY_COLOURS)
    return {
        name: {"color": CATEGORY_COLOURS[rank % n], "symbol": SYMBOLS[rank // n % len(SYMBOLS)]}
        for name, rank in ranks.items()
    }


def _add_quantity(
    models: pd.DataFrame, colour: str, order: Sequence[str]
) -> Iterator[tuple[str, pd.DataFrame, dict[str, Any]]]:
    """Yield the models with a number, coloured by it, and those without one."""
    known = models[colour].notna()
    if known.any():
        yield "", models[known], {"color": models.loc[known, colour].to_numpy(np.float64), "coloraxis": "coloraxis"}
    if not known.all():
        yield UNKNOWN, models[~known], {"color": MUTED, "symbol": "circle-open"}


def _add_paths(figure: go.Figure, models: pd.DataFrame, path: Sequence[str], coordinates: Sequence[str]) -> None:
    """Draw a line through the means of the ROIs for every method, subject and hemisphere."""
    import plotly.graph_objects as go

    on_path = models[models["roi"].isin(path)].fillna({"subject": "", "hemi": ""})
    for key, rows in on_path.groupby(["method", "subject", "hemi"]):
        hemi = str(key[2])
        means = rows.groupby("roi")[list(coordinates)].mean()
        stops = means.loc[[roi for roi in path if roi in means.index]].to_numpy(np.float64)
        if len(stops) < 2:
            continue
        shade = HEMISPHERE_COLOURS.get(hemi, MUTED)
        look = {
            "mode": "lines",
            "name": ", ".join(["path", *([HEMISPHERE_NAMES.get(hemi, escaped(hemi))] if hemi else [])]),
            "legendgroup": f"path {hemi}",
            "showlegend": False,
            "hoverinfo": "skip",
        }
        if not any(trace.legendgroup == f"path {hemi}" for trace in figure.data):
            # The legend's own, as it cannot show a line that changes its colour.
            kind = go.Scatter if len(coordinates) == 2 else go.Scatter3d
            entry = kind(**{name: [None] for name in coordinates}, line={"color": shade, "width": 2}, **look)
            figure.add_trace(entry.update(showlegend=True))
        if len(coordinates) == 3:
            pale = _mixed(shade, "#FFFFFF", FIRST_OPACITY)
            line = {"color": np.arange(len(stops)), "colorscale": [[0, pale], [1, shade]], "width": 4}
            figure.add_trace(go.Scatter3d(x=stops[:, 0], y=stops[:, 1], z=stops[:, 2], line=line, **look))
            continue
        figure.add_trace(go.Scatter(x=stops[:, 0], y=stops[:, 1], line={"color": shade, "width": 1.5}, **look))
        if (stops[-1] != stops[-2]).any():
            figure.add_annotation(
                **dict(zip(("ax", "ay", "x", "y"), (*stops[-2], *stops[-1]), strict=True)),
                **{"axref": "x", "ayref": "y", "xref": "x", "yref": "y"},
                name="path",
                text="",
                showarrow=True,
                arrowhead=2,
                arrowsize=1.3,
                arrowwidth=1.5,
                arrowcolor=shade,
            )


def _mixed(colour: str, other: str, share: float) -> str:
    """Return a mixture of two colours, `share` of the first."""
    pairs = [(int(colour[at : at + 2], 16), int(other[at : at + 2], 16)) for at in (1, 3, 5)]
    return "#" + "".join(f"{round(share * first + (1 - share) * second):02X}" for first, second in pairs)


def _note(figure: go.Figure, path: Sequence[str], *, left_out: int, subjects: int) -> str:
    """Return in words what lines are, and how many models have no place."""
    parts = []
    if any((trace.legendgroup or "").startswith("path") for trace in figure.data):
        each = "hemisphere, subject and method" if subjects > 1 else "hemisphere and method"
        parts.append(f"Lines: through the means of {', '.join(map(escaped, path))}, in this order, per {each}.")
    if left_out:
        parts.append(f"{left_out} model{'s' if left_out > 1 else ''} without coordinates left out.")
    return " ".join(parts)


def stress_curve(stress: ArrayLike, signs: ArrayLike, provenance: Provenance, *, title: str = "") -> go.Figure:
    """Draw how much of the dissimilarities the first axes of InPCA explain together.

    Parameters
    ----------
    stress : (k,) array
        Explained stress of the first 1 .. k axes, 0..1.
    signs : (k,) array
        Sign of each axis' eigenvalue: distances along an axis with a negative one are imaginary.
    provenance : Provenance
    title : str, optional

    Returns
    -------
    plotly figure

    Raises
    ------
    SpecError
        Not as many signs as values.

    References
    ----------
    Mao et al. 2024, PNAS 121(12):e2310002121.
    """
    import plotly.graph_objects as go

    values, marks = np.asarray(stress, np.float64), np.sign(np.asarray(signs, np.float64))
    if values.ndim != 1 or values.shape != marks.shape:
        raise SpecError(
            "Every axis has one explained stress and one sign.",
            got=f"shapes {values.shape} and {marks.shape}",
            expected="two arrays of one length",
        )
    if not np.isfinite(values).any():
        return empty_figure("No axis is known yet.", provenance, title=title)
    figure = go.Figure()
    numbers = np.arange(1, len(values) + 1)
    figure.add_scatter(
        x=numbers, y=values, mode="lines", line={"color": MUTED, "width": 1.5}, hoverinfo="skip", showlegend=False
    )
    looks = (
        (1, "positive eigenvalue", CATEGORY_COLOURS[4], "circle"),
        (-1, "negative eigenvalue: imaginary axis", CATEGORY_COLOURS[5], "diamond-open"),
        (0, "eigenvalue 0", MUTED, "x"),
    )
    for sign, name, shade, symbol in looks:
        of_sign = marks == sign
        if of_sign.any():
            figure.add_scatter(
                x=numbers[of_sign],
                y=values[of_sign],
                mode="markers",
                name=name,
                marker={"color": shade, "symbol": symbol, "size": 9 if len(values) <= 30 else 6, "line_width": 2},
                hovertemplate=f"first %{{x}} axes: %{{y:.1%}} explained<br>axis %{{x}}: {name}<extra></extra>",
            )
    figure.update_xaxes(title="axes of InPCA", range=[0.5, len(values) + 0.5], dtick=1 if len(values) <= 15 else None)
    figure.update_yaxes(title="explained stress", range=[0, 1.03], tickformat=".0%")
    return finish(figure, provenance, height=340, title=title)


def dissimilarity_heatmap(
    D: ArrayLike,
    names: Sequence[str],
    order: Sequence[int],
    provenance: Provenance,
    *,
    groups: Sequence[str] | None = None,
    highest: float | None = None,
    title: str = "",
) -> go.Figure:
    """Draw the dissimilarity of every pair of models as colour, in a given order.

    Parameters
    ----------
    D : (M, M) array
        In nats; NaN stays white.
    names : sequence of M str
        The models. Above 60, only some are named on the axes, all in the hover texts.
    order : permutation of 0 .. M − 1
        Which model comes first, second ..., e.g. that of a clustering.
    provenance : Provenance
    groups : sequence of M str, optional
        What each model belongs to, a strip of colour along both axes; may be empty strings.
    highest : float, optional
        Where the colours end, in nats, so that a few far models do not take them all; larger values have the last one.
    title : str, optional

    Returns
    -------
    plotly figure

    Raises
    ------
    SpecError
        `D`, `names`, `order` and `groups` are not of the same models.
    """
    import plotly.graph_objects as go

    dissimilarity, ranks, n = np.asarray(D, np.float64), np.asarray(order, np.int64), len(names)
    fits = dissimilarity.shape == (n, n) and (groups is None or len(groups) == n)
    if n == 0 and ranks.size == 0 and dissimilarity.size == 0:
        return empty_figure("No model has been compared yet.", provenance, title=title)
    if not fits or sorted(ranks.tolist()) != list(range(n)):
        raise SpecError(
            "Dissimilarities, names, order and groups are not of the same models.",
            got=f"dissimilarities of shape {dissimilarity.shape}, {n} names, an order of {ranks.size}"
            + ("" if groups is None else f", {len(groups)} groups"),
            expected="a row and a column per name, an order that has every one once, and a group for each or none",
        )
    figure = go.Figure()
    labels = distinct(names[rank] for rank in ranks)
    figure.add_heatmap(
        z=dissimilarity[np.ix_(ranks, ranks)].astype(np.float32),
        x=labels,
        y=labels,
        coloraxis="coloraxis",
        hoverongaps=False,
        hovertemplate="%{y}<br>%{x}<br>%{z:.4f} nats<extra></extra>",
    )
    edge = -0.5 if groups is None else _add_strips(figure, [groups[rank] for rank in ranks])
    shown = thinned(labels, MODEL_LABELS)
    plot = min(max(CELL_PIXELS * n, LEAST_PIXELS), MOST_PIXELS)
    below = 20 + round(5.3 * max(len(html.unescape(label)) for label in shown))
    grid = {"type": "category", "tickvals": shown, "tickfont": {"size": 10}, "showgrid": False, "constrain": "domain"}
    figure.update_xaxes(tickangle=-90, range=[edge, n - 0.5], **grid)
    figure.update_yaxes(range=[n - 0.5, edge], scaleanchor="x", constraintoward="top", **grid)
    finite = dissimilarity[np.isfinite(dissimilarity)]
    end = highest if highest is not None else float(finite.max(initial=0.0)) or 1.0
    notes = []
    if highest is not None:
        notes.append(f"Colours end at {highest:.3g} nats; larger values have the last one.")
    if len(shown) < n:
        notes.append(f"{len(shown)} of {n} models are named on the axes; all in the hover texts.")
    # The legend of the strips goes on in new lines, of five names or so.
    height = plot + below + 36 + 5 * LINE_PIXELS + LEGEND_PIXELS * ((len(figure.data) - 1) // 5)
    finish(figure, provenance, height=height, title=title, below=below, characters=110, note=" ".join(notes))
    figure.update_xaxes(zeroline=False)
    figure.update_yaxes(zeroline=False)
    return figure.update_layout(
        coloraxis={
            "colorscale": "Viridis",
            "cmin": 0,
            "cmax": end,
            "colorbar": {"title": {"text": "nats"}, "thickness": 14},
        }
    )


def _add_strips(figure: go.Figure, groups: Sequence[str]) -> float:
    """Draw the groups beside the rows and above the columns; return where the strips begin, in models."""
    n = len(groups)
    gap, width = max(0.2, 0.006 * n), max(0.6, 0.025 * n)
    near, far = -0.5 - gap, -0.5 - gap - width
    shades = _strip_colours(groups)
    starts = [at for at in range(n) if at == 0 or groups[at] != groups[at - 1]]
    for start, end in zip(starts, [*starts[1:], n], strict=True):
        if groups[start] not in shades:
            continue
        along = {"0": start - 0.5, "1": end - 0.5}
        for strip, other in (("y", "x"), ("x", "y")):
            figure.add_shape(
                type="rect",
                name=groups[start],
                **{f"{strip}{key}": value for key, value in along.items()},
                **{f"{other}0": far, f"{other}1": near},
                fillcolor=shades[groups[start]],
                line_width=0,
            )
    for name, shade in shades.items():
        # A place in the legend only.
        figure.add_scatter(
            x=[None],
            y=[None],
            mode="markers",
            name=escaped(name),
            marker={"symbol": "square", "size": 10, "color": shade},
        )
    return far


def _strip_colours(groups: Sequence[str]) -> dict[str, str]:
    """Return a colour for every group; where the ten are used up, paler and then darker ones."""
    present = {name for name in groups if _said(name)}
    if present <= set(METHOD_COLOURS):
        return method_colours(present)
    if present <= set(HEMISPHERE_COLOURS):
        return {name: shade for name, shade in HEMISPHERE_COLOURS.items() if name in present}
    rounds = (
        CATEGORY_COLOURS,
        [_mixed(shade, "#FFFFFF", 0.5) for shade in CATEGORY_COLOURS],
        [_mixed(shade, "#000000", 0.55) for shade in CATEGORY_COLOURS],
    )
    shades = [shade for colours in rounds for shade in colours]
    first = ROI_ORDER if present & set(ROI_ORDER) else ()
    every = dict.fromkeys([*first, *sorted(present)])
    return {name: shades[rank % len(shades)] for rank, name in enumerate(every) if name in present}
