"""Classification: what tuning does to what a network sees, on tasks that it was not tuned on."""

from brainviz.figures.style import Provenance
from brainviz.runs.store import Store
from brainviz.ui.choices import split_words
from brainviz.ui.classification_views import show_accuracy, show_confusion, show_pictures, show_table, show_trade_off
from brainviz.ui.classified import Classified, once
from brainviz.ui.comparison import finished
from brainviz.ui.encoding_views import pick_view
from brainviz.ui.errors import end_page
from brainviz.ui.models_form import require_models
from brainviz.ui.navigation import begin_page
from brainviz.ui.run_controls import asked_for, live_progress, say_nothing_yet, show_plan, start_button
from brainviz.ui.sources import require_source

VIEWS = {
    "Accuracy": show_accuracy,
    "Trade-off": show_trade_off,
    "Confusion": show_confusion,
    "Pictures": show_pictures,
    "Table": show_table,
}

begin_page(
    "Classification",
    "What does tuning on brain responses do to vision itself? Classify pictures from the features of every network, "
    "and set what was lost or won in accuracy against what was gained in predicting responses.",
)

source = require_source()
models = require_models(source)
choice, encodings = models.choice, models.encodings

show_plan(choice)
start_button(choice.specs, "classification")
runs = once(finished(choice, Store()))
provenance = Provenance(
    source.key,
    ", ".join(models.subjects),
    models.rois,
    split_words(choice.specs[0]),
    f"{', '.join(models.methods)}: logistic regression on {models.readout}",
    tuple(run.id for _, run in runs),
)
live_progress([*choice.specs, *asked_for(encodings.specs)], provenance)
if not runs:
    say_nothing_yet(
        choice.specs,
        "Press “Start classification”: it fits a classifier on the network of "
        "every method, and first tunes networks that are not tuned yet.",
    )
    end_page()

shown = Classified(source, models.task, choice, runs, models.readout, encodings, provenance)
VIEWS[pick_view(list(VIEWS))](shown)
