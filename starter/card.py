"""Write the starter's card, README.md, with its loss curve, from log.jsonl beside it.

    python starter/card.py [--add work/starter/log.jsonl]

log.jsonl holds the pre-training in short, run after run: the loss as a mean over 20 steps, and the held-out losses.
--add puts the log of a run that has just ended behind it.
"""

import argparse
import json
import math
from pathlib import Path

WIDTH, HEIGHT, MARGIN = 720, 320, 46
KINDS = {
    "holding": ("판시·요지", "#1f5a99"),
    "decision": ("판결문", "#8a5a00"),
    "statute": ("법령", "#3c7a3c"),
    "chat": ("대화", "#9b2f4f"),
}


def shortened(log: Path, run: int) -> list[dict]:
    """The log of a run with every 20 training losses as one."""
    # A resumed run writes some steps twice; the last line of a step is the one that counted.
    steps = {entry["step"]: entry for entry in map(json.loads, log.open(encoding="utf-8"))}
    entries = [steps[step] for step in sorted(steps)]
    means = [
        {"run": run, "tokens": part[-1]["tokens"], "loss": round(sum(e["loss"] for e in part) / len(part), 4)}
        for part in (entries[at : at + 20] for at in range(0, len(entries), 20))
    ]
    held = [{"run": run, "tokens": e["tokens"], "held_out": e["held_out"]} for e in entries if "held_out" in e]
    return sorted([*means, *held], key=lambda entry: entry["tokens"])


def curve(entries: list[dict]) -> str:
    """Loss by tokens as an SVG: training loss, and held-out loss by kind of text."""
    last = entries[-1]["tokens"]
    lines = {"학습": ("#777777", [(e["tokens"], e["loss"]) for e in entries if "loss" in e])}
    for kind, (label, colour) in KINDS.items():
        lines[f"보류 {label}"] = (colour, [(e["tokens"], e["held_out"][kind]) for e in entries if "held_out" in e])
    top = math.ceil(max(y for _, points in lines.values() for _, y in points))

    def place(tokens: float, loss: float) -> str:
        x = MARGIN + (WIDTH - 2 * MARGIN) * tokens / last
        y = HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * loss / top
        return f"{x:.1f},{y:.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">'
    ]
    parts.append(f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>')
    for value in range(0, top + 1, 2):
        (x, y), right = place(0, value).split(","), place(last, value)
        parts.append(f'<polyline points="{x},{y} {right}" stroke="#dddddd"/><text x="12" y="{y}">{value}</text>')
    for number, (label, (colour, points)) in enumerate(lines.items()):
        path = " ".join(place(*point) for point in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        parts.append(f'<text x="{MARGIN + 125 * number}" y="20" fill="{colour}">{label}</text>')
    parts.append(f'<text x="{WIDTH - 190}" y="{HEIGHT - 14}">토큰 (끝 {last / 1e6:.1f}백만), 손실(nat)</text></svg>')
    return "\n".join(parts) + "\n"


def card(entries: list[dict], folder: Path) -> str:
    """The card's text."""
    final = [e for e in entries if "held_out" in e][-1]
    first = max(e["tokens"] for e in entries if e["run"] == 1)
    weights = (folder / "model" / "model.safetensors").stat().st_size / 2**20
    config = json.loads((folder / "model" / "config.json").read_text(encoding="utf-8"))
    rows = "\n".join(f"| {label} | {final['held_out'][kind]:.3f} |" for kind, (label, _) in KINDS.items())
    measured = (folder / "measured.md").read_text(encoding="utf-8")
    return f"""# 시작 모델 카드 (starter model card)

`mnatune`의 빠른 시작, 시험, 시연에 쓰는 작은 한국어 Qwen3입니다. 처음부터 학습했고 패키지에 들어 있어 내려받을 것이 없습니다.

**쓸 곳**: 파이프라인을 시험하는 일. **절대 쓰면 안 되는 곳**: 사실, 법률, 세무, 투자에 관한 질문에 답하게 하는 일. 이 모델은 아는 것이 없고,
그럴듯한 문장으로 틀린 말을 합니다.

| 항목 | 값 |
|---|---|
| 구조 | `Qwen3ForCausalLM`, 너비 {config["hidden_size"]}, {config["num_hidden_layers"]}층, 질의 머리 {config["num_attention_heads"]} / 키 머리 {config["num_key_value_heads"]}, 임베딩 공유 |
| 매개변수 | 9,377,024 (bf16 safetensors {weights:.1f} MiB) |
| 문맥 | {config["max_position_embeddings"]} 토큰까지 받음. 학습은 512, 학습률이 내려가는 동안은 1,024 토큰 창 |
| 토크나이저 | 바이트 BPE 12,000 + Qwen3 특수 토큰 26, NFC, Qwen3와 같은 대화 템플릿 |
| 본 토큰 | {entries[-1]["tokens"]:,} (1차 {first:,}, 이어서 2차 {entries[-1]["tokens"] - first:,}; 스텝당 8,192) |
| 최적화 | 행렬 Muon, 나머지 AdamW, 경사 자름 1.0, 예열 3 % → 일정 → 선형 감소. 1차 4e-3·3e-3에 마지막 25 % 감소, 2차 2.5e-3·1.5e-3에 마지막 40 % 감소 |
| 마무리 | 되풀이 줄이기(`unloop.py`): 스스로 이어 쓴 글에서 되풀이한 4-gram의 확률을 낮추는 학습(unlikelihood, Welleck 외 2020) |
| 장비 | CPU 1~2코어, bf16 autocast, torch.compile |

## 자료

공공 저작물(저작권법 제7조에 따라 보호받지 못하는 법령과 판결) 1억 5천만 자: 법령 7,600만 자, 판결문 4,500만 자, 판시사항·판결요지 2,900만 자.
문서 1,000개 중 10개는 식별자의 해시로 떼어 두고 학습하지 않았습니다. 두 차례 모두 학습률이 내려가는 동안 판시사항·판결요지를 대화 틀에 넣은 글이 35 % 섞여 있어
기본 모델도 `<|im_end|>`에서 멈춥니다. 가중치만 배포하고 글은 배포하지 않습니다.

## 손실

![손실 곡선](loss.svg)

| 보류 자료 | 손실 (nat/토큰) |
|---|---:|
{rows}

{measured}
{_again(entries[-1]["tokens"], first)}"""


def _again(tokens: int, first: int) -> str:
    """How the model is made again, its licence, and the card in a few English words.

    Args:
        tokens: seen in all; `first` of them in the first run.
    """
    return f"""## 다시 만들기

```bash
python starter/tokenizer.py --corpus corpus.jsonl.zst --out starter/model
python starter/pretrain.py  --corpus corpus.jsonl.zst --work work/starter --tokens {tokens / 1e6:.1f}e6
python starter/unloop.py    --work work/starter --steps 30
python starter/unloop.py    --work work/starter --steps 20 --seed 8
python starter/measure.py   아무-글.txt
python starter/continuations.py
python starter/card.py      --add work/starter/log.jsonl
```

`corpus.jsonl.zst`의 한 줄은 `{{"kind": "holding|decision|statute", "id": "...", "text": "..."}}`입니다. 중단되면 같은 명령으로 이어지고, GPU가 있으면
같은 스크립트가 GPU에서 돕니다. 배포한 모델은 1차를 마친 뒤 `--start-from starter/model --seen {first} --decay 0.4 --matrix-lr 2.5e-3 --other-lr 1.5e-3`으로
이어 배웠습니다.

## 라이선스

가중치와 토크나이저: Apache-2.0. 대화 형식은 Qwen3(Apache-2.0)의 것을 따르되 템플릿은 새로 썼습니다.

## English

A 9.4 M-parameter Qwen3 trained from scratch on public-domain Korean legal text so that the pipeline can be tried offline. It
knows nothing; never use it to answer questions. Figures above: architecture, tokens seen, held-out loss, bits per character.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--add", type=Path, help="log of a run that has ended")
    parser.add_argument("--out", type=Path, default=Path("starter"))
    args = parser.parse_args()
    short = args.out / "log.jsonl"
    entries = [json.loads(line) for line in short.open(encoding="utf-8")] if short.exists() else []
    if args.add:
        entries += shortened(args.add, run=entries[-1]["run"] + 1 if entries else 1)
        short.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    (args.out / "loss.svg").write_text(curve(entries), encoding="utf-8")
    (args.out / "README.md").write_text(card(entries, args.out), encoding="utf-8")


if __name__ == "__main__":
    main()
