"""Concepts: what several participants' brains have in common when pictures are decoded from their responses."""

from brainviz.figures.style import Provenance
from brainviz.runs.spec_base import SEPARATOR
from brainviz.runs.store import Store
from brainviz.ui.concept_form import chosen_spec, require_concepts
from brainviz.ui.concept_map import show_weight_space
from brainviz.ui.concept_results import ConceptResults
from brainviz.ui.concept_search import show_search
from brainviz.ui.concept_view import show_concept
from brainviz.ui.concept_views import say_outcome, show_decoders, show_overview, show_scan, show_table
from brainviz.ui.encoding_views import pick_view
from brainviz.ui.errors import end_page
from brainviz.ui.navigation import begin_page
from brainviz.ui.run_controls import live_progress, say_nothing_yet, show_plan, start_button
from brainviz.ui.sources import require_source

VIEWS = {
    "Overview": show_overview,
    "One concept": show_concept,
    "Search": show_search,
    "Weight space": show_weight_space,
    "Choose eps": show_scan,
    "Decoders": show_decoders,
    "Table": show_table,
}

begin_page(
    "Concepts",
    "Decode what pictures mean from each participant's responses, and see which directions of meaning the vertices of "
    "several brains have in common.",
)

source = require_source()
choice = require_concepts(source)
spec = chosen_spec(choice)

show_plan(choice)
start_button(choice.specs, "concepts")
run = Store().find(spec)
done = run is not None and run.state == "done"
first = spec.decoders[0]
provenance = Provenance(
    source.key,
    ", ".join(spec.subject.split(SEPARATOR)),
    tuple(sorted({roi for decoder in spec.decoders for roi in decoder.roi.split(SEPARATOR)})),
    f"{first.test_share:.0%} held-out pictures, split seed {first.split_seed}",
    f"shared concepts, {first.embedding.clip_network}, eps {spec.eps:g}, {spec.min_participants} other participants",
    (run.id,) if run is not None and done else (),
)
live_progress(choice.specs, provenance)
if run is None or not done:
    say_nothing_yet(
        choice.specs,
        "Press “Start concepts”: it embeds the pictures, trains decoders for each "
        "participant and clusters their weights, where that is missing.",
    )
    end_page()

shown = ConceptResults(source, run, provenance)
say_outcome(shown)
VIEWS[pick_view(list(VIEWS))](shown)
