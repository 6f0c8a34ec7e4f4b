"""A linear model over character n-grams that predicts the LLM judge's score."""

from collections.abc import Iterable
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from ...runs.errors import needs
from ...runs.records import question_of
from .judge_rows import Row

FEATURES = 2**18
NGRAMS = (2, 4)
READ_CHARS = 600  # of question and answer together: enough to identify the subject, and it bounds the time per row
FOLDS = 5
BATCH = 2048
ALPHA = 1.0


class ScoreModel:
    """Hashed character n-grams, TF-IDF, ridge regression on the score."""

    def __init__(self) -> None:
        with needs("scikit-learn", "judge"):
            from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
            from sklearn.linear_model import Ridge
        self._hash: Any = HashingVectorizer(
            analyzer="char", ngram_range=NGRAMS, n_features=FEATURES, alternate_sign=False, norm=None, dtype=np.float32
        )
        self._weigh: Any = TfidfTransformer(sublinear_tf=True)
        self._new: Any = partial(Ridge, alpha=ALPHA, solver="sparse_cg", tol=1e-4)
        self._model: Any = None

    def fit(self, texts: list[str], scores: np.ndarray) -> np.ndarray:
        """Learn; returns out-of-fold predictions of the same rows (folds by position, so shuffle before)."""
        matrix = self._weigh.fit_transform(self._hash.transform(texts))
        held_out = np.zeros(len(texts))
        fold_of = np.arange(len(texts)) % FOLDS
        for fold in range(FOLDS):
            inside = fold_of != fold
            held_out[~inside] = self._new().fit(matrix[inside], scores[inside]).predict(matrix[~inside])
        self._model = self._new().fit(matrix, scores)
        return held_out

    def predict(self, texts: Iterable[str]) -> np.ndarray:
        """Predicted scores, batch by batch."""
        parts, texts = [np.zeros(0)], iter(texts)
        while batch := list(islice(texts, BATCH)):
            parts.append(self._model.predict(self._weigh.transform(self._hash.transform(batch))))
        return np.concatenate(parts)


def read_text(row: Row) -> str:
    """The part of a row that the model reads."""
    return f"{question_of(row)[:READ_CHARS]}\n{row['answer']}"[:READ_CHARS]
