"""What the views of the Encoding page share: methods, provenance, and which differences are significant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from brainviz.figures.style import Provenance
from brainviz.runs.store import Run, Store
from brainviz.ui.comparison import PROTOCOL, How, comparisons, finished
from brainviz.ui.shown import Shown
from brainviz.ui.sources import Source

PAIR = ("contrastive", "untuned")


def show(source: Source, choice: Any, provenance: Provenance, how: How) -> Shown:
    return Shown(source, choice, finished(choice, Store()), how, comparisons(choice, how), provenance)


def test_a_difference_is_significant_where_its_test_says_so(
    source: Source, provenance: Provenance, choose_runs: Any, finish: Any, finish_run: Callable[..., Run]
) -> None:
    choice = choose_runs("V1v", "V1d", subjects=("subj01", "subj02"))
    finish(choice, untuned=0.3, contrastive=0.5)
    tested = pd.DataFrame({"hemi": "lh", "roi": ["V1d", "V1v"], "q": [0.2, 0.01]})
    finish_run(comparisons(choice, How(pair=PAIR))[0], {}, tables={"rois": tested})
    shown = show(source, choice, provenance, How(pair=PAIR))
    found = shown.differences.set_index(["subject", "roi"])["significant"]
    assert found["subj01"].to_dict() == {"V1v": 1.0, "V1d": 0.0}
    assert found["subj02"].isna().all()
    np.testing.assert_allclose(shown.differences["difference"], 0.25)
    # Tests are of the test r, and of one layer.
    for how in (How(score=PROTOCOL, pair=PAIR), How("classifier.6", pair=PAIR)):
        assert show(source, choice, provenance, how).differences["significant"].isna().all()


def test_provenance_names_the_runs_that_a_figure_is_about(
    source: Source, provenance: Provenance, choose_runs: Any, finish: Any
) -> None:
    choice = choose_runs("V1v", subjects=("subj01", "subj02"))
    runs = finish(choice, untuned=0.3, contrastive=0.5)
    shown = show(source, choice, provenance, How("classifier.6", pair=PAIR))
    assert (shown.methods, shown.subjects, shown.stem) == (
        ["untuned", "contrastive"],
        ["subj01", "subj02"],
        "tiny_2subjects",
    )
    both = shown.about(shown.methods)
    assert both.subject == "subj01, subj02"
    assert both.method == "untuned, contrastive: test r, all at classifier.6"
    assert set(both.runs) == {run.id for run in runs}
    one = shown.about(["contrastive"], "contrastive", "subj02")
    assert (one.subject, one.runs) == ("subj02", (runs[-1].id,))
    assert [spec.subject for spec in shown.specs("subj02")] == ["subj02", "subj02"]


def test_a_pair_needs_results_of_both(source: Source, provenance: Provenance, choose_runs: Any, finish: Any) -> None:
    choice = choose_runs("V1v")
    finish(choice, untuned=0.3)
    shown = show(source, choice, provenance, How(pair=PAIR))
    assert (shown.methods, shown.pair) == (["untuned"], None)
    assert shown.summary.differences.empty
    assert len(shown.tests) == 1
