"""Parts of the Lateralization page: indices, pictures with what was attributed, distribution, position, table."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from brainviz.datasets.images import cut_out, decode, squeezed
from brainviz.figures.laterality_distribution import index_distribution
from brainviz.figures.laterality_dots import index_dots
from brainviz.figures.overlays import overlay_grid
from brainviz.figures.position_maps import position_maps
from brainviz.figures.style import PLOTLY_CONFIG
from brainviz.runs.lateralize import INDEX, MAPS, POSITIONS, ROWS, SCALES, TARGETS, read_maps
from brainviz.runs.network_specs import UNTUNED
from brainviz.runs.store import Run
from brainviz.ui.binding import bound, keep_among, say_unknown
from brainviz.ui.downloads import csv_text, download, figure_downloads
from brainviz.ui.lateralized import ALL_SUBJECTS, CONTROLS, Lateralized, index_of, spec_of
from brainviz.ui.tasks import classes_of
from brainviz.ui.words import count

#: What the dots show: name, quantity of the figure, words.
QUANTITIES = {
    "index": ("index", "Laterality index, (R − L) / (R + L) of the absolute attribution"),
    "tuned minus untuned": ("difference", "Index of the tuned network less that of the untuned one, same pictures"),
    "left minus right": ("contrast", "Index of the left hemisphere's model less that of the right's, same pictures"),
}

#: Pictures in the strip, and in which order.
STRIP = 5
ORDERS = ("in the data's order", "farthest right", "farthest left", "where the models differ most")

#: Indices below this many pictures are not what the measurement asks for.
ENOUGH_PICTURES = 100

#: What to know of Grad-CAM.
AVERAGED = (
    "Grad-CAM takes the mean of a channel's gradients over all places. Where layers above weigh places differently, as "
    "AlexNet's linear layers do, its side can be the opposite of what saliency and occlusion find."
)

#: A session remembers here the picture that was clicked in the distribution.
_CLICKED = "_clicked picture"


def show_index(shown: Lateralized) -> None:
    """Draw the index over ROIs, or what tuning or the hemisphere makes of it, with tests."""
    keep_among("quantity", list(QUANTITIES), "index")
    say_unknown("quantity", list(QUANTITIES), "quantity")
    chosen = st.segmented_control(
        "Quantity", list(QUANTITIES), default="index", required=True, **bound("quantity"), label_visibility="collapsed"
    )
    quantity, words = QUANTITIES[chosen or "index"]
    table = {"index": shown.index, "difference": shown.tuning, "contrast": shown.contrast}[quantity]
    if table.empty:
        needed = "tuned and untuned networks" if quantity == "difference" else "networks of both hemispheres"
        st.info(f"This needs finished runs of {needed}, about the same pictures.", icon=":material/arrow_upward:")
        return
    figure = index_dots(table, shown.provenance, quantity=quantity)
    st.plotly_chart(figure, config=PLOTLY_CONFIG, theme=None, key="index_dots", alt=words)
    few = int(table.loc[table["subject"] != ALL_SUBJECTS, "n"].min())
    notes = [f"{words}; each picture and its mirror image, so that what the pictures have on one side cancels."]
    notes.append("Intervals: 95 %, bootstrap over pictures; of the mean over subjects, random effects (Hartung-Knapp).")
    if quantity != "index":
        notes.append("p: labels of the two models swapped at random per picture; q: Benjamini-Hochberg over the ROIs.")
    if quantity == "index":
        notes.append("Networks lean a little by themselves, the untuned one too: 0 is not what to compare with.")
    if shown.attribution == "grad-cam":
        notes.append(AVERAGED)
    if few < ENOUGH_PICTURES:
        notes.append(
            f"Only {count(few, 'picture')} in the smallest test: {ENOUGH_PICTURES} or more are advised. Pictures in "
            "which nothing is attributed have no index."
        )
    st.caption(" ".join(notes))
    if quantity != "index":
        _show_numbers(table)
    figure_downloads("Laterality", table, figure, shown.specs(), shown.stem, shown.provenance)


def _show_numbers(table: pd.DataFrame) -> None:
    columns = ["subject", "roi", "hemi", "method", "value", "low", "high", "p", "q", "n"]
    numbers = {name: st.column_config.NumberColumn(format="%.3f") for name in ("value", "low", "high")}
    numbers |= {name: st.column_config.NumberColumn(format="%.4f") for name in ("p", "q")}
    st.dataframe(table[[name for name in columns if name in table]], hide_index=True, column_config=numbers)


def show_table(shown: Lateralized) -> None:
    """Draw all models as a table."""
    table = shown.index
    _show_numbers(table)
    download("Index, CSV", lambda: csv_text(table, shown.provenance), f"{shown.stem}_index.csv", key="csv_index")


# --- pictures ---------------------------------------------------------------------------------------------------------


def pick_place(shown: Lateralized) -> dict[str, Run]:
    """Draw the choice of one subject, ROI and method; return its models: left, right, and the controls, by name."""
    models = shown.models
    tuned = {key: run for key, run in models.items() if key[3] not in CONTROLS} or models
    places = {" ".join(filter(None, (s, roi, method))): (s, roi, method) for s, roi, _, method in tuned}
    names = list(places)
    keep_among("place", names, names[0])
    say_unknown("place", names, "model")
    subject, roi, method = places[st.selectbox("Models of", names, **bound("place"), width=290)]
    found: dict[str, Run] = {}
    for hemi, whose in (("lh", "left model"), ("rh", "right model"), ("", method)):
        if (run := models.get((subject, roi, hemi, method))) is not None:
            found[whose] = run
    for control in CONTROLS:
        of_control = {
            run.id: (hemi, run) for (s, r, hemi, m), run in models.items() if (s, r, m) == (subject, roi, control)
        }
        for hemi, run in of_control.values():
            name = control if len(of_control) == 1 else f"{control}, {hemi}"
            if run not in found.values():
                found[name] = run
    return found


def show_pictures(shown: Lateralized) -> None:
    """Draw pictures and their mirror images with what each model's answer depends on, on one scale of colours."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        models = pick_place(shown)
        keep_among("order", ORDERS, ORDERS[0])
        say_unknown("order", ORDERS, "order of pictures")
        order = st.selectbox("Pictures", ORDERS, **bound("order"), width=230)
        opacity = st.slider("Opacity", 0.0, 1.0, 0.6, 0.05, **bound("opacity"), width=170)
        mirrored = st.toggle("Mirror images", value=True, **bound("mirrored"))
    models = _about_same_pictures(models)
    first = next(iter(models.values()))
    _, rows, _ = index_of(first.id, first)
    ranked = _ranked(models, order)
    clicked = st.session_state.get(_CLICKED)
    if clicked in set(rows.tolist()):
        place = int(np.flatnonzero(rows == clicked)[0])
        ranked = np.concatenate([[place], ranked[ranked != place]])
        st.button(f"Forget the clicked picture, {clicked}", key="forget_picture", on_click=_forget_picture)
    pages = -(-len(ranked) // STRIP)
    keep_among("page", range(1, pages + 1), 1)
    page = int(st.number_input(f"Page, of {pages}", 1, pages, 1, **bound("page"), width=130)) if pages > 1 else 1
    picked = ranked[(page - 1) * STRIP : page * STRIP]
    pictures, maps, columns = _cells(shown, models, picked, mirrored=bool(mirrored))
    signed = spec_of(first).attribution != "grad-cam"
    names = _names_of_pictures(shown, first, picked)
    provenance = shown.about(models.values())
    figure = overlay_grid(pictures, maps, columns, names, provenance, opacity=float(opacity), signed_maps=signed)
    st.plotly_chart(figure, config=PLOTLY_CONFIG, theme=None, key="pictures", alt="Pictures with attribution maps")
    st.caption(
        "Every map is divided by its own mean absolute value, so that maps of different networks share one scale: 1 is "
        "the average place. Red speaks for the target, blue against it. Drag in a picture to zoom in all; double-click "
        "to return."
        if signed
        else "Every map is divided by its own mean, so that maps share one scale. Grad-CAM keeps what speaks for the "
        "target. Drag in a picture to zoom in all; double-click to return."
    )
    table = _strip_table(models, picked, names)
    figure_downloads("Pictures", table, figure, shown.specs(), shown.stem, provenance)
    download(
        f"All maps of {count(len(models), 'model')}, NPZ",
        lambda: _npz(models),
        f"{shown.stem}_maps.npz",
        key="npz_maps",
        help="Per model: maps (pictures, picture and mirror image, rows, columns) between −1 and 1, the scales to "
        "multiply them with, the pictures' rows, and indices.",
    )


def _forget_picture() -> None:
    st.session_state.pop(_CLICKED, None)


def _about_same_pictures(models: dict[str, Run]) -> dict[str, Run]:
    """Return the models that are about the same pictures as the first."""
    rows = {name: index_of(run.id, run)[1] for name, run in models.items()}
    first = next(iter(rows.values()))
    return {name: run for name, run in models.items() if np.array_equal(rows[name], first)}


def _ranked(models: Mapping[str, Run], order: str) -> NDArray[np.int64]:
    """Return the places of all pictures among those attributed, in an order."""
    indices = [np.nan_to_num(index_of(run.id, run)[0]) for run in models.values()]
    if order == ORDERS[1]:
        return np.argsort(-indices[0], kind="stable")
    if order == ORDERS[2]:
        return np.argsort(indices[0], kind="stable")
    if order == ORDERS[3] and len(indices) > 1:
        return np.argsort(-np.abs(indices[0] - indices[1]), kind="stable")
    return np.arange(len(indices[0]))


def unit_maps(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return maps divided by their mean absolute value each, (..., h, w); 0 where there is nothing."""
    mean = np.abs(maps).mean(axis=(-2, -1), keepdims=True)
    units: NDArray[np.float32] = np.divide(maps, mean, out=np.zeros_like(maps), where=mean > 0)
    return units


def _cells(
    shown: Lateralized, models: Mapping[str, Run], picked: NDArray[np.int64], *, mirrored: bool
) -> tuple[NDArray[np.uint8], NDArray[np.float32], list[str]]:
    """Return pictures (n, k, s, s, 3), maps (n, k, h, w) and titles of the columns."""
    first = next(iter(models.values()))
    plain_pictures = np.stack([picture_of(shown, first, int(place)) for place in picked])
    found = {name: unit_maps(read_maps(run, picked)) for name, run in models.items()}
    height, width = next(iter(found.values())).shape[-2:]
    nothing = np.full((len(picked), height, width), np.nan, np.float32)
    pictures, maps, columns = [plain_pictures], [nothing], ["picture"]
    for which, suffix in enumerate(("", ", mirrored")[: 2 if mirrored else 1]):
        for name, values in found.items():
            pictures.append(plain_pictures[:, :, ::-1] if which else plain_pictures)
            maps.append(values[:, which])
            columns.append(name + suffix)
    return np.stack(pictures, axis=1), np.stack(maps, axis=1), columns


def picture_of(shown: Lateralized, run: Run, place: int) -> NDArray[np.uint8]:
    """Return a picture as a run's network saw it, (s, s, 3)."""
    return _picture(run.id, place, shown, run)


@st.cache_data(show_spinner=False, max_entries=512)
def _picture(run_id: str, place: int, _shown: Lateralized, _run: Run) -> NDArray[np.uint8]:
    spec, (_, rows, _) = spec_of(_run), index_of(run_id, _run)
    size, row = spec.network_state.image_size, int(rows[place])
    if spec.classification is not None:
        assert _shown.task is not None
        return cut_out(decode(_shown.task.task.images.paths[row]), size)
    return squeezed(_shown.source.dataset.images(spec.subject)[row], size)


def _names_of_pictures(shown: Lateralized, run: Run, picked: NDArray[np.int64]) -> list[str]:
    """Return a short name of each picture: its row, and its class."""
    _, rows, _ = index_of(run.id, run)
    classification = spec_of(run).classification
    if classification is None:
        return [str(rows[place]) for place in picked]
    from brainviz.runs.store import Store

    classes, targets = classes_of(Store().run_of(classification)), np.load(run.file(TARGETS))
    return [f"{rows[place]} · {classes[targets[place]]}" for place in picked]


def _strip_table(models: Mapping[str, Run], picked: NDArray[np.int64], names: Sequence[str]) -> pd.DataFrame:
    rows = []
    for name, run in models.items():
        both = np.load(run.file(INDEX))
        for place, picture in zip(picked, names, strict=True):
            own, mirror = both[place]
            rows.append(
                {"picture": picture, "model": name, "index_picture": own, "index_mirror": mirror, "run": run.id}
            )
    return pd.DataFrame(rows)


def _npz(models: Mapping[str, Run]) -> bytes:
    """Return all maps of models with what belongs to them."""
    arrays: dict[str, Any] = {}
    for name, run in models.items():
        key = name.replace(" ", "_").replace(",", "")
        arrays |= {f"{key}_{what}": np.load(run.file(file)) for what, file in (("rows", ROWS), ("index", INDEX))}
        arrays |= {f"{key}_{what}": np.load(run.file(file)) for what, file in (("maps", MAPS), ("scales", SCALES))}
        arrays[f"{key}_run"] = np.array(run.id)
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    return packed.getvalue()


# --- distribution and position ----------------------------------------------------------------------------------------


def show_distribution(shown: Lateralized) -> None:
    """Draw every picture's index per model; a click on one shows it."""
    models = _about_same_pictures(pick_place(shown))
    parts = []
    for name, run in models.items():
        index, rows, _ = index_of(run.id, run)
        hemi = {"left model": "lh", "right model": "rh"}.get(name, "")
        parts.append(
            pd.DataFrame(
                {
                    "model": name,
                    "hemi": hemi,
                    "method": spec_of(run).method,
                    "image": rows,
                    "index": index,
                    "run": run.id,
                }
            )
        )
    table = pd.concat(parts, ignore_index=True)
    provenance = shown.about(models.values())
    figure = index_distribution(table, provenance)
    selected: Any = st.plotly_chart(
        figure,
        config=PLOTLY_CONFIG,
        theme=None,
        key="distribution",
        on_select="rerun",
        selection_mode="points",
        alt="Laterality index of every picture",
    )
    points = [point["customdata"] for point in selected.selection.points if point.get("customdata")]
    first = next(iter(models.values()))
    rows = index_of(first.id, first)[1]
    clicked = [int(row) for _, row in points if int(row) in set(rows.tolist())]
    if clicked:
        if st.session_state.get(_CLICKED) != clicked[0]:
            # It comes first there, whichever page was open.
            st.session_state["page"] = 1
        st.session_state[_CLICKED] = clicked[0]
        place = np.flatnonzero(rows == clicked[0])
        pictures, maps, columns = _cells(shown, models, place, mirrored=True)
        grid = overlay_grid(
            pictures,
            maps,
            columns,
            _names_of_pictures(shown, first, place),
            provenance,
            signed_maps=spec_of(first).attribution != "grad-cam",
        )
        st.plotly_chart(grid, config=PLOTLY_CONFIG, theme=None, key="clicked", alt="The clicked picture")
    else:
        st.caption("Click a point to see its picture, with what each model looks at.")
    figure_downloads("Distribution", table, figure, shown.specs(), shown.stem, provenance)


def show_positions(shown: Lateralized) -> None:
    """Draw where attribution lies on the average over all pictures: left model, right model, difference."""
    models = pick_place(shown)
    left, right = (None if run is None else np.load(run.file(POSITIONS)) for run in _pair(models))
    provenance = shown.about(models.values())
    if left is None and right is None:
        st.info("This needs a tuned network of the left or right hemisphere.", icon=":material/arrow_upward:")
        return
    maps = {hemi: values for hemi, values in (("lh", left), ("rh", right)) if values is not None}
    controls = {hemi: control for hemi in maps if (control := _untuned(models, hemi)) is not None}
    less = controls.keys() == maps.keys() and st.toggle("Less the untuned network's", **bound("less_untuned"))
    if less:
        maps = {hemi: values - np.load(controls[hemi].file(POSITIONS)) for hemi, values in maps.items()}
        left, right = maps.get("lh"), maps.get("rh")
    figure = position_maps(left, right, provenance, less=UNTUNED if less else "")
    st.plotly_chart(figure, config=PLOTLY_CONFIG, theme=None, key="positions", alt="Mean attribution by position")
    st.caption(
        "Mean over all pictures and mirror images of the share of absolute attribution at every position; 1 is as much "
        "as if it were spread evenly. Every picture counts alike."
    )
    known = {name: values for name, values in (("left", left), ("right", right)) if values is not None}
    height, width = next(iter(known.values())).shape
    y, x = (grid.ravel() for grid in np.mgrid[:height, :width])
    table = pd.DataFrame({"row": y, "column": x, **{name: values.ravel() for name, values in known.items()}})
    if less:
        provenance = replace(provenance, method=f"{provenance.method}, less the untuned network's")
    figure_downloads("Position", table, figure, shown.specs(), shown.stem, provenance)


def _untuned(models: Mapping[str, Run], hemi: str) -> Run | None:
    """Return the untuned network whose target is a hemisphere's, or any."""
    controls = [run for name, run in models.items() if name.startswith(UNTUNED)]
    return next((run for run in controls if spec_of(run).area[0] in (hemi, "both", "")), None)


def _pair(models: Mapping[str, Run]) -> tuple[Run | None, Run | None]:
    return models.get("left model"), models.get("right model")
