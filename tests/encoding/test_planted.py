"""Planted truth: where the features can express it, r on test images is the square root of the signal's share."""

import numpy as np

from brainviz.encoding.metrics import pearson_r
from brainviz.encoding.pca import fit_pca
from brainviz.encoding.ridge import prepare_ridge
from brainviz.encoding.statistics import bootstrap_r, bootstrap_weights, interval

N_TRAIN, N_TEST, N_FEATURES, N_VERTICES = 3000, 400, 60, 250


def test_r_follows_the_root_of_the_signal_share():
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((N_TRAIN + N_TEST, N_FEATURES)).astype(np.float32)
    # The network's layer is a wide mixture of what the vertices respond to; PCA finds it again.
    layer = latent @ rng.standard_normal((N_FEATURES, 5000)).astype(np.float32)
    share = rng.uniform(0, 0.9, N_VERTICES)
    signal = latent @ rng.standard_normal((N_FEATURES, N_VERTICES))
    signal /= signal.std(axis=0)
    responses = np.sqrt(share) * signal + np.sqrt(1 - share) * rng.standard_normal(signal.shape)
    responses = responses.astype(np.float32)
    train, test = np.split(rng.permutation(len(responses)), [N_TRAIN])

    scores = fit_pca(layer, train, 100).scores
    design = prepare_ridge(scores[train], 10.0 ** np.arange(-1, 8), extend=True)
    selection = design.select(responses, rows=train)
    predicted = np.concatenate(
        [block for _, block, _ in design.predict(scores[test], responses, selection.alpha, rows=train)], axis=1
    )
    r = pearson_r(predicted, responses[test])

    assert np.corrcoef(r, np.sqrt(share))[0, 1] > 0.95  # 0.05 of sampling error per vertex allows 0.98
    # Ridge has 3,000 images for 60 weights, so that little is lost: the root of the share is reached, not exceeded.
    assert abs(np.mean(r - np.sqrt(share))) < 0.02
    low, high = interval(bootstrap_r(predicted, responses[test], bootstrap_weights(N_TEST, 500, seed=0)))
    strong = share > 0.1
    assert np.mean((low < np.sqrt(share)) & (np.sqrt(share) < high)) > 0.85
    assert np.mean(low[strong] > 0) > 0.95
