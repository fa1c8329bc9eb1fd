"""A text that somebody looks for, embedded in another process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from brainviz.errors import RunError
from brainviz.models.clip import load_clip, resolve_clip_weights
from brainviz.runs import search
from brainviz.runs.concept_specs import ClipFields
from brainviz.runs.remembered import remember_weights
from brainviz.runs.search import Reader, answer_to, embed_text

FOUND = resolve_clip_weights("clip_compact", "demo")
COMPACT = ClipFields(clip_network="clip_compact", clip_weights="demo", clip_digest=FOUND.digest)


@pytest.fixture
def reader(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """Make `embed_text` ask a reader of this test's own, which ends with it."""
    own = Reader()
    monkeypatch.setattr(search, "_READER", own)
    yield own
    if own.pid is not None:
        own._end()


def ask(text: str, cache: Path, **network: str) -> dict[str, Any]:
    """Ask in this process, which is quicker."""
    fields = COMPACT.model_copy(update=network).model_dump()
    return answer_to({"network": fields, "text": text, "cache": str(cache)}, {})


def test_another_process_gives_the_networks_own_vector_and_is_kept(reader: Reader) -> None:
    text = "a large red house, in a meadow"
    vector, unknown = embed_text(COMPACT, text)
    assert unknown == ()
    network = load_clip("clip_compact", "demo", COMPACT.clip_digest)
    assert (vector.shape, vector.dtype) == ((128,), np.float32)
    np.testing.assert_allclose(vector, network.embed_texts([text])[0], atol=1e-6)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert embed_text(COMPACT, "zebra food")[1] == ("zebra",)

    first = reader.pid
    with pytest.raises(RunError, match=r"cannot be searched for(?s:.*)xylophone") as caught:
        embed_text(COMPACT, "xylophone")
    assert "Traceback" not in str(caught.value)
    np.testing.assert_array_equal(embed_text(COMPACT, text)[0], vector)
    assert reader.pid == first

    # The text is no argument of the process: everybody on the machine can read those.
    assert first is not None
    assert "house" not in " ".join(psutil.Process(first).cmdline())

    os.kill(first, signal.SIGKILL)
    np.testing.assert_array_equal(embed_text(COMPACT, text)[0], vector)
    assert reader.pid not in (None, first)


@pytest.mark.usefixtures("reader")
def test_a_text_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "SECONDS", 0.05)
    with pytest.raises(RunError, match="too long"):
        embed_text(COMPACT, "food")
    assert search._READER.pid is None


def test_a_process_that_cannot_start_is_said(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brainviz.runs.search.sys.executable", "/bin/false")
    with pytest.raises(RunError, match=r"cannot be searched for(?s:.*)exit"):
        embed_text(COMPACT, "food")
    assert reader.pid is None


def test_a_file_that_was_remembered_is_found(cache: Path) -> None:
    assert FOUND.path is not None
    remember_weights(FOUND.digest, FOUND.path)
    assert ask("food", cache, clip_weights="file") == ask("food", cache)
    assert len(ask("food", cache)["vector"]) == 128


def test_a_network_is_read_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = {"network": COMPACT.model_dump(), "text": "food", "cache": str(cache)}
    opened: dict[str, Any] = {}
    first = answer_to(request, opened)
    monkeypatch.setattr("brainviz.runs.embed.open_image_text", None)
    assert answer_to(request, opened) == first


@pytest.mark.parametrize(
    ("network", "text", "words"),
    [
        ({}, "   ", "blank"),
        ({"clip_weights": "file", "clip_digest": "0" * 64}, "food", "Nobody remembers"),
        ({"clip_digest": "0" * 64}, "food", "0000000000"),
    ],
)
def test_what_cannot_be_searched_for_is_said(cache: Path, network: dict[str, str], text: str, words: str) -> None:
    found = ask(text, cache, **network)
    assert "vector" not in found
    assert words in found["error"]
