"""Tests of brainviz.datasets: data sets by name."""

from __future__ import annotations

import pytest

import brainviz
from brainviz.datasets import dataset_folder, dataset_names, open_dataset
from brainviz.errors import DatasetError


@pytest.fixture
def named(tiny_root, tmp_path, monkeypatch):
    config = tmp_path / "lab.toml"
    config.write_text(f'[datasets]\nlab = "{tiny_root}"\n')
    monkeypatch.setenv("BRAINVIZ_CONFIG", str(config))


def test_names(named, tiny_root):
    assert dataset_names() == ("demo", "lab")
    assert dataset_folder("lab") == tiny_root
    assert open_dataset("lab").subjects == brainviz.open_dataset(tiny_root).subjects
    assert open_dataset(str(tiny_root)).root == tiny_root.resolve()


def test_unknown_name(named):
    with pytest.raises(DatasetError, match="did you mean 'lab'") as error:
        open_dataset("lap")
    assert "demo, lab" in str(error.value)
