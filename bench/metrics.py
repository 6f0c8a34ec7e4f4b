"""Are the metrics right? Each on planted cases whose truth is known: precision and recall of what it flags.

    python bench/metrics.py [--quick] [--pack mna_ko] [--decisions FOLDER]

Cases go through the very function that measures answers in `mnatune evaluate`. Citations, genuine and false, are drawn
from the pack's statute index: a genuine one names an article in force, a false one an article or a paragraph that the
law never had. `--decisions` takes a folder of court decisions as Markdown (the public layout of precedent-kr) and says
how many of their citations, which are genuine, the checker calls false. Values are read in 500 generated pairs a kind
(bench/value_pairs.py): precision and recall of "these two are one value". False premises are judged on answers written
by hand (tests/stages/evaluate/premise_answers.yaml). `--quick` does the same; it takes seconds.
"""

import argparse
import json
import random
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import value_pairs
import yaml

from mnatune.law.citations import CitationChecker
from mnatune.model.engine.protocol import Answer
from mnatune.pack import Pack
from mnatune.runs.workspace import read_jsonl
from mnatune.stages.evaluate.measures import Yardstick
from mnatune.stages.evaluate.reading_answers import failing_keys, judge_premise
from mnatune.text.values import values

Cases = list[tuple[str, bool]]  # a text, and whether the metric has to flag it

CHINESE = [
    "公司合并需要股东会批准", "股东可以请求回购股份", "这是一个问题", "应当在三十日内提出异议", "董事会决议通过后生效",
    "根据公司法的规定", "我们认为该交易合法", "收购方应当进行尽职调查", "反垄断审查的结果", "债权人保护程序",
    "目标公司的价值评估", "股权转让协议", "需要注意的是", "首先其次最后", "按照税法规定缴纳",
    "资产负债表显示亏损", "双方签订保密协议", "证券交易所上市规则", "无效的股东大会决议", "经营者集中申报",
    "公司的合併和分割", "主要是因為的關係", "你可以請求回購", "我們認為這不合法", "他們很多股東反對嗎",
]  # fmt: skip
AROUND = (
    "합병에서는 {} 절차가 필요합니다.",
    "{}. 따라서 주주총회를 거칩니다.",
    "답변: {} 라고 봅니다.",
    "이 경우 {}，입니다.",
)
HANJA = [
    "合倂", "株式買受請求權", "會社", "分割", "營業讓渡", "支配株主", "善管注意義務", "忠實義務", "取締役", "定款",
    "特別決議", "債權者", "異議", "公告", "無效", "登記", "存續會社", "消滅會社", "物的分割", "人的分割",
    "公正", "價額", "割增", "割引", "社債",
]  # fmt: skip
PROPER = (
    "회사가 {}을 하는 경우입니다.",
    "이른바 '{}'라고 합니다.",
    "주식회사({})에 관한 규정입니다.",
    "{}의 효력과 {}은 다릅니다.",
)
KANA = (
    "これは",
    "コーポレート",
    "の",
    "会社は",
    "です",
    "ください",
    "マネジメント",
    "について",
    "による",
    "ガバナンス",
)
FORMAL = "합병은 주주총회의 승인이 필요합니다. 반대주주는 매수를 청구할 수 있습니다."
FOREIGN = ("very important", "however", "the buyer should pay", "in my opinion", "shareholders meeting", "basically")
FIELD = ("due diligence", "EBITDA", "LOI", "MOU", "IFRS", "ESG", "A사", "M&A", "earn-out", "SPA")
BROKEN = (
    "회사는 합병계약",
    "주주가 그",
    "상법 제522조의",
    "(반대주주의",
    "이 경우 매수",
    "다만 (3항의 경우에는 다릅니다.",
    "즉, '특별결의",
)
WHOLE = (
    "",
    " (상법 제522조의3)",
    " 요건은 승인, 공고 및 최고입니다.",
    " 그렇습니다",
    " 이를 ‘소규모합병’이라 합니다.",
    "\n1. 승인\n2. 공고입니다.",
    " 근거는 다음과 같음.",
)
SHORT = {
    "상법": "상법",
    "자본시장과 금융투자업에 관한 법률": "자본시장법",
    "독점규제 및 공정거래에 관한 법률": "공정거래법",
    "법인세법": "법인세법",
    "상속세 및 증여세법": "상증세법",
    "조세특례제한법": "조특법",
    "채무자 회생 및 파산에 관한 법률": "채무자회생법",
    "민법": "민법",
    "상법 시행령": "상법 시행령",
    "법인세법 시행령": "법인세법 시행령",
}
FORMS = ("{} 제{}", "「{}」 제{}", "{} 제{}에 따라", "({} 제{})", "위 규정({} 제{} 본문)")
ANSWERS = Path(__file__).parents[1] / "tests/stages/evaluate/premise_answers.yaml"
FRONT = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)


def chinese_leak() -> Cases:
    """A hundred Chinese leaks and a hundred Korean texts with legitimate Hanja."""
    leaks = [(frame.format(text), True) for frame in AROUND for text in CHINESE]
    return leaks + [(frame.replace("{}", text), False) for frame in PROPER for text in HANJA]


def kana() -> Cases:
    """Japanese in an answer, and the middle dots and long marks that Korean texts use too."""
    leaks = [(f"이 경우 {word} 합병{n}입니다.", True) for n in range(5) for word in KANA]
    dots = ("주식ㆍ사채ㆍ채권", "합병·분할", "인수・합병", "매각 ― 인수", "제1항∙제2항")
    return leaks + [(f"{words}에 관한 제{n}조입니다.", False) for n in range(10) for words in dots]


def latin() -> Cases:
    """English outside the field's vocabulary, and terms, abbreviations and company letters."""
    leaks = [(f"이 거래는 {words} 라고 제{n}조가 정합니다.", True) for n in range(8) for words in FOREIGN]
    return leaks + [(f"{words}에 관하여 제{n}조가 정합니다.", False) for n in range(5) for words in FIELD]


def mixed_register() -> Cases:
    """합니다체 throughout, and answers in which 해요체 or 한다체 is mixed with it or with each other."""
    polite = FORMAL.replace("필요합니다", "필요해요")
    mixed = [(f"{polite} 제{n}조를 보면 그렇다.", True) for n in range(25)]
    mixed += [(f"이사회가 정한다. 제{n}조에 따라 공고합니다.", True) for n in range(25)]
    return mixed + [(f"{FORMAL} 제{n}조가 정하고 있습니다.", False) for n in range(50)]


def repetition() -> Cases:
    """Answers caught in a loop of a sentence or a word, and sound ones."""
    loops = [
        (f"합병의 요건은 주주총회 결의 {n}입니다. " + "주주는 회사에 청구할 수 있다. " * 6, True) for n in range(25)
    ]
    loops += [("그렇습니다 " * (8 + n), True) for n in range(25)]
    return loops + [
        (
            f"제{n}조에 따라 합병계약서를 작성하고 주주총회의 승인을 받아야 합니다. 반대하는 주주는 결의 전에 "
            f"서면으로 반대하는 뜻을 통지하고, 결의일부터 {n}일 안에 주식의 매수를 청구할 수 있습니다. "
            "매수가액은 협의로 정합니다.",
            False,
        )
        for n in range(50)
    ]


def truncated() -> Cases:
    """Answers that break off in a word, a citation or a bracket, and whole ones."""
    broken = [(f"제{n}항을 봅니다. {FORMAL} 따라서 {end}", True) for n in range(7) for end in BROKEN]
    return broken + [(f"제{n}항을 봅니다. {FORMAL}{end}", False) for n in range(7) for end in WHOLE]


def think_leak() -> Cases:
    """A think mark in the answer, and the harmless word 생각."""
    leaks = [
        (text.format(FORMAL, n), True) for n in range(10) for text in ("<think>\n음 {1}\n</think>{0}", "{0}</think>{1}")
    ]
    return leaks + [(f"{FORMAL} 생각할 점은 {n}가지입니다.", False) for n in range(20)]


def false_citations(checker: CitationChecker, genuine: int = 200, false: int = 100) -> Cases:
    """Sentences with one citation each, of laws by their official and short names, in several forms."""
    draw = random.Random(7)
    cases = []
    for n in range(genuine + false):
        official = draw.choice(sorted(SHORT))
        articles = checker.index.laws[official]
        number, article = draw.choice(sorted(pair for pair in articles.items() if pair[1].in_force(checker.at)))
        main, _, branch = number.partition("의")
        cited = f"{main}조의{branch}" if branch else f"{main}조"
        if n < genuine:
            cited += f" 제{draw.randint(1, article.paragraphs)}항" if article.paragraphs > 1 and n % 2 else ""
        elif n % 2:
            cited += f" 제{article.paragraphs + draw.randint(1, 5)}항"
        elif n % 4:
            cited = f"{max(int(key.partition('의')[0]) for key in articles) + draw.randint(1, 300)}조"
        else:
            cited = f"{main}조의{draw.randint(60, 99)}"
        form = FORMS[n % len(FORMS)].format(draw.choice([official, SHORT[official]]), cited)
        cases.append((f"회사는 {form} 절차를 밟습니다.", n >= genuine))
    return cases


def unsupported_numbers() -> Cases:
    """Figures absent from `SUPPORT`, and figures it contains in the same or another notation."""
    wrong = (
        "30일 안에 청구합니다.",
        "지분 20% 초과입니다.",
        "지분 25%가 필요합니다.",
        "자산이 5,000억 원입니다.",
        "2주 안에 공고합니다.",
    )
    right = (
        "20일 안에 청구합니다.",
        "제374조의 20일입니다.",
        "지분 20퍼센트가 필요합니다.",
        "자산이 3,000억원입니다.",
        "100분의 20입니다.",
    )
    return [(f"{text} {n}", True) for n in range(8) for text in wrong] + [
        (f"{t} {n}", False) for n in range(8) for t in right
    ]


SUPPORT = "상법 제522조의3은 20일, 지분 20% 이상, 자산총액 3천억 원을 정합니다."


def found(yardstick: Yardstick, metric: str, text: str) -> bool:
    """Whether the metric of `mnatune evaluate` flags the text."""
    reference = SUPPORT if metric == "unsupported_numbers" else FORMAL
    return yardstick.measure(Answer(text, [], True), "", reference).pairs[metric][0] > 0


def planted(pack: Pack) -> dict[str, dict[str, float]]:
    """Metric → cases, to be flagged, precision, recall."""
    yardstick = Yardstick(pack)
    assert yardstick.checker
    sets = {
        "chinese_leak": chinese_leak(),
        "kana": kana(),
        "latin": latin(),
        "mixed_register": mixed_register(),
        "repetition": repetition(),
        "truncated": truncated(),
        "think_leak": think_leak(),
        "false_citations": false_citations(yardstick.checker),
        "unsupported_numbers": unsupported_numbers(),
    }
    table = {}
    for metric, cases in sets.items():
        flagged = [found(yardstick, metric, text) for text, _ in cases]
        hits = sum(flag and wanted for flag, (_, wanted) in zip(flagged, cases, strict=True))
        wanted = sum(truth for _, truth in cases)
        table[metric] = {
            "cases": len(cases),
            "planted": wanted,
            "precision": round(hits / max(1, sum(flagged)), 4),
            "recall": round(hits / wanted, 4),
        }
    return table


def same_values() -> dict[str, dict[str, float]]:
    """Kind of value → pairs, precision and recall of agreement; what differs is printed."""
    table = {}
    for kind in value_pairs.KINDS:
        counts: Counter[tuple[bool, bool]] = Counter()
        for one, other, same in value_pairs.pairs(kind):
            a, b = values(one), values(other)
            agree = len(a) == len(b) > 0 and all(x.agrees(y) for x, y in zip(a, b, strict=True))
            counts[agree, same] += 1
            if agree != same:
                print(f"  {kind}: {one!r} and {other!r} taken for {'one' if agree else 'two'}")
        hits = counts[True, True]
        table[kind] = {
            "pairs": counts.total(),
            "precision": round(hits / max(1, hits + counts[True, False]), 4),
            "recall": round(hits / max(1, hits + counts[False, True]), 4),
        }
    return table


def premises(pack: Pack) -> dict[str, float]:
    """Share of hand-written answers, and of the pack's own keys, that are judged as labelled."""
    rows = {row["id"]: row for row in read_jsonl(pack.path("exam/false_premise.jsonl"))}
    words = pack.yaml("evaluate.yaml")
    labelled = yaml.safe_load(ANSWERS.read_text(encoding="utf-8"))
    right = sum(judge_premise(text, rows[name], words) == verdict for name, verdict, text in labelled)
    keys = 1 - len(failing_keys(list(rows.values()), words)) / len(rows)
    return {"answers": len(labelled), "right": round(right / len(labelled), 4), "keys": round(keys, 4)}


def decisions(checker: CitationChecker, folder: Path) -> dict[str, float]:
    """Citations of genuine decisions: how many the checker calls false, and how many it cannot tell."""
    counts: Counter[str] = Counter()
    for text in _texts(folder):
        counts["decisions"] += 1
        for citation in checker.find(text):
            counts["citations"] += 1
            counts["unresolved, all laws"] += citation.verdict == "unresolved"
            if citation.law in checker.index.laws:
                counts["to laws of the index"] += 1
                counts[citation.verdict] += 1
    decided = counts["valid"] + counts["invalid"]
    return {
        **dict(counts),
        "false_alarm_rate": round(counts["invalid"] / max(1, decided), 5),
        "unresolved_share": round(counts["unresolved"] / max(1, counts["to laws of the index"]), 5),
        "unresolved_share_all_laws": round(counts["unresolved, all laws"] / max(1, counts["citations"]), 5),
    }


def _texts(folder: Path) -> Iterator[str]:
    for file in sorted(folder.rglob("*.md")):
        yield FRONT.sub("", file.read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the same; it takes seconds")
    parser.add_argument("--pack", default="mna_ko")
    parser.add_argument("--decisions", type=Path, help="folder of genuine decisions (Markdown)")
    args = parser.parse_args()
    pack = Pack.load(args.pack)
    table = planted(pack)
    print(f"{'metric':<20} {'cases':>6} {'planted':>8} {'precision':>10} {'recall':>7}")
    for metric, row in table.items():
        print(f"{metric:<20} {row['cases']:>6} {row['planted']:>8} {row['precision']:>10.3f} {row['recall']:>7.3f}")
    found_values = same_values()
    print(f"\n{'value':<20} {'pairs':>6} {'precision':>10} {'recall':>7}")
    for kind, row in found_values.items():
        print(f"{kind:<20} {row['pairs']:>6} {row['precision']:>10.3f} {row['recall']:>7.3f}")
    judged = premises(pack)
    print(
        f"\nfalse premises: {judged['right']:.3f} of {judged['answers']} answers, {judged['keys']:.3f} of the pack's keys"
    )
    genuine: dict[str, float] = {}
    if args.decisions:
        genuine = decisions(CitationChecker(pack), args.decisions)
        print("\ngenuine decisions: " + ", ".join(f"{name} {value}" for name, value in genuine.items()))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    result = {
        "bench": "metrics",
        "commit": commit.stdout.strip(),
        "device": "CPU",
        "ratio": {},
        "ours": {"planted": table, "values": found_values, "premises": judged, "decisions": genuine},
        "baseline": {},
    }
    print(json.dumps(result, ensure_ascii=False))


if __name__ == "__main__":
    main()
