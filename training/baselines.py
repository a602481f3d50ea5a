"""What the model must beat, each tuned on the same dev split: from a majority vote to SetFit."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from tempfile import TemporaryDirectory

import numpy as np
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline

from labels.dataset import Example
from labels.passages import normalise
from labels.splits import Split
from labels.taxonomy import Taxonomy
from models.calibration import Array
from models.manifest import Output
from training import evaluate
from training.base import resolve
from training.calibrate import Truth, threshold
from training.evaluate import Outcome

# SetFit is made for few samples, and its pairs take long: so many passages of train, and so many steps of 16 pairs.
SETFIT_PASSAGES, SETFIT_STEPS = 1_000, 100

# What a single baseline needs is imported by it: `candour labels check` uses the regression alone.

Predict = Callable[[Sequence[str]], Array]


def outcomes(
    divided: Mapping[Split, Sequence[Example]],
    measured: Sequence[Example],
    taxonomy: Taxonomy,
    seed: int,
    log: Callable[[str], object] = lambda _: None,
) -> dict[str, Outcome]:
    """What each baseline says of the measured passages, fitted on train, its thresholds chosen on dev.

    log: is told how long each took.
    """
    from sentence_transformers import SentenceTransformer
    from textblob import TextBlob

    train_texts = [normalise(e.text) for e in divided["train"]]
    train_truth = np.array([e.vector(taxonomy) for e in divided["train"]])
    dev_truth = np.array([e.vector(taxonomy) for e in divided["dev"]])
    encoder = SentenceTransformer(resolve().source, device="cpu")

    def embed(texts: Sequence[str]) -> Array:
        return np.asarray(encoder.encode(list(texts), normalize_embeddings=True, show_progress_bar=False))

    fits: dict[str, tuple[Callable[[], Predict], tuple[str, ...] | None]] = {
        "majority": (lambda: _majority(train_texts, train_truth), None),
        "TF-IDF + logistic regression": (lambda: _tfidf(train_texts, train_truth, seed), None),
        "TextBlob polarity": (lambda: _polarity(lambda text: TextBlob(text).sentiment.polarity, taxonomy), ("stance",)),
        "VADER polarity": (lambda: _polarity(_vader(), taxonomy), ("stance",)),
        "similarity to the definitions": (lambda: _zero_shot(embed, taxonomy), None),
        "linear probe of MiniLM": (lambda: _probe(embed, train_texts, train_truth, seed), None),
        "SetFit": (lambda: _setfit(train_texts, train_truth, seed), None),
    }
    found = {}
    for name, (fit, axes) in fits.items():
        started = time.monotonic()
        predict = fit()
        dev, scores = ([normalise(e.text) for e in examples] for examples in (divided["dev"], measured))
        tuned = outputs(predict(dev), dev_truth, taxonomy.keys)
        found[name] = evaluate.outcome(measured, taxonomy, predict(scores), tuned, axes=axes)
        log(f"{name}: {time.monotonic() - started:.0f} s")
    return found


def outputs(dev_scores: Array, dev_truth: Truth, keys: tuple[str, ...]) -> tuple[Output, ...]:
    """Thresholds chosen on dev by the rule that the model's own are chosen by; a constant score says nothing."""
    return tuple(
        Output(
            key=key,
            temperature=1.0,
            bias=0.0,
            threshold=threshold(dev_scores[:, n], dev_truth[:, n]) if np.ptp(dev_scores[:, n]) else 1.0,
        )
        for n, key in enumerate(keys)
    )


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


def _majority(texts: Sequence[str], truth: Truth) -> Predict:
    fitted = OneVsRestClassifier(DummyClassifier(strategy="most_frequent")).fit(np.zeros((len(texts), 1)), truth)
    return lambda asked: np.asarray(fitted.predict_proba(np.zeros((len(asked), 1))))


def _tfidf(texts: Sequence[str], truth: Truth, seed: int) -> Predict:
    fitted = make_pipeline(features(), OneVsRestClassifier(regression(seed))).fit(texts, truth)
    return lambda asked: np.asarray(fitted.predict_proba(asked))


def _vader() -> Callable[[str], float]:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyser = SentimentIntensityAnalyzer()
    return lambda text: float(analyser.polarity_scores(text)["compound"])


def _polarity(polarity: Callable[[str], float], taxonomy: Taxonomy) -> Predict:
    """Bad is critical, good is supportive; of apology and defence, and of themes, polarity knows nothing."""

    def predict(asked: Sequence[str]) -> Array:
        found = np.array([polarity(text) for text in asked])
        scores = np.zeros((len(asked), len(taxonomy.keys)))
        for key, sign in (("stance/critical", -1), ("stance/supportive", 1)):
            if key in taxonomy.keys:
                scores[:, taxonomy.keys.index(key)] = (1 + sign * found) / 2
        return scores

    return predict


def _zero_shot(embed: Predict, taxonomy: Taxonomy) -> Predict:
    definitions = embed([f"{label.title}: {label.definition}" for label in taxonomy.labels])
    return lambda asked: np.asarray((1 + embed(asked) @ definitions.T) / 2)


def _probe(embed: Predict, texts: Sequence[str], truth: Truth, seed: int) -> Predict:
    head = LogisticRegression(C=10.0, max_iter=1000, class_weight="balanced", random_state=seed)
    fitted = OneVsRestClassifier(head).fit(embed(texts), truth)
    return lambda asked: np.asarray(fitted.predict_proba(embed(asked)))


def _setfit(texts: Sequence[str], truth: Truth, seed: int) -> Predict:
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    drawn = np.random.default_rng(seed).permutation(len(texts))[:SETFIT_PASSAGES]
    few = Dataset.from_dict({"text": [texts[n] for n in drawn], "label": truth[drawn].tolist()})
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies
        model = SetFitModel.from_pretrained(resolve().source, multi_target_strategy="one-vs-rest", device="cpu")
        arguments = TrainingArguments(
            output_dir=folder, batch_size=16, max_steps=SETFIT_STEPS, num_epochs=1, seed=seed, report_to="none",
            save_strategy="no", show_progress_bar=False,
        )  # fmt: skip
        Trainer(model=model, args=arguments, train_dataset=few).train()
    return lambda asked: np.asarray(model.predict_proba(list(asked), as_numpy=True, show_progress_bar=False))
