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
from ...text.model_marks import CONTROL, THOUGHT, marks_of
from ...text.normalize import LIST_MARK, folded

OTHER, HANGUL, LETTER, SIGN, SPACE, BROKEN = range(6)
PIECE = 10  # characters of the piece whose repetition shows a loop
PIECE_FIGURES = 3  # figures from which a piece is part of a calculation, whose zeros repeat
PIECE_LETTERS = 5  # letters below which a piece is a rule, a leader or the frame of a table
LOOP_LEAST = 60  # characters below which a repetition is no loop
COPIES = 3  # of a passage in a row are a loop, however long the passage
PERIODS = 3  # distances between equal pieces, the most frequent ones, at which a row is laid beside itself

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
    """Class of every code point of the first two planes; beyond them there are Han characters."""
    table = np.zeros(0x20001, np.uint8)
    for code in range(0x20000):
        kind = unicodedata.category(chr(code))
        if 0xAC00 <= code <= 0xD7A3 or 0x1100 <= code <= 0x11FF or 0x3131 <= code <= 0x318E:
            table[code] = HANGUL
        elif 0x1F000 <= code < 0x1FB00:  # pictures, of which every version of Unicode assigns more
            table[code] = SIGN
        elif code == 0xFFFD or kind in ("Cn", "Co", "Cs"):
            table[code] = BROKEN
        elif kind in ("Zs", "Zl", "Zp", "Cc"):
            table[code] = SPACE
        elif kind[0] == "L":
            table[code] = LETTER
        elif kind[0] in "NSP":
            table[code] = SIGN
    table[0x20000] = LETTER
    return table


class Rules:
    """The drop list, ready to judge batches."""

    def __init__(self, drops: Drops) -> None:
        self.drops = drops
        self._table = _classes()
        self._categories = {folded(c.name) for c in drops.categories}
        self._phrases = "(?i)" + "|".join(map(_loosely, drops.phrases)) if drops.phrases else ""

    def reasons(self, questions: list[str], answers: list[str], categories: list[str]) -> list[str]:
        """Why each row is dropped; "" for rows that stay. The first rule that applies names the reason."""
        codes_q, codes_a = Codes.of(questions), Codes.of(answers)
        classes_a = codes_a.look_up(self._table)
        counts_q, counts_a = _counts(codes_q, codes_q.look_up(self._table)), _counts(codes_a, classes_a)
        total_q, total_a = counts_q.sum(axis=1), counts_a.sum(axis=1)
        solid_q, solid_a = total_q - counts_q[:, SPACE], total_a - counts_a[:, SPACE]
        letters = counts_a[:, HANGUL] + counts_a[:, LETTER]
        drops = self.drops
        left_out = {name for name in set(categories) if folded(name) in self._categories}
        marked = [marks_of(question) | marks_of(answer) for question, answer in zip(questions, answers, strict=True)]
        checks: list[tuple[str, Bools]] = [
            ("empty", (solid_q == 0) | (solid_a == 0)),
            ("echo", np.fromiter((q == a for q, a in zip(questions, answers, strict=True)), bool, len(answers))),
            ("category", np.fromiter((c in left_out for c in categories), bool, len(answers))),
            ("control-token", np.array([bool(marks & {CONTROL}) for marks in marked], bool)),
            ("think-trace", np.array([bool(marks & {THOUGHT}) for marks in marked], bool)),
            ("short-question", solid_q < drops.min_question_chars),
            ("short-answer", solid_a < drops.min_answer_chars),
            ("long-question", total_q > drops.max_question_chars),
            ("long-answer", total_a > drops.max_answer_chars),
            ("broken-text", counts_a[:, BROKEN] * 1000 > drops.max_broken_chars_per_1000 * total_a),
            ("not-korean", counts_a[:, LETTER] > drops.max_hangul_free_ratio * letters),
            ("figures", _in_signs(codes_a, classes_a, drops.max_digit_symbol_ratio, counts_a[:, SIGN], solid_a)),
            ("phrase", _matching(answers, self._phrases)),
            ("near-echo", self._near_echo(questions, answers)),
            ("repeated-lines", self._repeated_lines(answers)),
            ("loop", self._loops(answers, codes_a, classes_a)),
        ]
        reasons = [""] * len(answers)
        for name, mask in reversed(checks):
            for row in np.flatnonzero(mask):
                reasons[row] = name
        return reasons

    def _near_echo(self, questions: list[str], answers: list[str]) -> Bools:
        limit = self.drops.min_echo_similarity
        mask = np.zeros(len(answers), bool)
        for row, (question, answer) in enumerate(zip(questions, answers, strict=True)):
            if 0.8 * len(question) <= len(answer) <= 1.25 * len(question):
                pieces = {question[i : i + 3] for i in range(max(1, len(question) - 2))}
                mask[row] = sum(piece in answer for piece in pieces) >= limit * len(pieces)
        return mask

    def _repeated_lines(self, answers: list[str]) -> Bools:
        """Rows with too many repeated lines; lines without letters or digits (rules, brackets) are ignored."""
        mask = np.zeros(len(answers), bool)
        for row, answer in enumerate(answers):
            if answer.count("\n") >= 3:
                said = (line.strip() for line in answer.split("\n") if any(map(str.isalnum, line)))
                lines = [LIST_MARK.sub("", line, 1) for line in said]
                mask[row] = len(lines) - len(set(lines)) > self.drops.max_duplicate_line_ratio * len(lines)
        return mask

    def _loops(self, answers: list[str], codes: Codes, classes: npt.NDArray[np.uint8]) -> Bools:
        """Rows that one ten-character piece fills beyond the limit, and rows in which a passage comes three times in a row.

        Pieces of figures, and of signs such as the frame of a table, do not count; nor do the items of a list and the rows
        of a table for the first, which may say one thing of many.
        """
        limit = self.drops.max_repeated_ngram_ratio
        mask = np.zeros(len(codes.ends), bool)
        hashes, whole = codes.pieces(PIECE)
        figures = _running((codes.points >= 0x30) & (codes.points <= 0x39))
        letters = _running((classes == HANGUL) | (classes == LETTER))
        whole &= figures[PIECE : PIECE + len(whole)] - figures[: len(whole)] < PIECE_FIGURES
        whole &= letters[PIECE : PIECE + len(whole)] - letters[: len(whole)] >= PIECE_LETTERS
        rows = np.repeat(np.arange(len(mask)), codes.lengths)[: len(whole)]
        slots = ((hashes ^ rows.astype(np.uint64) * MULTIPLIER) >> np.uint64(64 - SLOT_BITS)).astype(np.int64)
        often = np.bincount(slots[whole], minlength=1 << SLOT_BITS)[slots]
        long = codes.lengths >= LOOP_LEAST
        least = np.maximum(2, limit * codes.lengths / PIECE)
        crowded = np.zeros(len(mask), bool)
        crowded[rows[whole & (often > least[rows])]] = True
        again = codes.sums(whole & (often >= COPIES)) * 2 > codes.lengths
        for row in np.flatnonzero((crowded | again) & long):
            own = slice(codes.starts[row], codes.ends[row])
            items = _items(answers[row], codes.lengths[row])
            pieces = hashes[own][whole[own] & ~items[: len(whole[own])]]
            _, counts = np.unique(pieces, return_counts=True)
            mask[row] = counts.size and counts.max() > 1 and counts.max() * PIECE > limit * codes.lengths[row]
            mask[row] |= again[row] and _is_periodic(codes.points[own])
        return mask


def _loosely(phrase: str) -> str:
    """A phrase as a pattern: its spaces are optional, and extra ones may separate parts of two syllables or more."""
    words = [
        "".join(re.escape(letter) + (r"\s?" if 1 <= at < len(word) - 2 else "") for at, letter in enumerate(word))
        for word in folded(phrase).split()
    ]
    return r"\s*".join(words)


def _counts(codes: Codes, classes: npt.NDArray[np.uint8]) -> Ints:
    """rows × classes: how many characters of each class a text has."""
    return np.stack([codes.sums(classes == kind) for kind in range(6)], axis=1)


def _matching(texts: list[str], pattern: str) -> Bools:
    if not pattern:
        return np.zeros(len(texts), bool)
    found = pc.match_substring_regex(pa.array(texts, pa.large_string()), pattern)
    return np.asarray(found.to_numpy(zero_copy_only=False), bool)


def _in_signs(codes: Codes, classes: npt.NDArray[np.uint8], limit: float, signs: Ints, solid: Ints) -> Bools:
    """Texts with too many digits and signs; runs of one sign (rules, dot leaders) are ignored."""
    mask: Bools = signs > limit * solid
    if not mask.any():
        return mask
    points = codes.points
    sign = (classes == SIGN) & ~((points >= 0x30) & (points <= 0x39))
    drawn = np.zeros(len(points), bool)
    for step in (1, 2):  # "....." and ". . . ."
        if len(points) > 2 * step:
            three = (points[2 * step :] == points[step:-step]) & (points[step:-step] == points[: -2 * step])
            three &= sign[2 * step :]
            for shift in (0, step, 2 * step):
                drawn[shift : len(points) - 2 * step + shift] |= three
    return codes.sums((classes == SIGN) & ~drawn) > limit * codes.sums((classes != SPACE) & ~drawn)


def _items(answer: str, length: int) -> Bools:
    """Mask of the characters inside list items and table rows."""
    inside = np.zeros(length, bool)
    at = 0
    for line in answer.split("\n"):
        body = line.lstrip()
        inside[at : at + len(line)] = body.startswith("|") or bool(LIST_MARK.match(body))
        at += len(line) + 1
    return inside


def _running(values: Bools) -> npt.NDArray[np.int32]:
    running = np.zeros(len(values) + 1, np.int32)
    np.cumsum(values, out=running[1:])
    return running


def _is_periodic(points: npt.NDArray[np.uint32]) -> bool:
    """True if a passage repeats three times in a row and the copies fill at least half of the text."""
    text = points[~np.isin(points, np.array([0x20, 0x0A], np.uint32))]
    codes = Codes(text, np.array([0]), np.array([len(text)]))
    hashes, _ = codes.pieces(PIECE)
    order = np.argsort(hashes, kind="stable")
    gaps = np.diff(order)[hashes[order][1:] == hashes[order][:-1]]
    for period in np.argsort(-np.bincount(gaps, minlength=1), kind="stable")[:PERIODS].tolist():
        if period:
            other = np.flatnonzero(np.concatenate(([True], text[period:] != text[:-period], [True])))
            run = int(np.diff(other).max()) - 1 + period
            if run >= COPIES * period and 2 * run > len(text):
                return True
    return False
