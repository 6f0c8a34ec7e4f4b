"""Title, text, date and author of a fetched page, by trafilatura; text of a PDF, by pypdf."""

import io
from dataclasses import dataclass

from ...runs.errors import needs
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
    with needs("trafilatura", "collect"):
        import trafilatura
    html, _ = decode(body, content_type)
    without = dict.fromkeys(("include_comments", "include_links", "include_images", "include_formatting"), False)
    text = trafilatura.extract(html, url=url, output_format="markdown", favor_precision=True, **without)
    facts = trafilatura.extract_metadata(html, default_url=url)
    if facts is None:
        return Extracted("", text or "")
    return Extracted(facts.title or "", text or "", facts.date or "", facts.author or "")


def from_pdf(body: bytes) -> Extracted:
    """The text layer of a PDF; a scan has none."""
    with needs("pypdf", "collect"):
        import pypdf
    reader = pypdf.PdfReader(io.BytesIO(body))
    pages = [page.extract_text() for page in reader.pages[:MOST_PDF_PAGES]]
    title = str((reader.metadata or {}).get("/Title") or "")
    return Extracted(title, "\n\n".join(page.strip() for page in pages if page.strip()))
