"""Continue twenty Korean legal openings with the starter, greedily at repetition penalty 1.2, and count what is wrong.

python starter/continuations.py [--model starter/model]
"""

import argparse
import re

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

OPENINGS = [
    "주식회사의 이사는",
    "합병을 하는 회사는",
    "주주총회의 결의는",
    "채권자는 채무자가",
    "매매계약을 체결한 매수인은",
    "법원은 신청인의",
    "원심은 그 판시와 같은 이유로",
    "이 법에서 사용하는 용어의 뜻은",
    "대통령령으로 정하는 바에 따라",
    "납세의무자가 법인세를",
    "근로자가 퇴직하는 경우",
    "회생절차가 개시된 때에는",
    "상표권의 침해를 이유로",
    "공정거래위원회는 사업자가",
    "소유권이전등기를 마친 후",
    "신용협동조합의 조합원은",
    "손해배상의 범위는",
    "공소사실의 요지는",
    "국세를 납부하지 아니한 자에게",
    "이사회의 승인을 받지 아니하고",
]
NEW_TOKENS = 60


def looped(text: str) -> bool:
    """True if a run of eight characters or more comes three times."""
    return re.search(r"(.{8,}?)(?:.*?\1){2}", text, re.DOTALL) is not None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter/model")
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForCausalLM.from_pretrained(args.model).eval()
    broken = loops = 0
    for opening in OPENINGS:
        ids = torch.tensor([tokenizer(opening)["input_ids"]])
        with torch.inference_mode():
            out = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=NEW_TOKENS,
                do_sample=False,
                repetition_penalty=1.2,
            )
        text = tokenizer.decode(out[0], skip_special_tokens=True)
        broken += "\ufffd" in text.rstrip("\ufffd")  # a letter cut at the length limit does not count
        loops += looped(text)
        print(f"- {' '.join(text.split())}")
    print(f"\n{len(OPENINGS)} continuations, {broken} with broken letters, {loops} with loops")


if __name__ == "__main__":
    main()
