"""What tests read from plotly figures: notes, traces by name, numbers."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray


def printed(figure: go.Figure, name: str = "note") -> str:
    """Return the text of the first annotation of this name, on one line; empty where there is none."""
    texts = [annotation.text for annotation in figure.layout.annotations if annotation.name == name]
    return texts[0].replace("<br>", " ") if texts else ""


def by_name(figure: go.Figure) -> dict[str, Any]:
    """Return the traces by their names."""
    return {trace.name: trace for trace in figure.data}


def numbers(values: Any) -> NDArray[np.float64]:
    """Return what a trace holds as numbers."""
    return np.asarray(values, np.float64)
