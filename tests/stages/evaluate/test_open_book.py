"""Questions asked with articles: what is found, what is asked, what the answers are worth, and what guards them."""

import pytest

from mnatune.law import LawIndex
from mnatune.model.engine.protocol import Answer
from mnatune.pack import Pack
from mnatune.runs.job import Job
from mnatune.runs.recipe import Recipe
from mnatune.runs.workspace import Manifest, Run, Stage, write_jsonl
from mnatune.stages.evaluate import open_book
from mnatune.stages.evaluate.backends import AskedSide
from mnatune.stages.evaluate.computable import not_computed
from mnatune.stages.evaluate.examine import Examined, examine, paired
from mnatune.stages.evaluate.items import held_out
from mnatune.stages.evaluate.measures import Yardstick
from mnatune.stages.evaluate.metrics import table
from mnatune.stages.evaluate.open_book import OpenBook
from mnatune.stages.evaluate.verdict import decide

PACK = Pack.load("mna_ko")
REFERENCE = "합병에 반대하는 주주는 주주총회 결의일부터 20일 이내에 매수를 청구할 수 있습니다(상법 제522조의3)."
UNKNOWN = "제시된 자료만으로는 알 수 없습니다. 이 질문에 답하려면 상법의 합병에 관한 조문을 보아야 합니다."
OTHERS = ("522", "526", "527", "528", "529", "530의2")


class Finds(LawIndex):
    """The pack's memory; the right article comes third, or not at all where the question says so."""

    def search(self, question, at="", top=5, kinds=("article",), hidden=(), earlier=()):
        assert question in hidden, "held-out questions do not help to find their own articles"
        names = list(OTHERS) if "못 찾는" in question else [*OTHERS[:2], "522의3", *OTHERS[2:]]
        return [self.article("상법", number, at) for number in names][:top]


class Says(AskedSide):
    """A model that answers by what it is shown."""

    def __init__(self, reply, room=1 << 30):
        super().__init__(None, "m", "m")
        self.reply, self.room, self.seen = reply, room, []

    def fits(self, job, messages):
        return len(messages[-1]["content"]) <= self.room

    def answers(self, job, asks, kind, *, limit=None, quoting=False):
        assert quoting == (kind != "answers"), "articles in the prompt may be repeated"
        self.seen += [(kind, ask.messages[-1]["content"]) for ask in asks]
        return {ask.id: Answer(self.reply(ask.messages[-1]["content"]), [], True) for ask in asks}


def row(number, question, answer):
    return {
        "id": f"r{number}",
        "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
        "group": f"g{number}",
        "category": "합병",
    }


@pytest.fixture
def job(tmp_path, monkeypatch):
    rows = [row(n, f"{n}번 합병에 반대하는 주주는 언제까지 청구합니까?", REFERENCE) for n in range(8)]
    rows += [row(8, "8번 못 찾는 질문입니까?", REFERENCE), row(9, "조문이 없는 질문입니까?", "조문이 없습니다.")]
    run = Run(tmp_path)
    for name, some in (("test", rows), ("valid", [])):
        run.folder("compose").mkdir(exist_ok=True, parents=True)
        write_jsonl(run.folder("compose") / f"{name}.jsonl", some)
    monkeypatch.setattr(Run, "require", lambda self, stage, name: self.folder(stage) / name)
    memory = Finds(PACK.root / "law")
    monkeypatch.setattr(open_book, "LawIndex", type("Opened", (), {"open": staticmethod(lambda path: memory)}))
    recipe = Recipe.model_validate({"name": "t", "model": {"id": "starter"}, "compose": {"evidence": 0.5}})
    return Job(recipe, PACK, run, Stage(tmp_path / "7", Manifest("evaluate", "k", {}, {}, 42)))


def reads(text):
    """Cites rightly where the right article is shown, and says that it cannot tell where passages lack it."""
    if "제522조의3" in text:
        return REFERENCE
    return UNKNOWN if "[1]" in text else "상법 제999조에 따라 청구합니다."


def guesses(text):
    return "합병은 상법 제999조와 상법 제522조에 따라 주주총회의 승인을 얻습니다."


def asked(job, **sides):
    items, yardstick = held_out(job), Yardstick(PACK)
    found = OpenBook.prepared(job, items)
    examined = {}
    for name, side in sides.items():
        examined[name] = examine(job, side, items, yardstick)
        found.ask(job, name, side, examined[name], yardstick)
    return found, examined, items


def sums(examined: Examined, name):
    pairs = [pairs[name] for pairs in examined.pairs.values() if name in pairs]
    return sum(a for a, _ in pairs), sum(b for _, b in pairs)


def test_the_search_is_measured_on_the_articles_of_held_out_answers(job):
    found, *_ = asked(job)
    search = found.facts(42)["search"]
    assert search["hit@1"]["value"] == 0
    assert (search["hit@5"]["value"], search["hit@5"]["n"]) == (round(8 / 9, 4), 9)
    assert search["mrr"]["value"] == round(8 / 9 / 3, 4)
    assert search["hit@5"]["low"] < 8 / 9 < search["hit@5"]["high"]


def test_answers_are_measured_without_with_and_lacking_the_right_article(job):
    side = Says(reads)
    found, examined, _ = asked(job, tuned=side)
    tuned = examined["tuned"]
    assert sums(tuned, "closed_f1") == (0, 9)
    assert sums(tuned, "closed_false") == (9, 9)
    assert sums(tuned, "evidence_f1") == (8, 9), "one right article was not found"
    assert sums(tuned, "evidence_precision") == (8, 8)
    assert sums(tuned, "evidence_recall") == (8, 9)
    assert sums(tuned, "evidence_support") == (8, 8)
    assert sums(tuned, "evidence_false") == (0, 8)
    assert sums(tuned, "abstention") == (9, 9)
    assert sums(tuned, "needless_abstention") == (0, 8), "only where the right article was shown"
    assert "closed_f1" not in tuned.pairs["r9"]
    for kind, text in side.seen:
        if kind == "missing-4":
            assert "제522조의3(" not in text
            assert text.count("<<<자료 시작>>>") == 4
    rows = {line["id"]: line for line in found.rows()}
    assert rows["r0"]["right"] == ["상법 522의3"]
    assert rows["r0"]["rank"] == 2
    assert rows["r0"]["tuned"] == {"found": REFERENCE, "missing": UNKNOWN}
    assert rows["r8"]["rank"] is None


def test_a_model_that_invents_citations_with_evidence_fails_its_guard(job):
    _, examined, items = asked(job, base=Says(reads), tuned=Says(guesses))
    rows = table(paired(items, examined), 42)
    (row,) = [row for row in rows if row["name"] == "evidence_false"]
    assert (row["base"]["value"], row["tuned"]["value"]) == (0, 50)
    found = decide(rows, "evidence_f1", 2.0)
    assert {guard["name"]: guard["state"] for guard in found["guards"]}["evidence_false"] == "failed"
    assert found["verdict"] == "reject"
    assert any("근거와 함께: 없는 조문 인용" in reason for reason in found["reasons"])


def test_a_short_context_is_given_short_articles_or_the_question_is_left_out(job):
    short = Says(reads, room=1600)
    found, *_ = asked(job, tuned=short)
    shown = {kind: text for kind, text in short.seen if kind != "answers"}
    assert set(shown) == {"found-300", "missing-300"}
    assert all(f"[{number}]" in text for text in shown.values() for number in range(1, 5)), "none is left out"
    assert found.no_room == {"tuned": 0}
    none = Says(reads, room=100)
    found, examined, _ = asked(job, tuned=none)
    assert {kind for kind, _ in none.seen} == {"answers"}
    assert found.no_room == {"tuned": 18}
    assert "evidence_f1" not in examined["tuned"].pairs["r0"]
    assert sums(examined["tuned"], "closed_f1") == (0, 9)


def test_without_the_key_there_is_no_open_book_and_one_line_says_why(job):
    plain = job.recipe.model_copy(update={"compose": job.recipe.compose.model_copy(update={"evidence": 0.0})})
    assert OpenBook.prepared(Job(plain, PACK, job.run, job.stage), held_out(job)) is None
    told = [one for one in not_computed(plain, PACK, ()) if "compose.evidence" in one["reason"]]
    assert [one["name"] for one in told] == ["open_book"]
    names = {one["name"] for one in not_computed(job.recipe, PACK, ())}
    assert {"evidence_f1", "abstention"} <= names
