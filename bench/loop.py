"""One round of the feedback loop, for real: answers rated and corrected, learned from, compared, promoted, rolled back.

    python bench/loop.py                  offline, minutes on 2 cores; everything stays under runs/loop
    python bench/loop.py --out FOLDER     elsewhere; FOLDER/first is kept, a second call goes straight to the round

All of it is the shipped program: `mnatune run`, `serve`, `feedback export`, `improve` and `models` as processes of their
own, HTTP, Chromium where it is installed, training and evaluation on the bundled starter model. Only the raters are
simulated: of the pack's questions and answers some are withheld from the first model; the raters ask those questions
and correct the answers to the withheld ones. One correction is rejected in review, and one cites an article that does
not exist and is approved by mistake. Clients go on asking while the model is exchanged, and none of them may see an
error. The last line is JSON; the exit status is 1 if something did not hold.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

ROOT = Path(__file__).parents[1]
QA = ROOT / "packs" / "mna_ko" / "qa.jsonl"
ANSWERS = 30  # rated and corrected
IN_THE_PAGE = 6  # of those
RATERS = 3
PROBE = "주식매수청구권은 어떤 경우에 행사할 수 있나요?"
FALSE_CITATION = "상법 제9999조에 따라 이사회 결의만으로 합병할 수 있습니다."
# The starter's answers are too poor for chrF++ to tell two of them apart, so the loss of the held-out answers decides;
# the margin is wide because one of some forty questions is 2.5 points.
EVALUATE = {"items": 40, "primary": "loss", "guard_margin": 10}
ROUND = ("train.epochs=3", "train.learning_rate=1e-3")  # a third of the first model's rate: it goes on, not anew
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def say(text: str) -> None:
    print(text, flush=True)


class Seconds:
    """How long each step took; also says what begins."""

    def __init__(self) -> None:
        self.taken: dict[str, float] = {}

    @contextmanager
    def step(self, name: str, told: str) -> Iterator[None]:
        say(f"\n== {told}")
        begun = time.perf_counter()
        yield
        self.taken[name] = round(time.perf_counter() - begun, 1)


def mnatune(*arguments: str, quiet: bool = False) -> str:
    """Run a command as a user would, show it with its output, and give the output back; ends the bench if it fails."""
    say(f"$ mnatune {' '.join(arguments)}")
    command = [sys.executable, "-m", "mnatune", *arguments]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"exit status {done.returncode}\n{done.stdout}{done.stderr}")
    if not quiet:
        say(done.stdout.rstrip())
    return done.stdout


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1", "COLUMNS": "160"}


# The first model


def withhold(out: Path) -> tuple[list[dict[str, str]], Path]:
    """Rows of the pack for the raters, spread over its topics, and a recipe that trains on all the others."""
    rows = [json.loads(line) for line in QA.read_text(encoding="utf-8").splitlines()]
    step = len(rows) // (ANSWERS + 2)
    withheld = rows[step // 2 :: step][: ANSWERS + 2]
    rest = out / "qa.jsonl"
    told = (json.dumps(row, ensure_ascii=False) for row in rows if row not in withheld)
    rest.write_text("\n".join(told) + "\n", encoding="utf-8")
    values = yaml.safe_load((ROOT / "recipes" / "quickstart.yaml").read_text(encoding="utf-8"))
    source = {"kind": "qa", "path": str(rest.resolve()), "name": "mna-qa", "licence": "Apache-2.0"}
    values |= {"read": {"sources": [source]}, "evaluate": EVALUATE}
    recipe = out / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    return withheld, recipe


def begin(out: Path) -> tuple[list[dict[str, str]], Path, str]:
    """The first model in production; returns the withheld rows, the recipe and the model's name."""
    withheld, recipe = withhold(out)
    mnatune("run", str(recipe), "--out", str(out / "first"), quiet=True)
    verdict = json.loads((out / "first" / "7-evaluate" / "verdict.json").read_text(encoding="utf-8"))
    say(f"first model against the base: {verdict['verdict']}\n  {verdict['reasons'][0]}")
    models = str(out / "models")
    name = mnatune("models", "register", str(out / "first"), "--models", models).split()[0]
    told = [] if verdict["verdict"] == "promote" else ["--override", "first model"]
    mnatune("models", "promote", name, "--models", models, *told)
    return withheld, recipe, name


# The server and who uses it


class Server:
    """`mnatune serve --models` in a process of its own, with API keys; its log goes to serve.log."""

    def __init__(self, out: Path) -> None:
        self.keys = {name: self._key(out, name) for name in (*(f"rater-{n}" for n in range(RATERS)), "reviewer")}
        options = ["--models", out / "models", "--feedback", out / "feedback.db", "--keys", out / "keys.json"]
        command = [sys.executable, "-m", "mnatune", "serve", *map(str, options), "--port", "0"]
        say(f"$ mnatune {' '.join(command[3:])}")
        with (out / "serve.log").open("w") as log:
            self.process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        told = self.process.stdout.readline()
        if not told:
            raise SystemExit(f"the server did not start; see {out / 'serve.log'}")
        say(told.rstrip())
        self.url = told.split()[-1]

    def _key(self, out: Path, name: str) -> str:
        admin = ["--admin"] if name == "reviewer" else []
        limits = ["--requests", "0", "--tokens", "0"]
        return mnatune("keys", "create", name, "--file", str(out / "keys.json"), *limits, *admin, quiet=True).strip()

    def client(self, name: str) -> httpx.Client:
        return httpx.Client(
            base_url=self.url, headers={"authorization": f"Bearer {self.keys[name]}"}, timeout=120, trust_env=False
        )

    def close(self) -> int:
        """Ask it to end, as a service manager does; returns the exit status."""
        self.process.terminate()
        return self.process.wait(90)


def probe(server: Server) -> dict[str, Any]:
    """The most likely answer to the same question each time, as the API gives it."""
    body = {"messages": [{"role": "user", "content": PROBE}], "temperature": 0}
    with server.client("rater-0") as client:
        reply = client.post("/v1/chat/completions", json=body).raise_for_status().json()
    text = reply["choices"][0]["message"]["content"]
    say(f"{reply['model']} {reply['system_fingerprint']}: {text[:60]}…")
    return {"model": reply["model"], "fingerprint": reply["system_fingerprint"], "text": text}


@dataclass
class Crowd:
    """Clients that ask without end while the model is exchanged."""

    server: Server
    clients: int = 2
    pause: float = 0.5
    seen: list[tuple[float, float, str]] = field(default_factory=list)  # begun, ended, fingerprint
    failures: list[str] = field(default_factory=list)

    @contextmanager
    def asking(self) -> Iterator["Crowd"]:
        stop = threading.Event()
        threads = [threading.Thread(target=self._ask, args=(stop,)) for _ in range(self.clients)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def _ask(self, stop: threading.Event) -> None:
        body = {"messages": [{"role": "user", "content": PROBE}], "stream": True, "max_tokens": 48}
        with self.server.client("rater-1") as client:
            while not stop.is_set():
                begun, mark, finish = time.monotonic(), "", ""
                try:
                    with client.stream("POST", "/v1/chat/completions", json=body) as reply:
                        for line in reply.raise_for_status().iter_lines():
                            if line.startswith("data: {"):
                                event = json.loads(line[6:])
                                mark, finish = event["system_fingerprint"], event["choices"][0]["finish_reason"]
                    if not finish:
                        raise ValueError("the answer broke off")
                except (httpx.HTTPError, ValueError, KeyError, IndexError) as error:
                    self.failures.append(f"{type(error).__name__}: {error}")
                self.seen.append((begun, time.monotonic(), mark))
                stop.wait(self.pause)

    def until(self, fingerprint: str, seconds: float = 60) -> float:
        """Wait until somebody was answered by this model; returns how long that took."""
        begun = time.monotonic()
        while not any(mark == fingerprint and start > begun for start, _, mark in list(self.seen)):
            if time.monotonic() - begun > seconds:
                raise SystemExit(f"nobody was answered by {fingerprint} within {seconds:.0f} s")
            time.sleep(0.05)
        return round(time.monotonic() - begun, 1)

    def bridged(self, new: str) -> int:
        """Answers that another model had begun and finished after the new one answered for the first time."""
        first = min(begun for begun, _, mark in self.seen if mark == new)
        return sum(begun < first < ended and mark != new for begun, ended, mark in self.seen)


# The raters and the reviewer


def rate_by_api(server: Server, rater: str, cases: list[tuple[str, str]]) -> None:
    """Ask, call the answer wrong, and correct it."""
    with server.client(rater) as client:
        for question, correction in cases:
            body = {"messages": [{"role": "user", "content": question}], "store": True, "max_tokens": 96}
            answer = client.post("/v1/chat/completions", json=body).raise_for_status().json()["id"]
            rating = {"thumb": -1, "tags": ["wrong_fact"], "comment": "원칙과 다릅니다"}
            client.put(f"/api/generations/{answer}/rating", json=rating).raise_for_status()
            client.put(f"/api/generations/{answer}/edit", json={"text": correction}).raise_for_status()


def rate_in_page(server: Server, rater: str, cases: list[tuple[str, str]], compared: str) -> None:
    """The same with mouse and keyboard, and one blind comparison."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(locale="ko-KR")
        context.add_init_script("localStorage.setItem('mnatune.consent', 'yes')")
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(server.url)
        page.fill("#key", server.keys[rater])
        page.press("#key", "Enter")
        page.wait_for_selector("body[data-ready]")
        for question, correction in cases:
            page.click("#new-chat")
            page.fill("#question", question)
            page.press("#question", "Enter")
            page.get_by_role("button", name="아쉬워요").click()
            page.get_by_label("빠진 내용").check()
            page.get_by_role("button", name="의견 보내기").click()
            page.get_by_text("의견을 보냈습니다").first.wait_for()
            page.get_by_role("button", name="답변 고치기").click()
            page.get_by_label("고친 답변", exact=True).fill(correction)
            page.get_by_role("button", name="고친 답변 저장").click()
            page.get_by_text("고친 답변을 저장했습니다").first.wait_for()
        page.click("#new-chat")
        page.click("#compare")
        page.fill("#question", compared)
        page.press("#question", "Enter")
        page.get_by_role("button", name="가가 더 좋음").click()
        page.locator(".answer.chosen").wait_for()
        browser.close()


def give_feedback(server: Server, withheld: list[dict[str, str]]) -> dict[str, int]:
    """All raters at once; returns how many answers were rated where."""
    cases = [(row["question"], row["answer"]) for row in withheld[:ANSWERS]]
    cases[-1] = (cases[-1][0], FALSE_CITATION)
    in_page = IN_THE_PAGE if CHROMIUM and _has_playwright() else 0
    by_api = cases[in_page:]
    threads = [
        threading.Thread(target=rate_by_api, args=(server, f"rater-{n}", by_api[n::RATERS])) for n in range(RATERS)
    ]
    for thread in threads:
        thread.start()
    if in_page:
        rate_in_page(server, "rater-0", cases[:in_page], withheld[ANSWERS]["question"])
    for thread in threads:
        thread.join()
    say(f"{len(by_api)} answers rated and corrected through the API, {in_page} in Chromium, {in_page and 1} compared")
    return {"api": len(by_api), "page": in_page}


def _has_playwright() -> bool:
    try:
        import playwright  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


def review(server: Server) -> dict[str, int]:
    """Approve everything but the first correction."""
    done: Counter[str] = Counter()
    with server.client("reviewer") as client:
        while items := client.get("/api/admin/reviews?limit=200").raise_for_status().json()["items"]:
            for item in items:
                state = "rejected" if item["kind"] == "edit" and not done["rejected"] else "approved"
                client.put(f"/api/admin/reviews/{item['id']}", json={"state": state}).raise_for_status()
                done[state] += 1
    say(f"reviewed: {dict(done)}")
    return dict(done)


# The round


def improve(out: Path, recipe: Path) -> tuple[str, str]:
    """Export, learn, compare, promote or hold; returns the verdict and the new model's name.

    A model that is only held is promoted with a reason, as a person may.
    """
    store = ["--db", str(out / "feedback.db")]
    exported = mnatune("feedback", "export", "--out", str(out / "export"), *store, "--held-out", str(out / "first"))
    changes = [word for change in ROUND for word in ("--set", change)]
    models = ["--models", str(out / "models")]
    told = mnatune("improve", str(recipe), "--out", str(out / "round"), *store, *models, *changes)
    decision, name = told.split()[-2:]
    same = json.loads((out / "round" / "feedback" / "manifest.json").read_text(encoding="utf-8"))["export"]
    hold(exported.split()[-1] == same[:12], "improve learned from the export that `feedback export` shows")
    if decision != "promote":
        mnatune("models", "promote", name, *models, "--override", "to show how a held model is promoted and taken back")
    return decision, name


def lineage(out: Path, name: str) -> int:
    """Follow each piece of feedback to its row, the row to the run, the run to the verdict; returns the pieces."""
    shown = json.loads(mnatune("models", "show", name, "--models", str(out / "models"), quiet=True))
    composed = Path(shown["run"]) / "5-compose"
    places = {name: {row["id"] for row in rows_of(composed / f"{name}.jsonl")} for name in ("train", "test")}
    items = [item for item in shown["items"] if item["file"] == "train"]
    found = Counter(next((n for n, ids in places.items() if item["row"] in ids), "curated") for item in items)
    for item in items[:3]:
        say(f"feedback {item['feedback']} → row {item['row']} → {composed.parent} → {shown['verdict']['verdict']}")
    say(f"… {len(items)} corrections in all: {dict(found)}; parent {shown['parent']}, export {shown['feedback'][:12]}")
    hold(found["train"] > 0 and found["train"] + found["test"] + found["curated"] == len(items), "lineage is whole")
    return len(items)


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


FAULTS: list[str] = []


def hold(true: bool, claim: str) -> None:
    say(f"{'holds' if true else 'DOES NOT HOLD'}: {claim}")
    if not true:
        FAULTS.append(claim)


def exchange(server: Server, told: str, work: Callable[[], str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Exchange the model under load: `work` does it and returns the fingerprint to come; returns probe and figures."""
    crowd = Crowd(server)
    with crowd.asking():
        fingerprint = work()
        waited = crowd.until(fingerprint)
    hold(not crowd.failures, f"none of {len(crowd.seen)} requests failed during {told}: {crowd.failures[:1]}")
    figures = {
        "requests": len(crowd.seen),
        "failed": len(crowd.failures),
        "finished_on_the_old_model_after_the_new_one_answered": crowd.bridged(fingerprint),
        "seconds_until_followed": waited,
    }
    say(json.dumps(figures))
    return probe(server), figures


def round_of(out: Path, seconds: Seconds) -> dict[str, Any]:
    """Everything; returns the figures."""
    with seconds.step("first", "a first model, trained without the withheld answers"):
        withheld, recipe, first = begin(out)
    with seconds.step("serve", "a server that follows what is in production"):
        server = Server(out)
    try:
        before = probe(server)
        with seconds.step("feedback", "raters ask, rate and correct"):
            given = give_feedback(server, withheld)
        with seconds.step("review", "a reviewer approves and rejects"):
            reviewed = review(server)
        verdict: list[str] = []

        def learned() -> str:
            verdict.extend(improve(out, recipe))
            return f"fp_{verdict[1]}"

        with seconds.step("improve", "learn, compare, promote; clients go on asking"):
            after, swap = exchange(server, "improvement and promotion", learned)
        decision, second = verdict
        alone = mnatune("ask", PROBE, "--greedy", "--run", str(out / "round" / "run")).strip()
        hold(after["text"] == alone, "the server says what the new adapter says without a server")
        hold(after["text"] != before["text"], "the new model answers otherwise than the old one")
        with seconds.step("lineage", "from feedback to verdict"):
            pieces = lineage(out, second)

        def back() -> str:
            mnatune("models", "rollback", "--models", str(out / "models"))
            return f"fp_{first}"

        with seconds.step("rollback", "back again; clients go on asking"):
            again, swap_back = exchange(server, "rollback", back)
        hold(again == before, "after the rollback the server answers as before")
        mnatune("models", "list", "--models", str(out / "models"))
    finally:
        status = server.close()
    hold(status in (0, -signal.SIGTERM), "the server ends on SIGTERM without being killed")
    return {
        "rated_and_corrected": given,
        "reviewed": reviewed,
        "corrections_learned_or_tested": pieces,
        "verdict": decision,
        "reasons": json.loads((out / "round" / "verdict.json").read_text(encoding="utf-8"))["reasons"],
        "promotion": swap,
        "rollback": swap_back,
        "seconds": seconds.taken,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "loop")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for name in ("models", "export", "round"):
        shutil.rmtree(out / name, ignore_errors=True)
    for file in (*out.glob("feedback.db*"), out / "keys.json"):
        file.unlink(missing_ok=True)
    figures = round_of(out, Seconds())
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    result = {
        "bench": "loop",
        "commit": commit.strip(),
        "device": f"{platform.machine()}, {os.cpu_count()} cores",
        "does_not_hold": FAULTS,
        "ours": figures,
    }
    print(json.dumps(result, ensure_ascii=False))
    return 1 if FAULTS else 0


if __name__ == "__main__":
    sys.exit(main())
