"""What curation drops and why, in a fixed order; limits, categories and phrases are the pack's `drops.yaml`.

Rows are judged a batch at a time over their code points as one array, so that a million rows take seconds.
"""

import re
import unicodedata
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, ValidationError

from ...errors import DataError
from ...pack import Pack

OTHER, HANGUL, LETTER, SIGN, SPACE, BROKEN = range(6)
PIECE = 10  # characters of the piece whose repetition shows a loop
PIECE_FIGURES = 3  # figures from which a piece is part of a calculation, whose zeros repeat
LOOP_LEAST = 60  # characters below which a repetition is no loop

Ints = npt.NDArray[np.int64]


class Category(BaseModel):
    """A category dropped whole."""

    model_config = ConfigDict(extra="forbid")
    name: str
    reason: str = ""


class Drops(BaseModel):
    """The pack's `drops.yaml`; see there for what each limit means."""

    model_config = ConfigDict(extra="forbid")

    version: int = 1
    categories: list[Category] = []
    phrases: list[str] = []
    min_answer_chars: int = 0
    min_question_chars: int = 0
    max_question_chars: int = 1_000_000
    max_answer_chars: int = 1_000_000
    max_hangul_free_ratio: float = 1.0
    max_digit_symbol_ratio: float = 1.0
    max_duplicate_line_ratio: float = 1.0
    max_repeated_ngram_ratio: float = 1.0
    min_echo_similarity: float = 1.01
    max_broken_chars_per_1000: float = 1000.0
    licences: list[str] = []
    """Licences from the freest on, as parts of a licence note; of two equal rows the better licensed one stays."""

    @classmethod
    def of(cls, pack: Pack) -> "Drops":
        """The pack's drop list.

        Raises:
            DataError: an unknown key or a wrong value.
        """
        try:
            return cls.model_validate(pack.yaml("drops.yaml"))
        except ValidationError as error:
            raise DataError(f"the drop list is wrong: {error}", where=str(pack.path("drops.yaml"))) from None


def _classes() -> npt.NDArray[np.uint8]:
    """Class of every code point of the Basic Multilingual Plane."""
    table = np.zeros(0x10000, np.uint8)
    for code in range(0x10000):
        kind = unicodedata.category(chr(code))
        if 0xAC00 <= code <= 0xD7A3 or 0x1100 <= code <= 0x11FF or 0x3131 <= code <= 0x318E:
            table[code] = HANGUL
        elif code == 0xFFFD or kind in ("Cn", "Co", "Cs"):
            table[code] = BROKEN
        elif kind in ("Zs", "Zl", "Zp", "Cc"):
            table[code] = SPACE
        elif kind[0] == "L":
            table[code] = LETTER
        elif kind[0] in "NSP":
            table[code] = SIGN
    return table


class Rules:
    """The drop list, ready to judge batches."""

    def __init__(self, drops: Drops) -> None:
        self.drops = drops
        self._table = _classes()
        self._categories = {c.name for c in drops.categories}
        self._phrases = "|".join(re.escape(unicodedata.normalize("NFC", p)) for p in drops.phrases)

    def reasons(self, questions: list[str], answers: list[str], categories: list[str]) -> list[str]:
        """Why each row is dropped; "" for rows that stay. The first rule that applies names the reason."""
        counts_q = self._counts(questions)
        counts_a = self._counts(answers)
        total_q, total_a = counts_q.sum(axis=1), counts_a.sum(axis=1)
        solid_q, solid_a = total_q - counts_q[:, SPACE], total_a - counts_a[:, SPACE]
        letters = counts_a[:, HANGUL] + counts_a[:, LETTER]
        drops = self.drops
        checks: list[tuple[str, npt.NDArray[np.bool_]]] = [
            ("empty", (solid_q == 0) | (solid_a == 0)),
            ("echo", np.fromiter((q == a for q, a in zip(questions, answers, strict=True)), bool, len(answers))),
            ("category", np.fromiter((c in self._categories for c in categories), bool, len(answers))),
            ("short-question", solid_q < drops.min_question_chars),
            ("short-answer", solid_a < drops.min_answer_chars),
            ("long-question", total_q > drops.max_question_chars),
            ("long-answer", total_a > drops.max_answer_chars),
            ("broken-text", counts_a[:, BROKEN] * 1000 > drops.max_broken_chars_per_1000 * total_a),
            ("not-korean", counts_a[:, LETTER] > drops.max_hangul_free_ratio * letters),
            ("figures", counts_a[:, SIGN] > drops.max_digit_symbol_ratio * solid_a),
            ("phrase", self._with_phrase(answers)),
            ("near-echo", self._near_echo(questions, answers)),
            ("repeated-lines", self._repeated_lines(answers)),
            ("loop", self._loops(answers)),
        ]
        reasons = [""] * len(answers)
        for name, mask in reversed(checks):
            for row in np.flatnonzero(mask):
                reasons[row] = name
        return reasons

    def _counts(self, texts: list[str]) -> Ints:
        """rows × classes: how many characters of each class a text has."""
        codes, ends = _codes(texts)
        classes = self._table[np.minimum(codes, 0xFFFF)]
        counts = np.zeros((len(texts), 6), np.int64)
        for kind in range(6):
            running = np.concatenate(([0], np.cumsum(classes == kind)))
            counts[:, kind] = np.diff(running[np.concatenate(([0], ends))])
        return counts

    def _with_phrase(self, answers: list[str]) -> npt.NDArray[np.bool_]:
        if not self._phrases:
            return np.zeros(len(answers), bool)
        found = pc.match_substring_regex(pa.array(answers, pa.large_string()), self._phrases)
        return np.asarray(found.to_numpy(zero_copy_only=False), bool)

    def _near_echo(self, questions: list[str], answers: list[str]) -> npt.NDArray[np.bool_]:
        limit = self.drops.min_echo_similarity
        mask = np.zeros(len(answers), bool)
        for row, (question, answer) in enumerate(zip(questions, answers, strict=True)):
            if 0.8 * len(question) <= len(answer) <= 1.25 * len(question):
                pieces = {question[i : i + 3] for i in range(max(1, len(question) - 2))}
                mask[row] = sum(piece in answer for piece in pieces) >= limit * len(pieces)
        return mask

    def _repeated_lines(self, answers: list[str]) -> npt.NDArray[np.bool_]:
        mask = np.zeros(len(answers), bool)
        for row, answer in enumerate(answers):
            if answer.count("\n") >= 3:
                lines = [line.strip() for line in answer.split("\n") if line.strip()]
                mask[row] = len(lines) - len(set(lines)) > self.drops.max_duplicate_line_ratio * len(lines)
        return mask

    def _loops(self, answers: list[str]) -> npt.NDArray[np.bool_]:
        """Rows of which the most frequent ten-character piece covers more than the limit."""
        mask = np.zeros(len(answers), bool)
        codes, ends = _codes(answers)
        if len(codes) < PIECE:
            return mask
        hashes = np.zeros(len(codes) - PIECE + 1, np.uint64)
        for offset in range(PIECE):
            hashes = hashes * np.uint64(0x100000001B3) + codes[offset : offset + len(hashes)]
        lengths = np.diff(np.concatenate(([0], ends)))
        row_of = np.repeat(np.arange(len(answers), dtype=np.uint64), lengths)
        figures = np.concatenate(([0], np.cumsum((codes >= 0x30) & (codes <= 0x39))))
        at = np.arange(len(hashes))
        whole = at + PIECE <= ends[row_of[: len(hashes)].astype(np.int64)]
        whole &= figures[at + PIECE] - figures[at] < PIECE_FIGURES
        keys = np.sort((row_of[: len(hashes)][whole] << np.uint64(40)) | (hashes[whole] >> np.uint64(24)))
        if not len(keys):
            return mask
        starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
        runs = np.diff(np.concatenate((starts, [len(keys)])))
        most = np.zeros(len(answers), np.int64)
        np.maximum.at(most, (keys[starts] >> np.uint64(40)).astype(np.int64), runs)
        return (most > 1) & (lengths >= LOOP_LEAST) & (most * PIECE > self.drops.max_repeated_ngram_ratio * lengths)


def _codes(texts: list[str]) -> tuple[npt.NDArray[np.uint32], Ints]:
    """All texts' code points in one array, and where each text ends."""
    joined = "".join(texts).encode("utf-32-le", "surrogatepass")
    ends = np.cumsum(np.fromiter((len(t) for t in texts), np.int64, len(texts)))
    return np.frombuffer(joined, np.uint32), ends


