"""Korean content words by kiwipiepy, for evaluation alone: about 25,000 characters per second and core.

Particles and endings are dropped, so "합병을 승인하였다" and "합병이 승인된다" share 합병 and 승인.
"""

import os
from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

CONTENT = ("NNG", "NNP", "NR", "VV", "VA", "MAG", "SL", "SN", "SH", "XR")


@lru_cache(maxsize=4096)
def content_words(text: str) -> tuple[str, ...]:
    """Content morphemes of a text with their class of word, in order; a reference is analysed once."""
    return tuple(f"{token.form}/{token.tag[:2]}" for token in _kiwi().tokenize(text) if token.tag.startswith(CONTENT))


def rouge(candidate: Sequence[str], reference: Sequence[str]) -> dict[str, float]:
    """ROUGE-1, -2 and -L F1 over word lists (Lin 2004), 0 to 1."""
    return {
        "rouge1": _overlap(_grams(candidate, 1), _grams(reference, 1)),
        "rouge2": _overlap(_grams(candidate, 2), _grams(reference, 2)),
        "rougeL": _f1(_longest_common(candidate, reference), len(candidate), len(reference)),
    }


def spacing_edits(text: str) -> tuple[int, int]:
    """(places where the spacing differs from kiwipiepy's, places between two characters).

    kiwipiepy is right in about three of four legal spacings: compare, never trust.
    """
    written, expected = _gaps(text), _gaps(str(_kiwi().space(text, reset_whitespace=True)))
    places = max(0, len("".join(text.split())) - 1)
    return len(written ^ expected), places


def _gaps(text: str) -> set[int]:
    """Positions, counted in characters that are no space, after which a space stands."""
    gaps, at = set(), 0
    for character in " ".join(text.split()):
        if character == " ":
            gaps.add(at)
        else:
            at += 1
    return gaps


def _grams(words: Sequence[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + size]) for i in range(len(words) - size + 1))


def _overlap(a: Counter[tuple[str, ...]], b: Counter[tuple[str, ...]]) -> float:
    return _f1((a & b).total(), a.total(), b.total())


def _f1(shared: int, found: int, wanted: int) -> float:
    return 2 * shared / (found + wanted) if found + wanted else 0.0


def _longest_common(a: Sequence[str], b: Sequence[str]) -> int:
    row = [0] * (len(b) + 1)
    for word in a:
        diagonal = 0
        for j, other in enumerate(b, 1):
            row[j], diagonal = (diagonal + 1 if word == other else max(row[j], row[j - 1])), row[j]
    return row[-1]


@cache
def _kiwi() -> Any:
    from kiwipiepy import Kiwi

    return Kiwi(num_workers=min(2, os.cpu_count() or 1))
