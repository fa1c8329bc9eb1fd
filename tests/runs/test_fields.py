"""The table of settings, and what they are unless somebody says otherwise."""

import pytest

from brainviz.errors import SpecError
from brainviz.runs import fields
from brainviz.runs.fields import default_settings, field_table, methods
from brainviz.runs.network_specs import FinetuneSpec
from brainviz.runs.specs import SPEC_CLASSES


@pytest.mark.parametrize("kind", SPEC_CLASSES)
def test_the_table_names_every_setting_once(kind):
    names = [field.name for field in field_table(kind)]
    assert len(set(names)) == len(names)
    nested = {name for cls in fields.LAYERS_OF_KIND[kind] for name in cls.model_fields}
    nested -= fields.DERIVED.get(kind, set())
    made_here = {"encoding": {"tuning_hemi", "tuning_roi"}, "comparison": {"tuning_hemi", "tuning_roi", "baseline"}}
    tuning = {"tuning_subject", "tuning_hemi", "tuning_roi"}
    made_here |= dict.fromkeys(fields.BOTTLENECK_KINDS, tuning) | {"bottleneck": tuning | {"pooled", "pretrain"}}
    made_here = {each: made_here.get(each, set()) | {"method"} for each in SPEC_CLASSES if methods(each)}
    made_here |= {"submission": {"encoders"}}
    assert set(names) == (nested - fields.NOT_SETTINGS) | made_here.get(kind, set())
    assert all(field.label and field.description for field in field_table(kind))


def test_the_table_says_types_limits_and_choices():
    fields = {field.name: field for field in field_table("encoding")}
    assert (fields["epochs"].type, fields["epochs"].minimum, fields["epochs"].tuning) == ("int", 1, True)
    assert fields["epochs"].methods == ("contrastive", "regression")
    assert fields["temperature"].methods == ("contrastive",)
    assert (fields["test_share"].minimum, fields["test_share"].open_minimum, fields["test_share"].maximum) == (
        0,
        True,
        1,
    )
    assert fields["loss"].choices == ("paper", "poster", "symmetric")
    assert fields["method"].choices == ("untuned", "random", "contrastive", "regression")
    assert fields["layers"].type == "texts"
    assert not fields["seed"].tuning


def test_a_data_sets_suggestions_hold_for_its_own_network(tiny_dataset, monkeypatch):
    suggested = {"network": "squeezenet1_1", "weights": "random", "image_size": 32, "batch_size": 64}
    monkeypatch.setattr(tiny_dataset, "defaults", suggested)
    own, other = default_settings("finetune", tiny_dataset), default_settings("finetune", tiny_dataset, "alexnet")
    assert {name: own[name] for name in suggested} == suggested
    assert (other["network"], other["weights"], other["image_size"], other["batch_size"]) == (
        "alexnet", "imagenet", 224, 64,
    )  # fmt: skip
    assert own["epochs"] == FinetuneSpec.model_fields["epochs"].default
    assert default_settings("encoding", tiny_dataset, "alexnet")["layers"][-1] == "classifier.6"


@pytest.mark.parametrize("kind", ["concepts", "bottleneck"])
def test_suggestions_hold_for_their_own_image_text_network(kind, tiny_dataset, monkeypatch):
    monkeypatch.setattr(tiny_dataset, "defaults", {"clip_network": "clip_compact", "clip_weights": "random"})
    assert default_settings(kind, tiny_dataset)["clip_weights"] == "random"
    assert default_settings(kind, tiny_dataset, clip_network="clip_compact")["clip_weights"] == "random"
    assert default_settings(kind, tiny_dataset, clip_network="ViT-B-32")["clip_weights"] == "openai"


def test_a_suggestion_that_there_is_not_is_refused(tiny_dataset, monkeypatch):
    monkeypatch.setattr(tiny_dataset, "defaults", {"batchsize": 64})
    with pytest.raises(SpecError, match="batch_size"):
        default_settings("finetune", tiny_dataset)
