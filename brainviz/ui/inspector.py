"""The inspector beside the map: what every method, the data set and the test pictures say of what was picked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from brainviz.datasets.base import HEMISPHERE_NAMES
from brainviz.figures.response_scatter import response_scatter
from brainviz.figures.style import PLOTLY_CONFIG
from brainviz.ui.binding import bound, keep_among
from brainviz.ui.comparison import OWN_BEST, TEST_R
from brainviz.ui.downloads import csv_text, download, figure_downloads
from brainviz.ui.errors import plain
from brainviz.ui.shown import Shown
from brainviz.ui.vertex_facts import (
    MOST_BOOTSTRAPPED,
    Responses,
    extremes,
    fits,
    holding,
    method_rows,
    places,
    responses,
    thumbnail,
)
from brainviz.ui.vertex_facts import Picked as Picked  # pages pick with it
from brainviz.ui.words import unit_noun

#: Width of a picture, and of a block of them with three in a row: two blocks stand beside each other in a column of
#: 480 pixels, and below each other where there is less.
PICTURE_PIXELS, BLOCK_PIXELS = 72, 232

#: What a patch's responses are given in; those of one vertex are in the units of the data.
DEVIATIONS = "standard deviations"


def show_inspector(shown: Shown, subject: str, picked: Picked) -> None:
    """Draw everything that is known of one vertex, or of a patch, beside the map.

    Parameters
    ----------
    shown : Shown
    subject : str
    picked : Picked
        What a link names and the subject does not have is left out, with a word.
    """
    here = _that_are_here(shown, subject, picked)
    if here is None:
        return
    where = places(shown.source, subject, here)
    _show_place(shown, subject, where)
    known = fits(shown.runs, subject, here, shown.how.layer)
    if known.empty:
        _say_no_results(shown, where)
        return
    used = tuple(dict.fromkeys(known["run"]))
    provenance = replace(shown.about(shown.methods, subject=subject, how="test r"), runs=used)
    _show_methods(shown, subject, here, known)
    table = vertex_table(where, known)
    stem = f"{shown.source.key}_{subject}_{_name(where)}"
    units = unit_noun(shown.source.dataset.unit).capitalize()
    download(f"{units} picked, CSV", lambda: csv_text(table, provenance), f"{stem}.csv", key="csv_picked")
    _show_responses(shown, subject, here, known, stem)


def vertex_table(where: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Return the list of the picked vertices for the CSV, one row each.

    To the columns of `places` come, per method, ``roi``, ``layer``, ``r``, ``low``, ``high`` and ``alpha`` with its
    name behind (``r_untuned``) at its own best layer, and with the layer's too (``r_untuned_classifier.5``) at another.

    Parameters
    ----------
    where, known : frame
        Of `places` and `fits`.
    """
    table = where.round({"x": 3, "y": 3, "z": 3})
    for (method, at), rows in known.groupby(["method", "at"], sort=False):
        facts = rows.set_index("column")[["roi", "layer", "r", "low", "high", "alpha"]]
        table = table.join(facts.add_suffix(f"_{method}" if at == OWN_BEST else f"_{method}_{at}"), on="column")
    return table


# --- where it is ------------------------------------------------------------------------------------------------------


def _that_are_here(shown: Shown, subject: str, picked: Picked) -> Picked | None:
    """Return what of the pick the subject has; None, with a word, if that is nothing."""
    dataset = shown.source.dataset
    n = dataset.n_vertices(subject, picked.hemi) if picked.hemi in dataset.hemispheres(subject) else 0
    columns = tuple(sorted({column for column in picked.columns if 0 <= column < n}))
    lacking = len(set(picked.columns)) - len(columns)
    if lacking or not columns:
        unit = dataset.unit
        side = HEMISPHERE_NAMES.get(picked.hemi, f"hemisphere {plain(picked.hemi)}")
        what = f"The {unit} picked is" if lacking == 1 else f"{lacking:,} of the {unit_noun(unit)} picked are"
        st.warning(
            f"{what} not in the {side} of {plain(subject)}. Pick another one on the map.", icon=":material/link_off:"
        )
    return Picked(picked.hemi, columns) if columns else None


def _show_place(shown: Shown, subject: str, where: pd.DataFrame) -> None:
    dataset, side = shown.source.dataset, HEMISPHERE_NAMES[where["hemi"].iloc[0]]
    unit, several = dataset.unit, len(where) > 1
    first = where.iloc[0]
    if several:
        st.subheader(f"Patch of {len(where):,} {unit_noun(unit)}, {side}")
    elif first["position"] >= 0:
        st.subheader(f"{unit.capitalize()} {first['position']:,} of {plain(dataset.mesh)}, {side}")
    else:
        st.subheader(f"{unit.capitalize()} {first['column']:,}, {side}")
    held = holding(where)
    names = ", ".join(f"{plain(roi)} ({n:,})" if several else plain(roi) for roi, n in held.items())
    lines = [f"**In** {names}." if held else "In no ROI of the data set.", _position_words(where, subject)]
    ceiling = where["ceiling"].to_numpy()
    if np.isfinite(ceiling).any():
        share, most = np.nanmean(ceiling), np.nanmean(np.sqrt(ceiling))
        mean, on_average = ("Mean noise", " on average") if several else ("Noise", "")
        lines.append(f"**{mean} ceiling** {share:.2f} of the variance, so that r is at most {most:.2f}{on_average}.")
    else:
        hint = dataset.noise_ceiling_hint(subject, first["hemi"])
        lines.append(f"No noise ceiling is known. {plain(hint)}".strip())
    st.markdown("  \n".join(lines))


def _position_words(where: pd.DataFrame, subject: str) -> str:
    several, first = len(where) > 1, where.iloc[0]
    on_surface = where[["x", "y", "z"]].dropna()
    words = [] if several else [f"Column {first['column']:,} of the responses of {plain(subject)}."]
    if len(on_surface):
        x, y, z = (f"{value:.1f}".replace("-", "−") for value in on_surface.mean())
        words.append(f"**{'Centre' if several else 'Position'}** x {x}, y {y}, z {z} mm on the pial surface")
        words[-1] += " (right, front and up are positive)."
    elif (where["position"] >= 0).any():
        words.append("Its coordinates need a finer mesh than the one at hand.")
    else:
        words.append("The data set has no mesh, and so no position.")
    return " ".join(words)


def _say_no_results(shown: Shown, where: pd.DataFrame) -> None:
    unit, several = shown.source.dataset.unit, len(where) > 1
    held = ", ".join(plain(roi) for roi in holding(where))
    choose = f"one of these ROIs ({held}), or “all”," if held else "“all”"
    st.info(
        f"{f'These {unit_noun(unit)} have' if several else f'This {unit} has'} no results: no finished run is about a "
        f"ROI that holds {'any of them' if several else 'it'}. Choose {choose} above and start encoding.",
        icon=":material/hourglass_empty:",
    )


# --- how well it is predicted -----------------------------------------------------------------------------------------


def _show_methods(shown: Shown, subject: str, picked: Picked, known: pd.DataFrame) -> None:
    """Draw a column per method, and what is to be known about the numbers."""
    rows = method_rows(shown.runs, shown.source, subject, picked, shown.how.layer)
    several = len(picked.columns) > 1
    twice = rows["method"].duplicated(keep=False)  # at the layer that is shown, and at its own best
    printed = pd.DataFrame(
        {
            "mean r" if several else "r": [_number(r) for r in rows["r"]],
            "95 % interval": [_interval(*ends) for ends in zip(rows["low"], rows["high"], strict=True)],
            "layer": [
                f"{_layers(layer)}{' (own best)' if own else ''}"
                for layer, own in zip(rows["layer"], rows["own"], strict=True)
            ],
            "median alpha" if several else "alpha": [
                f"{alpha:g}" if np.isfinite(alpha) else "–" for alpha in rows["alpha"]
            ],
            "r / ceiling": [_number(share, 2) for share in rows["r_over_ceiling"]],
        },
        index=rows["method"].where(~(twice & rows["own"]), rows["method"] + " (own best)").to_list(),
    )
    st.table(printed.T, border="horizontal")  # narrower so than a row per method
    st.caption(" ".join(_about_the_methods(shown, subject, picked, known, rows)))


def _about_the_methods(
    shown: Shown, subject: str, picked: Picked, known: pd.DataFrame, rows: pd.DataFrame
) -> list[str]:
    """Return what the table's numbers mean, in sentences."""
    unit, several = shown.source.dataset.unit, len(picked.columns) > 1
    words = ["r is on the test pictures, with its bootstrap interval over them."]
    if shown.how.score != TEST_R:
        words.append("The map shows the authors' protocol, which is another score.")
    if not rows["own"].all():
        words.append("Intervals are kept at the own best layer only.")
    if several:
        words.append(f"r and r over its ceiling are means, alpha is the median over the {unit_noun(unit)}.")
        if rows["n_vertices"].max() > MOST_BOOTSTRAPPED:
            words.append(f"A patch of more than {MOST_BOOTSTRAPPED:,} {unit_noun(unit)} has no interval.")
        for method, n in rows.drop_duplicates("method").set_index("method")["n_vertices"].items():
            if n < len(picked.columns):
                words.append(f"{method}: {n:,} of the {len(picked.columns):,} {unit_noun(unit)} have results.")
    if known["r"].isna().any():
        words.append("Where the response or its prediction is constant, r is undefined.")
    areas = list(dict.fromkeys(known["roi"]))
    words.append(f"From the encoding of {', '.join(plain(roi) for roi in areas)}.")
    if lacking := [method for method in shown.methods if method not in set(known["method"])]:
        words.append(f"No results here of {', '.join(lacking)}.")
    return words


def _number(value: float, decimals: int = 3) -> str:
    return f"{value:.{decimals}f}".replace("-", "−") if np.isfinite(value) else "–"


def _interval(low: float, high: float) -> str:
    return f"{_number(low)} to {_number(high)}" if np.isfinite([low, high]).all() else "–"


def _layers(names: str) -> str:
    """Return a layer, or how many there are."""
    n = len(names.split(", "))
    return names if n == 1 else f"{n} layers"


# --- responses to the test pictures -----------------------------------------------------------------------------------


def _show_responses(shown: Shown, subject: str, picked: Picked, known: pd.DataFrame, stem: str) -> None:
    """Draw predicted over measured responses of one method, and the pictures that drive the vertex most and least."""
    method = _pick_method(shown)
    found = responses(shown.runs, shown.source, subject, picked, method)
    if found is None:
        st.info(f"There are no results of {method} here. Choose another method.", icon=":material/hourglass_empty:")
        return
    rows = known[(known["method"] == method) & (known["at"] == OWN_BEST)]
    layers = _layers(", ".join(rows["layer"].unique()))
    several = found.n_vertices + found.constant > 1
    about = shown.about([method], subject=subject, how=f"responses to test pictures, own best layer ({layers})")
    provenance = replace(about, runs=tuple(dict.fromkeys(rows["run"])))
    images = shown.source.dataset.images(subject)
    table = pd.DataFrame(
        {
            "row": found.rows,
            "picture": [images.ids[row] for row in found.rows],
            "measured": found.measured,
            "predicted": found.predicted,
        }
    )
    unit = DEVIATIONS if several else ""
    figure = response_scatter(table, method, found.r, provenance, unit=unit)
    st.plotly_chart(
        figure,
        config=PLOTLY_CONFIG,
        theme=None,
        key="responses",
        alt=f"Predicted over measured response to {len(table):,} test pictures, {method}",
    )
    st.caption(_about_the_responses(shown, method, layers, found))
    figure_downloads("Responses", table, figure, shown.specs(subject), f"{stem}_{method}", provenance)
    _show_pictures(shown, subject, found)


def _pick_method(shown: Shown) -> str:
    """Draw the choice of the method whose predictions are shown, if several have results."""
    first = shown.methods[0]
    if len(shown.methods) == 1:
        return first
    keep_among("inspect", shown.methods, first)
    chosen = st.segmented_control(
        "Predictions of",
        shown.methods,
        default=first,
        required=True,
        **bound("inspect"),
        help="Of the chart and the pictures below.",
    )
    return chosen or first


def _about_the_responses(shown: Shown, method: str, layers: str, found: Responses) -> str:
    unit = shown.source.dataset.unit
    words = [f"Predictions of {method} are from the own best layer ({layers})."]
    if found.n_vertices + found.constant > 1:
        words.append(
            f"Each {unit}'s measured and predicted responses are put into standard deviations of its measured ones, "
            f"from their mean, and averaged over {found.n_vertices:,} {unit_noun(unit, found.n_vertices)}; r in the "
            "chart is of these averages."
        )
    if found.constant:
        words.append(f"Left out, as constant: {found.constant:,} {unit_noun(unit, found.constant)}.")
    return " ".join(words)


def _show_pictures(shown: Shown, subject: str, found: Responses) -> None:
    """Draw the test pictures of the highest and lowest responses, by what was measured and by what was predicted."""
    st.markdown("**Test pictures that drive it most and least**")
    for name, values in (("measured", found.measured), ("predicted", found.predicted)):
        with st.container(horizontal=True, gap="small"):
            for end, chosen in zip(("Highest", "Lowest"), extremes(values), strict=True):
                with st.container(width=BLOCK_PIXELS, gap="xsmall"):
                    st.markdown(f"{end} {name}")
                    _show_block(shown, subject, found, chosen)
    st.caption("Under each picture: m, the measured, and p, the predicted response.")


def _show_block(shown: Shown, subject: str, found: Responses, chosen: NDArray[np.int64]) -> None:
    ids = shown.source.dataset.images(subject).ids
    with st.container(horizontal=True, gap="xsmall"):
        for place in chosen:
            row = int(found.rows[place])
            measured, predicted = (_number(values[place], 2) for values in (found.measured, found.predicted))
            st.image(
                thumbnail(shown.source, subject, row),
                caption=f"m {measured}  \np {predicted}",
                width=PICTURE_PIXELS,
                alt=f"picture {ids[row]}, measured {measured}, predicted {predicted}",
            )


def _name(where: pd.DataFrame) -> str:
    """Return what was picked, for file names."""
    first = where.iloc[0]
    return f"{first['hemi']}_{first['column'] if len(where) == 1 else f'patch{len(where)}'}"
