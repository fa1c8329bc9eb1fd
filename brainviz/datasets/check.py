"""Look a data set over and name every problem at once, in words a researcher can act on."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from brainviz.datasets import ceiling
from brainviz.datasets.algonauts import AlgonautsDataset, SubjectFiles, find_root, open_responses
from brainviz.datasets.base import ALL_VERTICES, HEMISPHERE_NAMES, HEMISPHERES, MESH_VERTICES
from brainviz.datasets.images import SUFFIXES
from brainviz.datasets.index import ColumnFault, DatasetIndex, FileFacts, Problem, Progress, index_of, one_line, scan
from brainviz.datasets.masks import (
    POSITIONS,
    SAME_RELEASE,
    read_integers,
    read_labels,
    read_labels_on_mesh,
    read_positions,
    roi_masks,
)
from brainviz.datasets.npy import NpyFile
from brainviz.datasets.settings import EVERYONE
from brainviz.datasets.unpickle import read_mapping
from brainviz.errors import DatasetError

#: How many examples a message gives.
_EXAMPLES = 5

#: A noise-ceiling SNR above this is doubted: 99 % of the variance of a single trial would be signal.
_HIGHEST_SNR = 10.0

T = TypeVar("T")
Facts = Mapping[Path, FileFacts]


@dataclass(frozen=True)
class Report:
    """What `check_dataset` found.

    Attributes
    ----------
    problems : list of Problem
        Errors first.
    table : list of dict
        One row per subject and hemisphere with responses: subject, description, hemi, images, test_images, vertices,
        on_mesh (whether the columns' positions are known), rois (name -> vertices), noise_ceiling (whether there is a
        usable one), not_finite and constant (vertices with such responses).
    index : DatasetIndex or None
        None where no subject can be used, and in a report read back with `from_json`.
    """

    problems: list[Problem]
    table: list[dict[str, Any]]
    index: DatasetIndex | None

    @property
    def errors(self) -> list[Problem]:
        """Problems because of which something cannot be used as it is."""
        return [problem for problem in self.problems if problem.level == "error"]

    @property
    def warnings(self) -> list[Problem]:
        """Problems that are worth knowing."""
        return [problem for problem in self.problems if problem.level == "warning"]

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold of the report: the problems, the table and the fingerprint."""
        fingerprint = self.index.fingerprint if self.index else None
        return {
            "problems": [asdict(problem) for problem in self.problems],
            "table": self.table,
            "fingerprint": fingerprint,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Report:
        """Return the report that `to_json` wrote, without its index."""
        return cls([Problem(**problem) for problem in data["problems"]], list(data["table"]), None)


def check_dataset(root: str | Path, memo_dir: Path, progress: Progress | None = None) -> Report:
    """Read every file of a data set that is not remembered, and report all that is wrong with any.

    Nothing is raised for a damaged data set, nor for a folder that does not exist: that, too, is a problem to report.

    Parameters
    ----------
    root : str or Path
        The data set's folder.
    memo_dir : Path
        As for `brainviz.datasets.index.build_index`.
    progress : callable, optional
        Called with (steps done, steps in all).
    """
    try:
        root = find_root(Path(root)).resolve()
        dataset = AlgonautsDataset(root, strict=False)
        contents = {
            name: (files.sources(), (*files.images.paths, *files.test_images.paths))
            for name, files in dataset.files.items()
        }
    except DatasetError as error:
        return Report([Problem("error", "", "", one_line(error))], [], None)
    facts = scan(contents, root, memo_dir, progress)
    checks = {name: _SubjectCheck(dataset, files, facts[name]) for name, files in dataset.files.items()}
    problems = [*_settings_problems(dataset)]
    for check in checks.values():
        problems += check.run()
    problems += _pictures_across_subjects(dataset, facts)
    table = [row for check in checks.values() for row in check.rows]
    problems.sort(key=lambda problem: problem.level != "error")
    return Report(problems, table, index_of(dataset, facts) if dataset.subjects else None)


def _settings_problems(dataset: AlgonautsDataset) -> Iterator[Problem]:
    settings, findings = dataset.settings, dataset.settings_findings
    for finding in findings:
        yield Problem(finding.level, "", finding.file, finding.message)
    if settings.mesh != "none" and settings.mesh not in MESH_VERTICES:
        known = ", ".join([*MESH_VERTICES, "none"])
        yield Problem(
            "warning",
            "",
            "dataset.toml",
            f"The mesh {settings.mesh!r} is unknown, so maps cannot be drawn. Known: {known}.",
        )
    for subject in settings.subjects:
        if subject not in dataset.files:
            yield Problem("warning", subject, "dataset.toml", "The subject is described here, but has no folder.")
    for subject in settings.repeats:
        if subject != EVERYONE and subject not in dataset.files:
            yield Problem("warning", subject, "dataset.toml", "The subject has repeats here, but has no folder.")


class _SubjectCheck:
    """Looks one subject over; `run` once, then `rows` holds the subject's part of the table."""

    def __init__(self, dataset: AlgonautsDataset, files: SubjectFiles, facts: Facts) -> None:
        self._dataset, self._files, self._facts = dataset, files, facts
        self._problems: dict[Problem, None] = {}  # in order, each once
        self.rows: list[dict[str, Any]] = []

    def run(self) -> list[Problem]:
        """Return all that is wrong with the subject's files."""
        self._pictures()
        names = {roi_set: self._attempt(path, read_mapping) for roi_set, path in self._files.mappings.items()}
        hemispheres = self._expected_hemispheres()
        for hemi in hemispheres:
            responses = self._responses(hemi)
            n_vertices = responses.shape[1] if responses else None
            positions = self._positions(hemi, n_vertices)
            rois = self._roi_sets(hemi, n_vertices, positions, names)
            has_ceiling = n_vertices is not None and self._noise_ceiling(hemi, n_vertices, positions)
            if responses:
                self._add_row(hemi, responses, rois, positions is not None, has_ceiling)
        return list(self._problems)

    def _say(self, level: str, path: Path | None, message: str) -> None:
        file = "" if path is None else str(path.relative_to(self._dataset.root))
        self._problems[Problem(level, self._files.name, file, message)] = None

    def _attempt(self, path: Path, read: Callable[..., T], *arguments: Any) -> T | None:
        """Return what `read` reads, or note why it cannot."""
        try:
            return read(path, *arguments)
        except DatasetError as error:
            self._say("error", path, one_line(error))
            return None

    def _expected_hemispheres(self) -> tuple[str, ...]:
        """Return the hemispheres to look at, and note those that should be there and are not."""
        found, stated = self._files.responses, self._dataset.settings.hemispheres
        masked = {hemi for hemi, _, _ in self._files.masks} | set(self._files.ceilings)
        for hemi in stated or HEMISPHERES:
            if hemi not in found and (stated or hemi in masked):
                reason = f"dataset.toml names the hemisphere {hemi!r}" if stated else f"there are masks of {hemi!r}"
                message = (
                    f"{hemi}_training_fmri.npy is missing, though {reason}. Add the file, or correct dataset.toml."
                )
                self._say("error", self._files.responses_folder, message)
        if not found:
            message = "There are no responses: neither lh_training_fmri.npy nor rh_training_fmri.npy. Add at least one."
            self._say("error", self._files.responses_folder, message)
        return tuple(hemi for hemi in stated or HEMISPHERES if hemi in found)

    def _responses(self, hemi: str) -> NpyFile | None:
        path = self._files.responses[hemi]
        responses = self._attempt(path, open_responses)
        if responses is None:
            return None
        if responses.dtype.newbyteorder("=") != np.float32:
            message = (
                f"The responses are {responses.dtype}; expected float32. They are converted whenever they are read."
            )
            self._say("error", path, f"{message} To mend it: np.save(file, np.load(file).astype('float32')).")
        n_rows, n_images = responses.shape[0], len(self._files.images)
        if n_rows != n_images:
            message = f"The responses have {n_rows:,} rows, but there are {n_images:,} pictures in training_images."
            lacking = _lacking_numbers([image.name for image in self._files.images.paths], n_rows)
            hint = f" No picture has the number {_listed(map(str, lacking))}." if lacking else ""
            expected = "Expected: one row per picture, in the order of the sorted file names."
            mend = "To mend it: add what is missing, or take away what is too much."
            self._say("error", path, f"{message}{hint} {expected} {mend}")
        facts = self._facts[path]
        if facts.problem:
            self._say("error", path, facts.problem)
        for level, fault, what in (
            (
                "error",
                facts.not_finite,
                "have NaN or infinite responses. To mend it: leave them out, or replace the values",
            ),
            ("warning", facts.constant, "have the same response to every picture; their correlation is undefined"),
        ):
            if fault.count:
                self._say(
                    level, path, f"{fault.count:,} of {responses.shape[1]:,} vertices {what} ({_columns(fault)})."
                )
        return responses

    def _positions(self, hemi: str, n_vertices: int | None) -> NDArray[np.int64] | None:
        mesh = self._dataset.mesh
        path = self._files.masks.get((hemi, POSITIONS, "fsaverage"))
        if path is None:
            if mesh != "none":
                message = f"{hemi}.{POSITIONS}_fsaverage_space.npy is missing, so maps cannot be drawn on {mesh}."
                hint = 'Add the file, or write mesh = "none" into dataset.toml.'
                self._say("warning", self._files.masks_folder, f"{message} {hint}")
            return None
        mask = self._attempt(path, read_integers)
        if mask is None or n_vertices is None:
            return None
        others = np.setdiff1d(mask, (0, 1))
        if others.size:
            self._say("error", path, f"The mask holds {_examples(others)}; expected: only 0 and 1.")
        return self._attempt(path, read_positions, n_vertices, mesh)

    def _roi_sets(
        self,
        hemi: str,
        n_vertices: int | None,
        positions: NDArray[np.int64] | None,
        names: Mapping[str, dict[int, str] | None],
    ) -> dict[str, int]:
        """Look at every mask of a hemisphere, and return ROI -> vertices."""
        sets, subject = self._files.roi_sets(hemi), self._files.name
        if not sets:
            message = f"There are no ROI masks of the {HEMISPHERE_NAMES[hemi]}; only all vertices can be analysed."
            self._say("warning", self._files.masks_folder, message)
        for roi_set in sorted(set(names) - set(sets)) if sets else ():
            message = f"mapping_{roi_set}.npy has names, but the {HEMISPHERE_NAMES[hemi]} has no mask of this set."
            self._say("warning", self._files.mappings[roi_set], f"{message} Add {hemi}.{roi_set}_challenge_space.npy.")
        owner: dict[str, str] = {}
        for roi_set in sets:
            labels = self._labels(hemi, roi_set, n_vertices, positions)
            if roi_set not in names:
                message = f"mapping_{roi_set}.npy, which names the ROIs of this set, is missing. Add the file."
                self._say("error", self._files.masks_folder, message)
            known = names.get(roi_set)
            if labels is not None and known is not None:
                self._names(hemi, roi_set, labels, known, owner)
        usable = subject in self._dataset.subjects and hemi in self._dataset.hemispheres(subject)
        return {name: int(mask.sum()) for name, mask in self._dataset.rois(subject, hemi).items()} if usable else {}

    def _names(
        self, hemi: str, roi_set: str, labels: NDArray[np.int64], known: Mapping[int, str], owner: dict[str, str]
    ) -> None:
        """Compare a mask's values with their names; `owner` tells which set has which ROI, and is added to."""
        masks = self._files.masks
        path = masks.get((hemi, roi_set, "challenge")) or masks[hemi, roi_set, "fsaverage"]
        nameless = np.setdiff1d(labels, [0, *known])
        if nameless.size:
            message = f"The mask holds {_examples(nameless)}, which mapping_{roi_set}.npy does not name."
            self._say("error", path, f"{message} These vertices belong to no ROI until it does.")
        if ALL_VERTICES in known.values():
            message = f"No ROI can be called {ALL_VERTICES!r}, which means every vertex. Rename it."
            self._say("warning", self._files.mappings[roi_set], message)
        for name in roi_masks(labels, known):
            if name in owner:
                message = f"The ROI {name!r} is also in the set {owner[name]!r}, which counts. Rename one of them."
                self._say("warning", path, message)
            owner.setdefault(name, roi_set)

    def _labels(
        self, hemi: str, roi_set: str, n_vertices: int | None, positions: NDArray[np.int64] | None
    ) -> NDArray[np.int64] | None:
        """Read a ROI set's values per column, from either space, and compare the spaces."""
        challenge, fsaverage = (self._files.masks.get((hemi, roi_set, space)) for space in ("challenge", "fsaverage"))
        labels = None
        if challenge and n_vertices is not None:
            labels = self._attempt(challenge, read_labels, n_vertices)
        elif challenge:
            self._attempt(challenge, read_integers)
        on_mesh = self._attempt(fsaverage, read_integers) if fsaverage else None
        if fsaverage is None or on_mesh is None:
            return labels
        if challenge is None:
            hint = "taken from the fsaverage-space mask" if positions is not None else "left out"
            message = f"{hemi}.{roi_set}_challenge_space.npy is missing; the ROIs of this set are {hint}. Add the file."
            self._say("warning" if positions is not None else "error", self._files.masks_folder, message)
        mesh = self._dataset.mesh
        if mesh in MESH_VERTICES and len(on_mesh) != MESH_VERTICES[mesh]:
            expected = f"{MESH_VERTICES[mesh]:,}, one per vertex of {mesh}"
            message = f"The mask has {len(on_mesh):,} values; expected {expected}."
            self._say("error", fsaverage, f"{message} Name the right mesh in dataset.toml, or replace the file.")
        if positions is None:
            return labels
        derived = self._attempt(fsaverage, read_labels_on_mesh, positions)
        if challenge is None:
            return derived
        different = 0 if labels is None or derived is None else np.count_nonzero(derived != labels)
        if different:
            message = f"The mask differs from {challenge.name} in {different:,} vertices. To mend it: {SAME_RELEASE}"
            self._say("error", fsaverage, f"{message} The challenge-space mask is used meanwhile.")
        return labels

    def _noise_ceiling(self, hemi: str, n_vertices: int, positions: NDArray[np.int64] | None) -> bool:
        """Look at every file that tells of a noise ceiling, and return whether the one that counts will do."""
        usable, mesh = [], self._dataset.mesh
        on_mesh = None if mesh == "none" else positions  # as the data set itself does
        for path in self._files.ceilings.get(hemi, ()):
            if path.name == ceiling.SHARE.format(hemi):
                usable.append(self._attempt(path, ceiling.read_noise_ceiling, n_vertices) is not None)
                continue
            snr = self._attempt(path, ceiling.read_ncsnr, n_vertices, on_mesh, mesh)
            usable.append(snr is not None and self._dataset.settings.repeats_of(self._files.name) is not None)
            if snr is not None:
                self._signal_to_noise(path, snr)
        hint = self._dataset.noise_ceiling_hint(self._files.name, hemi) if usable else ""
        if hint:
            self._say("warning", self._files.ceilings[hemi][0], hint)
        return bool(usable) and usable[0]

    def _signal_to_noise(self, path: Path, snr: NDArray[np.float64]) -> None:
        unknown, highest = np.count_nonzero(np.isnan(snr)), np.nanmax(snr)
        if unknown:
            message = f"{unknown:,} of {len(snr):,} vertices have NaN, and so no noise ceiling; scores leave them out."
            self._say("warning", path, message)
        if highest > _HIGHEST_SNR:
            message = f"The noise-ceiling SNR goes up to {highest:g}, which would be responses almost without noise."
            self._say("warning", path, f"{message} Make sure that these are no noise ceilings in percent.")

    def _pictures(self) -> None:
        """Look at the pictures: which files count, their order, whether they can be decoded, and equal ones."""
        images, tests = self._files.images, self._files.test_images
        if not images:
            self._say("error", self._files.images_folder, "There are no pictures (PNG or JPEG). Add them.")
        for folder, names in self._files.other_files().items():
            endings = ", ".join(SUFFIXES)
            self._say(
                "warning", folder, f"{_listed(names)}: not pictures that brainviz reads ({endings}), and ignored."
            )
        misplaced = _first_misplaced([path.name for path in images.paths])
        if misplaced:
            first, second = misplaced
            self._say(
                "warning",
                self._files.images_folder,
                f"Sorted by file name, which is the order of the rows, {first} comes before {second}. If the numbers"
                " give the order of the rows, rename the files with leading zeros.",
            )
        for path in (*images.paths, *tests.paths):
            if self._facts[path].problem:
                self._say("error", path, self._facts[path].problem)
        rows = defaultdict(list)
        for path in images.paths:
            rows[self._facts[path].digest].append(path.name)
        equal = [" = ".join(names) for digest, names in rows.items() if digest and len(names) > 1]
        if equal:
            message = f"{_count(equal, 'picture')} occurring more than once: {_listed(equal)}."
            self._say("warning", self._files.images_folder, f"{message} Splits keep equal pictures in the same part.")
        leaked = [path.name for path in tests.paths if self._facts[path].digest in rows and self._facts[path].digest]
        if leaked:
            message = f"{_count(leaked, 'test picture')} equal to a training picture: {_listed(leaked)}."
            self._say("warning", self._files.test_images_folder, message)

    def _add_row(self, hemi: str, responses: NpyFile, rois: dict[str, int], on_mesh: bool, ceiling: bool) -> None:
        facts = self._facts[responses.path]
        self.rows.append(
            {
                "subject": self._files.name,
                "description": self._dataset.settings.subjects.get(self._files.name, ""),
                "hemi": hemi,
                "images": len(self._files.images),
                "test_images": len(self._files.test_images),
                "vertices": responses.shape[1],
                "on_mesh": on_mesh and self._dataset.mesh in MESH_VERTICES,
                "rois": rois,
                "noise_ceiling": ceiling,
                "not_finite": facts.not_finite.count,
                "constant": facts.constant.count,
            }
        )


def _pictures_across_subjects(dataset: AlgonautsDataset, facts: Mapping[str, Facts]) -> Iterator[Problem]:
    """Say how many pictures several subjects saw, and whether their names agree."""
    seen: dict[str, dict[str, str]] = defaultdict(dict)  # digest -> subject -> id
    digests: dict[str, set[str]] = defaultdict(set)  # id -> digests
    for subject, files in dataset.files.items():
        for path, name in zip(files.images.paths, files.images.ids, strict=True):
            digest = facts[subject][path].digest
            if digest:
                seen[digest].setdefault(subject, name)
                digests[name].add(digest)
    shared = [ids for ids in seen.values() if len(ids) > 1]
    if shared:
        subjects = ", ".join(sorted({subject for ids in shared for subject in ids}))
        other = [" = ".join(ids.values()) for ids in shared if len(set(ids.values())) > 1]
        names = f"{len(other):,} under different names ({_listed(other)})" if other else "all under one name, as in NSD"
        message = f"{_count(shared, 'picture')} shown to more than one subject (among {subjects}), {names}."
        yield Problem("warning", "", "", f"{message} Splits keep equal pictures in the same part for all subjects.")
    ambiguous = sorted(name for name, found in digests.items() if len(found) > 1)
    if ambiguous:
        message = f"{_count(ambiguous, 'name')} standing for different pictures: {_listed(ambiguous)}."
        yield Problem("warning", "", "", f"{message} Make sure that the files are the right ones; splits go by pixels.")


def _first_misplaced(names: Sequence[str]) -> tuple[str, str] | None:
    """Return the first neighbours whose order by name is not that of the numbers in their names."""
    keys = [[int(part) for part in re.findall(r"\d+", name.partition("_")[0])] for name in names]
    return next(((names[i], names[i + 1]) for i in range(len(keys) - 1) if keys[i] > keys[i + 1]), None)


def _lacking_numbers(names: Sequence[str], n_rows: int) -> list[int]:
    """Return which of 1 ... `n_rows` no name begins with (``train-0001_...``), none if the names are not numbered."""
    found = {int(match[1]) for name in names if (match := re.match(r"\D*(\d+)", name))}
    return sorted(set(range(1, n_rows + 1)) - found) if len(found) == len(names) < n_rows else []


def _listed(names: Iterable[str]) -> str:
    """Return the first few names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - _EXAMPLES:,} more" if len(names) > _EXAMPLES else ""
    return ", ".join(names[:_EXAMPLES]) + more


def _count(things: Sequence[object], noun: str) -> str:
    return f"{len(things):,} {noun}{'' if len(things) == 1 else 's'}"


def _columns(fault: ColumnFault) -> str:
    more = ", ..." if fault.count > len(fault.first) else ""
    return f"column{'s' if fault.count > 1 else ''} {', '.join(map(str, fault.first))}{more}, counted from 0"


def _examples(values: NDArray[np.int64]) -> str:
    return f"the value{'s' if values.size > 1 else ''} {_listed(map(str, values.tolist()))}"
