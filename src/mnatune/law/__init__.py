"""What is law: statutes and their versions, decisions, the names they go by, what cites them, and search in all of it."""

from .law_memory import Change, Hit, LawIndex

__all__ = ["Change", "Hit", "LawIndex"]
