"""Files that cost more than a parser may take, or that no parser can read; the parsing process imports them from here."""

from mnatune.stages.collect.page_text import Extracted
from mnatune.stages.collect.parser_process import FetchedFile


class HungryFile(FetchedFile):
    """Takes a gigabyte and more."""

    def extracted(self) -> Extracted:
        return Extracted(str(len(b"x" * (1 << 30))), "")


class EndlessFile(FetchedFile):
    """Is never read to its end."""

    def extracted(self) -> Extracted:
        while True:
            pass
