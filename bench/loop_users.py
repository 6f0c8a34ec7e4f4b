"""The server of `bench/loop.py`, and the simulated raters, reviewer and clients that use it.

Does not: judge an answer. The raters call every answer wrong and put the withheld one in its place.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[1]
ANSWERS = 30  # rated and corrected
IN_THE_PAGE = 6  # of those
RATERS = 3
PROBE = "주식매수청구권은 어떤 경우에 행사할 수 있나요?"
FALSE_CITATION = "상법 제9999조에 따라 이사회 결의만으로 합병할 수 있습니다."
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def say(text: str) -> None:
    print(text, flush=True)


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
