"""The loop's own parts: what is trained on, what is tested on, and how the new model is told from the current one."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from mnatune.model.registry import Lineage, Registry
from mnatune.pack import Pack
from mnatune.runs.errors import UsageError
from mnatune.runs.recipe import load_recipe
from mnatune.runs.workspace import Run, read_jsonl, write_json, write_jsonl
from mnatune.service import improve as loop
from mnatune.service.feedback.datasets import Export, Options
from mnatune.service.feedback.sink import Edit, Generation, Rating
from mnatune.service.feedback.store import FeedbackStore
from mnatune.service.improve import Terms, compare, improve
from mnatune.stages.evaluate.compare import stored

QUESTIONS = [
    "흡수합병에서 소멸회사의 주주는 언제까지 반대의사를 통지해야 합니까?",
    "영업양수도 계약에서 진술 및 보장 조항은 어떤 역할을 합니까?",
    "상장회사의 주요사항보고서는 어떤 경우에 제출합니까?",
    "기업결합 신고의 대상이 되는 회사 규모를 설명해 주십시오.",
    "분할합병과 물적분할의 차이를 알려 주십시오.",
    "주식매수선택권을 부여할 때 필요한 절차는 무엇입니까?",
    "우호적 인수와 적대적 인수를 구분하는 기준이 있습니까?",
    "자산 실사에서 우발채무를 확인하는 방법이 궁금합니다.",
]


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("name: loop\nmodel: {id: starter}\nevaluate: {primary: chrf}\n", encoding="utf-8")
    return load_recipe(path)


def example(name, question):
    turns = [("system", "전문가"), ("user", question), ("assistant", "답변입니다.")]
    return {"id": name, "messages": [{"role": r, "content": c} for r, c in turns], "group": name, "category": "합병"}


def done(run, stage, **files):
    """A finished stage with these files."""

    def work(place):
        for name, value in files.items():
            path = place.path(name.replace("__", "/").replace("_jsonl", ".jsonl").replace("_json", ".json"))
            path.parent.mkdir(parents=True, exist_ok=True)
            (write_jsonl if path.suffix == ".jsonl" else write_json)(path, value)

    run.perform(stage, {}, {}, 42, "", work)


@pytest.fixture
def parent(tmp_path):
    run = Run(tmp_path / "parent")
    train = [example(f"old{n}", f"오래된 질문 {n}") for n in range(40)]
    kept = [example("t1", "시험에 남긴 질문은 무엇입니까?")]
    done(run, "compose", train_jsonl=train, valid_jsonl=[], test_jsonl=kept)
    done(run, "train", adapter__adapter_config_json={})
    (run.folder("train") / "adapter" / "adapter_model.safetensors").write_bytes(b"old")
    return run


@pytest.fixture
def store(tmp_path):
    store = FeedbackStore(str(tmp_path / "f.db"), lambda text: text)
    system = Pack.load("mna_ko").system_prompt
    for n, question in enumerate(QUESTIONS):
        turns = [{"role": "system", "content": system}, {"role": "user", "content": question}]
        facts = ("key:a", "m", "starter", "", "", turns, "모릅니다.", {}, "stop", 1, 1, True, 1.0, 0.1, 1.0 + n)
        store.save_generation(Generation(f"g{n}", f"c{n}", *facts))
        store.edit(Edit(f"g{n}", "key:a", f"{question} 이에 대한 답은 이러합니다.", created=1.0 + n))
    for item in store.review_queue().items:
        store.review(item.id, "admin", "approved")
    yield store
    store.close()


def test_without_a_model_there_is_nothing_to_improve(recipe, tmp_path, store):
    with pytest.raises(UsageError, match="no model is in production"):
        improve(recipe, tmp_path / "out", store, Registry(tmp_path / "models"))


def test_too_little_feedback_trains_nothing(recipe, tmp_path, store, parent):
    outcome = improve(recipe, tmp_path / "out", store, Registry(tmp_path / "models"), parent=parent)
    assert (outcome.decision, outcome.model) == ("hold", "")
    assert not (tmp_path / "out" / "run").exists()


def test_corrections_are_mixed_with_older_rows_and_some_kept_to_test(recipe, tmp_path, store, parent, monkeypatch):
    stopped = []
    really = loop.perform

    def perform(stage, *arguments, **options):
        if stage in ("train", "evaluate"):
            stopped.append(stage)
            raise KeyboardInterrupt
        return really(stage, *arguments, **options)

    monkeypatch.setattr(loop, "perform", perform)
    terms = Terms(least=5, replay=2.0)
    with pytest.raises(KeyboardInterrupt):
        improve(recipe, tmp_path / "out", store, Registry(tmp_path / "models"), parent=parent, terms=terms)
    assert stopped == ["train"]
    folder = Run(tmp_path / "out" / "run").folder("compose")
    train, test = read_jsonl(folder / "train.jsonl"), read_jsonl(folder / "test.jsonl")
    kinds = Counter(row["id"].startswith("old") for row in train)
    assert kinds[True] == 2 * kinds[False] > 0
    assert test[-1]["id"] == "t1"
    assert kinds[False] + len(test) - 1 == len(QUESTIONS)
    known = {item["row"] for item in read_jsonl(tmp_path / "out" / "feedback" / "items.jsonl")}
    assert {row["id"] for row in [*train, *test[:-1]] if not row["id"].startswith("old")} <= known
    assert not {row["id"] for row in train} & {row["id"] for row in test}
    assert len(read_jsonl(folder / "replay.jsonl")) == 40 + kinds[False]


def test_curation_that_drops_a_row_is_counted(recipe, tmp_path, parent):
    run = Run(tmp_path / "run")
    made = Export("x", tmp_path / "none", {"qa.jsonl": 0})
    (tmp_path / "none").mkdir()
    for name in ("train", "preferences", "unpaired", "qa"):
        write_jsonl(tmp_path / "none" / f"{name}.jsonl", [example("e1", "질문")] if name == "train" else [])
    loop._compose(recipe, run, parent, made, 0.0)
    assert run.manifest("compose").dropped == {"curated-away": 1}


def evaluated(root, value, letters, verdict="correct", known=4):
    run = Run(root)
    answers = [
        {"id": f"a{n}", "group": f"g{n}", "category": "합병",
         "metrics": {"base": {}, "tuned": {"chrf": value + n % 3, "stop_rate": 100.0, "false_citations": None}}}
        for n in range(40)
    ]  # fmt: skip
    exam = [
        {"id": f"e{n}", "kind": "choice", "topic": "", "key": "A", "base": {}, "tuned": {"exam_letter": letters[n % 4]}}
        for n in range(40)
    ]
    exam.append({"id": "f", "kind": "false_premise", "topic": "", "tuned": {"text": "", "verdict": verdict}})
    scores = {"kmmlu_law": {str(n): float(n % 4 < known) for n in range(200)}}
    done(run, "evaluate", answers_jsonl=answers, exam_jsonl=exam, guards_json={"base": {}, "tuned": scores})
    return run


def test_a_better_model_is_promoted_and_a_worse_one_rejected(recipe, tmp_path):
    good, bad = evaluated(tmp_path / "good", 40.0, "AAAA"), evaluated(tmp_path / "bad", 30.0, "AAAA")
    assert compare(recipe, stored(good), stored(bad))["verdict"] == "promote"
    assert compare(recipe, stored(bad), stored(good))["verdict"] == "reject"
    assert compare(recipe, stored(good), stored(good))["verdict"] == "hold"


def test_a_guard_that_falls_stops_a_promotion(recipe, tmp_path):
    forgetful, current = evaluated(tmp_path / "a", 40.0, "ABCD"), evaluated(tmp_path / "b", 30.0, "AAAA")
    verdict = compare(recipe, stored(forgetful), stored(current))
    assert verdict["verdict"] == "reject"
    named = {row["name"]: row for row in verdict["metrics"]}
    assert named["exam_letter"]["tuned"]["value"] == 25.0
    assert "false_citations" not in named
    json.dumps(verdict, allow_nan=False)


def test_general_korean_that_falls_stops_a_promotion(recipe, tmp_path):
    forgetful = evaluated(tmp_path / "a", 40.0, "AAAA", known=3)
    current = evaluated(tmp_path / "b", 30.0, "AAAA")
    verdict = compare(recipe, stored(forgetful), stored(current))
    assert verdict["verdict"] == "reject"
    assert any("KMMLU" in reason for reason in verdict["reasons"])


def test_no_server_is_asked_for_a_model_that_it_cannot_have(recipe, tmp_path):
    served = {"base": "http://h/v1#a", "tuned": "http://h/v1#b"}
    section = recipe.evaluate.model_copy(update={"answered_by": served})
    given = recipe.model_copy(update={"evaluate": section})
    made = loop._continuing(given, tmp_path / "adapter", tmp_path / "feedback", Run(tmp_path / "run"))
    assert made.evaluate.answered_by == {}


def stand_in(monkeypatch, weights=b"new"):
    """Stand in for training and evaluation; everything between them is real."""
    really = loop.perform

    def perform(stage, given, run, **options):
        if stage == "train":
            assert given.train.from_adapter.endswith("adapter")
            done(run, "train", adapter__adapter_config_json={}, adapter__mnatune_json={"base": "starter"})
            (run.folder("train") / "adapter" / "adapter_model.safetensors").write_bytes(weights)
            return run.manifest("train"), False
        if stage == "evaluate":
            evaluated(run.root, 40.0, "AAAA")
            return run.manifest("evaluate"), False
        return really(stage, given, run, **options)

    def sheet(home, adapter, kept):
        return stored(evaluated(kept.with_suffix(""), 30.0, "AAAA"))

    monkeypatch.setattr(loop, "perform", perform)
    monkeypatch.setattr(loop, "adapter_sheet", sheet)


def test_a_round_that_trained_nothing_says_so_and_registers_nothing(recipe, tmp_path, store, parent, monkeypatch):
    stand_in(monkeypatch, weights=b"old")
    registry = Registry(tmp_path / "models")
    outcome = improve(recipe, tmp_path / "out", store, registry, parent=parent, terms=Terms(least=5))
    assert (outcome.decision, outcome.model, registry.production()) == ("hold", "", None)
    assert "그대로" in outcome.reasons[0]


def test_the_whole_round_registers_and_promotes(recipe, tmp_path, store, parent, monkeypatch):
    stand_in(monkeypatch)
    registry = Registry(tmp_path / "models")
    terms = Terms(least=5)
    outcome = improve(recipe, tmp_path / "out", store, registry, parent=parent, terms=terms)
    assert outcome.decision == "promote"
    assert registry.production().name == outcome.model
    lineage = registry.production().lineage
    assert (lineage.feedback, lineage.base) == (outcome.feedback.id, "starter")
    learned = read_jsonl(registry.root / outcome.model / "feedback.jsonl")
    assert learned
    assert store.exports_with("key:a") == [outcome.feedback.id]
    registry.rollback()
    held = improve(recipe, tmp_path / "out2", store, registry, parent=parent, terms=replace(terms, promote=False))
    assert (held.decision, registry.production()) == ("promote", None)
    assert registry.history()[-1]["action"] == "hold"


@pytest.mark.parametrize(("method", "shape"), [("dpo", {"chosen", "rejected"}), ("kto", {"completion", "label"})])
def test_a_round_on_preferences_trains_on_its_own_rows(recipe, tmp_path, store, parent, monkeypatch, method, shape):
    """Whatever file the recipe was first trained on; training and evaluation are stood in for."""
    old = tmp_path / "old.jsonl"
    write_jsonl(old, [])
    train = recipe.train.model_copy(update={"method": method, "options": {"rows": str(old), "margin": 1}})
    for n in range(len(QUESTIONS)):
        store.rate(Rating(f"g{n}", "key:a", -1, created=2.0 + n))
    trained = []

    def perform(stage, given, run, **options):
        if stage == "train":
            trained.extend(read_jsonl(Path(given.train.options["rows"])))
            raise KeyboardInterrupt
        raise AssertionError(stage)

    monkeypatch.setattr(loop, "perform", perform)
    terms = Terms(least=5, export=Options(unreviewed=True))
    given = recipe.model_copy(update={"train": train})
    with pytest.raises(KeyboardInterrupt):
        improve(given, tmp_path / "out", store, Registry(tmp_path / "models"), parent=parent, terms=terms)
    assert len(trained) >= 5
    assert all(shape <= row.keys() for row in trained)


def test_a_method_that_learns_nothing_from_feedback_is_refused(recipe, tmp_path, store, parent) -> None:
    given = recipe.model_copy(update={"train": recipe.train.model_copy(update={"method": "grpo", "options": {}})})
    with pytest.raises(UsageError, match="grpo learns nothing from feedback"):
        improve(given, tmp_path / "out", store, Registry(tmp_path / "models"), parent=parent)


REAL = """
name: round
model: {id: starter, max_length: 320}
train: {r: 8, dropout: 0.0, rows_per_step: 8, epochs: 2, learning_rate: 1.0e-3, max_grad_norm: 1.0}
generation: {max_new_tokens: 12}
evaluate: {items: 10, exam: false, primary: loss, guard_margin: 100}
"""


@pytest.mark.slow
def test_a_round_trains_on_from_the_current_adapter_and_is_promoted_and_taken_back(tmp_path, pack):
    """Nothing is stood in for: the starter learns corrections and is compared with what it was before."""
    (tmp_path / "r.yaml").write_text(REAL, encoding="utf-8")
    recipe = load_recipe(tmp_path / "r.yaml")
    rows = [row for row in read_jsonl(pack.path("qa.jsonl")) if len(row["answer"]) < 320][::12]  # of 320 tokens at most
    parent = Run(tmp_path / "parent")
    known = [pack_example(pack, n, row) for n, row in enumerate(rows[:32])]
    done(parent, "compose", train_jsonl=known[:24], valid_jsonl=[], test_jsonl=known[24:])
    loop.perform("train", recipe, parent)
    registry, store = Registry(tmp_path / "models"), FeedbackStore("sqlite://", lambda text: text)
    first = registry.register(parent.require("train", "adapter"), Lineage.of_run(parent))
    registry.promote(first.name, override="the first model")
    for n, row in enumerate(rows[32:48]):
        turns = [{"role": "system", "content": pack.system_prompt}, {"role": "user", "content": row["question"]}]
        facts = ("key:a", "m", "starter", "", "", turns, "모릅니다.", {}, "stop", 1, 1, True, 1.0, 0.1, 1.0 + n)
        store.save_generation(Generation(f"g{n}", f"c{n}", *facts))
        store.edit(Edit(f"g{n}", "key:a", row["answer"], created=1.0 + n))
    for item in store.review_queue().items:
        store.review(item.id, "admin", "approved")

    outcome = improve(recipe, tmp_path / "out", store, registry, terms=Terms(least=8, replay=1.0))
    store.close()
    assert outcome.decision == "promote", outcome.reasons
    second = registry.production()
    assert (second.name, second.lineage.parent) == (outcome.model, first.name)
    assert second.adapter_sha256 != first.adapter_sha256
    trained = {row["id"] for row in read_jsonl(tmp_path / "out" / "run" / "5-compose" / "train.jsonl")}
    learned = {item["row"] for item in read_jsonl(registry.root / second.name / "feedback.jsonl")}
    assert trained & learned
    before = json.loads((tmp_path / "out" / "current.json").read_text(encoding="utf-8"))["sheet"]["answers"]
    after = read_jsonl(tmp_path / "out" / "run" / "7-evaluate" / "answers.jsonl")
    assert {row["id"] for row in after} == set(before)
    assert sum(row["metrics"]["tuned"]["loss"] - before[row["id"]]["metrics"]["loss"] for row in after) < 0
    assert registry.rollback().name == first.name


def pack_example(pack, number, row):
    turns = [("system", pack.system_prompt), ("user", row["question"]), ("assistant", row["answer"])]
    messages = [{"role": role, "content": content} for role, content in turns]
    return {"id": f"p{number}", "messages": messages, "group": f"p{number}", "category": row["topic"]}
