"""A spec's id is the SHA-256 of its canonical JSON, and every field counts."""

import hashlib
import json

import pytest
from pydantic import ValidationError

from brainviz.errors import SpecError
from brainviz.runs.network_specs import FeaturesSpec
from brainviz.runs.spec_base import CODE_VERSIONS
from brainviz.runs.specs import SPEC_CLASSES, LateralizationSpec, network_of, parse_spec


def test_the_id_is_the_digest_of_the_canonical_json(encoding_spec):
    text = json.dumps(json.loads(encoding_spec.model_dump_json()), sort_keys=True, separators=(",", ":"))
    assert encoding_spec.run_id == hashlib.sha256(text.encode()).hexdigest()


def test_a_spec_survives_json(encoding_spec):
    again = parse_spec(encoding_spec.model_dump_json())
    assert again == encoding_spec
    assert again.run_id == encoding_spec.run_id
    assert parse_spec(encoding_spec.model_dump(mode="json")) == encoding_spec


OTHER_VALUES = {
    "version": CODE_VERSIONS["finetune"] + 1, "dataset": "1" * 64, "subject": "subj02", "hemi": "rh", "roi": "V1d",
    "network": "vgg16", "weights": "random", "weights_digest": "ab", "image_size": 64, "test_share": 0.2,
    "split_seed": 1, "loss": "poster", "temperature": 0.2, "learning_rate": 1e-3, "batch_size": 64, "epochs": 2,
    "hidden_ratio": 0.5, "embedding_ratio": 0.5, "validation_share": 0.2, "zscore": True, "seed": 1,
}  # fmt: skip


def test_every_field_changes_the_id(finetune_spec):
    specs = [finetune_spec(), *(finetune_spec(**{name: value}) for name, value in OTHER_VALUES.items())]
    assert len({spec.run_id for spec in specs}) == len(specs)
    assert set(OTHER_VALUES) == set(specs[0].model_fields_set | type(specs[0]).model_fields.keys()) - {"kind", "method"}


def test_equal_numbers_give_equal_ids(finetune_spec):
    assert finetune_spec(temperature=1).run_id == finetune_spec(temperature="1.0").run_id


def test_the_tuned_network_decides_the_id_of_what_is_built_on_it(encoding_spec):
    finetune = encoding_spec.features.finetune.model_copy(update={"epochs": 2})
    features = encoding_spec.features.model_copy(update={"finetune": finetune})
    other = encoding_spec.model_copy(update={"features": features})
    assert other.run_id != encoding_spec.run_id
    assert encoding_spec.dependencies() == (encoding_spec.features,)
    assert encoding_spec.features.dependencies() == (encoding_spec.features.finetune,)


def test_nested_specs_must_agree(encoding_spec, finetune_spec):
    with pytest.raises(ValidationError, match="image_size differs"):
        FeaturesSpec(dataset="0" * 64, subject="subj01", layers=("a",), image_size=32, finetune=finetune_spec())
    with pytest.raises(SpecError, match="another data set or subject"):
        parse_spec({**encoding_spec.model_dump(mode="json"), "subject": "subj02"})


def test_a_spec_names_every_field_that_is_wrong(finetune_spec):
    data = {**finetune_spec().model_dump(mode="json"), "epochs": 0, "hemi": "left", "wrong": 1}
    with pytest.raises(SpecError) as caught:
        parse_spec(data)
    assert all(name in str(caught.value) for name in ("epochs", "hemi", "wrong"))


def test_a_spec_does_not_change(finetune_spec):
    with pytest.raises(ValidationError, match="frozen"):
        finetune_spec().epochs = 3


def test_not_a_number_is_no_setting(finetune_spec):
    with pytest.raises(ValidationError, match="finite"):
        finetune_spec(temperature=float("nan"))


@pytest.fixture
def lateralization_spec(encoding_spec):
    """Return a function that makes lateralization specs of the encoding spec."""

    def make(**fields):
        common = {"dataset": "0" * 64, "subject": "subj01", "encoding": encoding_spec, "readout": "features.2"}
        return LateralizationSpec(**common | fields)

    return make


def test_a_lateralization_is_about_the_network_of_what_it_attributes(lateralization_spec, encoding_spec):
    spec = lateralization_spec()
    assert spec.dependencies() == (encoding_spec,)
    assert network_of(spec) == spec.network_state == encoding_spec.features
    assert (spec.method, spec.area, spec.layers) == ("contrastive", ("lh", "V1v"), ("features.2",))
    assert spec.label == "subj01 lh V1v contrastive, saliency of roi"
    assert parse_spec(spec.model_dump_json()) == spec


ATTRIBUTED = [
    {"target": "vertex"}, {"target": "vertex", "vertex": 3},
    {"attribution": "input-x-gradient"}, {"attribution": "occlusion"}, {"attribution": "integrated-gradients"},
    {"attribution": "occlusion", "window_share": 0.2}, {"attribution": "integrated-gradients", "n_steps": 20},
    {"attribution": "grad-cam", "cam_layer": "features.2"}, {"attribution": "grad-cam", "cam_layer": "features.5"},
    {"noise_samples": 5}, {"noise_samples": 5, "noise_sd": 0.2}, {"n_images": 50}, {"picture_seed": 1},
    {"index_resamples": 500}, {"version": CODE_VERSIONS["lateralization"] + 1},
]  # fmt: skip


def test_every_field_of_an_attribution_changes_the_id(lateralization_spec):
    specs = [lateralization_spec(), *(lateralization_spec(**fields) for fields in ATTRIBUTED)]
    assert len({spec.run_id for spec in specs}) == len(specs)
    changed = {name for fields in ATTRIBUTED for name in fields}
    elsewhere = {"kind", "dataset", "subject", "encoding", "classification", "readout"}
    assert changed | elsewhere == LateralizationSpec.model_fields.keys()


@pytest.mark.parametrize(
    ("name", "value"),
    [("vertex", 3), ("cam_layer", "features.2"), ("n_steps", 20), ("window_share", 0.2), ("noise_sd", 1)],
)
def test_what_an_attribution_does_not_use_cannot_make_another_run(lateralization_spec, name, value):
    with pytest.raises(ValidationError, match=f"{name} means nothing for saliency of the target roi"):
        lateralization_spec(**{name: value})


@pytest.mark.parametrize("kind", SPEC_CLASSES)
def test_every_kind_has_a_version(kind):
    assert SPEC_CLASSES[kind].model_fields["version"].default == CODE_VERSIONS[kind]
