"""Exports of a map: the page's limits, threshold, colours, surface and borders, and files that open."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from brainviz.datasets.base import MESH_VERTICES
from brainviz.figures import print_panels
from brainviz.figures.style import Provenance
from brainviz.figures.surface import Scale, correlation_scale, difference_scale, palettes
from brainviz.ui.look import Look
from brainviz.ui.map_picture import MapPicture
from brainviz.ui.viewer_plan import BrainMap, Regions

N_VERTICES = MESH_VERTICES["fsaverage5"]

#: One area whose vertices are not all on fsaverage5.
REGIONS = Regions({"Faces": ("FFA-1",), "Places": ("PPA",)}, {("lh", "FFA-1"): np.array([4, 7, N_VERTICES + 5])})

VALUES = pd.DataFrame(
    {
        "hemi": ["lh", "lh", "lh", "rh"],
        "column": [0, 1, 2, 0],
        "position": [4, 7, N_VERTICES + 5, 9],
        "value": [0.125, 0.5, 0.25, -0.25],
    }
)


@pytest.fixture
def picture(provenance: Provenance) -> MapPicture:
    maps = (BrainMap("r", VALUES),)
    return MapPicture(maps, correlation_scale([np.array([0.5])]), provenance, Look(), REGIONS, "fsaverage5")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what panels were asked for, instead of drawing them."""
    asked: dict[str, Any] = {}

    def noted(maps: Any, scale: Scale, provenance: Provenance, **options: Any) -> str:
        asked.update({"maps": maps, "scale": scale, "provenance": provenance} | options)
        return "figure"

    monkeypatch.setattr(print_panels, "print_panels", noted)
    monkeypatch.setattr(print_panels, "panel_bytes", lambda figure, format: f"{figure} {format}".encode())
    return asked


def test_panels_are_of_what_is_seen(picture: MapPicture, asked: dict[str, Any]) -> None:
    look = Look("pial", threshold=0.2, limits=(0.1, 0.3), colours="cividis", borders=("FFA-1", "PPA"))
    assert replace(picture, look=look).panels(VALUES, "svg") == b"figure svg"
    assert (asked["surface"], asked["mesh"], asked["threshold"], asked["colours"]) == (
        "pial",
        "fsaverage5",
        0.2,
        "cividis",
    )
    assert (asked["scale"].low, asked["scale"].high) == (0.1, 0.3)
    assert asked["provenance"] == picture.provenance
    for hemi, known in {"lh": {4: 0.125, 7: 0.5}, "rh": {9: -0.25}}.items():
        assert asked["maps"][hemi].shape == (N_VERTICES,)
        assert {
            int(v): float(asked["maps"][hemi][v]) for v in np.flatnonzero(np.isfinite(asked["maps"][hemi]))
        } == known
    # An area without vertices in a hemisphere has no outline there.
    assert {hemi: list(masks) for hemi, masks in asked["rois"].items()} == {"lh": ["FFA-1"], "rh": []}
    assert np.flatnonzero(asked["rois"]["lh"]["FFA-1"]).tolist() == [4, 7]


def test_panels_without_a_word_from_the_visitor(picture: MapPicture, asked: dict[str, Any]) -> None:
    picture.panels(VALUES, "png")
    assert (asked["surface"], asked["threshold"], asked["colours"]) == ("inflated", 0.0, None)
    assert asked["scale"] == picture.scale
    assert not any(asked["rois"].values())


@pytest.mark.parametrize("surface", ["flat", "<script>"])
def test_the_flat_map_is_in_the_panels_anyway(picture: MapPicture, asked: dict[str, Any], surface: str) -> None:
    replace(picture, look=Look(surface)).panels(VALUES, "png")
    assert asked["surface"] == "inflated"


def test_panels_open(picture: MapPicture) -> None:
    """One real file: with the provenance and the name of the outlined area as text."""
    text = replace(picture, look=Look(borders=("FFA-1",))).panels(VALUES, "svg").decode()
    assert "<svg" in text
    assert "FFA-1" in text
    assert "Pearson r" in text
    assert picture.provenance.dataset in text


@pytest.mark.parametrize("scale", [correlation_scale([]), difference_scale([], "Δr")])
def test_panels_know_all_colours_of_the_viewer(scale: Scale) -> None:
    for name in palettes(scale):
        print_panels.colour_map(scale, name)


@pytest.mark.parametrize("colours", ["cividis", "<script>"])
def test_colours_that_a_map_lacks_do_not_stop_its_export(
    picture: MapPicture, asked: dict[str, Any], colours: str
) -> None:
    """The address keeps the colours that were chosen for another quantity, or says what nobody offers."""
    scale = difference_scale([np.array([0.1])], "Δr")
    replace(picture, scale=scale, look=Look(colours=colours)).panels(VALUES, "svg")
    assert asked["colours"] in (None, *palettes(scale))


def test_the_page_holds_the_maps_and_the_look(picture: MapPicture) -> None:
    """What a browser makes of it is tested in `tests/browser`."""
    look = Look("white", ("ventral",), threshold=0.2, limits=(0.1, 0.3), colours="cividis", borders=("FFA-1",))
    text = replace(picture, look=look).page()
    plan, files = (json.loads(re.search(rf'id="{name}">(.*?)</script>', text)[1]) for name in ("plan", "files"))  # type: ignore[index]
    assert Look(**{name: tuple(v) if isinstance(v, list) else v for name, v in plan["look"].items()}) == look
    assert [each["title"] for each in plan["maps"]] == ["r"]
    assert plan["rois"]["names"] == ["FFA-1", "PPA"]
    named = {plan["maps"][0]["file"], plan["rois"]["file"]}
    named |= {part for each in plan["mesh"]["surfaces"].values() for part in (each["shape"], each["positions"])}
    assert named == set(files)
    assert all(address.startswith("data:") for address in files.values())
    for each in picture.provenance.fields().values():
        assert str(each) in text or all(entry in text for entry in each)


def test_no_text_breaks_out_of_the_page(picture: MapPicture) -> None:
    hostile = "</script><script>alert(1)</script>"
    regions = Regions({hostile: (hostile,)}, {("lh", hostile): np.array([4])})
    maps = (BrainMap(hostile, VALUES),)
    provenance = replace(picture.provenance, dataset=hostile)
    text = replace(picture, maps=maps, regions=regions, provenance=provenance).page()
    assert hostile not in text
    assert text.count("</script>") == replace(picture, regions=REGIONS).page().count("</script>")


def test_data_on_a_finer_mesh(
    picture: MapPicture, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    for name in ("NILEARN_SHARED_DATA", "NILEARN_DATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    finer = replace(picture, mesh="fsaverage6")
    finer.panels(VALUES, "png")
    assert (asked["mesh"], len(asked["maps"]["lh"])) == ("fsaverage5", N_VERTICES)
    monkeypatch.setattr("brainviz.ui.map_picture.resolution", lambda *_, **__: "fsaverage6")
    replace(finer, look=Look(borders=("FFA-1",))).panels(VALUES, "png")
    assert (asked["mesh"], len(asked["maps"]["lh"])) == ("fsaverage6", MESH_VERTICES["fsaverage6"])
    assert np.flatnonzero(asked["rois"]["lh"]["FFA-1"]).tolist() == [4, 7, N_VERTICES + 5]
    assert '"name": "fsaverage5 fsaverage5' in finer.page()
