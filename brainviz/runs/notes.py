"""Names and notes that people write beside a concepts run, and which concepts they hide; the result is not touched.

``notes.json`` lies in the run's folder, outside its manifest, and goes with the run.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from brainviz.errors import RunError, SpecError
from brainviz.runs.store import Run, locked, write_json

#: The file.
NOTES = "notes.json"

#: Characters of a name and of a note, at most.
MOST_NAME, MOST_NOTE = 60, 4000


@dataclass(frozen=True)
class Note:
    """What is written beside one concept.

    Attributes
    ----------
    name : str
        In place of its number; empty for none.
    note : str
    hidden : bool
        Whether overviews leave it out.
    """

    name: str = ""
    note: str = ""
    hidden: bool = False


def read_notes(run: Run) -> dict[int, Note]:
    """Return what is written beside a run, concept -> note; empty where nothing is.

    Raises
    ------
    RunError
        The file is damaged.
    """
    path = run.path / NOTES
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {int(concept): _note(**note) for concept, note in content.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise RunError(
            "The names and notes of this run cannot be read.",
            got=f"{path}: {error}",
            mend="repair the file, or remove it: the result itself is whole.",
        ) from error


def _note(name: object = "", note: object = "", hidden: object = False) -> Note:
    """Return a note of what a file says, which somebody may have edited by hand."""
    if not isinstance(name, str) or not isinstance(note, str) or not isinstance(hidden, bool):
        raise TypeError(f"no note: {name!r}, {note!r}, {hidden!r}")
    return Note(name, note, hidden)


def write_note(run: Run, concept: int, note: Note, *, before: Note) -> None:
    """Write what belongs to one concept; what others have written beside other concepts stays.

    Parameters
    ----------
    run : Run
    concept : int
    note : Note
    before : Note
        What the writer has seen.

    Raises
    ------
    SpecError
        Name or note is too long; somebody else has written something else than `before` meanwhile.
    RunError
        The file is damaged.
    """
    if len(note.name) > MOST_NAME or len(note.note) > MOST_NOTE:
        raise SpecError(
            "The name or note is too long.",
            got=f"{len(note.name)} and {len(note.note)} characters",
            expected=f"at most {MOST_NAME} and {MOST_NOTE}",
        )
    with locked(run):
        notes = read_notes(run)
        there = notes.get(concept, Note())
        if there not in (before, note):
            raise SpecError(
                "Somebody else has written here meanwhile: nothing is saved yet.",
                got=f"name {there.name!r}, note {there.note!r}{', hidden' if there.hidden else ''}",
                mend="take over what you want of it, and save again to replace it.",
            )
        notes[concept] = note
        known = {str(each): asdict(notes[each]) for each in sorted(notes) if notes[each] != Note()}
        write_json(run.path / NOTES, known)
