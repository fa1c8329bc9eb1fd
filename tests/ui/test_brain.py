"""The brain on a page: what the viewer is handed, what it tells, the address, and a strip where there is no mesh."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from brainviz.datasets.base import MESH_VERTICES
from brainviz.figures.surface import correlation_scale, roi_scale
from brainviz.ui.brain import PATCH, has_place, map_table, summary_words
from brainviz.ui.look import Look
from brainviz.ui.viewer_plan import BrainMap, Regions
from tests.component import plan_of, tell

#: Two areas, of which one is in both hemispheres.
REGIONS = Regions(
    {"Early visual areas": ("V1",), "Faces": ("FFA-1",)},
    {("lh", "V1"): np.array([3, 9]), ("rh", "V1"): np.array([3]), ("lh", "FFA-1"): np.array([9])},
)


def brain(maps: list, mesh: str, options: dict) -> None:
    """Draw maps, with the field for a vertex; runs as a script of its own."""
    import streamlit as st

    from brainviz.figures.style import Provenance
    from brainviz.figures.surface import correlation_scale
    from brainviz.ui.brain import picked, show_brain, vertex_input
    from brainviz.ui.look import Look

    if st.session_state.get("elsewhere"):
        return
    vertex_input()
    options = dict(options)  # the script runs again with the same
    scale = options.pop("scale", correlation_scale([]))
    default = options.pop("default", Look())
    st.session_state["look"] = show_brain(maps, mesh, scale, Provenance("d", "s"), default, key="brain", **options)
    st.session_state["picked"] = picked()


def one_map(positions: Sequence[int] = (3, 9), title: str = "r") -> BrainMap:
    frame = pd.DataFrame({"hemi": "lh", "column": [0, 4], "position": positions, "value": [0.1, 0.4]})
    return BrainMap(title, frame)


def show(
    maps: Sequence[BrainMap] | None = None, mesh: str = "fsaverage5", url: dict[str, str] | None = None, **options: Any
) -> AppTest:
    at = AppTest.from_function(brain, args=(maps or [one_map()], mesh, options), default_timeout=60)
    for name, value in (url or {}).items():
        at.query_params[name] = value
    at.run()
    assert not at.exception, [error.message for error in at.exception]
    return at


def address(at: AppTest) -> dict[str, str]:
    return dict(at.query_params)


# --- meshes -----------------------------------------------------------------------------------------------------------


def test_on_the_cortex() -> None:
    at = show(regions=REGIONS)
    plan = plan_of(at)
    assert [each["title"] for each in plan["maps"]] == ["r"]
    assert plan["look"] == json.loads(json.dumps(Look().for_viewer()))
    assert at.session_state["look"] == Look()
    assert plan["rois"]["names"] == ["V1", "FFA-1"]
    assert plan["picked"] is None
    assert not at.caption
    assert not at.warning
    table = at.dataframe[0].value
    assert list(table["roi"]) == ["all shown", "V1", "FFA-1"]


def test_two_maps() -> None:
    plan = plan_of(show([one_map(title="untuned"), one_map(title="contrastive")]))
    assert [each["title"] for each in plan["maps"]] == ["untuned", "contrastive"]


@pytest.fixture
def nothing_at_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nilearn's folder of downloads is an empty one."""
    for name in ("NILEARN_SHARED_DATA", "NILEARN_DATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))


@pytest.mark.parametrize("mesh", ["fsaverage6", "fsaverage"])
@pytest.mark.usefixtures("nothing_at_hand")
def test_a_finer_mesh_is_shown_by_its_first_vertices_and_says_so(mesh: str) -> None:
    at = show([one_map((9, 20_000))], mesh)
    assert plan_of(at)["mesh"]["name"].split() == ["fsaverage5"] * 5
    (caption,) = at.caption
    assert f"The data are on {mesh}; the picture is of fsaverage5" in caption.value
    assert "first 10,242 vertices per hemisphere (1 of the 2 vertices here)" in caption.value
    # Words and table are of all.
    assert "2 vertices" in plan_of(at)["summary"]
    assert at.dataframe[0].value["vertex"][0] == 20_000


@pytest.fixture
def sphere_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`brainviz.toml` names a folder with the sphere of fsaverage6: vertices in disorder, one triangle."""
    folder, n = tmp_path / "meshes", MESH_VERTICES["fsaverage6"]
    folder.mkdir()
    numbers = np.random.default_rng(0).standard_normal((n, 3)).astype(np.float32)
    points = nibabel.gifti.GiftiDataArray(numbers, "NIFTI_INTENT_POINTSET", "NIFTI_TYPE_FLOAT32")
    faces = nibabel.gifti.GiftiDataArray(np.array([[0, 1, 2]], np.int32), "NIFTI_INTENT_TRIANGLE", "NIFTI_TYPE_INT32")
    depth = nibabel.gifti.GiftiDataArray(numbers[:, 0], "NIFTI_INTENT_SHAPE", "NIFTI_TYPE_FLOAT32")
    for hemi in ("lh", "rh"):
        nibabel.gifti.GiftiImage(darrays=[points, faces]).to_filename(folder / f"fsaverage6.{hemi}.sphere.gii")
        nibabel.gifti.GiftiImage(darrays=[depth]).to_filename(folder / f"fsaverage6.{hemi}.sulc.gii")
    config = tmp_path / "brainviz.toml"
    config.write_text(f"[meshes]\nfolder = {str(folder)!r}\n")
    monkeypatch.setenv("BRAINVIZ_CONFIG", str(config))


@pytest.mark.usefixtures("sphere_at_hand")
def test_with_the_files_of_a_finer_mesh_the_picture_is_of_it() -> None:
    on_sphere = {"surface": "sphere"}
    at = show([one_map((9, 20_000))], "fsaverage6", on_sphere)
    assert not at.caption
    assert plan_of(at)["mesh"]["name"].split() == [*["fsaverage5"] * 3, "fsaverage6", "fsaverage5"]
    # Another surface of it is not there; and the data may be finer still.
    assert "the picture is of fsaverage5" in show([one_map((9, 20_000))], "fsaverage6").caption[0].value
    finest = show([one_map((9, 20_000))], "fsaverage", on_sphere).caption[0].value
    assert "the picture is of fsaverage6, which is its first 40,962 vertices" in finest
    assert "(2 of the 2 vertices here)" in finest


@pytest.mark.parametrize(("mesh", "why"), [("none", "has no mesh"), ("macaque", "does not know (macaque)")])
def test_without_a_mesh_values_are_sorted(mesh: str, why: str) -> None:
    default = Look(surface="pial")
    at = show([one_map((-1, -1))], mesh, {"surface": "flat"}, default=default)
    assert not has_place(mesh)
    assert why in at.info[0].value.replace("\\", "")
    assert not at.get("bidi_component")
    assert len(at.get("plotly_chart")) == 1
    assert list(at.dataframe[0].value["value"]) == [0.4, 0.1]
    assert at.session_state["look"] == default


def test_two_strips() -> None:
    at = show([one_map((-1, -1), "A"), one_map((-1, -1), "B")], "none")
    assert len(at.get("plotly_chart")) == 2


def test_a_map_without_numbers_is_drawn() -> None:
    empty = BrainMap("r", one_map().values.assign(value=np.nan))
    assert show([empty]).dataframe[0].value.empty


# --- the address ------------------------------------------------------------------------------------------------------


def test_a_link_restores_the_look() -> None:
    link = {
        "surface": "pial",
        "camera": "10,-20,1.5,0,0",
        "threshold": "0.25",
        "limits": "0|0.5",
        "borders": "V1|FFA-1",
    }
    at = show(url=link | {"side": "rh", "names": "0", "linked": "0", "colours": "cividis"}, regions=REGIONS)
    look = Look(
        "pial", ("10,-20,1.5,0,0",), "rh", 0.25, (0.0, 0.5), "cividis", ("V1", "FFA-1"), named=False, linked=False
    )
    assert at.session_state["look"] == look
    assert plan_of(at)["look"] == json.loads(json.dumps(look.for_viewer()))
    assert not at.warning


def test_what_a_link_does_not_say_is_as_the_page_has_it() -> None:
    at = show(url={"surface": "white"}, default=Look(borders=("V1",), floor=0.1))
    assert at.session_state["look"] == Look("white", borders=("V1",), floor=0.1)


def test_what_means_nothing_is_named() -> None:
    at = show(url={"threshold": "1e999", "side": "<script>", "dataset": "demo"})
    (warning,) = at.warning
    assert "The link says" in warning.value
    assert "threshold=1e999" in warning.value
    assert "side=\\<script\\>" in warning.value
    assert "dataset" not in warning.value
    assert at.session_state["look"] == Look()


@pytest.mark.parametrize("key", ["surface", "camera", "threshold", "limits", "colours", "borders", "vertex"])
@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "1e999", "|" * 5000, "lh " + "9" * 5000, "toString", ""])
def test_no_link_breaks_the_page(key: str, text: str) -> None:
    plan_of(show(url={key: text}, regions=REGIONS))


def test_a_look_that_is_told_is_in_the_address() -> None:
    at = show(url={"dataset": "demo", "threshold": "0.3"})
    told = Look().for_viewer() | {"surface": "flat", "threshold": 0.125, "borders": ["V1"], "cameras": ["ventral"]}
    tell(at, look=told)
    assert address(at) == {
        "dataset": "demo",
        "surface": "flat",
        "threshold": "0.125",
        "borders": "V1",
        "camera": "ventral",
    }
    assert at.session_state["look"] == Look("flat", ("ventral",), threshold=0.125, borders=("V1",))
    # What is as usual again stays in the address.
    tell(at, look=told | {"threshold": 0, "surface": "inflated", "borders": []})
    expected = {"dataset": "demo", "surface": "inflated", "threshold": "0", "borders": "none", "camera": "ventral"}
    assert address(at) == expected


def test_a_look_is_there_again_after_a_visit_elsewhere() -> None:
    """On another page the component is gone, and the address with it; the session remembers."""
    at = show()
    tell(at, look=Look().for_viewer() | {"surface": "flat", "threshold": 0.125})
    at.session_state["elsewhere"] = True
    at.run()
    assert not at.get("bidi_component")
    at.query_params.clear()
    at.session_state["elsewhere"] = False
    at.run()
    assert plan_of(at)["look"]["surface"] == "flat"
    assert address(at) == {"surface": "flat", "threshold": "0.125"}


def test_a_step_back_in_the_browser_leads_to_the_look_of_that_address(monkeypatch: pytest.MonkeyPatch) -> None:
    at = show(url={"threshold": "0.3"})
    tell(at, look=Look().for_viewer() | {"surface": "flat", "threshold": 0.125})
    before = plan_of(at)["restored"]
    monkeypatch.setattr("brainviz.ui.brain.came_by_history", lambda: True)
    at.query_params.clear()
    at.query_params["threshold"] = "0.3"
    at.run()
    assert at.session_state["look"] == Look(threshold=0.3)
    assert plan_of(at)["look"]["threshold"] == 0.3
    assert plan_of(at)["restored"] == before + 1
    # It stays so although the browser still holds what was told before.
    monkeypatch.setattr("brainviz.ui.brain.came_by_history", lambda: False)
    at.run()
    assert at.session_state["look"] == Look(threshold=0.3)
    assert plan_of(at)["restored"] == before + 1


def test_a_picked_vertex_stays_in_the_address_when_a_run_is_cut_short() -> None:
    """Streamlit writes what a callback has set in that callback's run; here the address of the next one lacks it."""
    at = show()
    tell(at, picked={"hemi": "rh", "vertices": [17]})
    del at.query_params["vertex"]
    at.run()
    assert address(at)["vertex"] == "rh 17"


def test_what_is_picked_can_be_cleared() -> None:
    at = show()
    tell(at, picked={"hemi": "lh", "vertices": [3, 9], "number": 1})
    at.button(key="clear_picked").click().run()
    assert at.session_state["picked"] is None
    tell(at, picked={"hemi": "lh", "vertices": [3, 9], "number": 2})
    assert at.session_state["picked"] == ("lh", (3, 9))
    tell(at, picked={"hemi": "lh", "vertices": [3], "number": 3})
    at.button(key="clear_picked").click().run()
    assert at.session_state["picked"] is None
    assert "vertex" not in address(at)


def test_a_told_look_without_borders_stays_without() -> None:
    at = show(default=Look(borders=("V1",)), regions=REGIONS)
    tell(at, look=Look().for_viewer())
    assert address(at) == {"borders": "none"}
    assert at.session_state["look"].borders == ()


# --- what is picked ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [("lh 9", ("lh", (9,))), (" rh  1234 ", ("rh", (1234,))), ("rh 0", ("rh", (0,))), ("LH 9", ("lh", (9,)))],
)
def test_a_link_names_a_vertex(text: str, found: tuple[str, tuple[int, ...]]) -> None:
    at = show(url={"vertex": text})
    assert at.session_state["picked"] == found
    assert plan_of(at)["picked"] == {"hemi": found[0], "vertices": list(found[1])}
    assert not at.warning


@pytest.mark.parametrize("text", ["9", "lh", "lh -3", "lh 1.5", "left 9", "lh x", "lh ²", "<b>", "lh 9 9"])
def test_what_names_no_vertex_is_said(text: str) -> None:
    at = show(url={"vertex": text})
    assert at.session_state["picked"] is None
    assert "There is no vertex" in at.warning[0].value
    assert plan_of(at)["picked"] is None


def test_a_click_fills_in_the_field_and_the_address() -> None:
    at = show()
    tell(at, picked={"hemi": "rh", "vertices": [17]})
    assert at.text_input(key="vertex").value == "rh 17"
    assert at.session_state["picked"] == ("rh", (17,))
    assert plan_of(at)["picked"] == {"hemi": "rh", "vertices": [17]}


def test_a_patch_gives_way_to_a_vertex() -> None:
    at = show()
    tell(at, picked={"hemi": "lh", "vertices": [3, 9]})
    assert at.session_state["picked"] == ("lh", (3, 9))
    at.text_input(key="vertex").set_value("rh 5").run()
    assert at.session_state["picked"] == ("rh", (5,))
    assert PATCH not in at.session_state


def test_a_click_after_a_patch() -> None:
    at = show()
    tell(at, picked={"hemi": "lh", "vertices": [3, 9]})
    tell(at, picked={"hemi": "lh", "vertices": [9]})
    assert at.session_state["picked"] == ("lh", (9,))


# --- in words and numbers ---------------------------------------------------------------------------------------------


def both_sides() -> BrainMap:
    """Return a map of both hemispheres, with one value undefined."""
    return BrainMap(
        "contrastive",
        pd.DataFrame(
            {
                "hemi": ["lh", "lh", "lh", "rh", "rh"],
                "column": [0, 1, 2, 0, 1],
                "position": [3, 9, 10, 4, 3],
                "value": [0.1, 0.4, np.nan, -0.75, -0.25],
            }
        ),
    )


def test_a_map_in_numbers() -> None:
    table = map_table([both_sides()], REGIONS)
    assert list(table.columns) == ["map", "hemi", "roi", "vertices", "mean", "highest", "vertex"]
    rows = table.drop(columns="map").to_numpy().tolist()
    assert rows == [
        ["lh", "all shown", 2, 0.25, 0.4, 9],
        ["lh", "V1", 2, 0.25, 0.4, 9],
        ["lh", "FFA-1", 1, 0.4, 0.4, 9],
        ["rh", "all shown", 2, -0.5, -0.25, 3],
        ["rh", "V1", 1, -0.25, -0.25, 3],
    ]


def test_a_map_in_numbers_without_areas() -> None:
    assert list(map_table([both_sides(), both_sides()], None)["roi"]) == ["all shown"] * 4


def test_a_map_in_words() -> None:
    assert summary_words([both_sides()], correlation_scale([])) == (
        "contrastive, left hemisphere: 2 vertices, mean Pearson r 0.250, highest 0.400 at vertex 9. "
        "contrastive, right hemisphere: 2 vertices, mean Pearson r -0.500, highest -0.250 at vertex 3."
    )


def test_areas_in_words() -> None:
    areas = BrainMap("subj01", both_sides().values.assign(value=[0.0, 2.0, np.nan, 2.0, 2.0]))
    words = summary_words([areas], roi_scale(["V1", "V2", "FFA-1"]))
    assert words == "subj01: vertices per ROI: V1 1, V2 0, FFA-1 3."
    at = show([areas], scale=roi_scale(["V1", "V2", "FFA-1"]))
    assert plan_of(at)["summary"] == words
    assert not at.dataframe
