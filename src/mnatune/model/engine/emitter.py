"""From token ids to text that may be sent: whole characters only, never part of a stop string."""

from collections.abc import Sequence
from typing import Any

BROKEN = "\ufffd"  # what a byte-level tokenizer shows for a character whose last bytes are still to come
LONGEST_CHARACTER = 8  # tokens; a UTF-8 character has at most 4 bytes, so more means that the bytes are no text


class Emitter:
    """Decodes a growing answer and hands out what is certain.

    A Korean syllable can be spread over up to three tokens; text that ends inside one is held back, and so is a tail
    that may become a stop string. For a dialogue, blanks around the whole answer are left out.

    Args:
        trim: leave out blanks at both ends of the answer.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[str] = (), *, trim: bool = True) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(s for s in stop if s)
        self._trim = trim
        self._ids: list[int] = []
        self._shown = 0  # ids before this are decoded into _pending or were sent
        self._context = 0  # decoding starts here, so that blanks between tokens come out right
        self._pending = ""
        self._begun = not trim
        self.stopped = False

    def add(self, token: int) -> str:
        """Take one more token; returns the text that may be sent now."""
        self._ids.append(token)
        before = self._decode(self._context, self._shown)
        after = self._decode(self._context, len(self._ids))
        if after.endswith(BROKEN) and len(self._ids) - self._shown < LONGEST_CHARACTER:
            return ""
        self._pending += after[len(before) :]
        self._context, self._shown = self._shown, len(self._ids)
        return self._release(final=False)

    def finish(self) -> str:
        """No more tokens: the rest of the text."""
        if not self.stopped:
            before = self._decode(self._context, self._shown)
            self._pending += self._decode(self._context, len(self._ids))[len(before) :]
        return self._release(final=True)

    def _decode(self, start: int, end: int) -> str:
        return str(self._tokenizer.decode(self._ids[start:end], skip_special_tokens=True)) if end > start else ""

    def _release(self, *, final: bool) -> str:
        if self.stopped:
            return ""
        text = self._pending
        if not self._begun:
            text = text.lstrip()
            self._begun = bool(text)
        ends = [at for stop in self._stop if (at := text.find(stop)) >= 0]
        if ends:
            self.stopped = True
            text, final = text[: min(ends)], True
        held = 0 if final else max((_overlap(text, stop) for stop in self._stop), default=0)
        sure = text[: len(text) - held]
        if self._trim:
            sure = sure.rstrip()
        self._pending = text[len(sure) :]
        return sure


def _overlap(text: str, stop: str) -> int:
    """Length of the longest tail of `text` that begins `stop`."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
