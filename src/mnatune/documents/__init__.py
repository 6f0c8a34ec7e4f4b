"""Readers of office files: HWP, HWPX, DOCX, XLSX, PPTX, PDF, HTML, Markdown, text and mail become structured Markdown.

A file becomes a list of `DocumentSection`s, each with its heading, text and place. Files are untrusted: `sandbox` opens
them in processes with limits on memory, time and output, and a process that dies costs one file.
"""

from .blocks import Unreadable
from .cutting import DocumentSection
from .formats import SUFFIXES, ReadFile, read_file
from .sandbox import Lost, attempt
from .workbook import read_sheets

__all__ = ["SUFFIXES", "DocumentSection", "Lost", "ReadFile", "Unreadable", "attempt", "read_file", "read_sheets"]
