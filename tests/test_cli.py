"""The command line: exit statuses, the JSON that programs read, and one run from end to end through a real worker."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from brainviz.cli import main
from brainviz.config import REPOSITORY
from brainviz.runs.queue import worker_slot
from brainviz.runs.store import Store

SMALL = ("--network", "squeezenet1_1", "--weights", "random", "--image-size", "32")


@pytest.fixture
def where(tiny_root):
    """Return the arguments that name the tiny data set's V1v."""
    return ("--dataset", str(tiny_root), "--subject", "subj01", "--hemi", "lh", "--roi", "V1v", *SMALL)


@pytest.fixture
def slot_taken(cache):
    """Hold the worker slot, so that what is queued stays queued."""
    with worker_slot(Store()):
        yield


@pytest.fixture
def workers_end(cache):
    """End the workers that a test's runs had started."""
    yield
    for run in Store().runs():
        worker = run.status().worker
        if worker is not None and worker.alive():
            psutil.Process(worker.pid).kill()


def brainviz(*arguments, **options):
    # A shell that starts the tests in the background has them ignore Ctrl-C, and their children with them.
    return subprocess.Popen(
        [sys.executable, "-m", "brainviz", *arguments],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **options,
    )


def last_json(capsys):
    return json.loads(capsys.readouterr().out.strip().splitlines()[-1])


def test_starting_imports_nothing_heavy():
    heavy = "{'torch', 'torchvision', 'nilearn', 'sklearn', 'pandas', 'matplotlib', 'plotly', 'streamlit'}"
    code = f"""
import sys
from brainviz.cli import main
try:
    main(["finetune", "--help"])
finally:
    print({heavy} & set(sys.modules), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "set()"
    assert "--batch-size N" in done.stdout
    assert "(default: 1024)" in done.stdout


def test_a_good_data_set_passes_with_its_table(tiny_root, cache, capsys):
    assert main(["check", str(tiny_root)]) == 0
    out = capsys.readouterr().out
    assert "subj02" in out
    assert "V1v 30" in out
    assert "warning: " in out


def test_a_bad_data_set_fails_and_every_error_is_named(tiny_copy, cache, capsys):
    images = sorted((tiny_copy / "subj01/training_split/training_images").iterdir())
    images[0].write_bytes(b"no picture")
    (tiny_copy / "subj02/training_split/training_fmri/lh_training_fmri.npy").write_bytes(b"no array")
    assert main(["check", str(tiny_copy), "--json"]) == 2
    problems = [problem for problem in last_json(capsys)["problems"] if problem["level"] == "error"]
    assert {problem["subject"] for problem in problems} == {"subj01", "subj02"}
    assert any(images[0].name in problem["file"] for problem in problems)


@pytest.mark.usefixtures("slot_taken")
def test_a_detached_request_is_queued_listed_and_cancelled(where, capsys):
    assert main(["encoding", *where, "--method", "contrastive", "--epochs", "2", "--detach", "--json"]) == 0
    answer = last_json(capsys)
    assert {name: answer[name] for name in ("kind", "state", "result")} == {
        "kind": "encoding", "state": "queued", "result": None,
    }  # fmt: skip
    assert answer["path"] == str(Store().get(answer["run"]).path)
    assert main(["runs", "--state", "queued", "--kind", "finetune", "--json"]) == 0
    (finetune,) = last_json(capsys)["runs"]
    assert Store().get(finetune["run"]).spec.epochs == 2
    assert main(["cancel", answer["run"][:8]]) == 0
    assert main(["runs"]) == 0
    listed = capsys.readouterr().out
    assert "cancelled" in listed
    assert "subj01 lh V1v contrastive" in listed


@pytest.mark.usefixtures("slot_taken")
def test_settings_may_be_written_with_dashes_or_underscores(where, capsys):
    ids = set()
    for name in ("--batch-size", "--batch_size"):
        assert main(["finetune", *where, name, "16", "--zscore", "--detach", "--json"]) == 0
        ids.add(last_json(capsys)["run"])
    (only,) = ids
    spec = Store().get(only).spec
    assert (spec.batch_size, spec.zscore) == (16, True)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--epohcs", "3"), "--epochs"),
        (("--epochs", "0"), "greater than or equal to 1"),
        (("--roi", "V9"), "no ROI 'V9'"),
        (("--subject", "subj09"), "subj01, subj02"),
        (("--dataset", "nowhere"), "no data set of this name"),
        (("--weights", "nothing.pth"), "nothing.pth"),
    ],
)
def test_bad_arguments_and_bad_data_exit_with_2(where, cache, capsys, more, words):
    assert main(["finetune", *where, *more]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""
    assert Store().runs() == []


@pytest.mark.parametrize("arguments", [["finetun"], ["finetune", "--device", "tpu"], []])
def test_bad_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_a_run_that_there_is_not_cannot_be_cancelled(cache, capsys):
    assert main(["cancel", "abc"]) == 2
    assert "no run 'abc'" in capsys.readouterr().err


def test_the_worker_command_computes_until_there_is_nothing_to_do(cache):
    began = time.monotonic()
    assert main(["worker", "--idle-seconds", "0.1"]) == 0
    assert time.monotonic() - began < 5


@pytest.mark.usefixtures("workers_end")
def test_a_run_from_end_to_end(where, cache):
    process = brainviz("encoding", *where, "--layers", "features.3,classifier", "--json")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    answer = json.loads(out.strip().splitlines()[-1])
    assert answer["state"] == "done"
    scalars = {"layer", "n_train", "n_test", "n_vertices", "nan_vertices"}
    scalars |= {"r_mean", "r_median", "cv_r_mean", "cv_r_median"}
    assert set(answer["result"]) == scalars | {"r_low", "r_high", "algonauts_score"}
    run = Store().get(answer["run"])
    assert run.manifest()["device"] in ("cpu", "cuda")
    assert run.manifest()["seconds"] < 60
    assert "features subj01 random" in err
    # Asked again, it is there at once.
    began = time.monotonic()
    again = brainviz("encoding", *where, "--layers", "features.3,classifier", "--json")
    assert json.loads(again.communicate(timeout=60)[0].splitlines()[-1]) == answer
    assert time.monotonic() - began < 10


@pytest.mark.usefixtures("workers_end")
def test_a_run_that_fails_exits_with_1(where, cache, capsys):
    # A share of the 79 distinct pictures that leaves one of them to train on; nobody knows before they are divided.
    assert main(["finetune", *where, "--test-share", "0.99", "--json"]) == 1
    captured = capsys.readouterr()
    answer = json.loads(captured.out.splitlines()[-1])
    assert (answer["state"], answer["result"]) == ("failed", None)
    assert "too few pictures" in answer["reason"]
    assert "the run failed" in captured.err


@pytest.mark.usefixtures("slot_taken")
def test_an_interrupted_wait_leaves_the_run_alone(where, cache):
    process = brainviz("finetune", *where)
    deadline = time.monotonic() + 30
    while not Store().runs():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    (run,) = Store().runs()
    assert f"python -m brainviz cancel {run.id[:12]}" in err
    assert run.state == "queued"


@pytest.mark.usefixtures("workers_end")
def test_a_comparison_prints_what_was_found_per_roi(where, cache):
    more = ("--roi", "V1v,V1d", "--layers", "features.3", "--method", "random", "--n-permutations", "99")
    process = brainviz("comparison", *where, *more)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    header, *rows = out.strip().splitlines()[-3:]
    assert header.split()[:3] == ["hemi", "roi", "n_vertices"]
    assert [row.split()[:3] for row in rows] == [["lh", "V1d", "28"], ["lh", "V1v", "30"]]
    assert [row.split()[-2:] for row in rows] == [["1", "1"], ["1", "1"]]  # p and q: the network against itself
