"""What rewards pay, and that tricks are paid nothing."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mnatune.model.endpoint.fake import ROW_LINE, FakeEndpoint
from mnatune.pack import Pack
from mnatune.runs.errors import EnvironmentFault, UsageError
from mnatune.runs.job import Job
from mnatune.runs.recipe import Recipe
from mnatune.runs.train_options import REWARD_NAMES, GrpoOptions
from mnatune.runs.workspace import Manifest, Run, Stage, read_jsonl
from mnatune.stages.train.asked_rows import AskedQuestion
from mnatune.stages.train.judged_reward import REWARD, RubricJudge
from mnatune.stages.train.rewards import PARTS, DrawnAnswer, Rewarder

PROBES = read_jsonl(Path(__file__).parents[2] / "data" / "reward_probes.jsonl")
WEIGHTS = GrpoOptions().rewards
ARTICLE = (
    "회사가 합병을 함에는 합병계약서를 작성하여 주주총회의 승인을 얻어야 한다. 합병계약의 요령은 제363조에 정한 통지에 "
    "기재하여야 한다. 제1항의 승인결의는 제434조의 규정에 따라야 한다."
)
PLAIN = "주식회사가 다른 회사를 흡수합병하려면 합병계약서를 누가 승인해야 하고 결의 요건은 무엇인지 알려 주시겠습니까?"
REFERENCE = (
    "합병계약서는 상법 제522조에 따라 주주총회의 특별결의로 승인받아야 합니다. "
    "출석한 주주 의결권의 3분의 2 이상과 발행주식총수의 3분의 1 이상이 찬성해야 합니다."
)


def question(asked: str = PLAIN, reference: str = REFERENCE, **more) -> AskedQuestion:
    return AskedQuestion(id=f"{asked}/{reference}", prompt=[1], asked=asked, plain=asked, reference=reference, **more)


@pytest.fixture(scope="module")
def rewarder(pack: Pack) -> Rewarder:
    return Rewarder(pack)


@pytest.fixture
def paid(rewarder):
    """paid(text, question): the marks of an answer that ended by itself."""
    return lambda text, asked=None, stopped=True: rewarder.mark(asked or question(), DrawnAnswer(text, stopped))


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: f"{probe['trick'] or 'honest'}: {probe['text'][:16]}")
def test_a_trick_is_found_and_paid_nothing(paid, probe) -> None:
    evidence = question(
        f"1. 상법 제522조\n{ARTICLE}\n\n질문: {PLAIN}", evidence=frozenset({"상법 522"}), day="2024-01-01"
    )
    marks = paid(probe["text"], evidence)
    assert marks.trick == probe["trick"], json.dumps(marks.parts, ensure_ascii=False)
    if probe["trick"]:
        assert marks.total(WEIGHTS) == 0
    else:
        assert marks.total(WEIGHTS) > 0.35


def test_what_the_pack_itself_answers_is_no_trick_and_is_paid(rewarder, pack) -> None:
    rows = read_jsonl(pack.root / "qa.jsonl")[::12]
    marks = [
        rewarder.mark(question(row["question"], row["answer"]), DrawnAnswer(row["answer"], True))
        for row in rows
        if isinstance(row.get("question"), str) and isinstance(row.get("answer"), str)
    ]
    assert len(marks) > 50
    assert sum(bool(m.trick) for m in marks) <= 0.01 * len(marks)
    assert sum(m.total(WEIGHTS) for m in marks) / len(marks) > 0.9


def test_every_reward_has_a_weight_by_default_and_a_function() -> None:
    assert [*PARTS, REWARD] == list(REWARD_NAMES)
    assert list(PARTS) == list(WEIGHTS), "a judge is asked only where the recipe says so"


def test_an_answer_is_held_against_its_own_reference_whatever_the_ids(paid) -> None:
    other = "주식매수청구권은 상법 제522조의3에 따라 합병에 반대하는 주주가 행사할 수 있습니다."
    for one in (question(), replace(question(reference=other), id=question().id)):
        assert paid(one.reference, one).parts["citation_supported"] == 1.0


def test_an_invented_citation_is_not_paid_and_none_is_not_the_way_out(paid) -> None:
    cites = "합병계약서는 상법 제{}조에 따라 주주총회의 특별결의로 승인받아야 합니다."
    assert paid(cites.format(522)).parts["citation_exists"] == 1
    assert paid(cites.format(9999)).parts["citation_exists"] == 0
    assert paid("합병계약서는 주주총회의 특별결의로 승인받아야 합니다.").parts["citation_exists"] == 0
    assert paid("합병계약서는 주주총회의 특별결의로 승인받아야 합니다(화성헌법 제3조).").parts["citation_exists"] == 0
    uncited = question(reference="합병계약서는 주주총회가 특별결의로 승인합니다.")
    assert paid("주주총회가 특별결의로 승인하는 것이 원칙입니다.", uncited).parts["citation_exists"] == 1


def test_the_right_article_is_paid_more_than_another_one_that_exists(paid) -> None:
    cites = "합병계약서는 상법 제{}조에 따라 주주총회의 특별결의로 승인받아야 합니다."
    right, other = (paid(cites.format(number)).parts["citation_supported"] for number in (522, 434))
    both = paid("합병계약서는 상법 제522조에 따라 주주총회의 특별결의로 승인받아야 합니다. 상법 제341조도 봅니다.")
    assert right == 1
    assert other == 0
    assert both.parts["citation_supported"] == pytest.approx(2 / 3)
    assert (
        paid("아무 조문 없이 주주총회가 승인하면 됩니다.", question(reference="승인이 필요합니다.")).parts[
            "citation_supported"
        ]
        is None
    )


def test_a_citation_out_of_the_evidence_is_paid_and_one_from_elsewhere_is_not(paid) -> None:
    shown = {"evidence": frozenset({"상법 522", "상법 341"}), "day": "2024-01-01"}
    cites = "합병계약서는 상법 제{}조에 따라 주주총회의 특별결의로 승인받아야 합니다."
    marks = {number: paid(cites.format(number), question(**shown)).parts for number in (522, 341, 434)}
    assert [marks[number]["citation_shown"] for number in (522, 341, 434)] == [1, 1, 0]
    assert [marks[number]["citation_supported"] for number in (522, 341, 434)] == [1, 0, 0]
    silent = "합병계약서는 주주총회의 특별결의로 승인받아야 합니다."
    assert paid(silent, question(**shown)).parts["citation_shown"] == 0
    assert paid(cites.format(522)).parts["citation_shown"] is None, "asked without evidence"
    missing = question(reference="주어진 자료에는 합병 승인에 관한 조문이 없습니다.", **shown)
    assert paid("합병에 관한 내용은 주어진 자료에 없습니다.", missing).parts["citation_shown"] == 1
    assert paid(cites.format(434), missing).parts["citation_shown"] == 0
    assert paid(cites.format(434), missing).parts["citation_supported"] is None


def test_saying_that_one_cannot_tell_is_paid_where_the_passages_lack_the_article_and_nowhere_else(paid) -> None:
    shown = {"evidence": frozenset({"상법 341", "상법 434"}), "day": "2024-01-01"}
    unknown = "제시된 자료만으로는 알 수 없습니다. 상법의 합병승인에 관한 조문이 자료에 없습니다."
    told = "합병계약서는 상법 제434조에 따라 주주총회의 특별결의로 승인받아야 합니다."
    missing, there = question(reference=unknown, **shown), question(reference=told, **shown)
    assert [paid(one, missing).parts["abstention"] for one in (unknown, told)] == [1, 0]
    assert [paid(one, there).parts["abstention"] for one in (unknown, told)] == [0, 1]
    assert paid(unknown, missing).total(WEIGHTS) > paid(told, missing).total(WEIGHTS), (
        "nor is another article paid as much"
    )
    assert paid(unknown, there).trick == "hedging"
    assert paid(told).parts["abstention"] is None, "asked without evidence"


@pytest.mark.parametrize("reference", ["20일입니다.", "아니요, 안 됩니다.", "네. " + "그렇습니다 그렇습니다 " * 20])
def test_what_a_short_or_repetitive_reference_says_is_no_trick(paid, reference) -> None:
    asked = question(reference=reference)
    assert paid(reference, asked).trick == ""
    assert paid("", asked).trick == "empty"


def test_an_answer_without_a_usable_reply_of_the_judge_gets_its_questions_mean(rewarder, monkeypatch) -> None:
    one, two, three = (replace(question(), id=name) for name in "abc")
    answers = [DrawnAnswer(f"{REFERENCE} {n}", True) for n in range(5)]

    class Judge:
        def marks(self, asked):
            return [0.9, None, 0.3, None, 0.5]

    monkeypatch.setattr(rewarder, "_judge", Judge())
    marks = rewarder.mark_all([one, one, one, two, three], answers)
    assert [m.parts[REWARD] for m in marks] == [0.9, pytest.approx(0.6), 0.3, None, 0.5]


def test_numbers_count_against_the_reference_else_against_the_question(paid) -> None:
    right = "출석한 주주 의결권의 3분의 2 이상과 발행주식총수의 3분의 1 이상이 찬성해야 합니다."
    wrong = "출석한 주주 의결권의 2분의 1 이상과 발행주식총수의 4분의 1 이상이 찬성해야 합니다."
    assert paid(right).parts["values_grounded"] == 1
    assert paid(wrong).parts["values_grounded"] == 0
    assert paid("출석한 주주의 많은 찬성이 있어야 결의할 수 있습니다.").parts["values_grounded"] == 0
    free = question("2023년 5월 1일에 공고하면 되는지요?", "공고하면 됩니다. 다만 정관도 보아야 합니다.")
    assert paid("네, 2023년 5월 1일에 공고하면 정관에 맞습니다.", free).parts["values_grounded"] == 1
    assert paid("아니요, 2024년 7월 9일에 공고해야 정관에 맞습니다.", free).parts["values_grounded"] == 0


def test_a_letter_is_paid_where_there_are_choices(paid) -> None:
    exam = question("다음 가운데 옳은 것은? A 가 B 나 C 다 D 라", "B", letter="B")
    assert paid("B", exam).parts["letter"] == 1
    assert paid("B", exam).trick == ""
    assert paid("C", exam).parts["letter"] == 0
    assert paid("A 또는 B", exam).parts["letter"] == 0
    assert paid(REFERENCE).parts["letter"] is None


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("korean", REFERENCE, f"{REFERENCE} 这个问题很难"),
        ("polite", REFERENCE, "합병계약서는 주주총회가 승인해야 한다. 특별결의가 필요하다."),
        ("length", REFERENCE, REFERENCE + " 아주 길게 덧붙이는 말이 이어집니다." * 20),
        ("ends", REFERENCE, "합병계약서는 상법 제522조에 따라 주주총회의"),
    ],
)
def test_form_is_paid(paid, name, good, bad) -> None:
    assert paid(good).parts[name] > 0.9
    assert paid(bad).parts[name] < 0.5


def test_an_answer_that_was_cut_off_did_not_end(paid) -> None:
    assert paid(REFERENCE, stopped=False).parts["ends"] == 0


def test_a_pack_without_laws_rewards_no_citation(tmp_path, pack) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(pack.root, bare, ignore=shutil.ignore_patterns("law", "sample"))
    asked = question(evidence=frozenset({"상법 522"}))
    marks = Rewarder(Pack.load(str(bare))).mark(asked, DrawnAnswer(REFERENCE, True))
    assert marks.parts["abstention"] == 1
    (bare / "evaluate.yaml").unlink()
    assert Rewarder(Pack.load(str(bare))).mark(asked, DrawnAnswer(REFERENCE, True)).parts["abstention"] is None
    assert {marks.parts[name] for name in ("citation_exists", "citation_supported", "citation_shown")} == {None}
    assert marks.total(WEIGHTS) > 0.9


GOOD = {"reason": "요건을 옳게 적었음", "relevance": 5, "accuracy": 4, "depth": 3, "clarity": 4}
JUDGED = replace(question(), id="q1")
HONEST = "합병계약서는 상법 제522조에 따라 주주총회의 특별결의로 승인받아야 합니다."


def judge_reply(body) -> str:
    found = ROW_LINE.search(body["messages"][1]["content"])
    return json.dumps({"id": found.group(1), "evidence": "주주총회의 특별결의", **GOOD}, ensure_ascii=False)


@pytest.fixture
def judge_of(pack, tmp_path):
    """judge_of(base_url): the judge of a recipe with that endpoint, whose ledger lies in tmp_path."""

    def made(base_url: str) -> RubricJudge:
        endpoint = {"base_url": base_url, "model": "judge", "ledger": str(tmp_path / "ledger.sqlite3"), "timeout": 2}
        recipe = Recipe.model_validate({"name": "judged", "endpoint": endpoint})
        run = Run(tmp_path / "run")
        return RubricJudge(Job(recipe, pack, run, Stage(run.folder("train"), Manifest("train", "key", {}, {}, 1))))

    return made


def test_a_judge_marks_what_plays_no_trick_and_each_answer_once(pack, judge_of) -> None:
    answers = [DrawnAnswer(text, True) for text in (HONEST, "네.", HONEST)]
    with FakeEndpoint(judge_reply) as server:
        first = Rewarder(pack, judge_of(server.base_url)).mark_all([JUDGED] * 3, answers)
        again = Rewarder(pack, judge_of(server.base_url)).mark_all([JUDGED] * 3, answers)
        assert server.served.paid == 1
    assert [marks.parts["rubric"] for marks in first] == [0.85, 0.0, 0.85]
    assert first == again
    assert first[0].total({"rubric": 1.0}) == 0.85


def test_the_judge_is_shown_the_question_without_its_passages(judge_of) -> None:
    seen: list[str] = []

    def reply(body) -> str:
        seen.append(body["messages"][1]["content"])
        return judge_reply(body)

    with FakeEndpoint(reply) as server:
        judge_of(server.base_url).marks([(replace(JUDGED, asked=f"{ARTICLE} {PLAIN}"), HONEST)])
    assert PLAIN in seen[0]
    assert ARTICLE not in seen[0]


def test_an_unusable_reply_is_no_mark_and_a_missing_one_stops_the_training(judge_of, monkeypatch) -> None:
    monkeypatch.setattr("mnatune.model.endpoint.client.ROW_ATTEMPTS", 1)
    with FakeEndpoint(lambda body: "점수는 드릴 수 없습니다.") as server:
        assert judge_of(server.base_url).marks([(JUDGED, HONEST)]) == [None]
    with (
        FakeEndpoint(judge_reply, fault=lambda row, seen: "500") as server,
        pytest.raises(EnvironmentFault, match="judge gave no reply"),
    ):
        judge_of(server.base_url).marks([(JUDGED, "주주총회의 특별결의로 승인받는 것이 원칙입니다.")])
    with pytest.raises(UsageError, match="names no endpoint") as told:
        judge_of("")
    assert "train.options.rewards" in str(told.value)
