"""Tests of brainviz.datasets.settings: what dataset.toml may say, and what is said of mistakes in it."""

from __future__ import annotations

import pytest

from brainviz.datasets.settings import Settings, read_settings


def _read(tmp_path, text: str):
    (tmp_path / "dataset.toml").write_text(text)
    return read_settings(tmp_path / "dataset.toml", "folder")


def test_defaults_without_a_file(tmp_path):
    settings, findings = read_settings(tmp_path / "dataset.toml", "folder")
    assert settings == Settings("folder")
    assert (settings.mesh, settings.hemispheres, settings.unit) == ("fsaverage", None, "vertex")
    assert findings == ()


def test_everything(tmp_path):
    settings, findings = _read(
        tmp_path,
        'name = "N"\nmesh = "none"\nhemispheres = ["rh", "lh"]\nunit = "neuron"\nresponse = "spikes"\n'
        '[subjects]\nsubj01 = "monkey"\n[defaults]\nepochs = 3\n',
    )
    assert findings == ()
    assert settings == Settings("N", "none", ("lh", "rh"), "neuron", "spikes", {"subj01": "monkey"}, {"epochs": 3})


def test_unknown_keys_are_warnings_that_name_the_nearest(tmp_path):
    settings, findings = _read(tmp_path, 'mehs = "none"\nzzz = 1\n')
    assert settings.mesh == "fsaverage"
    assert [finding.level for finding in findings] == ["warning", "warning"]
    assert "Did you mean 'mesh'?" in findings[0].message
    assert "Did you mean" not in findings[1].message


@pytest.mark.parametrize(
    "text",
    [
        "name = 3",
        'mesh = ""',
        'hemispheres = "lh"',
        "hemispheres = []",
        'hemispheres = ["left"]',
        "hemispheres = [[1]]",
        'subjects = ["a"]',
        "[subjects]\na = 3",
        "defaults = 1",
        "not toml",
        "name = 'x",
    ],
)
def test_mistakes_are_errors_and_the_rest_is_read(tmp_path, text):
    settings, findings = _read(tmp_path, text)
    assert settings == Settings("folder")
    assert [finding.level for finding in findings] == ["error"]


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "dataset.toml").write_bytes(b'name = "\xff"')
    assert read_settings(tmp_path / "dataset.toml", "x")[1][0].level == "error"
