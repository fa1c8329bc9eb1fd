"""Estimates come from finished runs of the same kind, network and image size on this machine."""

import json
import socket

import pytest

from brainviz.runs.bottleneck_specs import BottleneckSpec, JointFeaturesSpec
from brainviz.runs.estimate import estimate_seconds, missing
from brainviz.runs.processes import ProcessIdentity
from brainviz.runs.store import change_state, write_json, write_manifest


@pytest.fixture
def done(queued):
    """Return a function that makes a finished run of a spec that took so many seconds."""

    def finish(spec, seconds, host=None):
        run = queued(spec)
        change_state(run, {"queued"}, "running", process=ProcessIdentity.current())
        write_json(run.path / "result.json", {})
        facts = {"seconds": seconds, "host": host or socket.gethostname()}
        write_manifest(run, facts, ProcessIdentity.current())

    return finish


@pytest.fixture(autouse=True)
def _known(store):
    folder = store.cache / "datasets"
    folder.mkdir()
    for dataset, n_images in (("0", 100), ("1", 200)):
        known = {"root": "/", "name": "x", "n_images": {"subj01": n_images}}
        (folder / f"{dataset * 64}.json").write_text(json.dumps(known))


def test_nothing_to_go_by(finetune_spec):
    assert estimate_seconds([finetune_spec()]) is None


def test_time_grows_with_pictures_and_epochs(done, finetune_spec):
    done(finetune_spec(epochs=10), 50.0)  # 100 pictures x 10 epochs: 0.05 s each
    assert estimate_seconds([finetune_spec(epochs=20)]) == pytest.approx(100)
    assert estimate_seconds([finetune_spec(epochs=20, dataset="1" * 64)]) == pytest.approx(200)
    assert estimate_seconds([finetune_spec(epochs=20), finetune_spec(epochs=4)]) == pytest.approx(120)
    assert estimate_seconds([finetune_spec(epochs=20)] * 2) == pytest.approx(100)


def test_the_median_run_counts_and_only_alike_ones(done, finetune_spec):
    for seed, seconds in enumerate((40.0, 50.0, 900.0)):
        done(finetune_spec(epochs=10, seed=seed), seconds)
    done(finetune_spec(epochs=10, seed=9), 1.0, host="elsewhere")
    done(finetune_spec(epochs=10, image_size=64), 1.0)
    assert estimate_seconds([finetune_spec(epochs=10, seed=10)]) == pytest.approx(50)
    assert estimate_seconds([finetune_spec(network="vgg16")]) is None


def test_what_is_there_costs_nothing_and_needs_are_counted_once(done, finetune_spec, encoding_spec):
    finetune, features = encoding_spec.features.finetune, encoding_spec.features
    other = encoding_spec.model_copy(update={"hemi": "rh"})
    assert missing([encoding_spec, other]) == [finetune, features, encoding_spec, other]
    done(finetune, 10.0)
    assert missing([encoding_spec]) == [features, encoding_spec]
    done(features, 7.0)
    done(encoding_spec, 3.0)
    assert estimate_seconds([encoding_spec, finetune]) == 0
    assert estimate_seconds([other]) == pytest.approx(3)


def test_bottleneck_networks_take_time_by_their_width(done):
    about = {"dataset": "0" * 64, "subject": "subj01"}
    features = JointFeaturesSpec(**about)

    def network(**fields):
        return BottleneckSpec(**about, hemi="both", roi="all", features=features, **fields)

    done(features, 1.0)
    done(network(bottleneck_width=6000), 560.0)  # 100 pictures x 10 epochs x 6000 x 6000, and 2e10 for the rest: 1e-8 s
    assert estimate_seconds([network(bottleneck_width=1000)]) == pytest.approx(210)
    assert estimate_seconds([network(linear=True)]) == pytest.approx(200, rel=1e-3)
    other = JointFeaturesSpec(**about, clip_network="clip_compact")
    assert estimate_seconds([BottleneckSpec(**about, hemi="both", roi="all", features=other)]) is None
