"""What is taken away says where it comes from, and reads back as what was shown."""

import io
import json

import nibabel
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from streamlit.testing.v1 import AppTest

from brainviz.datasets.base import MESH_VERTICES
from brainviz.figures.style import Provenance
from brainviz.runs.network_specs import FinetuneSpec
from brainviz.runs.specs import parse_spec
from brainviz.ui.downloads import csv_text, gifti_bytes, html_text, json_text


def test_csv_reads_back_under_its_provenance(provenance: Provenance) -> None:
    frame = pd.DataFrame({"roi": ["V1", "V2"], "r": [0.25, np.nan]})
    text = csv_text(frame, provenance)
    assert "# subject: subj01\n" in text
    assert f"# runs: {'ab' * 32} {'cd' * 32}\n" in text
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(text), comment="#"), frame)


@pytest.mark.parametrize("mesh", ["fsaverage5", "fsaverage"])
def test_gifti_has_a_value_per_vertex_of_the_mesh(mesh: str, provenance: Provenance) -> None:
    last = MESH_VERTICES[mesh] - 1
    values = pd.DataFrame({"hemi": ["lh", "lh", "rh"], "position": [2, last, 5], "value": [0.5, -0.25, 9.0]})
    image = nibabel.gifti.GiftiImage.from_bytes(gifti_bytes(values, "lh", mesh, "test r", provenance))
    full = image.darrays[0].data
    assert full.shape == (MESH_VERTICES[mesh],)
    assert full.dtype == np.float32
    assert (full[2], full[last]) == (0.5, -0.25)
    assert np.isnan(full).sum() == MESH_VERTICES[mesh] - 2
    assert image.meta["AnatomicalStructurePrimary"] == "CortexLeft"
    assert image.meta["mesh"] == mesh
    assert image.meta["method"] == "contrastive"
    assert image.darrays[0].meta["Name"] == "test r"


def test_html_stands_alone_and_uploads_nothing() -> None:
    text = html_text(go.Figure(go.Scatter(y=[1, 2])))
    assert '"showSendToCloud": false' in text or '"showSendToCloud":false' in text
    assert 'src="http' not in text
    assert len(text) > 1_000_000  # plotly itself is inside


def test_json_holds_the_exact_request(provenance: Provenance) -> None:
    spec = FinetuneSpec(dataset="0" * 64, subject="subj01", hemi="lh", roi="V1")
    content = json.loads(json_text([spec], provenance))
    assert parse_spec(content["specs"][0]).run_id == spec.run_id
    assert content["provenance"]["runs"] == ["ab" * 32, "cd" * 32]


def downloads_of_a_map(mesh: str, hemispheres: list) -> None:
    """Draw the downloads; runs as a script of its own."""
    import pandas as pd

    from brainviz.figures.style import Provenance
    from brainviz.figures.surface import correlation_scale
    from brainviz.ui.downloads import map_downloads
    from brainviz.ui.look import Look
    from brainviz.ui.map_picture import MapPicture
    from brainviz.ui.viewer_plan import BrainMap, Regions

    values = pd.DataFrame({"hemi": hemispheres, "column": 0, "position": 5, "value": 0.5})
    maps = (BrainMap("r", values),)
    picture = MapPicture(maps, correlation_scale([]), Provenance("d", "s"), Look(), Regions({}, {}), mesh)
    map_downloads(values, values, picture, [], label="test r", stem="tiny_subj01")


@pytest.mark.parametrize(
    ("mesh", "hemispheres", "labels"),
    [
        (
            "fsaverage5",
            ["lh", "rh"],
            [
                *("Vertices, CSV", "Map lh, GIFTI", "Map rh, GIFTI", "Panels, PNG", "Panels, SVG", "Panels, PDF"),
                *("Figure, HTML", "Requests, JSON"),
            ],
        ),
        (
            "fsaverage",
            ["rh"],
            [
                *("Vertices, CSV", "Map rh, GIFTI", "Panels, PNG", "Panels, SVG", "Panels, PDF"),
                *("Figure, HTML", "Requests, JSON"),
            ],
        ),
        ("none", ["lh"], ["Vertices, CSV", "Requests, JSON"]),
    ],
)
def test_a_map_can_be_taken_away_as_far_as_it_has_a_place(mesh: str, hemispheres: list[str], labels: list[str]) -> None:
    at = AppTest.from_function(downloads_of_a_map, args=(mesh, hemispheres), default_timeout=60).run()
    assert not at.exception
    assert [button.label for button in at.get("download_button")] == labels
