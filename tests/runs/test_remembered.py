"""What is remembered of fingerprints for the workers."""

import json
import shutil

import pytest

from brainviz.datasets import open_dataset
from brainviz.datasets.index import build_index
from brainviz.errors import DatasetError, WeightsError
from brainviz.runs.remembered import load_dataset, memo_dir, weights_path
from brainviz.runs.requests import make_spec

#: A network whose names and sizes are known without torch.
SMALL = {"network": "squeezenet1_1", "weights": "random", "image_size": 32}


def test_the_data_set_is_remembered_and_known_again(ask, tiny_dataset, cache):
    spec = ask("finetune", tiny_dataset)
    known = json.loads((cache / "datasets" / f"{spec.dataset}.json").read_text())
    assert known == {"root": str(tiny_dataset.root), "name": "Tiny", "n_images": {"subj01": 40, "subj02": 40}}
    dataset, index = load_dataset(spec.dataset)
    assert dataset.root == tiny_dataset.root
    assert index.fingerprint == spec.dataset


def test_data_that_changed_are_not_taken_for_those_asked_for(tiny_copy, cache):
    dataset = open_dataset(tiny_copy)
    spec = make_spec(
        "finetune", dataset, build_index(dataset, memo_dir()), subject="subj01", hemi="lh", roi="V1v", **SMALL
    )
    first, second = sorted((tiny_copy / "subj02/training_split/training_images").iterdir())[:2]
    shutil.copy(first, second)
    with pytest.raises(DatasetError, match="have changed"):
        load_dataset(spec.dataset)


def test_a_data_set_that_nobody_remembers_is_named(cache):
    with pytest.raises(DatasetError, match="Nothing is known"):
        load_dataset("0" * 64)


def test_a_weights_file_is_remembered_by_its_digest(ask, tiny_dataset, tmp_path):
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"one")
    first = ask("finetune", tiny_dataset, weights=str(file), allow_files=True)
    assert first.weights == "file"
    assert weights_path(first.weights_digest) == file
    file.write_bytes(b"another")
    assert ask("finetune", tiny_dataset, weights=str(file), allow_files=True).weights_digest != first.weights_digest
    file.unlink()
    with pytest.raises(WeightsError, match="no weights file"):
        ask("finetune", tiny_dataset, weights=str(file), allow_files=True)
