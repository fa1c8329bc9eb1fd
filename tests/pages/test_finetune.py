"""The Fine-tune page: what is chosen, started, going on, done and failed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from brainviz.runs.network_specs import FinetuneSpec
from brainviz.runs.processes import ProcessIdentity
from brainviz.runs.spec_base import Spec
from brainviz.runs.store import Run, Store, append_event, change_state

Visit = Callable[..., AppTest]
Metrics = Callable[[AppTest], dict[str, str]]
SCALARS = {"epochs": 30, "loss": 1.25, "retrieval_top1": 0.4, "seconds": 12.0, "images_per_second": 80.0}
EPOCHS = [{"event": "epoch", "epoch": n, "epochs": 30, "loss": 3 / n, "retrieval_top1": 0.1 * n} for n in (1, 2)]


@pytest.fixture
def tiny(serve: Callable[..., None], tiny_root: Path) -> None:
    serve("tiny", tiny_root)


@pytest.fixture
def chosen(tiny: None, spec_of: Callable[..., Spec]) -> list[Spec]:
    """Return what a newcomer finds chosen: V1 of the first subject, both hemispheres."""
    return [spec_of("finetune", "tiny", "contrastive", hemi) for hemi in ("lh", "rh")]


def test_before_anything_was_run(chosen: list[Spec], visit: Visit, metrics: Metrics) -> None:
    at = visit("finetune", dataset="tiny")
    assert metrics(at) == {
        "Runs chosen": "2",
        "Already done": "0",
        "In progress": "0",
        "Time for the rest": "not known yet",
    }
    assert at.button(key="start").label == "Start fine-tuning (2 runs)"
    assert not (Store().root / "finetune").exists()


def test_start_asks_for_exactly_what_is_chosen(chosen: list[Spec], visit: Visit, metrics: Metrics) -> None:
    at = visit("finetune", dataset="tiny")
    at.button(key="start").click().run()
    assert not at.exception
    assert metrics(at)["In progress"] == "2"
    assert "start" not in [button.key for button in at.button]
    assert {run.id for run in Store().runs()} == {spec.run_id for spec in chosen}


def test_settings_in_the_link_make_other_runs(chosen: list[Spec], visit: Visit) -> None:
    at = visit("finetune", dataset="tiny", epochs="2", roi="V2v", hemi="rh")
    at.button(key="start").click().run()
    (run,) = Store().runs()
    assert (run.spec.label, run.spec.model_dump()["epochs"]) == ("subj01 rh V2v contrastive", 2)


def test_both_methods_each_with_its_settings(tiny: None, visit: Visit, metrics: Metrics) -> None:
    at = visit("finetune", dataset="tiny", hemi="lh", tuning=["contrastive", "regression"], epochs="2", seed="7")
    assert metrics(at)["Runs chosen"] == "2"
    at.button(key="start").click().run()
    specs = [run.spec for run in Store().runs() if isinstance(run.spec, FinetuneSpec)]
    assert {spec.method: (spec.epochs, spec.learning_rate, spec.seed) for spec in specs} == {
        "contrastive": (2, 1e-4, 7),
        "regression": (75, 2.5e-5, 7),
    }


def test_the_encoding_page_begins_with_what_was_tuned(tiny: None, visit: Visit) -> None:
    at = visit("finetune", dataset="tiny", tuning="regression", regression_epochs="3")
    at.switch_page("pages/encoding.py").run()
    assert not at.exception
    assert at.button_group(key="methods").value == ["untuned", "regression"]
    assert at.number_input(key="regression_epochs").value == 3


def test_information_of_contrastive_runs(chosen: list[Spec], visit: Visit, finish_run: Callable[..., Run]) -> None:
    information = {"nats": 1.234, "low": 1.1, "high": 1.3, "limit": 1.79, "beta": 0.5}
    finish_run(chosen[0], SCALARS | {f"information_{name}": value for name, value in information.items()}, EPOCHS)
    finish_run(chosen[1], SCALARS, EPOCHS)
    at = visit("finetune", dataset="tiny")
    table = at.dataframe[0].value
    assert table["information_nats"].iloc[0] == 1.234
    assert table["information_interval"].iloc[0] == "1.10 to 1.30"
    assert table["information_limit"].iloc[0] == 1.79
    assert table["information_interval"].isna().iloc[1]
    assert any("lower bound of the mutual information" in caption.value for caption in at.caption)


def test_live_progress_and_cancel(chosen: list[Spec], visit: Visit) -> None:
    at = visit("finetune", dataset="tiny")
    at.button(key="start").click().run()
    running, waiting = (Store().run_of(spec) for spec in chosen)
    assert change_state(running, {"queued"}, "running", process=ProcessIdentity.current(), started=0.0)
    for event in EPOCHS:
        append_event(running, event)
    at.run()
    assert not at.exception
    assert any("2 runs in progress" in text.value for text in at.markdown)
    at.button(key="cancel").click().run()
    assert not at.exception
    assert waiting.state == "cancelled"
    assert (running.path / "cancel").exists()


def test_done_runs_are_not_started_again(chosen: list[Spec], visit: Visit, finish_run: Callable[..., Run]) -> None:
    runs = [finish_run(spec, SCALARS, EPOCHS) for spec in chosen]
    at = visit("finetune", dataset="tiny")
    assert "Done: 2 runs of this choice" in at.caption[0].value
    assert "start" not in [button.key for button in at.button]
    table = at.dataframe[0].value
    assert list(table["run"]) == [run.id[:8] for run in runs]
    assert list(table["retrieval_top1"]) == [0.4, 0.4]
    assert not any("mutual information" in caption.value for caption in at.caption)


def test_failures_say_why(chosen: list[Spec], visit: Visit) -> None:
    at = visit("finetune", dataset="tiny")
    at.button(key="start").click().run()
    change_state(Store().run_of(chosen[0]), {"queued"}, "failed", reason="The disk is full.")
    at.run()
    assert "1 run failed" in at.warning[0].value
    assert "The disk is full" in at.warning[0].value
    assert "The disk is full." in list(at.dataframe[0].value["reason"])
    assert at.button(key="start").label == "Start fine-tuning (1 run)"


def test_a_killed_worker_is_told_of(chosen: list[Spec], visit: Visit) -> None:
    at = visit("finetune", dataset="tiny")
    at.button(key="start").click().run()
    gone = ProcessIdentity.current()
    gone = replace(gone, started=gone.started - 1000)  # the same number, another process
    change_state(Store().run_of(chosen[0]), {"queued"}, "running", process=gone)
    at.run()
    assert "got lost" in at.warning[0].value
    assert "killed" in at.warning[0].value


def test_a_link_to_what_is_not_here_is_told_of(tiny: None, visit: Visit) -> None:
    at = visit("finetune", dataset="tiny", roi="NOPE", subjects="zzz")
    assert [warning.value for warning in at.warning if "NOPE" in warning.value]
    assert [warning.value for warning in at.warning if "zzz" in warning.value]
    at.multiselect(key="roi").set_value(["V2v"]).run()
    assert not [warning.value for warning in at.warning if "NOPE" in warning.value]
    at.multiselect(key="roi").set_value(["V1"]).run()  # the default again
    assert not [warning.value for warning in at.warning if "NOPE" in warning.value]
    assert not visit("finetune", dataset="tiny", roi="V1v").warning


def test_encode_these_asks_for_both_methods(chosen: list[Spec], visit: Visit) -> None:
    at = visit("finetune", dataset="tiny")
    at.button(key="encode").click().run()
    assert not at.exception
    assert {run.spec.label for run in Store().runs("encoding")} == {
        f"subj01 {hemi} V1 {method}" for hemi in ("lh", "rh") for method in ("untuned", "contrastive")
    }
    # What they build on is asked for with them.
    assert len(Store().runs("finetune")) == 2


def test_what_a_subject_lacks_is_left_out_with_a_word(tiny: None, visit: Visit, metrics: Metrics) -> None:
    at = visit("finetune", dataset="tiny", subjects=["subj01", "subj02"], roi="FFA-1")
    assert metrics(at)["Runs chosen"] == "3"
    assert "FFA-1 of subj02 in the left hemisphere" in at.caption[0].value


@pytest.mark.parametrize("key", ["subjects", "hemi", "roi", "tuning"])
def test_nothing_chosen(tiny: None, visit: Visit, key: str) -> None:
    at = visit("finetune", dataset="tiny", **{key: ""})
    assert "Choose at least one" in at.info[0].value
    assert not at.button


def test_a_setting_out_of_range_is_explained(tiny: None, visit: Visit) -> None:
    at = visit("finetune", dataset="tiny", temperature="0")
    assert "temperature" in at.error[0].value
    assert not at.button
