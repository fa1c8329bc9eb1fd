"""Lateralization: which half of the picture a network looks at that was tuned on one hemisphere."""

from brainviz.figures.style import Provenance
from brainviz.runs.store import Store
from brainviz.ui.choices import split_words
from brainviz.ui.classified import once
from brainviz.ui.comparison import finished
from brainviz.ui.encoding_views import pick_view
from brainviz.ui.errors import end_page
from brainviz.ui.lateralization_form import require_attributions
from brainviz.ui.lateralization_views import (
    show_distribution,
    show_index,
    show_pictures,
    show_positions,
    show_table,
)
from brainviz.ui.lateralized import Lateralized
from brainviz.ui.navigation import begin_page
from brainviz.ui.run_controls import live_progress, say_nothing_yet, show_plan, start_button
from brainviz.ui.sources import require_source
from brainviz.ui.uploaded import show_own_picture

VIEWS = {
    "Index": show_index,
    "Pictures": show_pictures,
    "Distribution": show_distribution,
    "Position": show_positions,
    "Your picture": show_own_picture,
    "Table": show_table,
}

begin_page(
    "Lateralization",
    "Visual cortex sees the opposite half of the world. Does a network that was tuned on one hemisphere look at that "
    "half of the picture? Trace what it predicts back to the picture's places, and measure on which side they lie.",
)

source = require_source()
asked = require_attributions(source)
choice = asked.choice

show_plan(choice)
start_button(choice.specs, "attribution")
runs = once(finished(choice, Store()))
provenance = Provenance(
    source.key,
    ", ".join(asked.subjects),
    asked.rois,
    split_words(choice.specs[0]),
    asked.words,
    tuple(run.id for _, run in runs),
)
live_progress(choice.specs, provenance)
if not runs:
    say_nothing_yet(
        choice.specs,
        "Press “Start attribution”: it first tunes networks and fits what they predict, where that is missing.",
    )
    end_page()

VIEWS[pick_view(list(VIEWS))](Lateralized(source, asked.task, choice, runs, provenance))
