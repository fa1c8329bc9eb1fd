"""A text that somebody looks for, embedded in another process."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainviz.errors import RunError
from brainviz.models.clip import load_clip, resolve_clip_weights
from brainviz.runs import search
from brainviz.runs.concept_specs import ClipFields
from brainviz.runs.remembered import remember_weights
from brainviz.runs.search import embed_text

FOUND = resolve_clip_weights("clip_compact", "demo")
COMPACT = ClipFields(clip_network="clip_compact", clip_weights="demo", clip_digest=FOUND.digest)


@pytest.mark.usefixtures("cache")
def test_another_process_gives_the_networks_own_vector() -> None:
    text = "a large red house, in a meadow"
    vector = embed_text(COMPACT, text)
    network = load_clip("clip_compact", "demo", COMPACT.clip_digest)
    assert (vector.shape, vector.dtype) == ((128,), np.float32)
    np.testing.assert_allclose(vector, network.embed_texts([text])[0], atol=1e-6)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


@pytest.mark.usefixtures("cache")
def test_a_text_that_the_network_cannot_read_is_said() -> None:
    with pytest.raises(RunError, match=r"cannot be searched for(?s:.*)xylophone") as caught:
        embed_text(COMPACT, "xylophone")
    assert "Traceback" not in str(caught.value)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Let this process be the other one, which is quicker."""

    def child(command: list[str], *, input: bytes, **_: Any) -> subprocess.CompletedProcess[bytes]:
        out, err = io.TextIOWrapper(io.BytesIO()), io.StringIO()
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(input)))
            patched.setattr(sys, "stdout", out)
            patched.setattr(sys, "stderr", err)
            status = search.main()
        return subprocess.CompletedProcess(command, status, out.buffer.getvalue(), err.getvalue().encode())

    monkeypatch.setattr("brainviz.runs.search.subprocess.run", child)


@pytest.mark.usefixtures("here")
def test_a_file_that_was_remembered_is_found() -> None:
    assert FOUND.path is not None
    remember_weights(FOUND.digest, FOUND.path)
    by_file = COMPACT.model_copy(update={"clip_weights": "file"})
    np.testing.assert_array_equal(embed_text(by_file, "food"), embed_text(COMPACT, "food"))


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("network", "text", "words"),
    [
        ({}, "   ", "blank"),
        ({"clip_weights": "file", "clip_digest": "0" * 64}, "food", "Nobody remembers"),
        ({"clip_digest": "0" * 64}, "food", "0000000000"),
    ],
)
def test_what_cannot_be_searched_for_is_said(network: dict[str, Any], text: str, words: str) -> None:
    with pytest.raises(RunError, match="cannot be searched for") as caught:
        embed_text(COMPACT.model_copy(update=network), text)
    assert words in str(caught.value)


@pytest.mark.usefixtures("cache")
def test_a_text_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "SECONDS", 0.05)
    with pytest.raises(RunError, match="too long"):
        embed_text(COMPACT, "food")


@pytest.mark.usefixtures("cache")
def test_the_child_knows_the_cache_and_gets_the_text_unseen_by_others(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text is no argument of the process: everybody on the machine can read those."""
    seen: dict[str, Any] = {}

    def child(command: list[str], **how: Any) -> subprocess.CompletedProcess[bytes]:
        seen.update(how, command=command)
        return subprocess.CompletedProcess(command, 3, b"", b"")

    monkeypatch.setattr("brainviz.runs.search.subprocess.run", child)
    with pytest.raises(RunError, match="exit 3"):
        embed_text(COMPACT, "my secret")
    assert "my secret" not in " ".join(seen["command"])
    assert b"my secret" in seen["input"]
    assert seen["env"]["BRAINVIZ_CACHE"] == str(cache)
