"""Does `mnatune law update` find the rows that an amendment touches, and only those?

    python bench/law_update.py --laws legalize-kr --history law_history.jsonl [--quick]

200 amendments that took place: the days of promulgation that the statutes' own texts name (<개정 2023.5.1>) and the days on
which an article came or went by the history. No source has the texts before: they are made by script. An article with the
day's mark loses the mark and gets another number, or loses its last sentence; an article that came is taken out; one that
went comes back with a made-up text. Among the other articles every third differs in form alone (spacing, middle dots, marks).

The rows: the pack's questions and answers, exam items and glossary, whose truth is read by a second, plain reader that
shares no code with the product (official and short names, lists, 같은 법); and four rows for each amendment that this script
writes itself, in eight ways of citing, beside five that cite something else: the same number of another law, a branch of the
number, the old law, the articles of a company, an article that changed in form alone. The baseline is a search for
"제N조" in rows that name the law. Recall and precision count pairs of amendment and row; 95 % intervals by Wilson.
"""

import argparse
import json
import random
import re
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mnatune.law.amendments import law_update
from mnatune.law.building import build
from mnatune.law.citing import CitingText, affected
from mnatune.law.law_memory import LawIndex, written
from mnatune.pack import Pack
from mnatune.service.law_round import pack_texts
from mnatune.stages.evaluate.statistics import wilson

HEAD = re.compile(r"^##### 제(\d+)조(?:의(\d+))?[^\n]*$", re.MULTILINE)
NEXT = re.compile(r"^#{1,6} ", re.MULTILINE)
ADDENDA = re.compile(r"^#{1,6} *부\s*칙", re.MULTILINE)
GONE = re.compile(r"^#####[^\n]*\n\s*삭제")
MARKED = re.compile(r"\s*[<\[](?:개정|신설|전문개정|본조신설)[^<>\[\]]*[>\]]")
WAYS = ("{name} {art}에 따르면", "「{name}」{art}제1항에 의하여", "{short} {art}", "{name} 제1조 및 {art}", "{name}을 봅니다. {same} {art}",
        "근거: {short} §{bare}", "{name} {art} 내지 제9999조", "{name}(이하 '대상법'이라 한다)을 봅니다. 대상법 {art}")  # fmt: skip
Pieces = tuple[str, dict[str, str]]  # what stands before the first article, and each article with its heading


class NoTerms:
    """No search: building an index of words takes most of the time, and a comparison needs none."""

    def numbers(self, text: str) -> np.ndarray:
        return np.zeros(0, np.int32)

    def of(self, texts: list) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(0, np.uint64), np.zeros(0, np.int32)


def pieces(text: str) -> Pieces:
    body = ADDENDA.split(text, maxsplit=1)[0]
    marks = list(HEAD.finditer(body))
    ends = [((after := NEXT.search(body, mark.end())) and after.start()) or len(body) for mark in marks]
    arts = {m[1] + (f"의{m[2]}" if m[2] else ""): body[m.start() : e] for m, e in zip(marks, ends, strict=True)}
    return body[: marks[0].start()] if marks else body, arts


def day_marks(text: str) -> set[str]:
    found = re.findall(r"(\d{4})\.\s?(\d{1,2})\.\s?(\d{1,2})", " ".join(MARKED.findall(text)))
    return {f"{int(y):04d}-{int(m):02d}-{int(d):02d}" for y, m, d in found}


def events(laws: dict[str, Pieces], history: dict[str, list[dict]]) -> dict[tuple[str, str], dict[str, str]]:
    """(law, day) → article → "amended", "added" or "repealed"."""
    found: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for law, (_, arts) in laws.items():
        for number, text in arts.items():
            if GONE.match(text):
                continue
            for day in day_marks(text):
                found[law, day][number] = "amended"
        first_day = min((row["first"] for row in history.get(law, [])), default="")
        for row in history.get(law, []):
            if (
                row["first"] > first_day
                and row["current"]
                and row["article"] in arts
                and not GONE.match(arts[row["article"]])
            ):
                found[law, row["first"]][row["article"]] = "added"
            if not row["current"] and row["article"] not in arts:
                found[law, row["last"]][row["article"]] = "repealed"
    return found


def before(piece: str, draw: random.Random) -> str:
    """An article as it may have been: another number, or without its last sentence; the day's marks gone."""
    head, _, body = MARKED.sub("", piece).partition("\n")
    numbers = list(re.finditer(r"(?<![제\d])\d+(?=일|월|년|개월|분의|퍼센트|명|억|천만)", body))
    if numbers:
        one = draw.choice(numbers)
        return f"{head}\n{body[: one.start()]}{int(one[0]) + 7}{body[one.end() :]}"
    return f"{head}\n{body.rstrip()} 다만, 종전의 예에 따라 처리할 수 있다.\n\n"


def form(piece: str) -> str:
    """The same article in another form."""
    head, _, body = piece.partition("\n")
    return f"{head}\n{MARKED.sub('', body).replace('ㆍ', '·').replace('에 따라 ', '에  따라 ').replace('할 수 있다', '할 수  있다')} <개정 1999.9.9>\n"


class PlainReader:
    """What a row cites, by a reader of its own."""

    def __init__(self, laws: list[str], aliases: dict[str, list[str]]) -> None:
        names = {self.tight(law): law for law in laws}
        for act, short in aliases.items():
            for name in short:
                for suffix in ("", " 시행령", " 시행규칙"):
                    if act + suffix in laws:
                        names[self.tight(name + suffix)] = act + suffix
        self.names = names
        known = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
        self.token = re.compile(
            rf"(?P<law>{known})|(?P<same>(?:같은|동)(?:법시행령|법시행규칙|법률|법|영))|(?P<other>[가-힣]{{1,12}}(?:법률|법|시행령|시행규칙|규정|정관|계약서?|약관|협약)(?=제\d))"
            r"|(?P<art>(?:제|§)(\d{1,4})조?(?:의(\d{1,2}))?(?=[^0-9조]|\Z))(?![항호편장절목차])"
        )

    @staticmethod
    def tight(text: str) -> str:
        return re.sub(r"[\s「」『』ㆍ·・‘’'\"]", "", text)

    def articles(self, text: str) -> set[str]:
        law, spoken, found, unnamed, named = "", "", set(), set(), set()
        for part in text.split("\n"):
            law = ""
            for m in self.token.finditer(self.tight(part)):
                if m["law"]:
                    law = spoken = self.names[m["law"]]
                    if re.search(r"(?:^|[^가-힣])구$", self.tight(part)[: m.start()]):
                        law = "?"
                elif m["same"]:
                    act = spoken.removesuffix(" 시행령").removesuffix(" 시행규칙")
                    law = act + (
                        " 시행령"
                        if "시행령" in m["same"] or m["same"].endswith("영")
                        else " 시행규칙"
                        if "규칙" in m["same"]
                        else ""
                    )
                elif m["other"]:
                    law = "?"
                elif m["art"] and ("조" in m["art"] or "§" in m["art"]):
                    number = m[5] + (f"의{m[6]}" if m[6] else "")
                    (found if law else unnamed).add(f"{law} {number}" if law else number)
                    named |= {law} if law else set()
        only = next(iter(named)) if len(named) == 1 else ""
        return {one for one in found if not one.startswith("?")} | {
            f"{only} {n}" for n in unnamed if only and only != "?"
        }


def planted(
    law: str, short: str, numbers: list[str], spoilt: list[str], draw: random.Random
) -> Iterator[tuple[CitingText, str]]:
    """Rows of an amendment with the article that each is about; an empty one for rows that are about something else."""
    for place, way in enumerate(draw.sample(WAYS, 4)):
        number = draw.choice(numbers)
        same = "같은 영" if law.endswith("시행령") else "같은 규칙" if law.endswith("시행규칙") else "같은 법"
        filled = way.format(name=law, short=short, art=written(number), bare=number, same=same)
        text = "합병 실무 질문입니다. " + filled + " 어떻게 합니까?"
        yield CitingText("training", f"{law}/{number}/{place}", "planted", text), number
    number = draw.choice(numbers)
    others = [f"국세기본법 {written(number)}에 따르면 어떻습니까?", f"구 {law} {written(number)}에 따르면 어떠하였습니까?",
              f"{law} {written(number.split('의')[0] + '의77')}은 어떻습니까?", f"{law}을 따르되 회사 정관 {written(number)}에 의합니다."]  # fmt: skip
    others += [f"{law} {written(draw.choice(spoilt))}은 무엇을 정합니까?"] if spoilt else []
    for place, text in enumerate(others):
        yield CitingText("training", f"{law}/other/{place}", "planted", text), ""


def rounds(chosen: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """The amendments in rounds in which each law comes once, as a folder of new texts would bring them."""
    made: list[list[tuple[str, str]]] = []
    for law, day in chosen:
        for one in made:
            if law not in {other for other, _ in one}:
                one.append((law, day))
                break
        else:
            made.append([(law, day)])
    return made


class Count:
    """Pairs of amendment and row."""

    def __init__(self) -> None:
        self.right = self.missed = self.wrong = 0
        self.examples: list[str] = []

    def add(self, found: set, truth: set) -> None:
        self.right += len(found & truth)
        self.missed += len(truth - found)
        self.wrong += len(found - truth)
        self.examples += [f"missed {one}" for one in sorted(truth - found)] + [
            f"wrong {one}" for one in sorted(found - truth)
        ]

    @property
    def facts(self) -> dict:
        real, said = self.right + self.missed, self.right + self.wrong
        rows = {"recall": (self.right / max(1, real), real), "precision": (self.right / max(1, said), said)}
        table = {k: [round(x, 4) for x in (v, *wilson(v, max(1, n)))] for k, (v, n) in rows.items()}
        return {**table, "affected": real, "named": said}

    @property
    def f1(self) -> float:
        return 2 * self.right / max(1, 2 * self.right + self.missed + self.wrong)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--laws", type=Path, required=True, help="a legalize-kr checkout")
    parser.add_argument("--history", type=Path, required=True, help="article numbers and days (JSON Lines)")
    parser.add_argument("--quick", action="store_true", help="40 amendments")
    parser.add_argument("--show", type=int, default=0, help="print so many errors")
    args = parser.parse_args()
    draw = random.Random(7)
    pack = Pack.load("mna_ko")
    files = {p: p.read_text(encoding="utf-8") for p in sorted(args.laws.rglob("*.md"))}
    paths = {m[1].strip(): p for p, t in files.items() if (m := re.search(r"^제목: (.+)$", t, re.MULTILINE))}
    laws = {law: pieces(files[path]) for law, path in paths.items()}
    lines = (json.loads(line) for line in args.history.read_text(encoding="utf-8").splitlines())
    happened = events(laws, {row["law"]: row["articles"] for row in lines})
    aliases = pack.yaml("citations.yaml")["aliases"]
    reader = PlainReader(list(laws), aliases)
    rows = list(pack_texts(pack))
    truths = {row.place: reader.articles(row.text) for row in rows}
    cited = set().union(*truths.values())
    touching = [event for event, arts in happened.items() if any(f"{event[0]} {n}" in cited for n in arts)]
    chosen = draw.sample(sorted(touching), min(40 if args.quick else 200, len(touching)))
    totals = {name: Count() for name in ("pack", "planted")}
    plain = {name: Count() for name in totals}
    changes = Count()
    for one in rounds(chosen):
        run_round(one, happened, files, paths, laws, pack, (rows, truths), (totals, plain, changes), draw)
    for name, count in totals.items():
        print(f"{name:<8} {json.dumps(count.facts)}   search: {json.dumps(plain[name].facts)}")
        print("\n".join(count.examples[: args.show]))
    print(f"changes  {json.dumps(changes.facts)}")
    print("\n".join(changes.examples[: args.show]))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    ratio = {f"search_{name}": round(totals[name].f1 / plain[name].f1, 2) for name in totals}
    print(json.dumps({
        "bench": "law_update", "commit": commit.stdout.strip(), "device": "CPU", "ratio": ratio,
        "ours": {"amendments": len(chosen), "changes": changes.facts, **{n: c.facts for n, c in totals.items()}},
        "baseline": {n: c.facts for n, c in plain.items()},
    }))  # fmt: skip


def run_round(chosen, happened, files, paths, laws, pack, pack_rows, counts, draw) -> None:  # type: ignore[no-untyped-def]
    """Write the texts before and after, compare them, and count."""
    (rows, truths), (totals, plain, changes) = pack_rows, counts
    days = dict(chosen)
    spoilt: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        old, new = Path(folder) / "old", Path(folder) / "new"
        for law, path in paths.items():
            head, arts = laws[law]
            head = re.sub(r"^시행일자: .*$", "시행일자: 2026-01-01", head, flags=re.MULTILINE)
            changed = happened[law, days[law]] if law in days else {}
            others = [
                n
                for place, (n, t) in enumerate(arts.items())
                if n not in changed and place % 3 == 0 and not GONE.match(t)
            ]
            spoilt[law] = others
            was = {
                n: before(t, draw) if changed.get(n) == "amended" else form(t) if n in others else t
                for n, t in arts.items()
                if changed.get(n) != "added"
            }
            was |= {
                n: f"##### {written(n)} (종전의 조문)\n\n종전의 규정에 따라 정한 바를 따른다.\n\n"
                for n, kind in changed.items()
                if kind == "repealed"
            }
            for root, texts, day in ((old, was, "2026-01-01"), (new, arts, "2027-01-01")):
                target = root / path.name.replace(".md", f"-{len(law)}-{abs(hash(law))}.md")
                target.parent.mkdir(exist_ok=True)
                target.write_text(head.replace("2026-01-01", day) + "".join(texts.values()), encoding="utf-8")
        build([old], Path(folder) / "law", pack, terms=NoTerms())  # type: ignore[arg-type]
        (Path(folder) / "citations.yaml").write_bytes(pack.path("citations.yaml").read_bytes())
        memory = LawIndex.open(folder)
        update = law_update(memory, new)
        real = {f"{law} {n}" for law in days for n in happened[law, days[law]]}
        changes.add(set(update.substantial), real)
        aliases = pack.yaml("citations.yaml")["aliases"]
        made = [(row, f"{law} {n}" if n else "") for law in days for row, n in planted(
            law, next(iter(aliases.get(law) or [law])), sorted(happened[law, days[law]]), spoilt[law], draw)]  # fmt: skip
        extra = [row for row, _ in made]
        sets = {"pack": (rows, {(law, row.place) for row in rows for key in truths[row.place] & real for law in [key.rpartition(" ")[0]]}),
                "planted": (extra, {(key.rpartition(" ")[0], row.id) for row, key in made if key})}  # fmt: skip
        for name, (texts, truth) in sets.items():
            key = (lambda row: row.place) if name == "pack" else (lambda row: row.id)
            found = {
                (a.law, key(hit.source))
                for hit in affected(texts, update.substantial, memory.checker)
                for a in hit.amendments
            }
            totals[name].add(found, truth)
            grep = {(law, key(row)) for law in days for row in texts if law in row.text or any(s in row.text for s in aliases.get(law, []))
                    for n in happened[law, days[law]] if written(n) in row.text}  # fmt: skip
            plain[name].add(grep, truth)


if __name__ == "__main__":
    main()
