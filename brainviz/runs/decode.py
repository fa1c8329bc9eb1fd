"""Decoder runs: from one participant's responses to the embeddings of the pictures (methods, section 8)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainviz.datasets.base import HEMISPHERES
from brainviz.errors import DatasetError
from brainviz.runs.concept_specs import DecoderSpec
from brainviz.runs.context import MIN_TEST_PICTURES, Context, Pictures, open_pictures, read_together, standardised
from brainviz.runs.embed import read_embeddings
from brainviz.runs.places import has_roi, require_roi
from brainviz.runs.store import write_array

#: Files: weights (v, p), bias (p,), means over the even and the odd seeds (2, v, p).
WEIGHT, BIAS, HALVES = "weight.npy", "bias.npy", "weight_halves.npy"

#: Files about the vertices: column among the hemisphere's responses, hemisphere (0 left, 1 right), and by what chosen.
COLUMNS, SIDES, CHOSEN_BY = "columns.npy", "sides.npy", "chosen_by.npy"

#: Files about the distinct held-out pictures: a row of each, and what is decoded from the responses to it, (m, p).
ROWS, DECODED, DECODED_BY_RIDGE = "rows.npy", "decoded.npy", "decoded_ridge.npy"

#: Files about the candidates: their positions among the held-out pictures, and ranks of the true one, (c, 2) each:
#: first and last place of those it ties with.
CANDIDATES, RANKS, RIDGE_RANKS = "candidates.npy", "ranks.npy", "ranks_ridge.npy"

#: Published places (methods, section 8).
PLACES = (1, 5, 10, 50, 100, 500)

#: Folds of the cross-validation inside the training pictures that vertices are chosen by.
FOLDS = 5


def decoder(spec: DecoderSpec, context: Context) -> dict[str, Any]:
    """Fit linear decoders to the training pictures, average them, and look the held-out pictures up by their responses.

    Responses to one picture are averaged first: two trials of it in one batch would be told apart. They are z-scored
    over the training pictures. A run without a usable vertex is done, and says so: ``n_vertices`` is 0.
    """
    pictures = open_pictures(spec, spec, context)
    embeddings = np.asarray(read_embeddings(context.finished(spec.embedding)))
    used, considered, constant = _vertices(spec, pictures, embeddings, context)
    (train_rows, train_trials), (rows, trials) = (
        distinct(pictures, part) for part in (pictures.split.train, pictures.split.test)
    )
    if len(rows) < MIN_TEST_PICTURES:
        raise DatasetError(
            f"{spec.subject} has too few held-out pictures to look one up among them.",
            got=f"{len(rows)} distinct",
            expected=f"at least {MIN_TEST_PICTURES}",
            mend="choose a larger test share.",
        )
    found: dict[str, Any] = {
        "n_vertices": len(used.columns),
        "n_considered": considered,
        "n_constant": constant,
        "n_train": len(train_rows),
        "n_test": len(rows),
        "n_dimensions": embeddings.shape[1],
    }
    for name, values in ((COLUMNS, used.columns), (SIDES, used.sides), (CHOSEN_BY, used.chosen_by), (ROWS, rows)):
        write_array(context.path / name, values)
    if not len(used.columns):
        write_array(context.path / WEIGHT, np.zeros((0, embeddings.shape[1]), np.float32))
        return found

    # Only now that the data are known to be good: torch takes seconds.
    from sklearn.linear_model import RidgeCV

    from brainviz.models.decoder import decode
    from brainviz.training.decoding import fit_decoders
    from brainviz.training.streams import derived_seed

    averaged = np.stack([used.responses[each].mean(axis=0) for each in (*train_trials, *trials)])
    responses = standardised(averaged, np.arange(len(train_rows)))
    fitted, held_out = np.split(responses, [len(train_rows)])
    fit = fit_decoders(
        fitted,
        embeddings[train_rows],
        n_seeds=spec.n_seeds,
        temperature=spec.decoder_temperature,
        learning_rate=spec.decoder_learning_rate,
        batch_size=spec.decoder_batch,
        iterations=spec.iterations,
        noise_sd=spec.input_noise,
        seed=derived_seed(spec.seed, *spec.subject.encode()),  # the participant's own: see `fit_decoders`
        device=context.device,
        progress=context.progress("training decoders"),
    )
    write_array(context.path / WEIGHT, fit.weight)
    write_array(context.path / BIAS, fit.bias)
    if fit.halves_weight is not None:
        write_array(context.path / HALVES, fit.halves_weight)
    write_array(context.path / "loss.npy", np.stack([fit.loss_iterations, fit.loss]))

    context.progress("ridge baseline")(0, 1)
    # By leaving one picture out: a single decomposition, where folds of so many vertices take one each.
    ridge = RidgeCV(spec.ridge_alphas, alpha_per_target=True).fit(fitted, embeddings[train_rows])
    decoded = decode(held_out, fit.weight, fit.bias)
    by_ridge = _unit(ridge.predict(held_out))
    write_array(context.path / DECODED, decoded)
    write_array(context.path / DECODED_BY_RIDGE, by_ridge)
    return (
        found
        | _retrieval(spec, context, decoded, by_ridge, embeddings[rows])
        | {
            "loss": float(fit.loss[-1]),
            "ridge_at_edge": float(np.isin(ridge.alpha_, [spec.ridge_alphas[0], spec.ridge_alphas[-1]]).mean()),
            "seconds_of_training": fit.seconds,
            "seeds_at_a_time": fit.seeds_per_group,
        }
    )


def _retrieval(
    spec: DecoderSpec,
    context: Context,
    decoded: NDArray[np.float32],
    by_ridge: NDArray[np.float32],
    embeddings: NDArray[np.float32],
) -> dict[str, Any]:
    """Look up held-out pictures among each other: the share found within the first k, with Wilson's intervals."""
    from brainviz.analyses.classification import wilson_interval
    from brainviz.training.retrieval import found_within, retrieval_ranks

    order = np.random.default_rng(spec.seed).permutation(len(decoded))
    candidates = np.sort(order[: spec.n_candidates])
    write_array(context.path / CANDIDATES, candidates)
    n = len(candidates)
    table: list[dict[str, Any]] = [{"k": k, "chance": k / n} for k in PLACES if k < n]
    for name, file, vectors in (("decoder", RANKS, decoded), ("ridge", RIDGE_RANKS, by_ridge)):
        ranks = retrieval_ranks(vectors[candidates], embeddings[candidates])
        write_array(context.path / file, ranks)
        for row in table:
            found = found_within(ranks, row["k"])
            hits = float(found.sum())  # whole but for ties
            low, high = wilson_interval(math.floor(hits), n)[0], wilson_interval(math.ceil(hits), n)[1]
            row |= {name: float(found.mean()), f"{name}_low": low, f"{name}_high": high}
    first = table[0]
    return {
        "n_candidates": n,
        "top1": first["decoder"],
        "top1_low": first["decoder_low"],
        "top1_high": first["decoder_high"],
        "top1_ridge": first["ridge"],
        "top1_chance": first["chance"],
        "retrieval": table,
    }


@dataclass(frozen=True)
class Vertices:
    """The vertices that are decoded from.

    Attributes
    ----------
    responses : (n, v) float32 array
        To all pictures, as delivered.
    columns : (v,) int64 array
        Among the responses of the hemisphere.
    sides : (v,) int8 array
        0 left, 1 right.
    chosen_by : (v,) float64 array
        What was above the threshold; NaN where every vertex is used.
    """

    responses: NDArray[np.float32]
    columns: NDArray[np.int64]
    sides: NDArray[np.int8]
    chosen_by: NDArray[np.float64]


def _vertices(
    spec: DecoderSpec, pictures: Pictures, embeddings: NDArray[np.float32], context: Context
) -> tuple[Vertices, int, int]:
    """Return the vertices that are used, how many were looked at, and how many of these are constant in training."""
    parts, considered, constant = [], 0, 0
    areas = [(hemi, roi) for hemi, roi in spec.areas if has_roi(pictures.dataset, spec.subject, hemi, roi)]
    if not areas:
        require_roi(pictures.dataset, spec.subject, *spec.areas[0])
    for side, hemi in enumerate(HEMISPHERES):
        rois = [roi for where, roi in areas if where == hemi]
        if not rois:
            continue
        columns, responses = read_together(pictures, hemi, rois)
        still = _constant(responses, pictures.split.train)
        value = _chosen_by(spec, pictures, hemi, columns, responses, embeddings, context)
        chosen = ~still & (np.ones(len(columns), bool) if spec.selection == "none" else value > spec.vertex_threshold)
        considered, constant = considered + len(columns), constant + int(still.sum())
        chosen_rows = np.flatnonzero(chosen)
        parts.append(
            Vertices(
                responses[:, chosen_rows],
                columns[chosen_rows],
                np.full(len(chosen_rows), side, np.int8),
                value[chosen_rows],
            )
        )
    together = {name: np.concatenate([vars(part)[name] for part in parts], axis=-1) for name in vars(parts[0])}
    return Vertices(**together), considered, constant


def _constant(responses: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which vertices never vary over the training trials: they have no z-score."""
    lowest, highest = responses[rows[0]].copy(), responses[rows[0]].copy()
    for row in rows:
        np.minimum(lowest, responses[row], out=lowest)
        np.maximum(highest, responses[row], out=highest)
    still: NDArray[np.bool_] = lowest == highest
    return still


def _chosen_by(
    spec: DecoderSpec,
    pictures: Pictures,
    hemi: str,
    columns: NDArray[np.int64],
    responses: NDArray[np.float32],
    embeddings: NDArray[np.float32],
    context: Context,
) -> NDArray[np.float64]:
    """Return what vertices are chosen by, (v,): a single trial's noise ceiling, or cross-validated r.

    A ceiling that the data set brings is that of the responses as delivered, unless its dataset.toml says how often
    each picture was shown. Repeats and r are of training trials only.
    """
    train = pictures.split.train
    if spec.selection == "noise-ceiling":
        ceiling = pictures.dataset.noise_ceiling(spec.subject, hemi)
        if ceiling is None:
            raise DatasetError(
                f"{spec.subject} has no noise ceiling to choose vertices by.",
                got=f"hemisphere {hemi}, selection noise-ceiling",
                mend=f"choose them by encoding or repeats. {pictures.dataset.noise_ceiling_hint(spec.subject, hemi)}",
            )
        delivered = ceiling[columns].astype(np.float64)
        repeats = pictures.dataset.repeats(spec.subject)
        if repeats is None:
            return delivered
        from brainviz.encoding.repeats import single_trial

        return single_trial(delivered, repeats)
    if spec.selection == "repeats":
        from brainviz.encoding.repeats import ceiling_from_repeats

        return ceiling_from_repeats(responses, np.unique(pictures.digests, return_inverse=True)[1], train)
    if spec.selection == "encoding":
        from brainviz.encoding.ridge import prepare_ridge

        context.progress("choosing vertices")(0, 1)
        design = prepare_ridge(
            embeddings[train],
            spec.ridge_alphas,
            FOLDS,
            groups=pictures.groups(train),
            seed=spec.seed,
            extend=True,
            device=context.device,
        )
        return design.select(responses, rows=train).cv_r.astype(np.float64)
    return np.full(len(columns), np.nan)


def distinct(pictures: Pictures, part: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Return one row of every distinct picture of a part, (m,) ascending, and all its rows in the part, m arrays."""
    _, first, group = np.unique(pictures.groups(part), return_index=True, return_inverse=True)
    trials = np.split(part[np.argsort(group, kind="stable")], np.cumsum(np.bincount(group))[:-1])
    order = np.argsort(first)
    return part[first[order]], [trials[number] for number in order]


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return unit
