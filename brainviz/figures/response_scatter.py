"""One point per test picture: the predicted response of a vertex, or the mean of a patch, over the measured one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from brainviz.figures.style import INK, MUTED, Provenance, finish, method_colours, signed

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

#: Space left free around the points, as a share of the axis.
MARGIN = 0.06


def response_scatter(
    responses: pd.DataFrame, method: str, r: float, provenance: Provenance, *, unit: str = ""
) -> go.Figure:
    """Draw the response to every test picture, predicted over measured, with the line where both are equal.

    Parameters
    ----------
    responses : frame
        Columns ``picture`` (its name), ``measured``, ``predicted``.
    method : str
        Whose prediction it is; gives the colour.
    r : float
        Their correlation, printed in the figure; NaN where it is undefined.
    provenance : Provenance
    unit : str
        Of the responses, printed on both axes.

    Returns
    -------
    plotly figure
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    across, up = (_ends(responses[name].to_numpy(np.float64)) for name in ("measured", "predicted"))
    # Only where both axes are: beyond, it would make them longer.
    both = [max(across[0], up[0]), min(across[1], up[1])]
    if both[0] < both[1]:
        figure.add_scatter(
            x=both, y=both, mode="lines", line={"color": MUTED, "width": 1.2, "dash": "dot"}, hoverinfo="skip"
        )
    figure.add_scatter(
        x=responses["measured"],
        y=responses["predicted"],
        mode="markers",
        name=method,
        marker={"size": 6, "opacity": 0.55, "color": method_colours([method])[method]},
        customdata=responses[["picture"]],
        hovertemplate="%{customdata[0]}<br>measured %{x:.3f}, predicted %{y:.3f}<extra></extra>",
    )
    known = f"r = {signed(r)}" if np.isfinite(r) else "r is undefined"
    figure.add_annotation(
        text=f"<b>{known}</b><br>{len(responses):,} test pictures",
        x=0.02,
        y=0.98,
        xref="x domain",
        yref="y domain",
        xanchor="left",
        yanchor="top",
        align="left",
        showarrow=False,
        bgcolor="rgba(255, 255, 255, 0.8)",
        font={"size": 13, "color": INK},
    )
    of = f" ({unit})" if unit else ""
    figure.update_layout(showlegend=False)
    figure.update_xaxes(title=f"measured response{of}", range=across)
    figure.update_yaxes(title=f"predicted{of}", range=up)
    note = "Dotted: predicted as measured. Predictions vary less than responses, as noise cannot be predicted."
    return finish(figure, provenance, height=430, characters=62, note=note)


def _ends(values: np.ndarray) -> list[float]:
    """Return the range of an axis."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    margin = MARGIN * (high - low or 1.0)
    return [low - margin, high + margin]
