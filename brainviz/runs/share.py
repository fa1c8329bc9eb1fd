"""Concepts runs: decoding weights of several participants, clustered, and compared with pictures and texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainviz.errors import DatasetError
from brainviz.runs.concept_specs import ConceptsSpec
from brainviz.runs.context import Context, open_pictures
from brainviz.runs.decode import COLUMNS, DECODED, HALVES, ROWS, SIDES, WEIGHT
from brainviz.runs.embed import read_embeddings
from brainviz.runs.store import Run, write_array
from brainviz.runs.tables import write_table

#: Files about the points, (N,): participant (its number among those named), hemisphere (0 left, 1 right), column among
#: the hemisphere's responses, concept (-1: none), and what the point is to it (`STAGES`).
WHO, POINT_SIDES, POINT_COLUMNS, LABELS, STAGE = "who.npy", "sides.npy", "columns.npy", "labels.npy", "stage.npy"

#: What a point is to its concept.
STAGES = ("none", "core", "border", "second stage")

#: Files about K concepts: directions (K, p), those in each participant (K, P, p), and the table.
DIRECTIONS, OWN_DIRECTIONS, CONCEPTS = "directions.npy", "own_directions.npy", "concepts.parquet"

#: Files about M distinct pictures: the table, cosines with the concepts (K, M), and cosines of what was decoded from
#: the responses to held-out pictures, mean over those who saw them (K, M), NaN for others.
PICTURES, SIMILARITY, EVIDENCE = "pictures.parquet", "similarity.npy", "evidence.npy"

#: Cosines of the concepts with the texts, (K, T); 0 for a text that the network cannot read.
TEXT_SIMILARITY = "text_similarity.npy"

#: The scan, and the map of weights: points (m,) and their places (m, 2).
SCAN, MAP_POINTS, MAP = "scan.parquet", "map_points.npy", "map.npy"

#: Concepts that are compared with all pictures at a time: a small eps can make thousands.
CONCEPTS_AT_A_TIME = 256

#: UMAP needs so many points.
MIN_MAP_POINTS = 10


@dataclass(frozen=True)
class Points:
    """All participants' vertices as points.

    Attributes
    ----------
    vectors : (N, p) float32 array
        Decoding weights.
    who : (N,) int64 array
        Number of the participant among those named.
    sides, columns : (N,) arrays
        Hemisphere, 0 left and 1 right; column among its responses.
    halves : (2, N, p) float32 array or None
        Weights averaged over the even and over the odd seeds; None where a decoder has one seed.
    """

    vectors: NDArray[np.float32]
    who: NDArray[np.int64]
    sides: NDArray[np.int8]
    columns: NDArray[np.int64]
    halves: NDArray[np.float32] | None


def concepts(spec: ConceptsSpec, context: Context) -> dict[str, Any]:
    """Cluster the decoding weights of several participants (methods, section 8).

    A participant without a usable vertex takes no part, and is named in the result. No concept at all, or one that
    holds everything, is a result too.
    """
    decoders = [context.finished(decoder) for decoder in spec.decoders]
    points = read_points(decoders)
    having = np.unique(points.who)
    if len(having) < 2:
        raise DatasetError(
            "Concepts are shared by several participants, but fewer than two have usable vertices.",
            got=", ".join(f"{spec.decoders[who].subject}" for who in having) or "none",
            mend="lower the threshold by which vertices are chosen, or choose them by encoding.",
        )
    from brainviz.analyses.concept_measures import participant_vectors, turned_at_random
    from brainviz.analyses.concepts import concept_vectors
    from brainviz.analyses.near_points import NOISE

    labels, stage = _in_two_stages(
        spec, points.vectors, points.who, spec.min_participants, context.device, context.progress("clustering")
    )
    directions = concept_vectors(points.vectors, labels)
    own = participant_vectors(points.vectors, points.who, labels, len(spec.decoders))
    texts = np.asarray(read_embeddings(context.finished(spec.described_by)))
    for name, values in (
        (WHO, points.who),
        (POINT_SIDES, points.sides),
        (POINT_COLUMNS, points.columns),
        (LABELS, labels),
        (STAGE, stage),
        (DIRECTIONS, directions.astype(np.float32)),
        (OWN_DIRECTIONS, own.astype(np.float32)),
        (TEXT_SIMILARITY, (directions @ texts.T).astype(np.float32)),
    ):
        write_array(context.path / name, values)
    evidence_r, n_held_out = _pictures(spec, context, decoders, directions)
    table = _concept_table(points, labels, stage, directions, own)
    for name, measure in (
        ("evidence_r", evidence_r),
        ("left_out", _left_out(spec, context, points, directions)),
        ("reseeded", _reseeded(points, labels)),
    ):
        for row, value in zip(table, measure, strict=True):
            row[name] = value
    write_table(context, CONCEPTS, table)
    turned = replace(points, vectors=turned_at_random(points.vectors, points.who, spec.turn_seed), halves=None)
    by_chance = _by_chance(spec, turned, context)
    _scan(spec, context, points, turned)
    _map(spec, context, points, labels)
    n = len(labels)
    return {
        "n_concepts": len(directions),
        "n_noise": int((labels == NOISE).sum()),
        "n_points": n,
        "n_core": int((stage == 1).sum()),
        "n_second_stage": int((stage == 3).sum()),
        "share_in_concepts": float((labels != NOISE).mean()),
        "largest": max((row["n_vertices"] for row in table), default=0) / n,
        "points_of_participants": np.bincount(points.who, minlength=len(spec.decoders)).tolist(),
        "without_vertices": [
            decoder.subject for number, decoder in enumerate(spec.decoders) if number not in having.tolist()
        ],
        "n_held_out": n_held_out,
        "radius": spec.radius,
        "by_chance": by_chance,
    }


def _in_two_stages(
    spec: ConceptsSpec,
    vectors: NDArray[np.float32],
    who: NDArray[np.int64],
    min_participants: int,
    device: str,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Return every point's concept, -1 for none, after both stages, and what it is to it (number in `STAGES`)."""
    from brainviz.analyses.concepts import cluster_shared, expand_within
    from brainviz.analyses.near_points import NOISE

    first = cluster_shared(vectors, who, spec.eps, min_participants, device=device, progress=progress)
    labels = first.labels
    if spec.expansion > 0 and first.n_clusters:
        labels = by_size(expand_within(vectors, who, labels, spec.radius, device=device))
    stage = np.where(labels == NOISE, 0, np.where(first.core, 1, np.where(first.labels != NOISE, 2, 3)))
    return labels, stage.astype(np.int8)


def by_size(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number concepts anew by their size, 0 the largest; those of one size keep their order, and -1 stays -1."""
    sizes = np.bincount(labels[labels >= 0])
    numbers = np.append(np.argsort(np.argsort(-sizes, kind="stable"), kind="stable"), -1)
    renumbered: NDArray[np.int64] = numbers[labels]
    return renumbered


def read_points(decoders: Sequence[Run], *, halves: bool = True) -> Points:
    """Return the points of finished decoder runs, one participant after the other; on request without their halves."""
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in ("vectors", "who", "sides", "columns")}
    of_halves = []
    for number, run in enumerate(decoders):
        weight = np.load(run.file(WEIGHT))
        parts["vectors"].append(weight)
        parts["who"].append(np.full(len(weight), number, np.int64))
        parts["sides"].append(np.load(run.file(SIDES)))
        parts["columns"].append(np.load(run.file(COLUMNS)))
        if halves and HALVES in run.manifest()["files"]:
            of_halves.append(np.load(run.file(HALVES)))
    together = {name: np.concatenate(values) for name, values in parts.items()}
    vectors = together["vectors"]
    usable = np.abs(vectors).max(axis=1, initial=0) > 0  # what has no direction is no point
    known = sum(each.shape[1] for each in of_halves) == len(vectors)
    whole = np.concatenate(of_halves, axis=1) if of_halves and known else None
    return Points(
        vectors[usable],
        together["who"][usable],
        together["sides"][usable],
        together["columns"][usable],
        None if whole is None else whole[:, usable],
    )


def _pictures(
    spec: ConceptsSpec, context: Context, decoders: Sequence[Run], directions: NDArray[np.float64]
) -> tuple[list[float], int]:
    """Compare concepts with all participants' pictures, and with what was decoded from responses to held-out ones.

    Returns how the two go together over the held-out pictures, Pearson's r per concept, and how many these are.
    """
    rows: dict[str, dict[str, Any]] = {}
    vectors: list[NDArray[np.float32]] = []
    decoded: dict[int, list[NDArray[np.float64]]] = {}
    for number, (decoder, run) in enumerate(zip(spec.decoders, decoders, strict=True)):
        pictures = open_pictures(decoder, decoder, context)
        embeddings = read_embeddings(context.finished(decoder.embedding))
        names = pictures.dataset.images(decoder.subject).ids
        held_out = set(pictures.split.test.tolist())
        for row, digest in enumerate(pictures.digests):
            if digest not in rows:
                about = {"picture": names[row], "subject": decoder.subject, "row": row, "held_out": row in held_out}
                rows[digest] = {"number": len(rows), **about, "n_subjects": 0}
                vectors.append(np.asarray(embeddings[row]))
        for digest in set(pictures.digests):
            rows[digest]["n_subjects"] += 1
        if DECODED in run.manifest()["files"]:
            cosines = np.load(run.file(DECODED)).astype(np.float64) @ directions.T
            for row, values in zip(np.load(run.file(ROWS)), cosines, strict=True):
                decoded.setdefault(rows[pictures.digests[row]]["number"], []).append(values)
        context.progress("comparing with pictures")(number + 1, len(decoders))
    similarity = np.empty((len(directions), len(vectors)), np.float32)
    together = np.stack(vectors).astype(np.float64)
    for start in range(0, len(directions), CONCEPTS_AT_A_TIME):
        part = slice(start, start + CONCEPTS_AT_A_TIME)
        similarity[part] = directions[part] @ together.T
    evidence = np.full(similarity.shape, np.float32(np.nan))
    for column, found in decoded.items():
        evidence[:, column] = np.mean(found, axis=0)
    write_table(
        context, PICTURES, [{name: value for name, value in row.items() if name != "number"} for row in rows.values()]
    )
    write_array(context.path / SIMILARITY, similarity)
    write_array(context.path / EVIDENCE, evidence)
    from brainviz.analyses.concept_measures import correlations

    return correlations(similarity, evidence).tolist(), len(decoded)


def _concept_table(
    points: Points,
    labels: NDArray[np.int64],
    stage: NDArray[np.integer],
    directions: NDArray[np.float64],
    own: NDArray[np.float64],
) -> list[dict[str, Any]]:
    """Return a row per concept: sizes, participants, how tight it is, and how alike it is in different participants."""
    from brainviz.analyses.concept_measures import consistency

    alike = consistency(own)
    table = []
    for number, direction in enumerate(directions):
        members = np.flatnonzero(labels == number)
        vectors = points.vectors[members].astype(np.float64)
        cosines = vectors @ direction / np.linalg.norm(vectors, axis=1)
        known = alike[number][~np.isnan(alike[number])]
        table.append(
            {
                "concept": number,
                "n_vertices": len(members),
                "n_core": int((stage[members] == 1).sum()),
                "n_second_stage": int((stage[members] == 3).sum()),
                "n_participants": len(np.unique(points.who[members])),
                "share_left": float((points.sides[members] == 0).mean()),
                "tightness": float(cosines.mean()),
                "consistency": float(known.mean()) if known.size else np.nan,
                "least_consistency": float(known.min()) if known.size else np.nan,
            }
        )
    return table


def _left_out(
    spec: ConceptsSpec, context: Context, points: Points, directions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Cluster again, in both stages, without each participant; return how well each concept is found again, (K,).

    Mean over those left out of the best cosine with a concept found without them; none found counts as 0. NaN where
    nobody can be left out.
    """
    from brainviz.analyses.concept_measures import best_matches
    from brainviz.analyses.concepts import concept_vectors

    participants = np.unique(points.who)
    if not spec.leave_one_out or len(participants) < 3 or not len(directions):
        return np.full(len(directions), np.nan)
    found = []
    for done, left_out in enumerate(participants):
        context.progress("leaving participants out")(done, len(participants))
        rest = points.who != left_out
        vectors, who = points.vectors[rest], points.who[rest]
        labels, _ = _in_two_stages(
            spec, vectors, who, min(spec.min_participants, len(participants) - 2), context.device
        )
        found.append(np.nan_to_num(best_matches(directions, concept_vectors(vectors, labels))))
    mean: NDArray[np.float64] = np.mean(found, axis=0)
    return mean


def _by_chance(spec: ConceptsSpec, turned: Points, context: Context) -> dict[str, Any]:
    """Return what the same clustering finds where participants have nothing in common but by chance."""
    from brainviz.analyses.concept_measures import consistency, participant_vectors
    from brainviz.analyses.near_points import NOISE

    labels, _ = _in_two_stages(
        spec,
        turned.vectors,
        turned.who,
        spec.min_participants,
        context.device,
        context.progress("clustering what is shared by chance"),
    )
    alike = consistency(participant_vectors(turned.vectors, turned.who, labels, len(spec.decoders)))
    return {
        "n_concepts": int(labels.max(initial=NOISE)) + 1,
        "share_in_concepts": float((labels != NOISE).mean()),
        "consistency": float(np.nanmean(alike)) if np.isfinite(alike).any() else None,
    }


def _reseeded(points: Points, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the cosine of each concept's direction in one half of the seeds with that in the other half, (K,)."""
    from brainviz.analyses.concepts import concept_vectors

    n = int(labels.max(initial=-1)) + 1
    if points.halves is None or not n:
        return np.full(n, np.nan)
    first, second = (concept_vectors(half, labels) for half in points.halves)
    cosines: NDArray[np.float64] = np.einsum("kp,kp->k", first, second)
    return cosines


def _scan(spec: ConceptsSpec, context: Context, points: Points, turned: Points) -> None:
    """Cluster with every scanned eps and number of participants, with either half of the seeds, and what is turned."""
    from brainviz.analyses.concept_measures import agreement
    from brainviz.analyses.concepts import cluster_shared, scan

    if not spec.scanned_eps:
        return
    n = len(np.unique(points.who))
    steps = context.progress("scanning eps")
    found = scan(points.vectors, points.who, spec.scanned_eps, range(1, n), device=context.device, progress=steps)
    steps = context.progress("scanning what is shared by chance")
    chance = scan(turned.vectors, turned.who, spec.scanned_eps, range(1, n), device=context.device, progress=steps)
    rows = [
        vars(row) | {"n_concepts_by_chance": null.n_concepts, "share_by_chance": null.share}
        for row, null in zip(found, chance, strict=True)
    ]
    for row in rows:
        row |= {"rand": np.nan, "overlap": np.nan}
        if points.halves is None or row["min_participants"] != spec.min_participants:
            continue
        context.progress("clustering with other seeds")(spec.scanned_eps.index(row["eps"]), len(spec.scanned_eps))
        halves = [
            cluster_shared(half, points.who, row["eps"], spec.min_participants, device=context.device).labels
            for half in points.halves
        ]
        row |= vars(agreement(*halves))
    write_table(context, SCAN, rows)


def _map(spec: ConceptsSpec, context: Context, points: Points, labels: NDArray[np.int64]) -> None:
    """Lay a sample of the points out in two dimensions."""
    from brainviz.analyses.concept_measures import map_weights, sample_points

    if min(spec.map_points, len(labels)) < MIN_MAP_POINTS:
        return
    context.progress("UMAP")(0, 1)
    drawn = sample_points(labels, spec.map_points, np.random.default_rng(spec.map_seed))
    write_array(context.path / MAP_POINTS, drawn)
    write_array(
        context.path / MAP,
        map_weights(
            points.vectors[drawn],
            n_neighbors=spec.map_neighbors,
            min_dist=spec.map_min_dist,
            seed=spec.map_seed,
        ),
    )
