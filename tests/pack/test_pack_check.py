"""`pack check`: the shipped pack passes, and each kind of fault is found where it lies."""

import json
import shutil
import unicodedata

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from mnatune.cli import app
from mnatune.law.tables import article_questions, pack_questions, questions_key
from mnatune.pack import Pack
from mnatune.pack.check import check, kinds, similar
from mnatune.pack.data import PackData
from mnatune.pack.exam_checks import share_at
from mnatune.runs.workspace import write_jsonl
from mnatune.stages.curate.rules import Drops
from mnatune.stages.read.fieldmap import FieldMap
from mnatune.text.shingles import shingles, spaceless

OWNED = {"drops.yaml": Drops, "maps/*.yaml": FieldMap}
KEPT_ROWS = 12
PARTIAL = (
    "qa.jsonl",
    "glossary.jsonl",
    "exam/choice.jsonl",
    "exam/essay.jsonl",
    "exam/false_premise.jsonl",
    "sample/rows.jsonl",
    "sample/twins.jsonl",
    "lexicon_holdout.jsonl",
)


@pytest.fixture(scope="module")
def shipped():
    return Pack.load("mna_ko")


@pytest.fixture
def pack(shipped, tmp_path):
    """A short copy of the shipped pack, to be broken."""
    root = tmp_path / "own"
    shutil.copytree(shipped.root, root)
    for name in PARTIAL:
        lines = (root / name).read_text(encoding="utf-8").splitlines()[:KEPT_ROWS]
        (root / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Pack(root)


def edit_row(pack, name, **changes):
    """Change the first row of a JSON Lines file."""
    path = pack.root / name
    first, *rest = path.read_text(encoding="utf-8").splitlines()
    row = {**json.loads(first), **changes}
    path.write_text("\n".join([json.dumps(row, ensure_ascii=False), *rest]) + "\n", encoding="utf-8")


def edit_yaml(pack, name, change):
    path = pack.root / name
    value = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(yaml.safe_dump(value, allow_unicode=True), encoding="utf-8")


def failures(pack, but=("law memory",)):
    """The failures of each check that failed; by default the law memory may be stale, because rows are edited here."""
    outcomes, _ = check(pack, OWNED)
    return {outcome.name: outcome.failures for outcome in outcomes if outcome.failures and outcome.name not in but}


def as_if_built(pack):
    """Let the law memory say that it was built with the rows of now."""
    path = pack.root / "law" / "law.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    facts["questions"] = questions_key(pack_questions(pack), article_questions(pack))
    path.write_text(json.dumps(facts), encoding="utf-8")


def only(found, name):
    """The failures of a check that alone has failed."""
    assert list(found) == [name], found
    return "\n".join(found[name])


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([("상법", "9999", "두 회사를 합치려면?")], "'상법' has no article '9999'"),
        ([("상상법", "522", "두 회사를 합치려면?")], "'상상법' has no article '522'"),
        (
            [("상법", "522", "주총을 여나요?"), ("상법", "523", "주총을  여나요?")],
            "is asked in article_questions.jsonl:1 too",
        ),
        ([("상법", "522", "흡수합병과 신설합병은 무엇이 다른가요?")], "is asked in qa.jsonl:1 too"),
        ([("상법", "522", "가 질문"), ("상법", "522", "나 질문")], "상법 522 stands in article_questions.jsonl:1 too"),
    ],
)
def test_questions_by_article(pack, rows, fault):
    written = [{"law": law, "article": article, "questions": [question]} for law, article, question in rows]
    write_jsonl(pack.root / "article_questions.jsonl", written)
    assert fault in "\n".join(failures(pack)["article questions"])


def test_a_broken_row_of_questions_is_named(pack):
    write_jsonl(pack.root / "article_questions.jsonl", [{"law": "상법", "article": "522"}])
    found = failures(pack, but=())
    assert "article_questions.jsonl:1: questions: Field required" in found["form of every file"]
    assert "article_questions.jsonl:1: no row of law, article and questions" in "\n".join(found["law memory"])


def test_the_shipped_pack_passes(shipped):
    assert failures(shipped, but=()) == {}


def test_a_law_memory_built_with_other_questions(pack):
    as_if_built(pack)
    lines = (pack.root / "qa.jsonl").read_text(encoding="utf-8").splitlines()
    edit_row(pack, "qa.jsonl", topic="다른 주제")
    assert failures(pack, but=()) == {}, "a topic changes nothing that is searched"
    (pack.root / "qa.jsonl").write_text("\n".join(lines[1:]) + "\n", encoding="utf-8")
    told = only(failures(pack, but=()), "law memory")
    assert f"mnatune law build legalize-kr precedent-kr law_history.jsonl --out {pack.root / 'law'}" in told
    assert told.endswith(f"--pack {pack.root}")


def test_the_short_copy_passes_so_that_what_fails_below_is_the_planted_fault(pack):
    assert failures(pack) == {}


def test_an_unknown_key_an_empty_text_and_a_missing_file(pack):
    edit_row(pack, "qa.jsonl", answer=" ", note="x")
    (pack.root / "exam/essay.jsonl").unlink()
    edit_yaml(pack, "drops.yaml", lambda drops: drops.update(min_answer_char=3))
    text = only(failures(pack), "form of every file")
    assert "qa.jsonl:1: answer" in text
    assert "qa.jsonl:1: note" in text
    assert "exam/essay.jsonl: the pack lacks it" in text
    assert "drops.yaml: min_answer_char" in text


def test_a_broken_line_is_named(pack):
    path = pack.root / "glossary.jsonl"
    path.write_text(path.read_text(encoding="utf-8") + '{"term": \n', encoding="utf-8")
    assert f"glossary.jsonl:{KEPT_ROWS + 1}" in only(failures(pack), "form of every file")


def test_weights_of_the_rubric_sum_to_one(pack):
    edit_yaml(pack, "rubric.yaml", lambda rubric: rubric["parts"]["depth"].update(weight=0.9))
    assert "not to 1" in only(failures(pack), "form of every file")


def test_a_question_asked_twice(pack):
    rows = [json.loads(line) for line in (pack.root / "qa.jsonl").read_text(encoding="utf-8").splitlines()]
    edit_row(pack, "qa.jsonl", question=rows[3]["question"].replace(" ", "  "))
    assert "qa.jsonl:4: the question of qa.jsonl:1" in only(failures(pack), "ids and questions are unique")


def test_an_exam_id_given_twice(pack):
    edit_row(pack, "exam/essay.jsonl", id="choice-002")
    assert "choice-002: 2 exam items" in only(failures(pack), "ids and questions are unique")


def test_a_training_row_that_gives_an_exam_item_away(pack):
    item = json.loads((pack.root / "exam/choice.jsonl").read_text(encoding="utf-8").splitlines()[4])
    edit_row(pack, "sample/rows.jsonl", question=item["question"].replace("옳은 것은", "알맞은 것은"))
    text = only(failures(pack), "exam apart from training")
    assert f"sample/rows.jsonl:1: gives away {item['id']}" in text


def test_near_duplicates_but_not_rows_that_differ_in_a_number(pack):
    question = "합병 반대주주는 언제까지 매수를 청구"
    tail = "총회 전에 서면으로 반대한 주주만 청구할 수 있으며, 회사는 그 뒤 정해진 기간 안에 주식을 사야 합니다. "
    tail += "매수가액은 먼저 협의하여 정하고, 협의가 되지 않으면 법원에 결정을 청구할 수 있습니다."
    lines = [
        {
            "question": f"{question}{ending}",
            "answer": f"결의일부터 {days}일 안에 청구합니다. {tail}",
            "source": "상법 제522조의3",
            "topic": "합병",
        }
        for ending, days in (("하나요?", 20), ("합니까?", 20), ("하는가?", 30))
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (pack.root / "qa.jsonl").write_text(text, encoding="utf-8")
    (found,) = failures(pack)["no near-duplicates"]
    assert found.startswith("qa.jsonl:2: nearly the same as qa.jsonl:1")


def test_an_article_that_never_was_except_in_a_false_premise(pack):
    assert "제999조" in (pack.root / "exam/false_premise.jsonl").read_text(encoding="utf-8")
    edit_row(pack, "qa.jsonl", source="상법 제1999조")
    assert "qa.jsonl:1: '상법 제1999조'" in only(failures(pack), "citations")


def test_an_exam_that_can_be_guessed(pack):
    path = pack.root / "exam/choice.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        right = "ABCD".index(row["answer"])
        row["choices"][right] += " 그리고 이것이 가장 길다."
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    assert "always the longest choice is right 12 times" in "\n".join(failures(pack)["answers not guessable"])
    for row in rows:
        right = "ABCD".index(row["answer"])
        row["choices"][0], row["choices"][right] = row["choices"][right], row["choices"][0]
        row["answer"] = "A"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    assert "always A is right 12 times" in "\n".join(failures(pack)["answers not guessable"])


def items(pack, name="choice"):
    return [json.loads(line) for line in (pack.root / f"exam/{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def write(pack, name, rows):
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (pack.root / name).write_text(text, encoding="utf-8")


def test_choices_whose_wording_gives_them_away(pack):
    rows = items(pack)
    for row in rows:
        right = "ABCD".index(row["answer"])
        row["choices"] = [c + (" 꾸밈말나" if i == right else " 겉말다라") for i, c in enumerate(row["choices"])]
    write(pack, "exam/choice.jsonl", rows)
    assert "never sees the question" in only(failures(pack), "choices alone")


def test_choices_that_are_struck_out_by_their_absolutes(pack):
    rows = items(pack)
    for row in rows:
        right = "ABCD".index(row["answer"])
        row["choices"] = [c if i == right else f"언제나 {c}" for i, c in enumerate(row["choices"])]
    write(pack, "exam/choice.jsonl", rows)
    assert "a choice without absolutes is right 12 times" in "\n".join(failures(pack)["answers not guessable"])


def test_an_exam_that_asks_what_the_training_rows_state(pack):
    def taught(count):
        rows = [
            {
                "question": f"{row['topic']}에 관한 물음 {number}번",
                "answer": f"{row['choices']['ABCD'.index(row['answer'])]} {row['explanation']} 근거: {row['article']}",
                "source": row["article"],
                "topic": row["topic"],
            }
            for number, row in enumerate(items(pack)[:count])
        ]
        write(pack, "qa.jsonl", rows)
        return failures(pack).get("exam asks what no row states", [])

    assert taught(3) == []
    assert "choice-001 by qa.jsonl:1" in taught(9)[0]


def test_essays_that_ask_for_recall_alone(pack):
    rows = items(pack, "essay")
    for line in rows[0]["rubric"]:
        line["applies"] = False
    write(pack, "exam/essay.jsonl", rows)
    assert f"{rows[0]['id']} gives 0 of" in only(failures(pack), "essays ask for application")


def test_open_book_articles_that_are_missing_or_repealed(pack):
    row = items(pack)[0]
    edit_row(pack, "exam/choice.jsonl", articles=["상법 제1999조"])
    text = only(failures(pack), "open-book articles")
    assert f"{row['id']}: '상법 제1999조' is no article in force" in text
    assert f"{row['id']}: articles lacks 상법" in text


def test_answers_that_keep_their_authority_to_themselves(pack):
    row = {"answer": "주주총회의 승인을 받아야 합니다.", "source": "상법 제522조", "topic": "합병"}
    write(pack, "qa.jsonl", [{"question": f"{name} 합병하려면요?", **row} for name in ("가사가", "나사를", "다사와")])
    assert "0% of the answers" in "\n".join(failures(pack)["authority"])


def test_a_history_is_read_and_must_alternate(pack):
    turns = [{"role": "user", "content": "질문"}, {"role": "assistant", "content": "상법 제1999조에 따릅니다."}]
    edit_row(pack, "qa.jsonl", history=turns)
    assert "제1999조" in only(failures(pack), "citations")
    edit_row(pack, "qa.jsonl", history=turns[:1])
    assert "must alternate" in only(failures(pack), "form of every file")


def test_kinds_are_counted_with_their_lengths(pack):
    edit_row(pack, "qa.jsonl", kind="memo", answer="가" * 90)
    _, rows = kinds(PackData(pack))
    assert dict(rows)["memo"] == [1, 0, 90, 90]
    assert sum(numbers[0] for _, numbers in rows) == KEPT_ROWS


def test_an_answer_over_the_limit(pack):
    edit_row(pack, "qa.jsonl", answer="합병의 효과를 차례로 설명합니다(상법 제235조). " * 120 + "끝.")
    assert "qa.jsonl:1: the answer has" in only(failures(pack), "lengths")


def test_patterns_of_personal_data_are_held_to_their_examples(pack):
    def break_it(rules):
        rules["kinds"][0]["match"].append("2024년 3월")
        rules["kinds"][1]["no_match"].append("010-0000-0000")

    edit_yaml(pack, "pii.yaml", break_it)
    text = only(failures(pack), "personal data")
    assert "resident_number misses '2024년 3월'" in text
    assert "phone matches '010-0000-0000'" in text


def test_a_lexicon_that_keeps_too_little_and_cancels_nothing(pack):
    def break_it(lexicon):
        lexicon["saturate"] = 10_000
        lexicon["false_friends"][0]["cancels"].append("없는 말")

    edit_yaml(pack, "lexicon.yaml", break_it)
    text = only(failures(pack), "lexicon")
    assert "at least 0.9 is wanted" in text
    assert "'없는 말', which is no term" in text


def test_decomposed_hangul_and_invisible_characters(pack):
    path = pack.root / "prompts.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text + f"# {unicodedata.normalize('NFD', '합병')}\n# \u200b\n", encoding="utf-8")
    last = text.count("\n")
    assert only(failures(pack), "text").splitlines() == [
        f"prompts.yaml:{last + 1}: not in NFC",
        f"prompts.yaml:{last + 2}: an invisible or broken character",
    ]


def test_a_term_explained_twice(pack):
    rows = [json.loads(line) for line in (pack.root / "glossary.jsonl").read_text(encoding="utf-8").splitlines()]
    edit_row(pack, "glossary.jsonl", aliases=[rows[5]["term"]])
    assert "stands in glossary.jsonl:1 too" in only(failures(pack), "glossary")


def test_a_prompt_without_its_placeholder(pack):
    edit_yaml(pack, "prompts.yaml", lambda p: p.update(choice_user=p["choice_user"].replace("{c}", "")))
    assert only(failures(pack), "prompts") == "prompts.yaml: choice_user lacks {c}"


def test_a_pack_without_optional_files_passes(pack):
    for name in ("qa.jsonl", "lexicon_labels.jsonl", "lexicon_holdout.jsonl"):
        (pack.root / name).unlink()
    shutil.rmtree(pack.root / "sample")
    assert failures(pack) == {}


def test_the_command_exits_with_3_and_names_each_failure(pack):
    as_if_built(pack)
    good = CliRunner().invoke(app, ["pack", "check", str(pack.root)])
    assert good.exit_code == 0, good.output
    edit_row(pack, "qa.jsonl", source="상법 제1999조")
    bad = CliRunner().invoke(app, ["pack", "check", str(pack.root)])
    assert bad.exit_code == 3
    assert sum(line.startswith("qa.jsonl:1:") for line in bad.output.splitlines()) == 1


KOREAN = st.text(st.sampled_from("합병분할 주식이사"), max_size=30)


@settings(max_examples=80, deadline=None)
@given(st.lists(KOREAN, max_size=5), st.lists(KOREAN, max_size=5), st.sampled_from([0.1, 0.5, 0.9]))
def test_similar_finds_what_comparing_all_pairs_finds(ones, others, least):
    expected = set()
    for i, one in enumerate(ones):
        for j, other in enumerate(others):
            a, b = shingles(spaceless(one), 5), shingles(spaceless(other), 5)
            if len(a & b) / len(a | b) >= least:
                expected.add((i, j))
    assert {(i, j) for i, j, _ in similar(ones, others, at_least=least)} == expected


def test_every_blind_strategy_by_length_together_is_certainty(shipped):
    for _, item in PackData(shipped).choice:
        assert sum(share_at(item, rank) for rank in range(4)) == pytest.approx(1)
