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
        "repeats = 0",
        "repeats = true",
        "repeats = 2.5",
        'repeats = "3"',
        "repeats = {}",
        "repeats = {0 = 5, 3 = 10}",
        "repeats = {1 = 0}",
        "repeats = {1 = -1, 3 = 10}",
        "repeats = {1 = 2.5}",
        "repeats = {subj01 = 3, subj02 = 0}",
        "repeats = {subj01 = 3, subj02 = {x = 1}}",
        "repeats = {1 = 10, subj01 = 3}",
        "not toml",
        "name = 'x",
    ],
)
def test_mistakes_are_errors_and_the_rest_is_read(tmp_path, text):
    settings, findings = _read(tmp_path, text)
    assert settings == Settings("folder")
    assert [finding.level for finding in findings] == ["error"]


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        ("repeats = 3", {3: 1}, {3: 1}),
        ("repeats = {1 = 20, 2 = 30, 3 = 0}", {1: 20, 2: 30, 3: 0}, {1: 20, 2: 30, 3: 0}),
        ("[repeats]\n1 = 20\n10 = 5", {1: 20, 10: 5}, {1: 20, 10: 5}),
        ("[repeats]\nsubj01 = 3\nsubj03 = {1 = 20, 3 = 7}", {3: 1}, None),
        ("[repeats]\nsubj02 = 2\n[repeats.subj01]\n1 = 20\n3 = 7", {1: 20, 3: 7}, {2: 1}),
        ("", None, None),
    ],
)
def test_repeats_of_all_or_of_each_subject(tmp_path, text, first, second):
    settings, findings = _read(tmp_path, text)
    assert findings == ()
    assert settings.repeats_of("subj01") == first
    assert settings.repeats_of("subj02") == second


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "dataset.toml").write_bytes(b'name = "\xff"')
    assert read_settings(tmp_path / "dataset.toml", "x")[1][0].level == "error"
