"""The sample archive: a small tree shaped like AI Hub's set 71748, with work for every filter.

It is composed from the pack's own rows alone (rows.jsonl, twins.jsonl and plan.yaml in `sample/`), as follows:

- every row of rows.jsonl, once: nine categories, M&A rows, false friends, invented personal data, refusals, bare
  words, foreign text;
- every row of twins.jsonl, once: families that differ in their numbers alone, each right by its own arithmetic, which
  must survive;
- further rows until the plan's number is reached: two rows of one title and one style asked together, and rows asked
  for their first sentence only. The second form leaves M&A rows alone, where a sentence without its exception would
  teach something wrong;
- planted faults: echoes of the question, exact duplicates, and near-duplicates (particles, spacing, endings)
  that keep every digit.

All rows of one title carry one document id, also among the labels, and each title lies on one side of the publisher's
split; only the planted echoes and duplicates lie in documents of their own. `truth.json` beside `dataset/` says what a
correct reader must report.

Does not: hold a row of AI Hub's, or resemble its language. It shows the machinery, not the value of the set.
"""

import io
import json
import random
import re
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..runs.errors import DataError, UsageError
from ..runs.records import content_id
from ..runs.workspace import atomic_path, code_hash, read_jsonl, value_hash
from ..text.shingles import resemblance
from ..text.wording import same_statement
from . import Pack

TRUTH = "truth.json"
PACK_FILES = ("sample", "drops.yaml")
MOMENT = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold
COUNTED = {
    "exact_dups": "exact-duplicate",
    "near_dups": "near-duplicate",
    "near_twins": "twin",
    "mna_rows": "mna",
    "false_friends": "false_friend",
    "personal_data": "pii",
    "refusals": "refusal",
    "short_answers": "short",
    "foreign": "foreign",
}
COMPOSABLE = ("general", "mna", "false_friend")
PAIR_REACH = 2  # most rows of a title between two that are asked together
SHORTEST_BRIEF = 25  # least characters of a one-sentence answer; the drop list calls fewer short
EDITS = 2
SENTENCE_END = re.compile(r"(?<=[가-힣]\.)\s+")

Edit = Callable[[str, str], tuple[str, str]]


@dataclass(frozen=True, slots=True)
class SampleRow:
    """One question with its answer, as it will stand in the tree.

    Attributes:
        kind: what the row is there for: a kind of rows.jsonl, or twin, echo, exact-duplicate, near-duplicate.
        document: its data_id.
    """

    question: str
    answer: str
    category: str
    title: str
    kind: str
    document: str


@dataclass(frozen=True, slots=True)
class SampleLayout:
    """Rows by the file they go into."""

    documents: list[SampleRow]
    training: list[SampleRow]
    validation: list[SampleRow]


def build_sample(pack: Pack, out: Path) -> Path:
    """Write the tree into `out` unless it is there already; returns `out`, the folder that contains `dataset/`.

    The bytes depend on the pack and this module alone. The folder appears whole or not at all.

    Raises:
        UsageError: `out` holds something else than a sample.
        DataError: the pack's plan cannot be met with its rows.
    """
    key = value_hash({"pack": pack.hashes(*PACK_FILES), "code": code_hash("pack/sample", "runs/records", "text")})
    marker = out / TRUTH
    if marker.is_file() and json.loads(marker.read_text(encoding="utf-8")).get("key") == key:
        return out
    if out.exists() and not marker.is_file() and (not out.is_dir() or any(out.iterdir())):
        fault = "this is not an earlier sample and will not be overwritten"
        raise UsageError(fault, where=str(out), next_step="choose an empty or new folder")
    plan = pack.yaml("sample/plan.yaml")
    layout = _compose(pack, plan)
    dropped = {c["name"] for c in pack.yaml("drops.yaml")["categories"]}
    with atomic_path(out) as partial:
        truth = {"key": key, **_write_tree(partial / "dataset", layout, plan), **_counts(layout, dropped)}
        (partial / TRUTH).write_text(json.dumps(truth, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return out


def _compose(pack: Pack, plan: dict[str, Any]) -> SampleLayout:
    """All rows, planted ones included, each at its place."""
    dice = random.Random(plan["seed"])
    base = [_row(r, r["kind"]) for r in read_jsonl(pack.path("sample/rows.jsonl"))]
    twins = [_row(r, "twin") for r in read_jsonl(pack.path("sample/twins.jsonl"))]
    echo_plan = plan["echoes"]
    planted = sum(echo_plan.values()) + plan["exact_duplicates"] + plan["near_duplicates"]
    further = _further(base, plan, dice)
    wanted = plan["rows"] - planted - len(base) - len(twins)
    if not 0 <= wanted <= len(further):
        least = plan["rows"] - wanted
        raise DataError(
            f"the sample can have {least} to {least + len(further)} rows, not {plan['rows']}",
            where=f"{pack.root / 'sample/plan.yaml'}: rows",
        )
    rows = base + twins + further[:wanted]
    titles = sorted({r.title for r in rows if r.kind in COMPOSABLE})
    dice.shuffle(titles)
    first, second = (round(len(titles) * plan[k]) for k in ("validation_titles", "training_titles"))
    valid, train = set(titles[:first]), set(titles[first : first + second])
    echoes = [_echo(r) for r in dice.sample([b for b in base if b.kind in COMPOSABLE], sum(echo_plan.values()))]
    layout = SampleLayout(
        [r for r in rows if r.title not in valid and r.title not in train] + _repeats(pack, base, plan, dice),
        [r for r in rows if r.title in train] + echoes[: echo_plan["train"]],
        [r for r in rows if r.title in valid] + echoes[echo_plan["train"] :],
    )
    dice.shuffle(layout.training)
    dice.shuffle(layout.validation)
    return layout


def _row(raw: dict[str, str], kind: str) -> SampleRow:
    document = content_id("sample", raw["title"])
    return SampleRow(raw["question"], raw["answer"], raw["category"], raw["title"], kind, document)


def _further(base: list[SampleRow], plan: dict[str, Any], dice: random.Random) -> list[SampleRow]:
    """New rows from old ones, shuffled: near ones of one title together, and single ones asked for one sentence."""
    found = []
    for at, row in enumerate(base):
        for after in base[at + 1 : at + 1 + PAIR_REACH]:
            same_style = row.answer.endswith("니다.") == after.answer.endswith("니다.")
            if row.kind in COMPOSABLE and row.title == after.title and same_style:
                texts = {k: v.format(first=getattr(row, k), second=getattr(after, k)) for k, v in plan["pair"].items()}
                found.append(replace(row, **texts))
        sentences = SENTENCE_END.split(row.answer)
        brief = len(sentences) > 1 and SHORTEST_BRIEF <= len(sentences[0]) < 0.6 * len(row.answer)
        if brief and row.kind in ("general", "false_friend"):
            question = plan["brief"].format(question=row.question)
            found.append(replace(row, question=question, answer=sentences[0]))
    dice.shuffle(found)
    return found


def _echo(row: SampleRow) -> SampleRow:
    document = content_id("sample-echo", row.question)
    return replace(row, question=f" {row.question}", answer=f"{row.question} ", kind="echo", document=document)


def _repeats(pack: Pack, base: list[SampleRow], plan: dict[str, Any], dice: random.Random) -> list[SampleRow]:
    """Exact and near duplicates of rows that other filters keep, in documents of their own."""
    dropped = {c["name"] for c in pack.yaml("drops.yaml")["categories"]}
    pool = [r for r in base if r.kind in COMPOSABLE and r.category not in dropped]
    dice.shuffle(pool)
    exact, rest = pool[: plan["exact_duplicates"]], pool[plan["exact_duplicates"] :]
    near = [edited for row in rest if (edited := _edited(row, plan, dice)) is not None]
    copies = [replace(r, kind="exact-duplicate") for r in exact] + near[: plan["near_duplicates"]]
    return [_moved(row, plan) for row in sorted(copies, key=lambda r: (r.category, content_id(r.question, r.answer)))]


def _moved(row: SampleRow, plan: dict[str, Any]) -> SampleRow:
    shelf = int(content_id(row.question, row.answer), 16) % 3 + 1
    title = plan["repeats"].format(number=shelf)
    return replace(row, title=title, document=content_id("sample", title, row.category))


def _edited(row: SampleRow, plan: dict[str, Any], dice: random.Random) -> SampleRow | None:
    """The row with two edits of its grammar alone; None if fewer apply or they change too much."""
    ending = plan["endings"][0 if row.answer.endswith("니다.") else 1]
    edits: list[Edit] = [
        lambda q, a: (q, a + ending),
        lambda q, a: (_reparticled(q, plan["particles"]), a),
        *(_replacing(old, new) for old, new in plan["replace"]),
    ]
    dice.shuffle(edits)
    question, answer, done = row.question, row.answer, 0
    for edit in edits:
        changed = edit(question, answer)
        kept = same_statement(row.question, changed[0]) and same_statement(row.answer, changed[1])
        if changed != (question, answer) and kept and done < EDITS:
            (question, answer), done = changed, done + 1
    old, new = f"{row.question} {row.answer}", f"{question} {answer}"
    near = done == EDITS and resemblance(old, new) >= plan["near_similarity"]
    return replace(row, question=question, answer=answer, kind="near-duplicate") if near else None


def _replacing(old: str, new: str) -> Edit:
    return lambda question, answer: (question.replace(old, new, 1), answer.replace(old, new, 1))


def _reparticled(question: str, particles: dict[str, str]) -> str:
    first, space, rest = question.partition(" ")
    if len(first) > 2 and first[-1] in particles:
        return first[:-1] + particles[first[-1]] + space + rest
    return question


def _write_tree(root: Path, layout: SampleLayout, plan: dict[str, Any]) -> dict[str, int]:
    """Write every archive; returns counts of everything that is not a row."""
    data = root / "data"
    documents = _documents(layout.documents, plan["document_rows"])
    tenth = max(1, len(documents) // 10)
    in_parts, cp949, rest = documents[:tenth], documents[tenth : 2 * tenth], documents[2 * tenth :]
    count = plan["members"]
    members = {f"/SL{i:03d}.json": _json(rest[i::count]) for i in range(count)}
    members["/README_설명.json"] = _json({"dataset_info": "이 파일에는 질문과 답변이 없습니다."})
    _save(data / "Other/Other.zip", _zip(members))
    first, second = in_parts[::2], in_parts[1::2]
    parted = _zip({"/SL100.json": _json(first), "/SL101.json": _json(second)}, compressed=False)
    _save(root / "Other_추가.tar", _tar_of_parts("data/Other/Other_02.zip", parted, plan["part_bytes"]))
    _save(data / "Other/Other_03.zip", _zip_cp949("/말뭉치_SL110.json", _json(cp949)))
    rm, sft = _labels(layout.training, plan)
    _save(data / "Training/02.라벨링데이터/TL_02.RLHF데이터.zip", _zip({"/RMlabel.json": rm, "/SFTlabel.json": sft}))
    rm, sft = _labels(layout.validation, plan)
    _save(data / "Validation/02.라벨링데이터/VL.zip", _zip({"/SFTlabel.json": sft, "/RMlabel.json": rm}))
    bare = [{k: v for k, v in _label(r).items() if k != "answer"} for r in layout.training[:20]]
    sources = {f"/{name}.json": _info(bare) for name in ("PPOdata", "SFTdata", "RMdata")}
    _save(data / "Training/01.원천데이터/TS_02.RLHF데이터.zip", _zip(sources))
    return {"other_members": count + 3, "non_qa_members": 1, "archives": 5, "archives_without_labels": 1}


def _documents(rows: list[SampleRow], most: int) -> list[dict[str, Any]]:
    """AI Hub documents: rows of one data_id, at most `most` in each."""
    grouped: dict[str, list[SampleRow]] = {}
    for row in rows:
        grouped.setdefault(row.document, []).append(row)
    documents = []
    for identity, group in sorted(grouped.items()):
        for start in range(0, len(group), most):
            part = group[start : start + most]
            pairs = [{"question": r.question, "answer": r.answer} for r in part]
            document = {
                "data_id": identity,
                "data_title": part[0].title,
                "data_ccl": "mnatune sample",
                "data_category": {"main": "구어체", "middle": part[0].category, "sub": ""},
                "contents": [{"text": " ".join(r.answer for r in part), "QA": pairs}],
            }
            documents.append(document)
    return documents


def _labels(rows: list[SampleRow], plan: dict[str, Any]) -> tuple[bytes, bytes]:
    """RMlabel.json (five ranked answers, in random order) and SFTlabel.json (one answer)."""
    dice = random.Random(plan["seed"])
    split = round(len(rows) * plan["ranked"])
    by_title: dict[str, list[SampleRow]] = {}
    for row in rows:
        by_title.setdefault(row.title, []).append(row)
    ranked = []
    for row in rows[:split]:
        others = [r.answer for r in by_title[row.title] if r.answer != row.answer] or [rows[0].answer]
        short = " ".join(SENTENCE_END.split(row.answer)[:-1]) or row.answer
        words = {"short": short, "other": dice.choice(others), "question": row.question.strip()}
        answers = [row.answer, *(template.format(**words) for template in plan["alternatives"])]
        order = list(range(len(answers)))
        dice.shuffle(order)
        label = {k: v for k, v in _label(row).items() if k != "answer"}
        for place, rank in enumerate(order, 1):
            label[f"answer{place:02d}"] = {**_answer(answers[rank]), "ranking": rank + 1}
        ranked.append(label)
    return _info(ranked), _info([_label(row) for row in rows[split:]])


def _label(row: SampleRow) -> dict[str, Any]:
    return {
        "data_id": row.document,
        "data_category": {"main": "문어체", "middle": row.category},
        "question_type": "생성",
        "question_count": len(row.question.split()),
        "question": row.question,
        "answer": _answer(row.answer),
    }


def _answer(text: str) -> dict[str, Any]:
    return {"answer_count": len(text.split()), "contents": text}


def _info(rows: list[dict[str, Any]]) -> bytes:
    return _json({"dataset_info": {"title": "mnatune sample"}, "data_info": rows})


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _zip(members: dict[str, bytes], *, compressed: bool = True) -> bytes:
    """A zip with fixed times; names keep their leading "/" and every member has zip64 fields."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo("placeholder", MOMENT)
            info.filename = name  # set here, because the constructor tidies names and AI Hub's are untidy
            info.compress_type = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
            with archive.open(info, "w", force_zip64=True) as member:
                member.write(data)
    return buffer.getvalue()


def _zip_cp949(name: str, data: bytes) -> bytes:
    """A zip whose member name is cp949 without the UTF-8 flag, as Windows tools write it."""
    wanted = name.encode("cp949")
    placeholder = b"/" + b"\x7e" * (len(wanted) - 1)
    return _zip({placeholder.decode("ascii"): data}).replace(placeholder, wanted)


def _tar_of_parts(name: str, data: bytes, size: int) -> bytes:
    """A tar of `name.part0`, `name.part<offset>`, …, its members in the order of their names, not of their numbers."""
    parts = {f"{name}.part{at}": data[at : at + size] for at in range(0, len(data), size)}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for part in sorted(parts):
            info = tarfile.TarInfo(part)
            info.size = len(parts[part])
            tar.addfile(info, io.BytesIO(parts[part]))
    return buffer.getvalue()


def _save(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _counts(layout: SampleLayout, dropped: set[str]) -> dict[str, int]:
    """What a correct reader must report."""
    documents, training, validation = layout.documents, layout.training, layout.validation
    kept = [r for r in training if r.kind != "echo"]
    train = documents + kept
    kinds = Counter(r.kind for r in documents + training + validation)
    in_dropped = sum(r.category in dropped for r in train)
    return {
        "rows": len(documents) + len(training) + len(validation),
        "other_qa": len(documents),
        "rlhf_rows": len(training),
        "rlhf_echo": len(training) - len(kept),
        "rlhf_after_echo": len(kept),
        "train_rows": len(train),
        "dropped_category": in_dropped,
        "after_category": len(train) - in_dropped,
        "val_rows": len(validation),
        "val_echo": sum(r.kind == "echo" for r in validation),
        "val_after_echo": sum(r.kind != "echo" for r in validation),
        **{name: kinds[kind] for name, kind in COUNTED.items()},
    }
