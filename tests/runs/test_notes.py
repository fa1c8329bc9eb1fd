"""Names and notes beside a concepts run: written by several people at once, and no part of the result."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from brainviz.config import REPOSITORY
from brainviz.errors import RunError, SpecError
from brainviz.runs.network_specs import FinetuneSpec
from brainviz.runs.notes import MOST_NAME, MOST_NOTE, NOTES, Note, read_notes, write_note
from brainviz.runs.store import Run, Store


@pytest.fixture
def run(finish_run: Callable[..., Run]) -> Run:
    """Return a finished run; notes do not ask of which kind."""
    return finish_run(FinetuneSpec(dataset="0" * 64, subject="subj01", hemi="lh", roi="V1"), {"loss": 0.5})


def write(run: Run, concept: int, note: Note) -> None:
    """Write as one who has seen what is there."""
    write_note(run, concept, note, before=read_notes(run).get(concept, Note()))


def test_what_is_written_is_read(run: Run) -> None:
    assert read_notes(run) == {}
    food = Note("food, *raw* & <b>", "first line\nsecond é 🍎", True)
    write(run, 3, food)
    write(run, 11, Note(hidden=True))
    assert read_notes(run) == {3: food, 11: Note(hidden=True)}
    write(run, 3, Note("food"))
    assert read_notes(run)[3] == Note("food")


def test_an_empty_note_leaves_nothing(run: Run) -> None:
    write(run, 1, Note("food"))
    write(run, 2, Note("hands"))
    write(run, 1, Note())
    assert read_notes(run) == {2: Note("hands")}
    assert json.loads((run.path / NOTES).read_text()) == {"2": {"name": "hands", "note": "", "hidden": False}}


def test_the_result_is_not_touched(run: Run) -> None:
    before = {path.name: hashlib.sha256(path.read_bytes()).digest() for path in run.path.iterdir() if path.is_file()}
    manifest = run.manifest()
    write(run, 0, Note("food"))
    after = {path.name: hashlib.sha256(path.read_bytes()).digest() for path in run.path.iterdir() if path.is_file()}
    assert {name: digest for name, digest in after.items() if name != NOTES} == before
    again = Store().get(run.id)
    assert (again.state, again.manifest(), again.result()) == ("done", manifest, {"loss": 0.5})
    assert NOTES not in manifest["files"]
    assert not again.has(NOTES)


WRITER = """
import sys
from brainviz.runs.notes import Note, write_note
from brainviz.runs.store import Store
run, first = Store().get(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for number in range(first, first + 25):
    write_note(run, number, Note(f"name {number}"), before=Note())
"""


def test_two_people_at_once_lose_nothing(run: Run) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, run.id, str(first)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for first in (0, 25)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"\n")
        writer.stdin.close()
    assert [writer.wait(60) for writer in writers] == [0, 0]
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.close()
    assert read_notes(run) == {number: Note(f"name {number}") for number in range(50)}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'"notes"',
        b'{"food": {"name": "x"}}',
        b'{"1": "food"}',
        b'{"1": {"title": "food"}}',
        b'{"1": {"name": 3}}',
        b'{"1": {"hidden": "no"}}',
        b"\xff\xfe",
    ],
)
def test_a_damaged_file_is_told_and_not_overwritten(run: Run, content: bytes) -> None:
    file = run.path / NOTES
    file.write_bytes(content)
    with pytest.raises(RunError, match=NOTES):
        read_notes(run)
    with pytest.raises(RunError, match="the result itself is whole"):
        write(run, 1, Note("food"))
    assert file.read_bytes() == content
    assert run.state == "done"


def test_what_is_too_long_is_refused(run: Run) -> None:
    for note in (Note("x" * (MOST_NAME + 1)), Note("food", "x" * (MOST_NOTE + 1))):
        with pytest.raises(SpecError, match="too long"):
            write(run, 1, note)
    assert read_notes(run) == {}
    write(run, 1, Note("x" * MOST_NAME, "y" * MOST_NOTE))
    assert len(read_notes(run)[1].note) == MOST_NOTE


def test_notes_go_with_the_run(run: Run, tmp_path: Path) -> None:
    write(run, 1, Note("food"))
    moved = run.path.rename(tmp_path / "elsewhere")
    assert read_notes(Run(run.id, run.kind, moved)) == {1: Note("food")}
    assert read_notes(run) == {}


def test_what_somebody_else_has_written_meanwhile_is_not_lost(run: Run) -> None:
    write(run, 1, Note("food"))
    seen = read_notes(run)[1]
    write(run, 1, Note("meals", "theirs"))
    with pytest.raises(SpecError, match=r"(?s)meanwhile.*'meals'.*'theirs'"):
        write_note(run, 1, Note("dishes"), before=seen)
    assert read_notes(run)[1] == Note("meals", "theirs")
    write_note(run, 1, Note("meals", "theirs"), before=seen)  # the same is no conflict
    write_note(run, 1, Note("dishes"), before=Note("meals", "theirs"))
    assert read_notes(run)[1] == Note("dishes")
