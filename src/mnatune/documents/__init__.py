"""Readers of office files: HWP, HWPX, DOCX, XLSX, PPTX, PDF, HTML, Markdown, text and mail become structured Markdown.

A file becomes `Section`s, each with its heading, its text and the place where it stands. Files are hostile until read:
`sandbox` opens them in processes with limits on memory, time and output, and a process that dies costs one file.
"""

from .blocks import Unreadable
from .cutting import Section
from .formats import SUFFIXES, ReadFile, read_file
from .sandbox import Lost, attempt

__all__ = ["SUFFIXES", "Lost", "ReadFile", "Section", "Unreadable", "attempt", "read_file"]
