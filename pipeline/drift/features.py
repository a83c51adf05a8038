"""The network's features of two sets of pictures: what is new, and whether the sets can be told apart at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NEIGHBOURS = 10
FOLDS = 5
LEAST = 20
"""Pictures of either side below which no classifier is fitted."""


@dataclass(frozen=True)
class Separation:
    """How well a classifier tells two sets apart.

    Args:
        auc: area under its ROC curve on pictures that it was not fitted on: 0.5, not at all; 1, always.
        by_chance: what it stays below where there is no difference, but for `p_value` of the times.
        p_value: probability of so large an area where there is none.
    """

    auc: float
    by_chance: float
    p_value: float


def novelty(bank: np.ndarray, features: np.ndarray) -> np.ndarray:
    """How far each picture is from training, float64 [n], 0..2: the distance to its tenth nearest training picture, of
    features with length 1.

    Y. Sun et al., "Out-of-distribution detection with deep nearest neighbors", ICML 2022.

    Args:
        bank: of training pictures, float32 [b, D].
        features: float32 [n, D].
    """
    from sklearn.neighbors import NearestNeighbors

    if not len(features):
        return np.zeros(0)
    count = min(NEIGHBOURS, len(bank))
    distances, _ = NearestNeighbors(n_neighbors=count).fit(_unit(bank)).kneighbors(_unit(features))
    return np.asarray(distances[:, -1], np.float64)


def separation(reference: np.ndarray, production: np.ndarray, p_value: float) -> Separation | None:
    """Fits a logistic regression that tells the sets apart, in turns on four fifths, and judges it on the last; None
    where there are too few pictures.

    A classifier two-sample test (D. Lopez-Paz, M. Oquab, "Revisiting classifier two-sample tests", ICLR 2017).

    Args:
        reference: of pictures that the network was not trained on, float32 [n, D].
        production: float32 [m, D].
    """
    if min(len(reference), len(production)) < LEAST:
        return None
    from scipy.stats import mannwhitneyu, norm
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features = np.concatenate([reference, production]).astype(np.float64)
    asked = np.repeat([0, 1], [len(reference), len(production)])
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    scores = cross_val_predict(classifier, features, asked, cv=folds, method="decision_function")
    test = mannwhitneyu(scores[asked == 1], scores[asked == 0], alternative="greater")
    pairs = len(reference) * len(production)
    deviation = np.sqrt((len(features) + 1) / (12 * pairs))
    return Separation(float(test.statistic / pairs), float(0.5 + norm.isf(p_value) * deviation), float(test.pvalue))


def _unit(features: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(features / np.maximum(lengths, 1e-12), np.float64)
