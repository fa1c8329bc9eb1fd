"""Landscape: how differently all models see the same pictures, as maps and as a matrix."""

import streamlit as st

from brainviz.figures.style import Provenance
from brainviz.runs.requests import lay_out
from brainviz.runs.specs import ClassificationSpec
from brainviz.runs.store import Store
from brainviz.ui.binding import bound, keep_those_among, say_unknown
from brainviz.ui.choices import Choice, split_words, states
from brainviz.ui.encoding_views import pick_view
from brainviz.ui.errors import end_page
from brainviz.ui.laid_out import LaidOut
from brainviz.ui.landscape_views import show_axes, show_groups, show_maps, show_matrix
from brainviz.ui.models_form import require_models
from brainviz.ui.navigation import begin_page
from brainviz.ui.run_controls import live_progress, say_nothing_yet, show_plan, start_button
from brainviz.ui.sources import require_source
from brainviz.ui.words import count

VIEWS = {"Map": show_maps, "Matrix": show_matrix, "Axes": show_axes, "Groups": show_groups}

begin_page(
    "Landscape",
    "Two models are far apart when they give the same pictures different class probabilities. Lay all out: does a "
    "network tuned on early visual cortex see differently from one tuned on a higher area, or on the other hemisphere?",
)

source = require_source()
chosen = require_models(source)
choice, subjects, methods = chosen.choice, chosen.subjects, chosen.methods
known = states(choice.specs, Store())
done = [spec for spec, state in zip(choice.specs, known, strict=True) if state == "done"]
left = len(choice.specs) - len(done)
only_done = left > 0 and st.toggle(
    f"Only the {count(len(done), 'model')} that are there",
    value=len(done) > 1,
    **bound("only_done"),
    help=f"Without it, {count(left, 'model')} more are tuned and classified first.",
)
models = [spec for spec in (done if only_done else choice.specs) if isinstance(spec, ClassificationSpec)]
groups = [*(subjects if len(subjects) > 1 else ()), *(methods if len(methods) > 1 else ())]
keep_those_among("placed", groups)
say_unknown("placed", groups, "subject or method")
apart = st.multiselect(
    "Placed afterwards",
    groups,
    **bound("placed"),
    placeholder="none",
    width=400,
    help="Models of these subjects or methods have no part in the axes of InPCA, and are placed on them.",
)
placed = [spec for spec in models if spec.method in apart or spec.subject in apart]
models = [spec for spec in models if spec not in placed]
if len(models) < 2:
    st.info(
        "A landscape needs at least two models: choose more ROIs, subjects or methods.", icon=":material/arrow_upward:"
    )
    end_page()
spec = lay_out(models, placed, readout=chosen.readout)

show_plan(Choice((("landscape", spec),), ()))
start_button([spec], f"the landscape of {count(len(models), 'model')}")
run = Store().find(spec)
ids = (spec.run_id,)
method = f"landscape of {count(len(models), 'model')}{f' and {len(placed)} placed' if placed else ''}, {chosen.readout}"
provenance = Provenance(source.key, ", ".join(subjects), chosen.rois, split_words(models[0]), method, ids)
live_progress([spec], provenance)
if run is None or run.state != "done":
    say_nothing_yet([spec], "Press “Start”: it compares every model with every other, and lays them out.")
    end_page()

shown = LaidOut(source, run, chosen.encodings, provenance)
VIEWS[pick_view(list(VIEWS))](shown)
