"""Title, text, date and author of a fetched page, by trafilatura; text of a PDF, by pypdf."""

import io
from dataclasses import dataclass

from ...runs.errors import missing_extra
from .encodings import decode

SHORTEST = 100  # characters; a shorter page is dropped
MOST_PDF_PAGES = 500


@dataclass(frozen=True, slots=True)
class Extracted:
    """A page's content; `date` is ISO 8601 or empty, `fault` says why there is no content."""

    title: str
    text: str
    date: str = ""
    author: str = ""
    fault: str = ""


def from_html(body: bytes, content_type: str, url: str) -> Extracted:
    """The page's main text as Markdown (headings and paragraphs), without menus, links and comments."""
    try:
        import trafilatura
    except ImportError as error:
        raise missing_extra("trafilatura", "collect") from error
    html, _ = decode(body, content_type)
    text = trafilatura.extract(
        html,
        url=url,
        output_format="markdown",
        include_comments=False,
        include_tables=True,
        include_links=False,
        include_images=False,
        include_formatting=False,
        favor_precision=True,
        deduplicate=False,
    )
    facts = trafilatura.extract_metadata(html, default_url=url)
    if facts is None:
        return Extracted("", text or "")
    return Extracted(facts.title or "", text or "", facts.date or "", facts.author or "")


def from_pdf(body: bytes) -> Extracted:
    """The text layer of a PDF; a scan has none."""
    try:
        import pypdf
    except ImportError as error:
        raise missing_extra("pypdf", "collect") from error
    reader = pypdf.PdfReader(io.BytesIO(body))
    pages = [page.extract_text() for page in reader.pages[:MOST_PDF_PAGES]]
    title = str((reader.metadata or {}).get("/Title") or "")
    return Extracted(title, "\n\n".join(page.strip() for page in pages if page.strip()))
