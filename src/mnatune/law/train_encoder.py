"""Learns the dual encoder from questions by article: each question is to be nearer to its article than to the others of its batch.

An article's vector is made of its text and of the other questions about it, never of the one that is asked, so that articles
which nobody has asked about yet are found too.
"""

from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from .encoder import INT8, Encoder
from .terms import Hashes

WIDTH = 128
EPOCHS, BATCH, RATE = 4, 512, 3e-3
DROPPED = 0.2  # share of the terms that a text lacks each time it is seen
OFTEN = 2  # questions that have a term, at least
SCALE = 15.0  # of the products before the softmax, at first
SEED = 42
Bag = list[int]  # numbers of terms


def learn_encoder(texts: Sequence[Hashes], asked: Sequence[tuple[int, Hashes]]) -> Encoder:
    """The encoder of articles and questions.

    Args:
        texts: the terms of each article.
        asked: (article, terms of a question about it).
    """
    counts = Counter(term for _, terms in asked for term in set(terms.tolist()))
    numbers = {term: at for at, term in enumerate(sorted(t for t, count in counts.items() if count >= OFTEN))}
    bags = [[numbers[t] for t in terms.tolist() if t in numbers] for terms in texts]
    questions = [(article, [numbers[t] for t in terms.tolist() if t in numbers]) for article, terms in asked]
    questions = [(article, bag) for article, bag in questions if bag]
    seen = Counter(term for bag in (*bags, *(bag for _, bag in questions)) for term in set(bag))
    whole = len(bags) + len(questions)
    weights = np.array([np.log1p(whole / (1 + seen[at])) for at in range(len(numbers))], np.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = _Vectors(torch.from_numpy(weights))
        _learn(model, bags, questions)
    asking, telling = (_whole(table.weight) for table in (model.asking, model.telling))
    terms = np.array(sorted(numbers), np.uint64)
    return Encoder(terms, weights, asking, telling, model.shares.detach().numpy().copy())


class _Vectors(nn.Module):
    """Both tables, and what text and questions give to an article's vector."""

    def __init__(self, weights: torch.Tensor) -> None:
        super().__init__()
        self._weights = weights
        self.asking = nn.EmbeddingBag(len(weights), WIDTH, mode="sum", sparse=True)
        self.telling = nn.EmbeddingBag(len(weights), WIDTH, mode="sum", sparse=True)
        nn.init.normal_(self.asking.weight, std=0.05)
        self.telling.load_state_dict(self.asking.state_dict())
        self.shares = nn.Parameter(torch.ones(2))
        self.scale = nn.Parameter(torch.tensor(SCALE))

    def of(self, table: nn.EmbeddingBag, bags: Sequence[Bag]) -> torch.Tensor:
        """Vectors of length 1; 0 for an empty bag."""
        flat = torch.tensor([term for bag in bags for term in bag], dtype=torch.long)
        starts = torch.tensor(np.cumsum([0, *map(len, bags)])[:-1])
        return functional.normalize(table(flat, starts, per_sample_weights=self._weights[flat]), dim=-1)

    def articles(self, texts: Sequence[Bag], asked: Sequence[Bag]) -> torch.Tensor:
        """Vectors of articles from their texts and what is asked about them."""
        both = self.shares[0] * self.of(self.telling, texts) + self.shares[1] * self.of(self.asking, asked)
        return functional.normalize(both, dim=-1)


def _learn(model: _Vectors, texts: Sequence[Bag], questions: Sequence[tuple[int, Bag]]) -> None:
    about: dict[int, list[int]] = {}
    for at, (article, _) in enumerate(questions):
        about.setdefault(article, []).append(at)
    tables = torch.optim.SparseAdam([model.asking.weight, model.telling.weight], lr=RATE)
    others = torch.optim.AdamW([model.shares, model.scale], lr=RATE)
    draw = np.random.default_rng(SEED)
    batches = [part for _ in range(EPOCHS) for part in _batches(len(questions), draw)]
    for step, batch in enumerate(batches):
        articles, right = np.unique([questions[at][0] for at in batch], return_inverse=True)
        asked = model.of(model.asking, [_thinned(questions[at][1], draw) for at in batch])
        rest = [_others(about[article], set(batch.tolist()), questions) for article in articles]
        told = model.articles([_thinned(texts[at], draw) for at in articles], [_thinned(bag, draw) for bag in rest])
        loss = functional.cross_entropy(model.scale * asked @ told.T, torch.from_numpy(right))
        for optimizer in (tables, others):
            optimizer.zero_grad()
            optimizer.param_groups[0]["lr"] = RATE * (1 - step / len(batches))
        loss.backward()  # type: ignore[no-untyped-call]
        tables.step()  # type: ignore[no-untyped-call]
        others.step()


def _batches(count: int, draw: np.random.Generator) -> list[npt.NDArray[np.int64]]:
    order = draw.permutation(count)
    return [order[at : at + BATCH] for at in range(0, count, BATCH)]


def _thinned(bag: Bag, draw: np.random.Generator) -> Bag:
    kept = draw.random(len(bag)) >= DROPPED
    return [term for term, keep in zip(bag, kept, strict=True) if keep] or bag


def _others(about: Sequence[int], batch: Collection[int], questions: Sequence[tuple[int, Bag]]) -> Bag:
    return [term for at in about if at not in batch for term in questions[at][1]]


def _whole(table: torch.Tensor) -> npt.NDArray[np.int8]:
    values = table.detach().numpy()
    made: npt.NDArray[np.int8] = np.rint(values * (INT8 / np.abs(values).max())).astype(np.int8)
    return made
