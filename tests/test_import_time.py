"""`import brainviz` is quick, and loads none of the heavy libraries."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "nilearn", "umap", "captum", "streamlit", "sklearn", "matplotlib", "plotly", "pandas")


def _run(code: str) -> dict:
    command = f"import json, sys, time; start = time.perf_counter(); {code}; seconds = time.perf_counter() - start; "
    command += f"print(json.dumps(dict(seconds=seconds, heavy=[m for m in {HEAVY!r} if m in sys.modules])))"
    return json.loads(
        subprocess.run([sys.executable, "-c", command], check=True, capture_output=True, text=True).stdout
    )


def test_import_brainviz():
    found = [_run("import brainviz; brainviz.__version__") for _ in range(3)]
    assert found[0]["heavy"] == []
    assert min(each["seconds"] for each in found) < 0.3


@pytest.mark.parametrize("module", ["brainviz.datasets", "brainviz.datasets.check", "brainviz.datasets.splits"])
def test_datasets_load_nothing_heavy(module):
    assert _run(f"import {module}")["heavy"] == []


def test_unknown_attribute():
    import brainviz

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = brainviz.nothing
    assert callable(brainviz.open_dataset)
