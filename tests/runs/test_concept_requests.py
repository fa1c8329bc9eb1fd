"""Requests about shared concepts: what is refused, what is the same run, and what a form may not do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from brainviz.datasets import open_dataset
from brainviz.datasets.base import Dataset
from brainviz.datasets.index import build_index
from brainviz.datasets.texts import open_texts
from brainviz.errors import DatasetError, SpecError, WeightsError
from brainviz.models.clip import COMPACT_CLIP, resolve_clip_weights
from brainviz.runs.concept_specs import ConceptsSpec, DecoderSpec, EmbeddingSpec, TextsSpec
from brainviz.runs.estimate import estimate_seconds, missing
from brainviz.runs.fields import IMAGE_TEXT_KINDS
from brainviz.runs.remembered import load_texts, memo_dir, weights_path
from brainviz.runs.requests import make_spec
from brainviz.runs.spec_base import CODE_VERSIONS, Spec
from brainviz.runs.store import Run, Store

Ask = Callable[..., Any]


@pytest.fixture
def ask(shared_cache: Path, shared_dataset: Dataset) -> Ask:
    """Return `make_spec` for the data set of shared concepts, or another one that is given first after the kind."""

    def make(kind: str, dataset: Dataset | None = None, **values: Any) -> Spec:
        dataset = dataset or shared_dataset
        return make_spec(kind, dataset, build_index(dataset, memo_dir()), **values)

    return make


@pytest.fixture
def changed(shared_root: Path, tmp_path: Path) -> Callable[..., Dataset]:
    """Return a function that opens a copy of the data set whose dataset.toml says more."""

    def change(defaults: str = "", top: str = "") -> Dataset:
        root = Path(shutil.copytree(shared_root, tmp_path / "changed"))
        file = root / "dataset.toml"
        file.write_text(f"{top}\n{file.read_text()}{defaults}\n")
        return open_dataset(root)

    return change


# --- what is asked for ------------------------------------------------------------------------------------------------


def test_concepts_are_of_everybody_unless_named(ask: Ask, shared_dataset: Dataset) -> None:
    spec = ask("concepts")
    assert isinstance(spec, ConceptsSpec)
    assert spec.subject == "subj01,subj02,subj03,subj04"
    assert [decoder.subject for decoder in spec.decoders] == list(shared_dataset.subjects)
    assert {decoder.run_id for decoder in spec.decoders} == {
        ask("decoder", subject=subject).run_id for subject in shared_dataset.subjects
    }
    assert {decoder.embedding.run_id for decoder in spec.decoders} == {
        ask("embedding", subject=subject).run_id for subject in shared_dataset.subjects
    }
    assert spec.described_by == ask("texts")
    assert set(missing([spec])) == {
        spec,
        spec.described_by,
        *spec.decoders,
        *(decoder.embedding for decoder in spec.decoders),
    }


def test_hemispheres_and_rois_left_out_are_all(ask: Ask) -> None:
    spec = ask("decoder", subject="subj01")
    assert (spec.hemi, spec.roi, spec.areas) == ("both", "all", (("lh", "all"), ("rh", "all")))
    assert ask("decoder", subject="subj01", hemi="", roi="").run_id == spec.run_id
    assert ask("decoder", subject="subj01", hemi="rh").areas == (("rh", "all"),)
    few = ask("concepts", hemi="lh", roi="PPA,FFA-1")
    assert {decoder.areas for decoder in few.decoders} == {(("lh", "FFA-1"), ("lh", "PPA"))}


def test_the_only_hemisphere_is_all_there_is(ask: Ask, changed: Callable[..., Dataset]) -> None:
    one_sided = changed(top='hemispheres = ["rh"]')
    for hemi in ("", "rh", "both"):
        assert ask("decoder", one_sided, subject="subj01", hemi=hemi).areas == (("rh", "all"),)
    with pytest.raises(DatasetError, match="no responses for hemisphere 'lh'"):
        ask("decoder", one_sided, subject="subj01", hemi="lh")


def test_every_participants_rois_are_those_of_the_named_that_they_have(
    ask: Ask, changed: Callable[..., Dataset]
) -> None:
    lacking = changed()
    masks = lacking.root / "subj02/roi_masks"
    for hemi in ("lh", "rh"):
        file = masks / f"{hemi}.floc-faces_challenge_space.npy"
        labels = np.load(file)
        labels[:] = 0
        np.save(file, labels)
    lacking = open_dataset(lacking.root)
    before = {decoder.subject: decoder.areas for decoder in ask("concepts", roi="PPA,FFA-1").decoders}
    after = {decoder.subject: decoder.areas for decoder in ask("concepts", lacking, roi="PPA,FFA-1").decoders}
    assert after.pop("subj02") == (("lh", "PPA"), ("rh", "PPA"))
    assert after.items() <= before.items()
    with pytest.raises(DatasetError, match="subj02 has none of the ROIs named"):
        ask("concepts", lacking, roi="FFA-1")
    with pytest.raises(DatasetError, match="no ROI 'V9'"):
        ask("concepts", roi="PPA,V9")
    with pytest.raises(SpecError, match="No ROI is named"):
        ask("concepts", roi=",")


def test_the_data_set_suggests_network_and_settings(ask: Ask) -> None:
    spec = ask("concepts")
    assert (spec.eps, spec.scanned_eps, spec.map_points) == (0.4, (0.3, 0.4, 0.5), 0)
    assert {decoder.n_seeds for decoder in spec.decoders} == {2}
    digest = resolve_clip_weights(COMPACT_CLIP, "demo").digest
    for part in (spec.described_by, *(decoder.embedding for decoder in spec.decoders)):
        assert (part.clip_network, part.clip_weights, part.clip_digest) == (COMPACT_CLIP, "demo", digest)
    assert (spec.described_by.texts, spec.described_by.texts_digest) == ("demo-words", open_texts("demo-words").digest)


def test_another_networks_weights_and_words_are_not_the_suggested_ones(ask: Ask) -> None:
    spec = ask("concepts", clip_network="ViT-B-32")
    assert (spec.described_by.clip_weights, spec.described_by.texts) == ("openai", "words")
    assert spec.eps == 0.4
    assert {len(part.embedding.clip_digest) for part in spec.decoders} == {64}


def test_vertices_are_chosen_by_what_the_data_have(ask: Ask, changed: Callable[..., Dataset]) -> None:
    assert ask("decoder", subject="subj01").selection == "noise-ceiling"
    without = changed()
    for subject in ("subj01", "subj02"):
        shutil.rmtree(without.root / subject / "noise_ceiling")
    without = open_dataset(without.root)
    assert ask("decoder", without, subject="subj01").selection == "encoding"
    files = sorted((without.root / "subj02/training_split/training_images").iterdir())
    for first, second in zip(files[:60], files[60:], strict=True):
        shutil.copyfile(first, second)
    again = ask("concepts", open_dataset(without.root))
    assert [decoder.selection for decoder in again.decoders] == [
        "encoding",
        "repeats",
        "noise-ceiling",
        "noise-ceiling",
    ]
    chosen = ask("concepts", open_dataset(without.root), selection="encoding")
    assert {decoder.selection for decoder in chosen.decoders} == {"encoding"}


def test_a_suggested_selection_comes_before_what_the_data_have(ask: Ask, changed: Callable[..., Dataset]) -> None:
    assert ask("decoder", changed('selection = "encoding"'), subject="subj01").selection == "encoding"


def test_a_suggested_threshold_means_nothing_where_every_vertex_is_used(
    ask: Ask, changed: Callable[..., Dataset]
) -> None:
    dataset = changed("vertex_threshold = 0.2")
    assert ask("decoder", dataset, subject="subj01").vertex_threshold == 0.2
    assert ask("decoder", dataset, subject="subj01", selection="none").selection == "none"


# --- the same request -------------------------------------------------------------------------------------------------


def test_the_same_request_is_the_same_run_in_any_order(ask: Ask) -> None:
    usual = ask("concepts", subject="subj01,subj02,subj03", hemi="both", roi="FFA-1,PPA", scanned_eps="0.4,0.6")
    for other in (
        {"subject": "subj03, subj01 ,subj02,subj01"},
        {"roi": "PPA, FFA-1,PPA"},
        {"scanned_eps": (0.6, 0.4, 0.6)},
        {"scanned_eps": "0.60,0.4"},
        {"ridge_alphas": "1e7,1e6,1e5,1e4,1000,100,10,1,1"},
        {"eps": "0.40"},
    ):
        values = {"subject": "subj01,subj02,subj03", "hemi": "both", "roi": "FFA-1,PPA", "scanned_eps": "0.4,0.6"}
        assert ask("concepts", **{**values, **other}).run_id == usual.run_id, other
    assert ask("concepts", subject="subj01,subj02,subj03").run_id != usual.run_id


def test_texts_belong_to_no_data_set(ask: Ask, tiny_dataset: Dataset) -> None:
    values = {"clip_network": COMPACT_CLIP, "clip_weights": "demo", "texts": "demo-words"}
    spec = ask("texts")
    assert ask("texts", tiny_dataset, **values).run_id == spec.run_id
    assert (spec.dataset, spec.subject) == ("", "")


def test_embeddings_of_pictures_are_shared_by_decoders(ask: Ask) -> None:
    one, other = ask("decoder", subject="subj01"), ask("decoder", subject="subj01", hemi="lh", roi="PPA", seed=3)
    assert one.run_id != other.run_id
    assert one.embedding == other.embedding


def test_what_texts_say_is_remembered_though_their_file_changes(ask: Ask, tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("dog\ncat\n")
    spec = ask("texts", texts=str(file), allow_files=True)
    file.write_text("house\n")
    assert load_texts(spec.texts_digest).texts == ("dog", "cat")
    assert ask("texts", texts=str(file), allow_files=True).run_id != spec.run_id
    with pytest.raises(DatasetError, match="Nothing is known of the texts"):
        load_texts("0" * 64)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        ("concepts", {"subject": "subj01"}, "at least 2 subjects"),
        ("concepts", {"subject": "subj01,subj01"}, "at least 2 subjects"),
        ("decoder", {}, "about one subject"),
        ("decoder", {"subject": "subj01,subj02"}, "about one subject"),
        ("embedding", {"subject": " , "}, "about one subject"),
        ("concepts", {"method": "untuned"}, "about no tuned network"),
        ("concepts", {"epss": 0.5}, "did you mean 'eps'"),
        ("concepts", {"min_partisipants": 3}, "did you mean 'min_participants'"),
        ("embedding", {"subject": "subj01", "eps": 0.5}, "no setting 'eps'"),
        ("concepts", {"clip_weights": "opneai"}, "openai"),
        ("concepts", {"texts": "demo-wrods"}, "did you mean 'demo-words'"),
        ("concepts", {"selection": "noise-cieling"}, "'noise-ceiling'"),
        ("concept", {}, "did you mean 'concepts'"),
        ("concepts", {"eps": 0}, "eps: Input should be greater than 0"),
        ("concepts", {"eps": 2}, "eps: Input should be less than 2"),
        ("concepts", {"eps": "wide"}, "eps: Input should be a valid number"),
        ("concepts", {"eps": float("nan")}, "eps"),
        ("concepts", {"min_participants": 0}, "min_participants"),
        ("concepts", {"scanned_eps": "0.4,2.5"}, "every eps must be above 0 and below 2"),
        ("concepts", {"expansion": -0.1}, "expansion"),
        ("concepts", {"n_seeds": 0}, "n_seeds"),
        ("concepts", {"vertex_threshold": 1}, "vertex_threshold"),
        ("concepts", {"ridge_alphas": "0,1"}, "above 0"),
        ("concepts", {"ridge_alphas": ""}, "ridge_alphas"),
        ("concepts", {"test_share": 1}, "test_share"),
        ("concepts", {"selection": "none", "vertex_threshold": 0.3}, "vertex_threshold means nothing"),
        ("concepts", {"roi": " , "}, "No ROI"),
        ("texts", {"texts": ""}, "no such texts"),
    ],
)
def test_what_cannot_be_is_refused(ask: Ask, kind: str, values: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as caught:
        ask(kind, **values)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [({"subject": "subj01,subj09"}, "subj09"), ({"hemi": "left"}, "left"), ({"roi": "FFA1"}, "FFA-1")],
)
def test_data_that_there_are_not_are_refused(ask: Ask, values: dict[str, str], words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        ask("concepts", **values)


def test_a_form_cannot_name_a_path(ask: Ask, tmp_path: Path) -> None:
    weights, texts = tmp_path / "weights.safetensors", tmp_path / "mine.txt"
    shutil.copyfile(resolve_clip_weights(COMPACT_CLIP, "demo").path or "", weights)
    texts.write_text("dog\n")
    for kind in IMAGE_TEXT_KINDS:
        subject = {} if kind in ("texts", "concepts") else {"subject": "subj01"}
        with pytest.raises(SpecError, match="no weights"):
            ask(kind, clip_weights=str(weights), **subject)
    for kind in ("texts", "concepts"):
        with pytest.raises(SpecError, match="no such texts"):
            ask(kind, texts=str(texts))
    spec = ask("concepts", clip_weights=str(weights), texts=str(texts), allow_files=True)
    assert {decoder.embedding.clip_weights for decoder in spec.decoders} == {"file"}
    assert weights_path(spec.described_by.clip_digest) == weights
    assert spec.described_by.texts == str(texts)
    weights.unlink()
    with pytest.raises(WeightsError):
        ask("concepts", clip_weights=str(weights), allow_files=True)


def test_a_picture_that_cannot_be_decoded_is_told_before_anything_runs(
    ask: Ask, changed: Callable[..., Dataset]
) -> None:
    dataset = changed()
    sorted((dataset.root / "subj03/training_split/training_images").iterdir())[5].write_bytes(b"no picture")
    with pytest.raises(DatasetError, match="1 of subj03's pictures"):
        ask("concepts", open_dataset(dataset.root))
    assert ask("concepts", open_dataset(dataset.root), subject="subj01,subj02").subject == "subj01,subj02"


def test_specs_refuse_what_does_not_go_together(ask: Ask) -> None:
    spec, texts = ask("concepts", subject="subj01,subj02"), ask("texts", clip_weights="random")
    one, other = spec.decoders
    good = spec.model_dump()

    def with_embedding(decoder: DecoderSpec, **fields: Any) -> dict[str, Any]:
        return {**decoder.model_dump(), "embedding": {**decoder.embedding.model_dump(), **fields}}

    for fields, words in (
        ({"decoders": [one.model_dump()] * 2, "subject": "subj01,subj01"}, "named twice"),
        ({"decoders": [other.model_dump(), one.model_dump()]}, "not those of the participants"),
        ({"decoders": [one.model_dump()]}, "at least 2"),
        ({"subject": "subj01,subj03"}, "not those of the participants"),
        ({"described_by": texts.model_dump()}, "another space: its clip_weights differs"),
        ({"decoders": [one.model_dump(), with_embedding(other, clip_network="ViT-B-32")]}, "its clip_network differs"),
        ({"decoders": [one.model_dump(), with_embedding(other, clip_digest="0" * 64)]}, "its clip_digest differs"),
        ({"decoders": [one.model_dump(), {**other.model_dump(), "split_seed": 1}]}, "split_seed differs"),
        ({"decoders": [one.model_dump(), {**other.model_dump(), "test_share": 0.3}]}, "test_share differs"),
        ({"dataset": "0" * 64}, "another data set"),
        ({"epsilon": 0.5}, "epsilon"),
    ):
        with pytest.raises(ValidationError, match=words):
            ConceptsSpec.model_validate({**good, **fields})
    for fields, words in (
        ({"embedding": other.embedding.model_dump()}, "another data set or subject"),
        ({"roi": " , "}, "no ROI is named"),
        ({"hemi": "left"}, "hemi"),
    ):
        with pytest.raises(ValidationError, match=words):
            DecoderSpec.model_validate({**one.model_dump(), **fields})
    with pytest.raises(ValidationError, match="dataset"):
        TextsSpec.model_validate({**spec.described_by.model_dump(), "dataset": "0" * 64})
    assert ConceptsSpec.model_validate(json.loads(json.dumps(spec.model_dump(mode="json")))).run_id == spec.run_id


def test_the_second_stage_reaches_as_far_as_published(ask: Ask) -> None:
    """Methods, section 8: within min(eps + 0.05, 0.65)."""
    for eps, expansion, radius in ((0.45, 0.05, 0.5), (0.6, 0.05, 0.65), (0.62, 0.05, 0.65), (0.7, 0.05, 0.65)):
        assert ask("concepts", eps=eps, expansion=expansion).radius == pytest.approx(radius)
    assert ask("concepts", eps=0.5, expansion=0).radius == 0.5


# --- estimates --------------------------------------------------------------------------------------------------------


def test_the_time_of_every_kind_is_estimated_from_finished_runs(ask: Ask, finish_run: Callable[..., Run]) -> None:
    """Runs that `finish_run` writes took 12 seconds."""
    spec = ask("concepts", subject="subj01,subj02,subj03")
    assert estimate_seconds([spec]) is None
    decoder = ask("decoder", subject="subj01")
    for part in (spec.described_by, decoder.embedding, decoder):
        assert estimate_seconds([part]) is None
        finish_run(part, {})
        assert estimate_seconds([part]) == 0
    assert estimate_seconds([ask("texts", texts="words")]) == pytest.approx(12)
    # As many pictures; twice as many steps; three times as many seeds.
    assert estimate_seconds([ask("embedding", subject="subj02")]) == pytest.approx(12)
    assert estimate_seconds([ask("decoder", subject="subj01", iterations=400)]) == pytest.approx(24)
    assert estimate_seconds([ask("decoder", subject="subj01", n_seeds=6)]) == pytest.approx(36)
    assert estimate_seconds([ask("decoder", subject="subj02")]) == pytest.approx(24)
    assert estimate_seconds([spec]) is None, "nobody clustered anything yet"
    finish_run(spec, {})
    assert estimate_seconds([spec]) == 0
    # Pairs of participants times clusterings: 9 (1 + 3 x 3 scanned + 3 left out) and 16 (1 + 9 + 4).
    four = ask("concepts")
    for part in four.decoders:
        if Store().find(part) is None:
            finish_run(part, {})
        if Store().find(part.embedding) is None:
            finish_run(part.embedding, {})
    assert estimate_seconds([four]) == pytest.approx(12 * (16 * 14) / (9 * 13))
    assert estimate_seconds([ask("embedding", subject="subj01", clip_network="ViT-B-32")]) is None


def test_kinds_and_labels(ask: Ask) -> None:
    spec = ask("concepts")
    decoder = spec.decoders[0]
    assert isinstance(decoder.embedding, EmbeddingSpec)
    assert spec.label == "concepts of 4 participants, eps 0.4"
    assert decoder.label == "subj01 both all, 2 seeds"
    assert decoder.embedding.label == "subj01 clip_compact"
    assert spec.described_by.label == "demo-words, clip_compact"
    for part in (spec, decoder, decoder.embedding, spec.described_by):
        assert part.version == CODE_VERSIONS[part.kind]
