"""Plain text in one form: NFC, no invisible characters, single spaces, at most one empty line."""

import re
import unicodedata

INVISIBLE = re.compile("[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u0084\u0086-\u009f\u00ad\u200b-\u200f\u202a-\u202e\u2060\ufeff]")
SPACES = re.compile("[ \t\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+")
AROUND_BREAK = re.compile(r" ?\n ?")
BREAKS = re.compile(r"\n{3,}")
# Anything that one of the rules above or below would change: most texts are left at one look.
UNTIDY = re.compile(
    "[\u0000-\u0009\u000b-\u001f\u007f-\u00a0\u00ad\u1680\u2000-\u200f\u2028-\u202f\u205f\u2060\u3000\ufeff\ud800-\udfff]"
    r"|  | \n|\n |\n{3}|^\s|\s$"
)
SURROGATES = re.compile("[\ud800-\udfff]")


def normalize(text: str) -> str:
    """The text in NFC with tidy white space; a lone surrogate becomes U+FFFD. Idempotent."""
    if not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
    if UNTIDY.search(text) is None:
        return text
    text = SURROGATES.sub("\ufffd", text)
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u0085", "\n").replace("\u2028", "\n").replace("\u2029", "\n")
    text = SPACES.sub(" ", INVISIBLE.sub("", text))
    text = BREAKS.sub("\n\n", AROUND_BREAK.sub("\n", text)).strip()
    return unicodedata.normalize("NFC", text)
