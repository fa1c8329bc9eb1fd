"""The inspector: what it says of a vertex, of a patch, and where there is nothing to say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from brainviz.figures.style import Provenance
from brainviz.runs.network_specs import EncodingSpec
from brainviz.runs.spec_base import Spec
from brainviz.runs.store import Run, Store
from brainviz.ui.comparison import PROTOCOL, How, finished
from brainviz.ui.inspector import Picked, vertex_table
from brainviz.ui.shown import Shown
from brainviz.ui.sources import Source
from brainviz.ui.vertex_facts import fits, places, responses


@pytest.fixture
def finish_run(finish_run: Callable[..., Run], source: Source) -> Callable[..., Run]:
    """Finish runs with predictions that follow the measured responses, so that there is something to look at."""

    def finish(spec: Spec, scalars: dict[str, Any], **given: Any) -> Run:
        assert isinstance(spec, EncodingSpec)
        ((hemi, roi),) = spec.areas
        measured = source.dataset.responses(spec.subject, hemi, roi, given["test_rows"] + 20).T
        noise = np.random.default_rng(len(spec.method)).standard_normal(measured.shape)
        given |= {"predicted": (0.5 * measured + noise).astype(np.float32), "test_rows": given["test_rows"] + 20}
        return finish_run(spec, scalars, **given)

    return finish


def script(shown: object, subject: str, hemi: str, columns: tuple[int, ...]) -> None:
    from brainviz.ui.inspector import Picked, show_inspector

    show_inspector(shown, subject, Picked(hemi, columns))


@pytest.fixture
def inspect(source: Source, provenance: Provenance) -> Callable[..., tuple[AppTest, Shown]]:
    """Return a function that draws the inspector for the finished runs of a choice."""

    def draw(
        choice: Any, *columns: int, how: How | None = None, hemi: str = "lh", subject: str = "subj01", **url: str
    ) -> tuple[AppTest, Shown]:
        shown = Shown(source, choice, finished(choice, Store()), how or How(), (), provenance)
        at = AppTest.from_function(script, args=(shown, subject, hemi, columns), default_timeout=30)
        for name, value in url.items():
            at.query_params[name] = value
        at.run()
        assert not at.exception, [error.message for error in at.exception]
        return at, shown

    return draw


def captions(at: AppTest) -> str:
    return " ".join(caption.value for caption in at.caption)


def test_a_vertex(choose_runs: Any, finish: Any, inspect: Any, source: Source) -> None:
    choice = choose_runs("V1v")
    finish(choice, untuned=0.3, contrastive=np.linspace(0.1, 0.68, 30))
    at, _ = inspect(choice, 4)
    positions = source.dataset.positions("subj01", "lh")
    assert positions is not None
    assert at.subheader[0].value == f"Vertex {positions[4]:,} of fsaverage5, left hemisphere"
    place = at.markdown[0].value
    assert "**In** V1v, V1." in place
    assert "Column 4 of the responses of subj01." in place
    assert "0.80 of the variance, so that r is at most 0.89" in place
    table = at.table[0].value.T
    assert table["r"].to_dict() == {"untuned": "0.250", "contrastive": "0.180"}
    assert table["95 % interval"].to_dict() == {"untuned": "0.150 to 0.350", "contrastive": "0.080 to 0.280"}
    assert table["layer"].to_dict() == {
        "untuned": "classifier.6 (own best)",
        "contrastive": "classifier.5 (own best)",
    }
    assert table["alpha"].to_list() == ["1", "1"]
    assert table["r / ceiling"].to_dict() == {"untuned": "0.28", "contrastive": "0.20"}
    assert "From the encoding of V1v." in captions(at)


def test_pictures_are_the_highest_and_lowest(choose_runs: Any, finish: Any, inspect: Any, source: Source) -> None:
    choice = choose_runs("V1v")
    finish(choice, untuned=0.3)
    at, shown = inspect(choice, 4)
    found = responses(shown.runs, source, "subj01", Picked("lh", (4,)), "untuned")
    assert found is not None
    order = np.argsort(found.measured)
    # Of six test pictures, three are the highest and three the lowest: by what was measured, then as predicted.
    pictures = [element.proto.imgs[0] for element in at.get("image")]
    assert len(pictures) == 12
    expected = [*order[::-1][:3], *order[:3]]
    numbers = [
        f"m {found.measured[place]:.2f}  \np {found.predicted[place]:.2f}".replace("-", "−") for place in expected
    ]
    assert [picture.caption for picture in pictures[:6]] == numbers
    assert len({picture.url for picture in pictures}) == 6
    assert source.dataset.images("subj01").ids[found.rows[0]] in _chart(at)


def _chart(at: AppTest) -> str:
    return str(at.get("plotly_chart")[0].proto.spec)


def test_a_patch_is_averaged(choose_runs: Any, finish: Any, inspect: Any, source: Source) -> None:
    choice = choose_runs("V1v")
    finish(choice, untuned=np.linspace(0.1, 0.68, 30))
    at, shown = inspect(choice, 4, 6, 40)
    assert at.subheader[0].value == "Patch of 3 vertices, left hemisphere"
    assert "**In** V1 (3), V1v (2), V1d (1)." in at.markdown[0].value
    xyz = places(source, "subj01", Picked("lh", (4, 6, 40)))[["x", "y", "z"]].mean()
    assert f"**Centre** x {xyz['x']:.1f}".replace("-", "−") in at.markdown[0].value
    assert at.table[0].value.T["mean r"].to_list() == ["0.150"]
    said = captions(at)
    assert "untuned: 2 of the 3 vertices have results." in said
    assert "averaged over 2 vertices" in said
    where, known = places(source, "subj01", Picked("lh", (4, 6, 40))), fits(shown.runs, "subj01", Picked("lh", (4, 6)))
    table = vertex_table(where, known)
    assert list(table["column"]) == [4, 6, 40]
    np.testing.assert_allclose(table["r_untuned"], [0.13, 0.17, np.nan])
    assert table["layer_untuned"].to_list()[:2] == ["classifier.6"] * 2
    beside = vertex_table(where, fits(shown.runs, "subj01", Picked("lh", (4, 6)), "classifier.5"))
    np.testing.assert_allclose(beside["r_untuned_classifier.5"], table["r_untuned"] + 0.05)


def test_at_another_layer_the_own_best_is_shown_beside(choose_runs: Any, finish: Any, inspect: Any) -> None:
    choice = choose_runs("V1v")
    finish(choice, untuned=0.3)
    at, _ = inspect(choice, 4, how=How("classifier.5"))
    table = at.table[0].value.T
    assert table["r"].to_list() == ["0.300", "0.250"]
    assert table["layer"].to_list() == ["classifier.5", "classifier.6 (own best)"]
    assert table["95 % interval"].to_list() == ["–", "0.150 to 0.350"]
    said = captions(at)
    assert "Intervals are kept at the own best layer only." in said
    assert "Predictions of untuned are from the own best layer (classifier.6)." in said
    at, _ = inspect(choice, 4, how=How(score=PROTOCOL))
    assert "The map shows the authors' protocol" in captions(at)


def test_the_url_says_whose_predictions(choose_runs: Any, finish: Any, inspect: Any) -> None:
    choice = choose_runs("V1v")
    finish(choice, untuned=0.3, contrastive=0.5)
    at, _ = inspect(choice, 4)
    assert "Predictions of untuned" in captions(at)
    at, _ = inspect(choice, 4, inspect="contrastive")
    assert "Predictions of contrastive" in captions(at)


def test_a_method_without_results_here(choose_runs: Any, finish: Any, inspect: Any) -> None:
    choice = choose_runs("V1v", "V1d")
    finish(choose_runs("V1v"), untuned=0.3, contrastive=0.5)
    finish(choose_runs("V1d"), untuned=0.4)
    at, _ = inspect(choice, 40, inspect="contrastive")
    assert list(at.table[0].value.T.index) == ["untuned"]
    assert "No results here of contrastive." in captions(at)
    assert "There are no results of contrastive here." in at.info[0].value


def test_nothing_to_say(choose_runs: Any, finish: Any, inspect: Any) -> None:
    choice = choose_runs("V1v")
    finish(choice, untuned=0.3)
    at, _ = inspect(choice, 40)
    assert "This vertex has no results" in at.info[0].value
    assert "Choose one of these ROIs (V1d, V1), or “all”, above" in at.info[0].value
    assert not at.table
    at, _ = inspect(choice, 118, 119)
    assert "These vertices have no results" in at.info[0].value
    assert "In no ROI of the data set." in at.markdown[0].value


@pytest.mark.parametrize(("hemi", "column"), [("lh", 120), ("lh", -1), ("xx", 3)])
def test_a_link_may_name_what_is_not_there(choose_runs: Any, finish: Any, inspect: Any, hemi: str, column: int) -> None:
    choice = choose_runs("V1v")
    finish(choice, untuned=0.3)
    at, _ = inspect(choice, column, hemi=hemi)
    assert "The vertex picked is not in the" in at.warning[0].value
    assert not at.subheader
    at, _ = inspect(choice, 4, 6, 500)
    assert at.warning
    assert at.subheader[0].value.startswith("Patch of 2 vertices")


def test_undefined_r(choose_runs: Any, finish: Any, inspect: Any) -> None:
    choice = choose_runs("V1v")
    planted = np.full(30, 0.3)
    planted[4] = np.nan
    finish(choice, untuned=planted)
    at, _ = inspect(choice, 4)
    assert at.table[0].value.T["r"].to_list() == ["–"]
    assert "r is undefined" in captions(at)
