"""Builds a law memory: one folder with the texts, facts and search arrays of statutes, decisions and own documents.

    law.json           version, as_of, sources, key of the pack's questions, counts, file sizes
    articles.parquet   one row per version of an article's text; repealed ones without a text too
    decisions.parquet  issue and holding of decisions, with the articles that they cite
    documents.parquet  own documents
    search/            BM25 arrays of the three and of what is asked about the articles, which articles each decision and
                       question cites, and the encoder with the vectors of the articles

Decisions help to find the articles that they cite: a question close to a decision's issue leads to the articles which that
decision rests on. The pack's question-answer rows work the same way. Its questions by article are in the words of those who
do not know the article's own (document expansion, Nogueira et al. 2019), and teach the encoder. The texts of neither are
stored. The encoder of the pack's own memory is taken over as long as the pack's questions by article are those it learnt. It
learns from nothing else: what is hidden from a search, so that a model can be examined, must not be known to it.
"""

import json
import logging
import shutil
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ..pack import Pack
from ..runs.errors import DataError
from ..runs.workspace import atomic_text
from ..text.normalize import sameness_key
from .citations import CitationChecker
from .encoder import ARTICLES, FOLDER, LONGEST, Encoder
from .layouts import ArticleText, LawFiles
from .postings import Postings, Words
from .statute_index import COLUMNS, Article, StatuteIndex
from .tables import ROWS, VERSION, article_questions, pack_questions, questions_key
from .terms import WordTerms

logger = logging.getLogger("mnatune.law")
LICENCE = "statutes and decisions: no protected works (저작권법 제7조)"
ARTICLE_COLUMNS = ("law", "number", "title", "paragraphs", "first", "last", "since", "amended", "text")
DECISION_COLUMNS = ("case", "court", "name", "decided", "part", "issue", "holding", "source", "cites")
DOCUMENT_COLUMNS = ("title", "text", "in_force", "origin")
ARTICLE_B = 0.8  # articles differ more in length than what cites them
LEAST_ASKED = 1_000  # questions by article from which on an encoder is learnt
Row = dict[str, Any]


class Citing(NamedTuple):
    """What cites articles: an issue of a decision or a question of the pack, and the text by which it is found."""

    question: str
    text: str
    cites: list[str]


@dataclass
class Built:
    """What came out: counts of the memory, and the files that were left out, each with its reason."""

    laws: int
    articles: int
    decisions: int
    documents: int
    faults: list[str] = field(default_factory=list)


def build(
    sources: Sequence[Path],
    out: Path,
    pack: Pack,
    *,
    as_of: str = "",
    without: Callable[[str], bool] = lambda name: False,
    terms: WordTerms | None = None,
) -> Built:
    """Build a law memory from folders, histories and tables of documents.

    Args:
        sources: folders of Markdown files, article histories (.jsonl), `documents.parquet` of a run.
        out: the folder; what is in it is replaced.
        pack: its names of laws, its question-answer rows and its questions by article.
        as_of: the day on which the texts were taken; without it, the latest promulgation or decision among them.
        without: says which case numbers and which questions of the pack to leave out, so that a search can be tested on them.
        terms: analysed words, shared between several builds.

    Raises:
        DataError: nothing to build from, a source that is none, or laws of the memory there that the sources lack.
    """
    files, documents = _read(sources)
    _refuse_loss(out, {text.law for text in files.articles} | files.history.keys())
    encoder = _of_pack(pack)
    out.mkdir(parents=True, exist_ok=True)
    (out / "law.json").unlink(missing_ok=True)  # a build that breaks off leaves no memory, not half a one
    if (out / "search").exists():  # an encoder taken from there is mapped, and lives on until it is saved
        shutil.rmtree(out / "search")
    articles = list(_article_rows(files))
    files.articles.clear()
    _write(out / "articles.parquet", articles, ARTICLE_COLUMNS)
    terms = terms or WordTerms()
    words = [terms.numbers(f"{row['law']} {row['title']} {row.pop('text')}") for row in articles]  # texts: 0.4 GB
    _write(out / "documents.parquet", documents, DOCUMENT_COLUMNS)
    checker = CitationChecker.of(pack.yaml("citations.yaml"), _index(articles, as_of or files.newest))
    decisions = [row for row in _decisions(files, checker) if not without(row["case"])]
    _write(out / "decisions.parquet", decisions, DECISION_COLUMNS)
    rows = [row for row in pack_questions(pack) if not without(str(row["question"]))]
    citing = [*_citing_decisions(decisions), *_citing_questions(rows, checker)]
    asked = article_questions(pack)
    _search(out / "search", articles, words, _by_article(articles, asked), documents, citing, terms)
    encoder = _encode(out / "search", encoder, articles, words, asked, terms)
    names = {(row["law"], row["number"]) for row in articles}
    built = Built(len({law for law, _ in names}), len(names), len(decisions), len(documents), files.faults)
    facts = {
        "version": VERSION,
        "as_of": as_of or files.newest,
        "newest": files.newest,
        "sources": [source.name for source in sources],
        "questions": questions_key(rows, asked),
        "encoder": questions_key([], asked) if encoder else "",
        "licence": LICENCE,
        "counts": {name: count for name, count in asdict(built).items() if name != "faults"},
        "files": {p.relative_to(out).as_posix(): p.stat().st_size for p in sorted(out.rglob("*")) if p.is_file()},
    }
    with atomic_text(out / "law.json") as handle:
        json.dump(facts, handle, ensure_ascii=False, indent=1)
        handle.write("\n")
    return built


def _read(sources: Sequence[Path]) -> tuple[LawFiles, list[Row]]:
    files = LawFiles()
    documents: list[Row] = []
    for source in sources:
        if source.suffix == ".parquet":
            documents += _documents(source)
        else:
            files.read(source)
    if not files.articles and not files.history and not documents:
        told = f" ({files.faults[0]})" if files.faults else ""
        raise DataError(
            f"no law found{told}", where=", ".join(map(str, sources)), next_step="give a legalize-kr checkout"
        )
    return files, documents


def _refuse_loss(out: Path, laws: Collection[str]) -> None:
    """A memory is replaced whole: new texts of one law alone would leave nothing of the others."""
    if not (out / "law.json").is_file():
        return
    try:
        lost = sorted(StatuteIndex.load(out).laws.keys() - laws)
    except DataError:  # damaged, or of another version: nobody can use it
        return
    if lost:
        raise DataError(
            f"the memory there holds {len(lost)} laws that these sources lack, {lost[0]} among them",
            where=str(out),
            next_step="give all its sources at once, or another --out",
        )


def _index(articles: list[Row], as_of: str) -> StatuteIndex:
    laws: dict[str, dict[str, Article]] = {}
    for row in articles:
        laws.setdefault(row["law"], {})[row["number"]] = Article(*(row[name] for name in COLUMNS[2:]))
    return StatuteIndex(as_of, laws, {law: min(a.first for a in rows.values()) for law, rows in laws.items()})


def _article_rows(files: LawFiles) -> Iterator[Row]:
    """Rows of all articles by law; the versions of one stand together, the oldest first."""
    versions: dict[str, dict[str, list[ArticleText]]] = {}
    for text in files.articles:
        versions.setdefault(text.law, {}).setdefault(text.number, []).append(text)
    for law in sorted(versions.keys() | files.history.keys()):
        texts = versions.get(law, {})
        history = {row["article"]: row for row in files.history.get(law, [])}
        editions = sorted({text.since for rows in texts.values() for text in rows})
        for number in dict.fromkeys([*history, *texts]):
            yield from _rows_of(law, number, sorted(texts.get(number, []), key=_since), history.get(number), editions)


def _since(text: ArticleText) -> str:
    return text.since


def _rows_of(law: str, number: str, texts: list[ArticleText], known: Row | None, editions: list[str]) -> Iterator[Row]:
    newest = texts[-1] if texts else None
    last = known["last"] if known and not known["current"] else ""
    if newest and newest.deleted:
        last = newest.deleted
    elif newest and newest.since != editions[-1]:
        last = editions[editions.index(newest.since) + 1]
    firsts = [known["first"]] if known else [texts[0].since]
    facts: Row = {
        "law": law,
        "number": number,
        "title": next((text.title for text in reversed(texts) if text.title), (known or {}).get("title") or ""),
        "paragraphs": max([text.paragraphs for text in texts] + ([known["paragraphs"]] if known else [])),
        "first": min(firsts),
        "last": max(last, min(firsts)) if last else "",
    }
    kept: list[ArticleText] = []
    for text in texts:
        if text.text and not (kept and kept[-1].text == text.text):
            kept.append(text)
    for text in kept:
        yield {**facts, "since": text.since, "amended": text.amended, "text": text.text}
    if not kept:
        yield {**facts, "since": "", "amended": "", "text": ""}


def _decisions(files: LawFiles, checker: CitationChecker) -> Iterator[Row]:
    for row in files.holdings:
        yield {**asdict(row), "cites": _cites(row.cited, checker)}


def _cites(text: str, checker: CitationChecker) -> list[str]:
    """The articles that a text cites, as "상법 522의3"; those of laws outside the memory left out."""
    found = [f"{c.law} {c.article}" for c in checker.find(text) if checker.index.laws.get(c.law, {}).get(c.article)]
    return list(dict.fromkeys(found))


def _citing_decisions(decisions: list[Row]) -> list[Citing]:
    return [Citing(row["issue"], f"{row['issue']} {row['holding']}", row["cites"]) for row in decisions]


def _citing_questions(rows: list[Row], checker: CitationChecker) -> list[Citing]:
    """The pack's own rows, with the articles that their sources name."""
    found = [
        Citing(row["question"], f"{row['question']} {row['answer']}", _cites(str(row.get("source", "")), checker))
        for row in rows
    ]
    return [one for one in found if one.cites]


def _by_article(articles: list[Row], asked: list[Row]) -> list[str]:
    """What is asked about each row's article, in one text."""
    texts = {(row["law"], row["article"]): "\n".join(row["questions"]) for row in asked}
    return [texts.get((row["law"], row["number"]), "") for row in articles]


def _documents(source: Path) -> list[Row]:
    """The documents of a run's table, each with the file and the place in it that it comes from."""
    try:
        rows: list[Row] = pq.read_table(source).to_pylist()
        found = [
            {"title": r["title"], "text": r["text"], "in_force": r["in_force"], "origin": _origin(r.get("source"))}
            for r in rows
        ]
    except (OSError, pa.ArrowException, KeyError) as error:
        raise DataError(f"not a table of documents: {error}", where=str(source)) from None
    return [{name: unicodedata.normalize("NFC", value or "") for name, value in row.items()} for row in found]


def _origin(source: dict[str, Any] | None) -> str:
    """ "계약/주식매매계약서.docx, 12–30문단" of a document's source."""
    if not source:
        return ""
    file = source["member"] or source["archive"]
    return ", ".join(part for part in (file, source.get("place", "")) if part)


def _search(
    folder: Path,
    articles: list[Row],
    words: Words,
    asked: list[str],
    documents: list[Row],
    citing: list[Citing],
    terms: WordTerms,
) -> None:
    """The BM25 arrays, and for each decision and question the articles it cites and the key by which it can be hidden."""
    Postings.build(folder / "articles", terms, words, ARTICLE_B)
    Postings.build(folder / "asked", terms, [terms.numbers(text) for text in asked])
    Postings.build(folder / "documents", terms, [terms.numbers(f"{r['title']} {r['text']}") for r in documents])
    Postings.build(folder / "citing", terms, [terms.numbers(one.text) for one in citing])
    places: dict[str, int] = {}
    for row in articles:
        places.setdefault(f"{row['law']} {row['number']}", len(places))
    cited = [[places[name] for name in one.cites] for one in citing]
    np.save(folder / "citing_keys.npy", np.array([sameness_key(one.question) for one in citing], np.uint64))
    np.save(folder / "cited_starts.npy", np.cumsum([0, *map(len, cited)], dtype=np.int64))
    np.save(folder / "cited.npy", np.array([place for row in cited for place in row], np.int32))


def _of_pack(pack: Pack) -> Encoder | None:
    """The encoder of the pack's own memory, unless the pack's questions by article have changed since it learnt them."""
    try:
        facts = json.loads((pack.root / "law" / "law.json").read_text(encoding="utf-8"))
        if facts["encoder"] == questions_key([], article_questions(pack)):
            return Encoder.open(pack.root / "law" / "search" / FOLDER)
    except (OSError, ValueError, KeyError, TypeError, DataError):
        pass  # learnt anew
    return None


def _encode(
    folder: Path, encoder: Encoder | None, articles: list[Row], words: Words, asked: list[Row], terms: WordTerms
) -> Encoder | None:
    """Write the encoder and the vector of each article by its newest text; None where the pack asks too little to learn one."""
    newest = {f"{row['law']} {row['number']}": text for row, text in zip(articles, words, strict=True)}
    about = {f"{row['law']} {row['article']}": row["questions"] for row in asked}
    encoder = encoder or _learnt(newest, about, terms)
    if encoder:
        encoder.save(folder / FOLDER)
        questions = [terms.numbers("\n".join(about.get(name, []))) for name in newest]
        np.save(folder / ARTICLES, encoder.of_articles(terms, list(newest.values()), questions))
    return encoder


def _learnt(
    newest: Mapping[str, npt.NDArray[np.int32]], about: Mapping[str, list[str]], terms: WordTerms
) -> Encoder | None:
    """An encoder that has learnt the questions by article; None for too few."""
    asked = [(place, question) for place, name in enumerate(newest) for question in about.get(name, [])]
    if len(asked) < LEAST_ASKED:
        return None
    from .train_encoder import learn_encoder

    logger.warning("the search learns from %s questions by article: a minute or two", f"{len(asked):,}")
    texts = [terms.of([text[:LONGEST]])[0] for text in newest.values()]
    return learn_encoder(texts, [(place, terms.query(question)) for place, question in asked])


def _write(path: Path, rows: list[Row], names: Sequence[str]) -> None:
    kinds = {"paragraphs": pa.int32(), "part": pa.int32(), "cites": pa.list_(pa.string())}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in names])
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=9) as writer:
        for start in range(0, len(rows), ROWS):
            group = [{name: row[name] for name in names} for row in rows[start : start + ROWS]]
            writer.write_table(pa.Table.from_pylist(group, schema), row_group_size=ROWS)
