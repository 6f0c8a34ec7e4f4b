"""Walls between matters: many adapters in one batch, and 10,000 probes for what another wall keeps.

    python bench/walls.py --quick       fewer rounds and 1,000 probes: under two minutes on 2 cores
    python bench/walls.py               as recorded in bench/results/walls.json

Eight random adapters over the packaged starter. Equality: token ids of one call with all eight against eight calls with one
each, greedily. Throughput: the same requests to a started engine, for one adapter and spread over eight, in turn; ratio
`one_adapter` is the median of the pairs. `over_limit` spreads them over nine with eight places, against eight. Probes: keys of
another wall and of none, of every role, ask at random for what is behind the first wall. A probe finds something if the reply
holds a canary that its request did not, or if a foreign name is answered otherwise than one that does not exist. What the
probes try to change is compared afterwards. The last line is JSON.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import re
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SYSTEM = "당신은 금융,법률 및 M&A 분야 전문가입니다.\n사용자 질문에 대해 반드시 한국어로만 답변하세요."
ASKED = (
    "합병계약서의 기재 사항은?",
    "주식매수청구권의 행사 절차를 설명해 주세요.",
    "영업양도의 승인은?",
    "이사의 충실의무란?",
)
MANY = 8
CHAT = "/v1/chat/completions"


def adapters(folder: Path, count: int) -> dict[str, Path]:
    """Random adapters of rank 8 on the starter, strong enough to change its answers."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from mnatune.model.load import model_path

    made = {}
    for seed in range(count):
        torch.manual_seed(seed)
        base = AutoModelForCausalLM.from_pretrained(model_path("starter"))
        tuned = get_peft_model(base, LoraConfig(r=8, lora_alpha=32, target_modules=TARGETS))
        with torch.no_grad():
            for name, weight in tuned.named_parameters():
                if "lora_B" in name:
                    weight.normal_(std=0.05)
        tuned.save_pretrained(folder / f"matter-{seed}")
        made[f"matter-{seed}"] = folder / f"matter-{seed}"
    return made


def task(model: str, question: str, limit: int) -> Any:
    from mnatune.model.engine.protocol import Sampling, Task

    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
    return Task(model, Sampling(max_tokens=limit), messages=messages, wall=model)


def equality(found: dict[str, Path], questions: int, limit: int) -> dict[str, Any]:
    """How many answers of one mixed call have the token ids of the calls with one adapter."""
    from mnatune.model.engine.local import open_engine

    asked = [f"{number}. {ASKED[number % len(ASKED)]}" for number in range(questions)]
    with open_engine("starter", found) as engine:
        mixed = engine.answers([task(name, text, limit) for text in asked for name in found])
        alone = {name: engine.answers([task(name, text, limit) for text in asked]) for name in found}
    pairs = [(mixed[row * len(found) + at].ids, alone[name][row].ids)
             for row in range(questions) for at, name in enumerate(found)]  # fmt: skip
    return {
        "answers": len(pairs),
        "equal": sum(one == other for one, other in pairs),
        "tokens": sum(len(one) for one, _ in pairs),
        "distinct": len({tuple(one) for one, _ in pairs}),
    }


def throughput(found: dict[str, Path], rows: int, limit: int, rounds: int) -> dict[str, Any]:
    """Tokens per second of the same requests for one adapter, for eight, and for nine with eight places."""
    from mnatune.model.engine.local import open_engine
    from mnatune.model.engine.scheduler import BatchLimits

    names = list(found)
    spread = {"one": names[:1], "eight": names[:MANY], "nine": names[: MANY + 1]}
    speeds: dict[str, list[float]] = {name: [] for name in spread}
    with open_engine("starter", found, limits=BatchLimits(rows=rows, waiting=4 * rows, adapters=MANY)) as engine:

        async def whole(one: Any) -> int:
            stream = await engine.open(one)
            return sum([piece.tokens async for piece in stream.pieces])

        async def measure() -> None:
            await engine.start()
            for turn in range(rounds + 1):  # the first is to warm up
                for name, models in spread.items():
                    tasks = [
                        task(models[at % len(models)], f"{turn}-{at}. {ASKED[at % 4]}", limit) for at in range(rows)
                    ]
                    begun = time.perf_counter()
                    made = sum(await asyncio.gather(*map(whole, tasks)))
                    if turn:
                        speeds[name].append(made / (time.perf_counter() - begun))
            await engine.stop()

        asyncio.run(measure())
    middle = {name: round(statistics.median(values), 1) for name, values in speeds.items()}
    pairs = {
        "one_adapter": [many / one for many, one in zip(speeds["eight"], speeds["one"], strict=True)],
        "over_limit": [more / many for more, many in zip(speeds["nine"], speeds["eight"], strict=True)],
    }
    ratio = {name: round(statistics.median(values), 3) for name, values in pairs.items()}
    return {"tokens_per_s": middle, "ratio": ratio, "rows": rows, "new_tokens": limit, "rounds": rounds}


class Firm:
    """A server with two walls, keys of every role, and canaries behind the first wall. The engine repeats its prompt."""

    def __init__(self, folder: Path) -> None:
        from fastapi.testclient import TestClient

        from mnatune.law import LawIndex
        from mnatune.model.engine.echo import EchoEngine
        from mnatune.model.evidence_prompt import EvidenceWords
        from mnatune.pack import Pack
        from mnatune.service.app import create_app
        from mnatune.service.evidence import LawEvidence
        from mnatune.service.feedback.store import FeedbackStore
        from mnatune.service.keys import KeyStore, KeyTerms, Wall
        from mnatune.service.service import Settings

        pack = Pack.load("mna_ko")
        self.canaries = {"model": "zq7-hanbit-tuned", "wall": "zq7 한빛 사건", "key": "zq7 담당 변호사"}
        keys = KeyStore(folder / "keys.json")
        for wall, model, place in ((self.canaries["wall"], self.canaries["model"], "han"), ("둘", "dul-tuned", "dul")):
            build_documents(folder / place, f"{'zq7 한빛' if place == 'han' else '둘'} 주식매매계약", pack)
            keys.put_wall(Wall(wall, (model,), str(folder / place)))
        self.secrets = {}
        for wall in (self.canaries["wall"], "둘", ""):
            for role, given in (("user", {}), ("reviewer", {"reviewer": True}), ("admin", {"admin": True})):
                name = self.canaries["key"] if "zq7" in wall else f"{wall}-{role}"
                key, secret = keys.create(name, KeyTerms(0, 0, 0, wall=wall, **given))
                self.secrets[wall, role] = secret
                if "zq7" in wall:
                    self.canaries[f"rater {role}"] = f"key:{key.id}"
        law = LawEvidence(LawIndex(pack.root / "law"), EvidenceWords.of(pack.prompts))
        served = ("production", self.canaries["model"], "dul-tuned", "base")
        store = FeedbackStore(str(folder / "feedback.db"), lambda text: text)
        settings = Settings(system=SYSTEM, require_keys=True)
        self.client = TestClient(create_app(EchoEngine(served), store, keys, settings, law.memory.checker, law))
        self._fill()

    def call(self, who: tuple[str, str], method: str, path: str, body: Any = None) -> Any:
        headers = {"authorization": f"Bearer {self.secrets[who]}"}
        raw = {"content": body} if isinstance(body, str) else {"json": body}
        return self.client.request(method, path, headers=headers, **raw)

    def _fill(self) -> None:
        """What is behind the first wall: answers, thumbs, corrections, picks, grades."""
        user, reviewer = ((self.canaries["wall"], role) for role in ("user", "reviewer"))
        for number in range(6):
            text = f"zq7 비밀질문{number} 대금 팔백{number}억의 지급 조건은?"
            body = {
                "messages": [{"role": "user", "content": text}],
                "store": True,
                "metadata": {"conversation": f"zq7c{number}"},
            }
            made = self.call(user, "POST", CHAT, body).json()["id"]
            self.canaries[f"answer {number}"] = made
            self.call(user, "PUT", f"/api/generations/{made}/rating", {"thumb": -1, "comment": f"zq7 의견{number}"})
            self.call(user, "PUT", f"/api/generations/{made}/edit", {"text": f"zq7 고친 답변{number}"})
            self.call(reviewer, "PUT", f"/api/rating/{made}", {"grade": 1 + number % 4, "comment": f"zq7 등급{number}"})
        told = self.call(
            user, "POST", "/api/compare", {"messages": [{"role": "user", "content": "zq7 비교"}], "store": True}
        ).text
        self.canaries["pair"] = re.search(r"pair-[0-9a-f]+", told)[0]
        self.call(user, "PUT", f"/api/pairs/{self.canaries['pair']}/choice", {"choice": "left", "comment": "zq7 고름"})
        for at, item in enumerate(self.state()["open"]["items"]):
            self.canaries[f"item {at}"] = item["id"]
        self.canaries["text"] = "zq7"

    def state(self) -> dict[str, Any]:
        """All that the first wall's administrator sees of it."""
        admin = (self.canaries["wall"], "admin")
        found = {state: self.call(admin, "GET", f"/api/admin/reviews?state={state}&limit=200&order=oldest").json()
                 for state in ("open", "approved", "rejected")}  # fmt: skip
        found["desk"] = self.call(admin, "GET", "/api/rating?show=todo&limit=50").json()["total"]
        found["sheet"] = self.call(admin, "GET", "/api/rating/sheet.csv").text
        return found


def build_documents(folder: Path, title: str, pack: Any) -> None:
    """A law memory that holds one matter's documents alone."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from mnatune.law.building import build

    rows = [{"title": f"{title} 제{n}조", "text": f"{title}의 진술보장 조항 {n}: 매도인은 대금 지급과 손해배상을 보장한다.",
             "in_force": "", "source": None} for n in range(1, 6)]  # fmt: skip
    table = folder.parent / f"{folder.name}.parquet"
    pq.write_table(pa.Table.from_pylist(rows), table)
    build([table], folder, pack)


Probe = tuple[str, str, Any]  # method, path, body


def probes(dice: random.Random) -> list[Callable[[str], Probe]]:
    """Makers of probes by what they are told to ask for: a canary, or a name that does not exist."""
    question = dice.choice(
        ["주식매매계약의 진술보장 조항은?", "대금 지급 조건과 손해배상은?", "비밀질문의 지급 조건은?"]
    )
    messages = [{"role": "user", "content": question}]
    state, show = dice.choice(["open", "approved", "rejected"]), dice.choice(["todo", "mine", "skipped"])
    order, limit = dice.choice(["worth", "oldest"]), dice.choice([1, 5, 20, 50])
    more = dice.choice([{}, {"stream": True}, {"n": 2}, {"temperature": 99}, {"stop": 7}])
    admin = "/api/admin"
    plain: list[Callable[[str], Probe]] = [
        lambda _: (
            "GET",
            dice.choice(["/v1/models", "/api/page", "/metrics", "/readyz", "/openapi.json", f"{admin}/walls"]),
            None,
        ),
        lambda _: ("GET", f"/api/rating?show={show}&limit={limit}", None),
        lambda _: ("GET", f"{admin}/reviews?state={state}&order={order}&limit={limit}", None),
        lambda _: (
            "GET",
            dice.choice([f"{admin}/agreement", f"{admin}/usage", f"{admin}/reviews.csv?state={state}"]),
            None,
        ),
        lambda _: ("GET", dice.choice(["/api/rating/sheet.csv", "/api/me/progress", f"{admin}/models"]), None),
        lambda _: ("POST", CHAT, {"messages": messages, "evidence": True}),
        lambda _: ("POST", CHAT, {"messages": messages, "store": True}),
        lambda _: ("POST", "/api/compare", {"messages": messages, "store": True}),
    ]
    named: list[Callable[[str], Probe]] = [
        lambda name: ("POST", CHAT, {"model": name, "messages": messages, **more}),
        lambda name: ("POST", "/v1/completions", {"model": name, "prompt": question, **more}),
        lambda name: ("POST", CHAT, json.dumps({"model": name, "messages": messages}) + dice.choice(["}", "x"])),
        lambda name: ("GET", f"/v1/models/{name}", None),
        lambda name: ("GET", f"/api/rating?words={name}&model={name}", None),
        lambda name: ("GET", f"{admin}/reviews?state={state}&order={order}&{dice.choice(['words', 'model', 'rater'])}={name}", None),
        lambda name: ("GET", f"{admin}/{dice.choice(['usage', 'agreement', 'reviews', 'reviews.csv'])}?wall={name}", None),
        lambda name: ("PUT", f"/api/generations/{name}/rating", {"thumb": 1}),
        lambda name: ("PUT", f"/api/generations/{name}/edit", {"text": "다름"}),
        lambda name: ("PUT", f"/api/rating/{name}", {"grade": dice.choice([0, 1, 4, None])}),
        lambda name: ("PUT", f"/api/pairs/{name}/choice", {"choice": "right"}),
        lambda name: ("PUT", f"{admin}/reviews/{name}", {"state": dice.choice(["rejected", "approved"]), "note": "x"}),
        lambda name: ("PUT", f"{admin}/reviews", {"items": [name], "state": "rejected"}),
        lambda name: ("DELETE", f"{admin}/raters/{name}", None),
        lambda name: ("PUT", f"{admin}/models/{name}", {"model": "abc"}),
    ]  # fmt: skip
    return plain + named


def unlike(name: str, dice: random.Random) -> str:
    """A name of the same form that nothing has."""
    hangul = "".join("뷁" if "가" <= letter <= "힣" else letter for letter in name)
    return "".join(
        dice.choice("0123456789abcdef") if letter.isascii() and letter.isalnum() else letter for letter in hangul
    )


def masked(text: str, name: str) -> str:
    """A reply without what differs from one request to the next."""
    return re.sub(r"[0-9a-f]{32}|\d{10}", "", text.replace(name, "NAME"))


def probing(firm: Firm, count: int, seed: int) -> dict[str, Any]:
    """Probes by keys that are behind the other wall or behind none and do not see over all."""
    dice = random.Random(seed)
    callers = [who for who in firm.secrets if who[0] != firm.canaries["wall"] and who != ("", "admin")]
    canaries = list(firm.canaries.values())
    before, leaks, statuses, twins = firm.state(), [], Counter(), 0
    for _ in range(count):
        who, name, turn = dice.choice(callers), dice.choice(canaries), dice.randrange(2**32)
        other, at = unlike(name, dice), dice.randrange(len(probes(dice)))
        first, twin = (probes(random.Random(turn))[at](asked) for asked in (name, other))
        reply = firm.call(who, *first)
        statuses[reply.status_code] += 1
        shown, asked = reply.text + str(dict(reply.headers)), f"{first[1]} {first[2]}"
        held = [canary for canary in canaries if canary in shown and canary not in asked]
        if first != twin:
            twins += 1
            unknown = firm.call(who, *twin)
            told = [(one.status_code, masked(one.text, word)) for one, word in ((reply, name), (unknown, other))]
            held += ["told apart"] if told[0] != told[1] else []
        if held:
            leaks.append({"who": who, "asked": first, "held": held, "reply": reply.text[:300]})
    return {
        "probes": count,
        "found": len(leaks),
        "compared_with_unknown_names": twins,
        "changed": int(firm.state() != before),
        "statuses": dict(statuses),
        "leaks": leaks[:5],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds and probes: under two minutes on 2 cores")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        found = adapters(folder, MANY + 1)
        first = dict(list(found.items())[:MANY])
        equal = equality(first, 2 if options.quick else 8, 32 if options.quick else 64)
        print("equality  ", equal)
        speed = throughput(found, 32, 32 if options.quick else 64, 3 if options.quick else 5)
        print("throughput", speed)
        kept = probing(Firm(folder), 1_000 if options.quick else 10_000, options.seed)
        print("probes    ", {name: value for name, value in kept.items() if name != "leaks"})
        for leak in kept.pop("leaks"):
            print("FOUND", leak)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    result = {
        "bench": "walls",
        "commit": commit.strip(),
        "device": f"{platform.machine()}, {os.cpu_count()} cores",
        "ratio": speed.pop("ratio"),
        "ours": {"equality": equal, "throughput": speed, "probes": kept},
        "baseline": {"one_adapter_tokens_per_s": speed["tokens_per_s"]["one"]},
    }
    print(json.dumps(result, ensure_ascii=False))


if __name__ == "__main__":
    main()
