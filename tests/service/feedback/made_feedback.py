"""Served answers and a stand-in for masking."""

import re

from mnatune.service.feedback.sink import Generation


def mask(text):
    """A stand-in for the pack's masking: mobile numbers only."""
    return re.sub(r"01\d-\d{4}-\d{4}", "[전화번호]", text)


def generation(number=1, rater="key:a", **more):
    """A served answer."""
    facts = {
        "id": f"gen-{number}", "conversation": f"talk-{number}", "rater": rater,
        "model": "starter-tuned", "revision": "starter", "adapter_hash": "ad" * 32, "prompt_hash": "ab" * 32,
        "messages": [
            {"role": "system", "content": "전문가"},
            {"role": "user", "content": f"합병 질문 {number}번입니다."},
        ],
        "answer": f"답변 {number}번입니다.", "sampling": {"temperature": 0.1, "stop": None}, "finish_reason": "stop",
        "prompt_tokens": 10, "completion_tokens": 5, "consent": True, "seconds": 1.5, "first_token": 0.25,
        "created": 1_760_000_000.0 + number,
    }  # fmt: skip
    return Generation(**{**facts, **more})
