"""Distillation: the loss is the teacher's, the student never reads a passage, what is known is not taught, and it resumes."""

import errno
import os
import signal
from dataclasses import replace

import pytest
import torch
from tiny_run import SYSTEM, adapter_bytes, compose, curve, make_recipe, messages, train_job
from torch import nn
from torch.nn import functional
from transformers import TrainerCallback

from mnatune.model.evidence_prompt import EvidenceWords
from mnatune.model.load import load_tokenizer
from mnatune.runs.errors import DataError, Interrupted
from mnatune.runs.workspace import read_jsonl, write_jsonl
from mnatune.stages.train import distill_loop, loop, teacher, train
from mnatune.stages.train.distill_loop import taught_loss
from mnatune.stages.train.distill_rows import DistillRow, distill_rows, is_right, known_facts, mixed
from mnatune.stages.train.methods import METHODS
from mnatune.stages.train.plan import make_plan
from mnatune.stages.train.setting import Setting, fitted

KNOWN = 3  # number of the fact that the model is made to know


def taught(number: int) -> dict:
    """A row about a made-up article, whose passage is beside it."""
    said = f"시험법 제{number}조의 신고는 {number + 20}일 이내에 하여야 합니다."
    return {
        "id": f"t{number}",
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": f"시험법 제{number}조의 신고는 언제까지 하여야 하나요?"},
            {"role": "assistant", "content": said},
        ],
        "passage": {
            "name": f"시험법 제{number}조 (신고)", "in_force": "2020-01-01부터 시행", "span": said,
            "text": f"사업자는 사유가 생긴 날부터 {number + 20}일 이내에 신고하여야 한다.",
        },
    }  # fmt: skip


def with_passages(root, plain: int = 30):
    run = compose(root, rows=plain, valid=2)
    path = run.folder("compose") / "train.jsonl"
    write_jsonl(path, [*read_jsonl(path), *(taught(n) for n in range(1, 13))])
    write_jsonl(run.folder("compose") / "valid.jsonl", [taught(20), {"id": "v", "messages": messages(901)}])
    return run


def distill_recipe(model, **train):
    values = {"rows_per_step": 4, "log_every": 2, "checkpoint_every": 2, **train}
    return make_recipe(model, method="distill", **values)


@pytest.fixture
def knows_one(monkeypatch):
    """The model answers one question right, whatever it really says."""
    honest = distill_loop.closed_book

    def told(*args):
        return {**honest(*args), f"t{KNOWN}": f"{KNOWN + 20}일입니다."}

    monkeypatch.setattr(distill_loop, "closed_book", told)


@pytest.fixture(scope="module")
def trained(tiny_model, tmp_path_factory):
    """(job, run) of a training that nothing interrupted."""
    run = with_passages(tmp_path_factory.mktemp("distill") / "run")
    job = train_job(distill_recipe(tiny_model), run)
    train(job)
    return job, run


def states(seed: int, count: int = 7) -> tuple[nn.Linear, torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    return nn.Linear(6, 11, bias=False), torch.randn(count, 6), torch.randn(count, 6), torch.randint(11, (count,))


def test_the_loss_is_kl_to_the_teacher_and_cross_entropy_where_there_is_none() -> None:
    head, own, theirs, labels = states(1)
    head.requires_grad_(False)
    soft = torch.tensor([True, False, True, True, False, False, True])
    total, right = taught_loss(head, own, labels, soft, theirs[soft])
    p, q = head(theirs).softmax(-1), head(own).softmax(-1)
    kl = (p * (p / q).log()).sum(-1)[soft].sum()
    plain = -q.log()[torch.arange(7), labels][~soft].sum()
    assert float(total) == pytest.approx(float(kl + plain), rel=1e-5)
    assert int(right) == int((q.argmax(-1) == labels).sum())
    assert float(taught_loss(head, own, labels, soft, own[soft])[0]) == pytest.approx(float(plain), rel=1e-5)
    none = torch.zeros(7, dtype=torch.bool)
    assert float(taught_loss(head, own, labels, none, None)[0]) == pytest.approx(
        float(functional.cross_entropy(head(own), labels, reduction="sum")), rel=1e-6
    )


def test_the_loss_in_chunks_has_the_same_sum_and_gradient(monkeypatch) -> None:
    head, own, theirs, labels = states(2)
    soft = torch.tensor([True, True, False, True, False, True, False])
    results = []
    for limit in (1 << 20, 2 * 11):
        monkeypatch.setattr("mnatune.stages.train.trainer.HEAD_CHUNK_ELEMENTS", limit)
        leaf = own.clone().requires_grad_()
        total, _ = taught_loss(head, leaf, labels, soft, theirs[soft])
        total.backward()
        results.append((float(total.detach()), leaf.grad))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-6)
    torch.testing.assert_close(results[0][1], results[1][1])


def test_the_student_never_reads_the_passage_and_the_teacher_reads_it_as_served(tiny_model, pack, tmp_path) -> None:
    tokenizer, words = load_tokenizer(str(tiny_model)), EvidenceWords.of(pack.prompts)
    path = with_passages(tmp_path).folder("compose") / "train.jsonl"
    shown = {
        "kind": "right",
        "passages": ["시험법 5"],
        "day": "2024-01-01",
        "question": "기한은?",
        "answer": "7일입니다.",
    }
    asked = [
        {"role": "user", "content": "자료: 7일 이내. 질문: 기한은?"},
        {"role": "assistant", "content": "7일입니다."},
    ]
    write_jsonl(path, [*read_jsonl(path), {"id": "e", "messages": asked, "evidence": shown}])
    rows = {row.id: row for row in distill_rows(path, tokenizer, words)}
    row = rows["t5"]
    student, teacher = (tokenizer.decode(ids) for ids in (row.example.prompt, row.teacher))
    assert "사유가 생긴 날부터" not in student
    assert "사유가 생긴 날부터 25일 이내" in teacher
    assert teacher.count("시험법 제5조의 신고는 언제까지") == 1
    assert tokenizer.decode(row.example.completion[:-1]) == "시험법 제5조의 신고는 25일 이내에 하여야 합니다."
    evidence = rows["e"]
    assert "자료: 7일" in tokenizer.decode(evidence.teacher)
    assert "자료" not in tokenizer.decode(evidence.example.prompt)
    assert rows["0"].teacher == []


def row(name: str, fact: str, answer: str = "20일 이내입니다.", *, teacher: bool = True) -> DistillRow:
    from mnatune.model.prompt import Example

    return DistillRow(name, Example([1], [2]), [3] if teacher else [], fact, "언제까지 하나요?", answer)


def test_a_fact_is_known_if_half_of_what_can_be_checked_is_right() -> None:
    rows = [row("a", "x"), row("b", "x"), row("c", "y"), row("d", "z", "설명입니다."), row("e", "x", "설명입니다.")]
    answers = {"a": "20일입니다.", "b": "30일입니다.", "c": "한 달입니다.", "d": "설명입니다.", "e": ""}
    assert known_facts(rows, answers) == {"x": True, "y": False, "z": None}
    assert is_right(rows[0], "10일이나 20일입니다.")
    assert known_facts(rows[:2], {**answers, "a": ""}) == {"x": False}


@pytest.mark.parametrize(("unknown", "others"), [(1.0, 0), (0.5, 4), (0.25, 12), (0.01, 40)])
def test_facts_are_mixed_at_the_share_that_was_set(unknown, others) -> None:
    rows = [row(f"t{n}", f"f{n}") for n in range(5)] + [row(f"p{n}", "", teacher=False) for n in range(40)]
    chosen = mixed(rows, {"f4"}, unknown, 1)
    assert [one.id for one in chosen[:4]] == ["t0", "t1", "t2", "t3"]
    assert len(chosen) == 4 + others
    assert len({one.id for one in chosen}) == len(chosen)
    assert mixed(rows, {"f4"}, unknown, 1) == chosen


def test_what_the_model_knows_is_not_taught_and_all_is_told(knows_one, tiny_model, tmp_path) -> None:
    run = with_passages(tmp_path / "run")
    job = train_job(distill_recipe(tiny_model, options={"unknown": 0.6}), run)
    train(job)
    facts = {one["id"]: one for one in read_jsonl(job.path("facts.jsonl"))}
    assert len(facts) == 12
    assert [name for name, one in facts.items() if one["known"]] == [f"t{KNOWN}"]
    assert job.manifest.facts["facts"] == {"known": 1, "unknown": 11, "rows": 11, "others": 7, "share": 0.6111}
    assert job.manifest.dropped == {"known-fact": 1, "not-mixed": 23}
    assert (job.manifest.rows_in, job.manifest.rows_out) == (42, 18)


def test_a_distillation_draws_the_student_to_its_teacher(trained) -> None:
    job, run = trained
    losses = [line["eval_loss"] for line in curve(run) if "eval_loss" in line]
    assert losses
    plan = job.manifest.facts["plan"]
    assert plan["read"] > plan["tokens"] * 0.5
    assert plan["steps"] == job.manifest.facts["measured"]["steps"] == 6
    assert plan["tokens"] == pytest.approx(job.manifest.facts["measured"]["tokens"], rel=0.02)
    assert (job.path("state") / distill_loop.ASKED).is_file()
    assert not (job.path("state") / teacher.STATES).exists(), "only needed while it trains"


def test_the_kept_states_are_those_of_the_teacher_as_it_reads(tiny_model, pack, tmp_path) -> None:
    tokenizer = load_tokenizer(str(tiny_model))
    run, recipe = with_passages(tmp_path), distill_recipe(tiny_model)
    path = run.folder("compose") / "train.jsonl"
    rows = distill_rows(path, tokenizer, EvidenceWords.of(pack.prompts))
    job, setting = train_job(recipe, run), Setting(*fitted(recipe, [len(row.example) for row in rows]))
    model = loop.adapted(recipe, setting)
    with torch.no_grad():  # an adapter that is no longer the identity
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    states = teacher.taught_states(job, model, loop.collator(tokenizer, setting), rows, 4, "one")
    taught = [at for at, row in enumerate(rows) if row.teacher]
    assert len(taught) == 12
    for at in taught:
        prompt, answer = rows[at].teacher, rows[at].example.completion
        with torch.no_grad(), model.disable_adapter():
            alone = model.get_base_model().model(torch.tensor([prompt + answer])).last_hidden_state[0]
        torch.testing.assert_close(states.of(at).float(), alone[len(prompt) - 1 : -1].float(), atol=0.06, rtol=0.03)
    assert len(states.of(0)) == 0, "a row without a passage has no teacher"
    again = teacher.taught_states(job, model, None, rows, 4, "one")
    assert all(torch.equal(again.of(at), states.of(at)) for at in taught)
    again.remove()  # as a finished training does
    with pytest.raises(TypeError):
        teacher.taught_states(job, model, None, rows, 4, "one")  # breaks off when it has made its file
    whole = teacher.taught_states(job, model, loop.collator(tokenizer, setting), rows, 4, "one")
    assert all(torch.equal(whole.of(at), states.of(at)) for at in taught), "what broke off was taken for whole"
    with pytest.raises(TypeError):
        teacher.taught_states(job, model, None, rows, 4, "another")


def test_a_disk_without_room_for_the_states_is_told_before_the_teacher_reads(tmp_path, monkeypatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        teacher.TeacherStates(tmp_path / "states", 4, [row("a", "x")])


class Stop(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs) -> None:
        if state.global_step == 3:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_resumed_distillation_equals_the_whole_one_and_asks_nothing_again(
    trained, tiny_model, tmp_path, monkeypatch
) -> None:
    run, former = with_passages(tmp_path / "run"), loop.run_trainer

    def stopped(job, trainer, *args) -> None:
        trainer.add_callback(Stop())
        former(job, trainer, *args)

    monkeypatch.setattr(loop, "run_trainer", stopped)
    with pytest.raises(Interrupted):
        train(train_job(distill_recipe(tiny_model), run))
    monkeypatch.undo()
    monkeypatch.setattr(distill_loop, "engine_over", lambda *args: pytest.fail("asked again"))
    monkeypatch.setattr(teacher, "answer_states", lambda *args: pytest.fail("read again"))
    train(train_job(distill_recipe(tiny_model), run))
    assert adapter_bytes(run) == adapter_bytes(trained[1])
    assert curve(run) == curve(trained[1])


def test_rows_without_any_passage_are_refused(tiny_model, tmp_path) -> None:
    run = compose(tmp_path / "run", rows=8)
    with pytest.raises(DataError, match="no row has a passage"):
        train(train_job(distill_recipe(tiny_model), run))


def test_what_the_teacher_reads_is_planned_as_it_is_read(tiny_model, tmp_path, pack) -> None:
    run, recipe = with_passages(tmp_path / "run"), distill_recipe(tiny_model)
    method = METHODS["distill"]
    lengths, reading = method.lengths(recipe, run), method.reading(recipe, run)
    assert len(lengths) == 24, "half of the rows have a passage"
    rows = distill_rows(
        run.folder("compose") / "train.jsonl", load_tokenizer(str(tiny_model)), EvidenceWords.of(pack.prompts)
    )
    tokens = [one.teacher_tokens for one in rows if one.teacher]
    assert (reading.mean, reading.widest) == (sum(tokens) / 24, max(tokens))
    assert reading.answers == sum(len(one.example.completion) for one in rows if one.teacher) / 24
    upper = method.needs(recipe, lengths)
    assert upper.reading.answers > reading.answers
    assert upper.reading.widest > reading.widest
    assert upper.reading.mean > reading.mean
    plain = make_plan(recipe, lengths)
    plan = make_plan(recipe, lengths, needs=upper)
    assert plan.flop > plain.flop
    twice = recipe.model_copy(update={"train": recipe.train.model_copy(update={"epochs": 2 * recipe.train.epochs})})
    longer = make_plan(twice, lengths, needs=upper)
    assert longer.tokens == 2 * plan.tokens
    assert (longer.read, longer.state_bytes) == (plan.read, plan.state_bytes), "it reads once, whatever the epochs"
    asked = replace(upper.reading, before=replace(upper.reading.before, rows=10**6))
    wide = make_plan(recipe, lengths, needs=replace(upper, reading=asked))
    assert wide.memory["reading"] > plan.memory["reading"], "asking what is known takes memory too"
    assert plan.memory["weights"] == plain.memory["weights"], "the teacher is the same model"
