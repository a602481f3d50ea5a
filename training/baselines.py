"""What the model must beat: a majority vote, and TF-IDF with logistic regression, tuned on the same splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline

from labels.passages import normalise
from labels.splits import Split
from models.calibration import Array
from models.manifest import Output
from training.calibrate import Truth, threshold


def features() -> TfidfVectorizer:
    """Words and pairs of words of the normalised text."""
    return TfidfVectorizer(preprocessor=_lower, ngram_range=(1, 2), min_df=2, sublinear_tf=True)


def _lower(text: str) -> str:
    return normalise(text).lower()


def regression(seed: int) -> LogisticRegression:
    """One label's regression. The dual is some thirty times as fast as the primal: far more features than rows."""
    return LogisticRegression(
        C=4.0, solver="liblinear", dual=True, tol=1e-2, class_weight="balanced", random_state=seed
    )


def scores(
    texts: Mapping[Split, Sequence[str]], truth: Mapping[Split, Truth], seed: int
) -> dict[str, dict[Split, Array]]:
    """Probabilities of each baseline on dev and test, shape (passages, labels), fitted on train."""
    fitted = {
        "TF-IDF + logistic regression": make_pipeline(features(), OneVsRestClassifier(regression(seed))),
        "majority": make_pipeline(features(), OneVsRestClassifier(DummyClassifier(strategy="most_frequent"))),
    }
    for pipeline in fitted.values():
        pipeline.fit(texts["train"], truth["train"])
    return {
        name: {split: np.asarray(pipeline.predict_proba(texts[split])) for split in ("dev", "test")}
        for name, pipeline in fitted.items()
    }


def outputs(dev_scores: Array, dev_truth: Truth, keys: tuple[str, ...]) -> tuple[Output, ...]:
    """Thresholds chosen on dev by the rule that the model's own are chosen by."""
    return tuple(
        Output(key=key, temperature=1.0, threshold=threshold(dev_scores[:, n], dev_truth[:, n]))
        for n, key in enumerate(keys)
    )
