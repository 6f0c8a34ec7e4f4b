"""The encoder: what people ask leads to an article that shares no word with it; built once for one set of questions."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mnatune.law import building, train_encoder
from mnatune.law.building import build
from mnatune.law.encoder import FOLDER, INT8, Encoder
from mnatune.law.law_memory import LawIndex
from mnatune.law.relevance import MEANT, Relevance
from mnatune.law.tables import article_questions
from mnatune.law.terms import WordTerms
from mnatune.law.train_encoder import learn_encoder
from mnatune.pack import Pack
from mnatune.runs.errors import DataError
from mnatune.runs.workspace import write_jsonl

ARTICLES, WORDS = 40, 6


def hashes(*terms: int) -> np.ndarray:
    return np.array(terms, np.uint64)


@pytest.fixture(scope="module")
def learnt() -> tuple[Encoder, list[np.ndarray]]:
    """An encoder of articles whose questions have none of their words, and a question about each that it has not seen."""
    draw = random.Random(1)
    texts = [hashes(*(1_000 + article * 10 + at for at in range(WORDS))) for article in range(ARTICLES)]
    common = range(5_000, 5_020)  # in questions about anything

    def question(article: int) -> np.ndarray:
        own = draw.sample(range(9_000 + article * 10, 9_000 + article * 10 + WORDS), 3)
        return hashes(*own, *draw.sample(common, 3))

    asked = [(article, question(article)) for article in range(ARTICLES) for _ in range(30)]
    return learn_encoder(texts, asked), [question(article) for article in range(ARTICLES)]


def vectors(encoder: Encoder, texts: list[np.ndarray], asked: list[np.ndarray]) -> np.ndarray:
    """`of_articles`, with terms in place of words."""

    class Terms:
        @staticmethod
        def of(rows: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
            owners = np.repeat(np.arange(len(rows), dtype=np.int32), [len(row) for row in rows])
            return np.concatenate(rows) if rows else hashes(), owners

    return encoder.of_articles(Terms(), texts, asked)  # type: ignore[arg-type]


def test_an_unseen_question_is_nearest_to_its_article_by_what_others_asked(learnt) -> None:
    encoder, unseen = learnt
    asked = [hashes(*(9_000 + article * 10 + at for at in range(WORDS))) for article in range(ARTICLES)]
    articles = vectors(encoder, [hashes()] * ARTICLES, asked)
    nearest = [int(encoder.nearness(question, articles).argmax()) for question in unseen]
    assert np.mean([place == article for article, place in enumerate(nearest)]) > 0.9


def test_nearness_is_the_cosine_and_nothing_is_near_to_what_is_unknown(learnt) -> None:
    encoder, [question, *_] = learnt
    alone = Encoder(encoder.terms, encoder.weights, encoder.asking, encoder.telling, np.array([0, 1], np.float32))
    same = vectors(alone, [hashes()], [question])
    assert encoder.nearness(question, same)[0] == pytest.approx(1, abs=0.02)
    assert np.linalg.norm(same.astype(float)) == pytest.approx(INT8, rel=0.02)
    assert not vectors(encoder, [hashes(3)], [hashes()]).any()
    assert encoder.nearness(hashes(3), same).tolist() == [0]
    assert encoder.nearness(hashes(), same).tolist() == [0]


def test_the_order_of_terms_and_the_chunks_do_not_matter(learnt, monkeypatch) -> None:
    encoder, unseen = learnt
    texts = [hashes()] * len(unseen)
    whole = vectors(encoder, texts, unseen)
    monkeypatch.setattr("mnatune.law.encoder.CHUNK", 7)
    assert np.abs(vectors(encoder, texts, [one[::-1] for one in unseen]).astype(int) - whole).max() <= 1


def test_it_is_read_as_it_was_written_and_a_damaged_one_is_refused(learnt, tmp_path) -> None:
    encoder, [question, *_] = learnt
    encoder.save(tmp_path)
    articles = vectors(encoder, [hashes()], [question])
    assert Encoder.open(tmp_path).nearness(question, articles) == encoder.nearness(question, articles)
    np.save(tmp_path / "weights.npy", encoder.weights[1:])
    with pytest.raises(DataError, match="damaged"):
        Encoder.open(tmp_path)
    (tmp_path / "weights.npy").write_bytes(b"x")
    with pytest.raises(DataError, match="damaged"):
        Encoder.open(tmp_path)


@pytest.fixture
def asking_pack(small_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pack:
    """The small pack, with enough questions for an encoder and no memory yet."""
    root = tmp_path / "pack"
    shutil.copytree(small_pack.root, root, ignore=shutil.ignore_patterns("law"))
    rows = [
        {"law": "보기회사법", "article": "2", "questions": [f"떠나는 투자자 몫을 {n}일 안에 사 주나요?" for n in range(8)]},
        {"law": "보기회사법", "article": "2의2", "questions": [f"온라인 알림판에 {n}번 올려도 되나요?" for n in range(8)]},
        {"law": "없는법", "article": "1", "questions": ["없는 법은 배우지 않나요?"] * 3},
    ]  # fmt: skip
    write_jsonl(root / "article_questions.jsonl", rows)
    monkeypatch.setattr(building, "LEAST_ASKED", 16)
    return Pack(root)


def test_a_build_learns_once_and_takes_over_what_the_pack_has_learnt(
    asking_pack, sources, tmp_path, monkeypatch
) -> None:
    folder = asking_pack.root / "law"
    build([sources], folder, asking_pack)
    before = {path.name: path.read_bytes() for path in (folder / "search" / FOLDER).iterdir()}
    monkeypatch.setattr(train_encoder, "learn_encoder", lambda *args: pytest.fail("learnt again"))
    build([sources], tmp_path / "other", asking_pack)
    build([sources], folder, asking_pack)
    for place in (folder, tmp_path / "other"):
        assert {path.name: path.read_bytes() for path in (place / "search" / FOLDER).iterdir()} == before
    [first, *_] = LawIndex.open(folder).search("떠나는 투자자의 몫은 누가 사 주나요?")
    assert (first.law, first.article) == ("보기회사법", "2")
    path = asking_pack.root / "article_questions.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace("온라인", "누리집"), encoding="utf-8")
    with pytest.raises(pytest.fail.Exception, match="learnt again"):
        build([sources], folder, asking_pack)


def test_a_build_leaves_nothing_of_the_memory_before_it(asking_pack, sources) -> None:
    folder = asking_pack.root / "law"
    build([sources], folder, asking_pack)
    (folder / "search" / "titles").mkdir()
    (asking_pack.root / "article_questions.jsonl").unlink()
    build([sources], folder, asking_pack)
    assert not (folder / "search" / FOLDER).exists()
    assert not (folder / "search" / "article_vectors.npy").exists()
    assert not (folder / "search" / "titles").exists()


def test_an_encoder_learns_nothing_that_can_be_hidden_from_a_search(asking_pack, sources, monkeypatch) -> None:
    taught: list[list[int]] = []
    honest = train_encoder.learn_encoder

    def noted(texts, pairs):
        taught.extend(terms.tolist() for _, terms in pairs)
        return honest(texts, pairs)

    monkeypatch.setattr(train_encoder, "learn_encoder", noted)
    build([sources], asking_pack.root / "law", asking_pack)
    asked = [question for row in article_questions(asking_pack)[:2] for question in row["questions"]]
    assert sorted(taught) == sorted(WordTerms().query(question).tolist() for question in asked)


def test_too_few_questions_make_no_encoder(rebuilt: Callable[..., Path]) -> None:
    folder = rebuilt()
    assert not (folder / "search" / FOLDER).exists()


def test_nearness_puts_the_best_in_order_and_finds_nothing_by_itself(asking_pack, sources, monkeypatch) -> None:
    folder = asking_pack.root / "law"
    build([sources], folder, asking_pack)
    relevance, asked = Relevance(folder, {}), "온라인 알림판에 올려도 되나요?"
    near = relevance._encoder.nearness(WordTerms().query(asked), np.load(folder / "search" / "article_vectors.npy"))
    best, worst = int(near.argmax()), int(near.argmin())
    scores, places = np.zeros(len(near), np.float32), np.arange(len(near))
    scores[[best, worst]] = 1.0, 1.1
    meant = relevance.meant(scores, asked, places)
    assert meant[best] == pytest.approx(1 + MEANT * 1.1 * near[best], rel=1e-4)
    assert meant[best] > meant[worst]
    assert np.flatnonzero(meant).tolist() == sorted([best, worst])
    assert not relevance.meant(np.zeros_like(scores), asked, places).any()
    monkeypatch.setattr("mnatune.law.relevance.NEAR", 1)
    assert relevance.meant(scores, asked, places)[best] == 1, "only the best rows are looked at"
