"""The red team: attacks of eleven kinds on this very tree; how many were tried, how many held, what broke.

    python bench/redteam.py [--quick] [--seed 19]
    python bench/redteam.py --load [--quick]

Attacks are the suite's own cases, each counted (a test of 18 refusals is 18 attacks), and attacks drawn from the seed by
the suite's generators: every shipped pattern on hostile texts, personal numbers, broken archives and documents, requests
bent out of shape. `--quick` leaves out the slow cases and draws a quarter. `--load` serves 50 clients while 1,000 idle,
50 slow and 20 hostile ones try. Nothing leaves this machine. The last line is JSON; the exit code is 1 if anything broke.
"""

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
for room in ("tests", "tests/text", "tests/stages/read", "tests/service", "bench"):
    sys.path.insert(0, str(ROOT / room))

from redteam_load import Load, measure  # noqa: E402

from mnatune.documents import Lost, ReadFile, attempt, read_file  # noqa: E402
from mnatune.documents.sandbox import TaskLimits  # noqa: E402
from mnatune.pack import Pack  # noqa: E402
from mnatune.runs.errors import DataError  # noqa: E402

Attack = tuple[str, Callable[[], bool]]  # what it is, and whether it was held; an exception counts as broken
Drawn = Callable[[random.Random, int], Iterator[Attack]]


@dataclass
class Kind:
    """One kind of attack: files or cases of the suite, and a generator with the number of attacks to draw."""

    suite: tuple[str, ...]
    drawn: tuple[tuple[Drawn, int], ...] = ()
    held: int = 0
    broken: list[str] = field(default_factory=list)

    @property
    def tried(self) -> int:
        return self.held + len(self.broken)


# ----------------------------------------------------------------------------------------------- drawn attacks


def patterns(draw: random.Random, share: int) -> Iterator[Attack]:
    """Every regular expression of code and packs (one in `share` of them), on texts made of its own parts."""
    import re

    from test_pattern_growth import attacks, blows_up, collected

    found = list(collected().items())
    for (source, flags, anchored), where in draw.sample(found, len(found) // share):
        pattern = re.compile(source, flags)
        yield where, lambda p=pattern, a=anchored: not any(blows_up(p, attack, a) for attack in attacks(p))  # type: ignore[misc]


def citations(draw: random.Random, count: int) -> Iterator[Attack]:
    """The whole citation check on repeated fragments: eight times the text may cost eight times as much."""
    from test_pattern_growth import GROWTH

    from mnatune.law.citations import CitationChecker

    checker = CitationChecker(Pack.load("mna_ko"))
    parts = [
        "이하",
        " ",
        "(",
        ")",
        '"',
        "라 한다",
        "상법",
        "제",
        "1",
        "조",
        "항",
        "의",
        ",",
        "같은 법",
        "시행령",
        "\n",
        "및",
        "①",
    ]

    def linear(unit: str) -> bool:
        spent = []
        for size in (8_000, 64_000):
            begun = time.process_time()
            checker.find(unit * (size // len(unit)))
            spent.append(time.process_time() - begun)
        return spent[1] < max(GROWTH * spent[0], 0.1)

    for _ in range(count):
        unit = "".join(draw.choices(parts, k=draw.randint(1, 6)))
        yield f"citations of {unit!r} repeated", lambda unit=unit: linear(unit)  # type: ignore[misc]


def personal_numbers(draw: random.Random, count: int) -> Iterator[Attack]:
    """Made-up numbers in the suite's ways of writing, amid words."""
    from test_personal import KINDS, MAKERS, USUAL, VARIANTS

    frames = ("담당자의 정보는 {} 입니다.", "{}", "(문의 {})", "1. {}\n2. 계약서 제3조", "성명 홍길동, {}, 서울")
    for _ in range(count):
        kind = draw.choice(list(MAKERS))
        text = draw.choice(frames).format(draw.choice(VARIANTS)(MAKERS[kind](draw)))
        yield f"{kind} in {text!r}", lambda kind=kind, text=text: KINDS[kind]["mask"] in USUAL.mask(text)  # type: ignore[misc]


def archives(draw: random.Random, count: int) -> Iterator[Attack]:
    """Good archives broken at random: one clear error, or rows whose number and losses add up; nothing is written outside."""
    from document_faults import mutated
    from test_read_archive import good, plain

    from mnatune.runs.job import Job
    from mnatune.runs.recipe import Recipe
    from mnatune.runs.records import iter_qa
    from mnatune.runs.workspace import Run
    from mnatune.stages.read import read

    pack = Pack.load("mna_ko")

    def accounted(data: bytes) -> bool:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "hub").mkdir()
            (folder / "hub/Other.zip").write_bytes(data)
            source = {"kind": "archive", "path": str(folder / "hub")}
            recipe, run = Recipe.model_validate({"name": "x", "read": {"sources": [source]}}), Run(folder / "run")
            try:
                told, _ = run.perform("read", {}, {}, 1, "", lambda place: read(Job(recipe, pack, run, place)))
            except DataError as error:
                return bool(error.what)
            rows = sum(1 for _ in iter_qa(run.folder("read") / "qa"))
            inside = {path.name for path in folder.iterdir()} == {"hub", "run"}
            return inside and told.rows_in == rows + sum(told.dropped.values())

    for _ in range(count):
        fault, data = mutated(plain({f"{n}.json": good(n, 3) for n in range(4)}), draw)
        yield f"an archive with {fault}", lambda data=data: accounted(data)  # type: ignore[misc]


def documents(draw: random.Random, count: int) -> Iterator[Attack]:
    """Broken files of every format and cheap traps: each is read or left out for one reason, within its limits."""
    from document_faults import build

    traps = ("laughs.docx", "laughs.hwpx", "laughs.xlsx", "outside.docx", "deep.html", "wide.html", "far.xlsx")
    with tempfile.TemporaryDirectory() as name:
        made = build(Path(name), count, draw.randrange(1_000_000), traps)
        ends = list(attempt(read_file, [(path, path.name) for _, path in made], 2, TaskLimits(seconds=30)))
    for (fault, path), end in zip(made, ends, strict=True):
        held = isinstance(end, ReadFile) or (
            isinstance(end, Lost) and bool(end.reason) and end.reason != "took too long"
        )
        yield f"{fault} {path.name}", lambda held=held: held  # type: ignore[misc]


def requests(draw: random.Random, count: int) -> Iterator[Attack]:
    """Valid requests with values exchanged, left out, nested and swollen: never an error of the server's own."""
    from fastapi.testclient import TestClient
    from served_app import make_app

    message = {"role": "user", "content": "합병이란?"}
    valid: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/v1/chat/completions", {"messages": [message], "stop": ["a"], "n": 1, "temperature": 0.1, "metadata": {"conversation": "c"}}),
        ("POST", "/v1/chat/completions", {"messages": [message], "stream": True, "stream_options": {"include_usage": True}, "store": True}),
        ("POST", "/v1/completions", {"prompt": "합병", "max_tokens": 3, "top_k": 5, "seed": 7}),
        ("POST", "/api/compare", {"messages": [message], "store": True}),
        ("POST", "/api/citations", {"text": "상법 제522조"}),
        ("PUT", "/api/generations/gen-1/rating", {"thumb": 1, "tags": ["clear"], "comment": "말"}),
        ("PUT", "/api/pairs/p/choice", {"choice": "left", "comment": ""}),
    ]  # fmt: skip
    odd: list[Any] = [
        None,
        True,
        -1,
        2**63,
        1e308,
        "",
        "\ud800",
        "\x00",
        "<|im_end|>",
        "가" * 300_000,
        [],
        {},
        [[]] * 99,
        {"a": {"b": []}},
    ]

    def bent(value: Any) -> Any:
        if draw.random() < 0.25:
            return draw.choice(odd)
        if isinstance(value, dict):
            return {draw.choice((key, key, key, "extra")): bent(inner) for key, inner in value.items()}
        return [bent(inner) for inner in value] * draw.choice((1, 1, 3)) if isinstance(value, list) else value

    with TestClient(make_app()) as client:
        for _ in range(count):
            method, path, body = draw.choice(valid)
            text = json.dumps(bent(body))
            if draw.random() < 0.1:
                text = text[: draw.randrange(len(text))]

            def answered(method: str = method, path: str = path, text: str = text) -> bool:
                reply = client.request(method, path, content=text, headers={"content-type": "application/json"})
                return reply.status_code < 500

            yield f"{method} {path} {text[:80]}", answered


# ------------------------------------------------------------------------------------------------------ kinds

KINDS = {
    "1 a request that freezes the server": Kind(
        ("test_pattern_growth.py::test_a_citation_check_is_linear", "test_pattern_growth.py::test_careless_patterns_are_caught"),
        ((patterns, 1), (citations, 40)),
    ),
    "2 what leaves the machine": Kind(
        ("runs/test_journey.py::test_nothing_leaves_the_machine", "documents/test_sandbox.py::test_nothing_outside_is_reached",
         "service/test_serve_upstream.py::test_prompts_do_not_go_to_public_addresses_unless_allowed",
         "model/endpoint/test_endpoint_replies.py::test_netrc_and_proxies_have_no_say_on_this_machine",
         "stages/collect/test_collect.py::test_addresses_that_are_not_public_are_refused",
         "stages/collect/test_collect.py::test_names_are_checked_after_dns_and_at_every_hop")
    ),
    "3 prompts and keys in logs": Kind(
        ("service/feedback/test_no_prompt_in_logs.py", "model/endpoint/test_endpoint_client.py::test_a_refused_key_is_said_without_showing_it",
         "model/endpoint/test_endpoint_client.py::test_the_key_is_sent_and_never_written",
         "service/feedback/test_feedback_store.py::test_a_password_is_never_shown")
    ),
    "4 personal data": Kind(("text/test_personal.py", "text/test_personal_forms.py"), ((personal_numbers, 400),)),
    "5 losses without a word": Kind(
        ("stages/read/test_read_archive.py", "stages/read/test_read_losses.py", "stages/read/test_read_law.py"), ((archives, 60),)
    ),
    "6 memory": Kind(
        ("runs/test_yaml_text.py", "documents/test_sandbox.py", "documents/test_broken_documents.py",
         "stages/collect/test_collect.py::test_the_bomb_is_one",
         "stages/collect/test_collect_links.py::test_a_file_that_costs_too_much_ends_its_parser_and_no_more"),
        ((documents, 60),),
    ),
    "7 the door": Kind(
        ("service/test_serve_door.py", "service/test_serve_faults.py", "service/feedback/test_feedback_erasure.py",
         "service/test_serve_page_api.py::test_one_rater_cannot_touch_anothers_answers_and_can_erase_the_own"),
        ((requests, 400),),
    ),
    "8 endpoints that misbehave": Kind(
        ("model/endpoint/test_endpoint_replies.py", "model/endpoint/test_endpoint_limits.py",
         "model/endpoint/test_endpoint_client.py", "service/test_serve_upstream.py")
    ),
    "9 registry and runs": Kind(
        ("model/test_registry.py", "model/test_load.py", "runs/test_workspace.py", "runs/test_settings.py", "cli/test_cli_runs.py",
         "stages/collect/test_collect_links.py::test_no_more_pages_are_asked_for_than_the_limit_whatever_becomes_of_them")
    ),
    "10 supply chain": Kind(("test_supply.py", "test_deploy.py")),
    "11 passwords, clocks, endless patterns": Kind(
        ("runs/test_recipe.py::test_no_password_enters_a_run", "service/feedback/test_feedback_store.py::test_a_clock_that_is_ahead_erases_nothing",
         "model/endpoint/test_endpoint_replies.py::test_a_password_in_the_address_is_refused",
         "model/test_registry.py::test_a_pattern_that_may_run_for_ever_never_enters")
    ),
}  # fmt: skip


class Tally:
    """A pytest plugin: each case counts once, for the kind that names it most closely."""

    def __init__(self) -> None:
        self.owner = {f"tests/{place}": kind for kind in KINDS.values() for place in kind.suite}
        self.skipped: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        place = max((p for p in self.owner if report.nodeid.startswith(p)), key=len)
        kind = self.owner[place]
        if report.failed:
            kind.broken.append(f"{report.nodeid} ({report.when})")
        elif report.skipped:
            self.skipped[place] += 1
        elif report.when == "call":
            kind.held += 1


def suite(quick: bool) -> Tally:
    """Run the suite's cases; files that this tree does not have are named as skipped."""
    tally = Tally()
    there = [place for place in tally.owner if (ROOT / place.partition("::")[0]).is_file()]
    tally.skipped.update({f"{place} is not there": 1 for place in tally.owner if place not in there})
    options = [
        "-q",
        "--no-header",
        "--tb=short",
        "-p",
        "no:cacheprovider",
        f"--rootdir={ROOT}",
        *(["-m", "not slow"] if quick else []),
    ]
    pytest.main([*options, *(str(ROOT / place) for place in there)], plugins=[tally])
    return tally


def drawn(kind: Kind, seed: int, quick: bool) -> None:
    """Try the drawn attacks of a kind."""
    for make, count in kind.drawn:
        amount = (4 if quick else 1) if make is patterns else count // 4 if quick else count
        for name, held in make(random.Random(f"{seed} {make.__name__}"), amount):
            try:
                fine = held()
            except Exception as error:
                name, fine = f"{name}: {type(error).__name__}: {str(error)[:200]}", False
            if fine:
                kind.held += 1
            else:
                kind.broken.append(name)


def last_line(found: dict[str, Any]) -> str:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    device = f"{platform.machine()}, {os.cpu_count()} cores"
    return json.dumps(
        {"bench": "redteam", "commit": commit.stdout.strip(), "device": device} | found, ensure_ascii=False
    )


def attack_all(seed: int, quick: bool) -> bool:
    """All kinds; True if nothing broke."""
    begun = time.monotonic()
    for kind in KINDS.values():
        drawn(kind, seed, quick)
    tally = suite(quick)
    table = {name: {"tried": k.tried, "held": k.held, "broken": len(k.broken)} for name, k in KINDS.items()}
    for name, kind in KINDS.items():
        print(f"{name:<40} tried {kind.tried:>5}  held {kind.held:>5}  broken {len(kind.broken):>3}")
        print(*(f"    {one}" for one in kind.broken), sep="\n", end="\n" if kind.broken else "")
    for place, count in sorted(tally.skipped.items()):
        print(f"not tried: {place} ({count})")
    tried, held = (sum(row[name] for row in table.values()) for name in ("tried", "held"))
    ours = {
        "tried": tried,
        "held": held,
        "broken": tried - held,
        "seconds": round(time.monotonic() - begun),
        "kinds": table,
    }
    print(
        last_line(
            {"ours": ours | {"not_tried": dict(tally.skipped)}, "baseline": {}, "ratio": {"held": held / max(1, tried)}}
        )
    )
    return held == tried


def load(quick: bool) -> bool:
    """Serve under attack; True if the good clients lost nothing."""
    sizes = Load(clients=10, answers=4, idle=100, slow=10, hostile=4) if quick else Load()
    ours, alone, others = measure(sizes)
    for name, part in (("under attack", ours), ("alone", alone), ("the attackers", others)):
        print(name, *(f"  {key}: {value}" for key, value in part.items()), sep="\n")
    ratio = {"held": ours["whole"] / (sizes.clients * sizes.answers)}
    ratio |= {"answer_p50_vs_alone": round(ours["answer_s"]["p50"] / max(alone["answer_s"]["p50"], 1e-9), 2)}
    print(
        last_line(
            {"load": vars(sizes), "ours": ours | {"attackers": others}, "baseline": {"alone": alone}, "ratio": ratio}
        )
    )
    return ours["whole"] == sizes.clients * sizes.answers


def main() -> None:
    """Attack, print, and say by the exit code whether anything broke."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--load", action="store_true", help="clients under attack instead of the kinds")
    parser.add_argument("--seed", type=int, default=19)
    wish = parser.parse_args()
    fine = load(wish.quick) if wish.load else attack_all(wish.seed, wish.quick)
    raise SystemExit(0 if fine else 1)


if __name__ == "__main__":
    main()
