"""A finished concepts run as tables, pictures and maps for its page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from brainviz.datasets.base import HEMISPHERES, Dataset
from brainviz.datasets.images import squeezed, worker_threads
from brainviz.figures.style import Provenance
from brainviz.runs import share
from brainviz.runs.concept_specs import ConceptsSpec
from brainviz.runs.notes import Note, read_notes
from brainviz.runs.remembered import load_texts
from brainviz.runs.store import Run, Store
from brainviz.ui.sources import Source
from brainviz.ui.viewer_plan import BrainMap

#: Pixels of the pictures on the page.
THUMBNAIL = 96

#: Words that stand for a concept until somebody names it.
WORDS_OF_A_NAME = 2

#: Words of a concept that are kept at hand.
MOST_WORDS = 5

#: Columns of the run's table of concepts; a run without concepts may have written none of them.
COUNTS = ("concept", "n_vertices", "n_core", "n_second_stage", "n_participants")
MEASURES = (
    "share_left",
    "tightness",
    "consistency",
    "least_consistency",
    "evidence_r",
    "left_out",
    "reseeded",
)


@dataclass(frozen=True)
class ConceptResults:
    """What a finished run found.

    Attributes
    ----------
    source : Source
    run : Run
    provenance : Provenance
    """

    source: Source
    run: Run
    provenance: Provenance

    @property
    def spec(self) -> ConceptsSpec:
        spec = self.run.spec
        assert isinstance(spec, ConceptsSpec)
        return spec

    @cached_property
    def result(self) -> dict[str, Any]:
        return self.run.result()

    @property
    def subjects(self) -> tuple[str, ...]:
        """The participants, in the order of their numbers."""
        return tuple(decoder.subject for decoder in self.spec.decoders)

    @property
    def stem(self) -> str:
        """Of file names."""
        return f"{self.source.key}_concepts_{self.run.id[:8]}"

    @cached_property
    def notes(self) -> dict[int, Note]:
        """What people wrote, concept -> note; not kept between reruns, as others write, too."""
        return read_notes(self.run)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        return _texts(self.spec.described_by.texts_digest)

    @cached_property
    def text_similarity(self) -> NDArray[np.float32]:
        """Cosines of concepts with texts, (K, T); NaN for a text that the network cannot read."""
        return _text_similarity(self.run.id, self.run)

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per concept, in their order; columns of the run's table, and ``name words note hidden``.

        A name that several have is preceded by the number.
        """
        table = _table(self.run.id, self.run).copy()
        words = [", ".join(self.words(number, WORDS_OF_A_NAME)) for number in table["concept"]]
        notes = [self.notes.get(number, Note()) for number in table["concept"]]
        table["words"] = words
        given = Counter(note.name for note in notes)
        table["name"] = [
            note.name if given[note.name] == 1 and note.name else f"{number} {note.name or said}".strip()
            for number, note, said in zip(table["concept"], notes, words, strict=True)
        ]
        table["note"], table["hidden"] = [note.note for note in notes], np.array([note.hidden for note in notes], bool)
        return table

    @property
    def labels(self) -> list[str]:
        """What tells concepts from each other, in their order: the number, then the name or words."""
        named = (self.notes.get(number, Note()).name for number in self.table["concept"])
        return [
            f"{number} {own}" if own else name
            for number, own, name in zip(self.table["concept"], named, self.table["name"], strict=True)
        ]

    def words(self, concept: int, n: int) -> list[str]:
        """Return the texts most like a concept, at most n, and `MOST_WORDS`."""
        return [self.texts[row] for row in _best_texts(self.run.id, self)[concept][:n]]

    def words_of_negation(self, concept: int, n: int) -> list[str]:
        """Return the texts least like a concept, the least first, at most n."""
        cosines = self.text_similarity[concept]
        known = np.flatnonzero(np.isfinite(cosines))
        return [self.texts[row] for row in known[np.argsort(cosines[known], kind="stable")][:n]]

    @cached_property
    def pictures(self) -> pd.DataFrame:
        """One row per distinct picture, in the order of their numbers: ``picture subject row held_out n_subjects``."""
        return _parquet(self.run.id, share.PICTURES, self.run)

    @cached_property
    def similarity(self) -> NDArray[np.float32]:
        """Cosines of concepts with pictures, (K, M), memory-mapped."""
        return self._array(share.SIMILARITY)

    @cached_property
    def evidence(self) -> NDArray[np.float32]:
        """Cosines of concepts with what was decoded from responses to held-out pictures, (K, M); NaN for others."""
        return self._array(share.EVIDENCE)

    @cached_property
    def points(self) -> pd.DataFrame:
        """One row per vertex: ``subject hemi column position concept stage``; position -1 without a mesh."""
        return _points(self.run.id, self.run, self.spec, self.source.dataset)

    def has(self, file: str) -> bool:
        """Return whether the run has a file that not every run has."""
        return file in self.run.manifest()["files"]

    def scan(self) -> pd.DataFrame:
        """Return the scan's table."""
        return _parquet(self.run.id, share.SCAN, self.run)

    @cached_property
    def directions(self) -> NDArray[np.float32]:
        """Concepts as unit vectors, (K, p)."""
        return self._array(share.DIRECTIONS)

    def about(self, subject: str = "", words: str = "") -> Provenance:
        """Return the provenance of a figure about one participant, or in words about one concept."""
        return replace(
            self.provenance, subject=subject or self.provenance.subject, method=words or self.provenance.method
        )

    def vertex_cosines(self, vector: NDArray[np.floating]) -> pd.DataFrame:
        """Return every vertex's decoding weights against a direction: ``subject hemi column position value``."""
        return self.points[["subject", "hemi", "column", "position"]].assign(value=self.cosines(vector))

    def cosines(self, vector: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the cosine of every vertex's weights with a direction, (N,)."""
        unit = np.asarray(vector, np.float32)
        return unit_weights(self.run.id, self.spec) @ (unit / max(float(np.linalg.norm(unit)), 1e-12))

    def brain_map(self, values: pd.DataFrame, subject: str, title: str) -> BrainMap:
        """Return one participant's map for the viewer."""
        own = values[values["subject"] == subject]
        return BrainMap(title, own[["hemi", "column", "position", "value"]].reset_index(drop=True))

    def thumbnails(self, numbers: Sequence[int]) -> NDArray[np.uint8]:
        """Return pictures by their numbers, (n, THUMBNAIL, THUMBNAIL, 3)."""
        if not len(numbers):
            return np.empty((0, THUMBNAIL, THUMBNAIL, 3), np.uint8)
        rows = self.pictures.iloc[list(numbers)]
        wanted = tuple(zip(rows["subject"], rows["row"], strict=True))
        return _thumbnails(self.source.index.fingerprint, wanted, self.source.dataset)

    def _array(self, name: str) -> NDArray[np.float32]:
        return self.run.array(name.removesuffix(".npy"))


@st.cache_resource(show_spinner=False, max_entries=8)
def _texts(digest: str) -> tuple[str, ...]:
    return load_texts(digest).texts


@st.cache_data(show_spinner=False, max_entries=8)
def _table(run_id: str, _run: Run) -> pd.DataFrame:
    table = pd.read_parquet(_run.file(share.CONCEPTS))
    types = dict.fromkeys(COUNTS, np.int64) | dict.fromkeys(MEASURES, np.float64)
    return table if len(table) else pd.DataFrame(columns=list(types)).astype(types)


@st.cache_data(show_spinner=False, max_entries=16)
def _parquet(run_id: str, name: str, _run: Run) -> pd.DataFrame:
    return pd.read_parquet(_run.file(name))


@st.cache_resource(show_spinner=False, max_entries=8)
def _text_similarity(run_id: str, _run: Run) -> NDArray[np.float32]:
    cosines = np.load(_run.file(share.TEXT_SIMILARITY))
    unread = ~cosines.any(axis=0)
    return np.where(unread, np.float32(np.nan), cosines)


@st.cache_resource(show_spinner=False, max_entries=8)
def _best_texts(run_id: str, _shown: ConceptResults) -> list[list[int]]:
    """Return for every concept the texts most like it, best first: a page asks for all of them at every click."""
    best = []
    for cosines in _shown.text_similarity:
        known = np.flatnonzero(np.isfinite(cosines))
        if len(known) > MOST_WORDS:
            least = np.partition(cosines[known], -MOST_WORDS)[-MOST_WORDS]
            known = known[cosines[known] >= least]
        best.append(known[np.argsort(-cosines[known], kind="stable")][:MOST_WORDS].tolist())
    return best


@st.cache_resource(show_spinner="Reading the vertices", max_entries=4)
def _points(run_id: str, _run: Run, _spec: ConceptsSpec, _dataset: Dataset) -> pd.DataFrame:
    who, sides, columns, labels, stage = (
        np.load(_run.file(name))
        for name in (share.WHO, share.POINT_SIDES, share.POINT_COLUMNS, share.LABELS, share.STAGE)
    )
    subjects = np.array([decoder.subject for decoder in _spec.decoders])
    position = np.full(len(who), -1, np.int64)
    for number, subject in enumerate(subjects):
        for side, hemi in enumerate(HEMISPHERES):
            own = (who == number) & (sides == side)
            if own.any() and (places := _dataset.positions(str(subject), hemi)) is not None:
                position[own] = places[columns[own]]
    return pd.DataFrame(
        {
            "subject": subjects[who],
            "hemi": np.array(HEMISPHERES)[sides],
            "column": columns,
            "position": position,
            "concept": labels,
            "stage": np.array(share.STAGES)[stage],
        }
    )


@st.cache_resource(show_spinner="Reading the decoding weights", max_entries=2)
def unit_weights(run_id: str, _spec: ConceptsSpec) -> NDArray[np.float32]:
    """Return every vertex's decoding weights as a unit vector, (N, p), in the order of a concepts run's points."""
    store = Store()
    weights = share.read_points([store.run_of(decoder) for decoder in _spec.decoders], halves=False).vectors
    lengths = np.linalg.norm(weights, axis=1, keepdims=True)
    weights /= lengths
    return weights


@st.cache_data(show_spinner=False, max_entries=512)
def _thumbnails(fingerprint: str, wanted: tuple[tuple[str, int], ...], _dataset: Dataset) -> NDArray[np.uint8]:
    images = {subject: _dataset.images(subject) for subject in dict.fromkeys(subject for subject, _ in wanted)}

    def read(each: tuple[str, int]) -> NDArray[np.uint8]:
        return squeezed(images[each[0]][each[1]], THUMBNAIL)

    with ThreadPoolExecutor(worker_threads()) as pool:
        return np.stack(list(pool.map(read, wanted)))
