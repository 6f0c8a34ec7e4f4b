"""What curation drops and why, in a fixed order; limits, categories and phrases are the pack's `drops.yaml`.

Rows are judged a batch at a time over their code points as one array, so that a million rows take seconds.
"""

import re
import unicodedata

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, ValidationError

from ...pack import Pack
from ...runs.errors import DataError
from ...text.codes import MULTIPLIER, Bools, Codes, Ints

OTHER, HANGUL, LETTER, SIGN, SPACE, BROKEN = range(6)
PIECE = 10  # characters of the piece whose repetition shows a loop
PIECE_FIGURES = 3  # figures from which a piece is part of a calculation, whose zeros repeat
LOOP_LEAST = 60  # characters below which a repetition is no loop

SLOT_BITS = 22


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
        codes_a = Codes.of(answers)
        counts_q, counts_a = self._counts(Codes.of(questions)), self._counts(codes_a)
        total_q, total_a = counts_q.sum(axis=1), counts_a.sum(axis=1)
        solid_q, solid_a = total_q - counts_q[:, SPACE], total_a - counts_a[:, SPACE]
        letters = counts_a[:, HANGUL] + counts_a[:, LETTER]
        drops = self.drops
        checks: list[tuple[str, Bools]] = [
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
            ("loop", self._loops(codes_a)),
        ]
        reasons = [""] * len(answers)
        for name, mask in reversed(checks):
            for row in np.flatnonzero(mask):
                reasons[row] = name
        return reasons

    def _counts(self, codes: Codes) -> Ints:
        """rows × classes: how many characters of each class a text has."""
        classes = codes.look_up(self._table)
        return np.stack([codes.sums(classes == kind) for kind in range(6)], axis=1)

    def _with_phrase(self, answers: list[str]) -> Bools:
        if not self._phrases:
            return np.zeros(len(answers), bool)
        found = pc.match_substring_regex(pa.array(answers, pa.large_string()), self._phrases)
        return np.asarray(found.to_numpy(zero_copy_only=False), bool)

    def _near_echo(self, questions: list[str], answers: list[str]) -> Bools:
        limit = self.drops.min_echo_similarity
        mask = np.zeros(len(answers), bool)
        for row, (question, answer) in enumerate(zip(questions, answers, strict=True)):
            if 0.8 * len(question) <= len(answer) <= 1.25 * len(question):
                pieces = {question[i : i + 3] for i in range(max(1, len(question) - 2))}
                mask[row] = sum(piece in answer for piece in pieces) >= limit * len(pieces)
        return mask

    def _repeated_lines(self, answers: list[str]) -> Bools:
        mask = np.zeros(len(answers), bool)
        for row, answer in enumerate(answers):
            if answer.count("\n") >= 3:
                lines = [line.strip() for line in answer.split("\n") if line.strip()]
                mask[row] = len(lines) - len(set(lines)) > self.drops.max_duplicate_line_ratio * len(lines)
        return mask

    def _loops(self, codes: Codes) -> Bools:
        """Rows of which the most frequent ten-character piece covers more than the limit; figures do not count."""
        limit = self.drops.max_repeated_ngram_ratio
        mask = np.zeros(len(codes.ends), bool)
        hashes, whole = codes.pieces(PIECE)
        figures = np.concatenate(([0], np.cumsum((codes.points >= 0x30) & (codes.points <= 0x39))))
        whole &= figures[PIECE : PIECE + len(whole)] - figures[: len(whole)] < PIECE_FIGURES
        rows = np.repeat(np.arange(len(mask)), codes.lengths)[: len(whole)]
        slots = ((hashes ^ rows.astype(np.uint64) * MULTIPLIER) >> np.uint64(64 - SLOT_BITS)).astype(np.int64)
        often = np.bincount(slots[whole], minlength=1 << SLOT_BITS)
        least = np.maximum(2, limit * codes.lengths / PIECE)
        crowded = whole & (often[slots] > least[rows]) & (codes.lengths[rows] >= LOOP_LEAST)
        for row in np.unique(rows[crowded]):
            own = slice(codes.starts[row], codes.ends[row])
            _, counts = np.unique(hashes[own][whole[own]], return_counts=True)
            mask[row] = counts.max() > 1 and counts.max() * PIECE > limit * codes.lengths[row]
        return mask
