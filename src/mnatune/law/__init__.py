"""What is law: statutes and their versions, decisions, the names they go by, what cites them, and search in all of it."""

from .hits import Change, Hit
from .law_memory import LawIndex

__all__ = ["Change", "Hit", "LawIndex"]
