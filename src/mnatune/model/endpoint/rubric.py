"""The pack's rubric: the judge's prompt, the checks of its reply, and the score from 0 to 100."""

from collections.abc import Mapping
from typing import Any

from ...pack import Pack
from ...runs.records import question_of
from ...runs.workspace import value_hash
from ...text.untrusted import InstructionFilter, bare, echoes, fill, quotes, without_markers
from ..prompt import Message
from .dialects import Ask
from .ledger import ledger_key
from .replies import BadReply, check_flat, json_in

JUDGED_CHARS = 4000  # of question and of answer each; a longer text is judged by its beginning
REPLY_TOKENS = 400
SHORTEST_EVIDENCE = 2
Judged = Mapping[str, Any]  # a row: id, question, answer, and the turns before the question as history
PROMPTS = ("judge_system", "judge_user", "judge_repair", "data_begin", "data_end")


class Rubric:
    """rubric.yaml with the judge's prompts."""

    def __init__(self, pack: Pack) -> None:
        data = pack.yaml("rubric.yaml")
        self._prompts = {name: str(pack.prompts[name]) for name in PROMPTS}
        self._parts: dict[str, dict[str, Any]] = data["parts"]
        asked = [str(part["question"]) for part in self._parts.values()]
        self._template = "\n".join([*self._prompts.values(), *asked, str(data["rule"])])
        self._cap = data["cap"]
        self._most = int(data["scale"]["max"])
        self._markers = (self._prompts["data_begin"].strip(), self._prompts["data_end"].strip())
        self._guard = InstructionFilter(data["guard"])
        self.injections: list[str] = data["injections"]
        self.text = self._rendered(data["rule"])
        levels = list(range(int(data["scale"]["min"]), self._most + 1))
        names = {"id": {"type": "string"}, "reason": {"type": "string"}, "evidence": {"type": "string"}}
        self.schema: dict[str, Any] = {
            "type": "object",
            "properties": names | {part: {"type": "integer", "enum": levels} for part in self._parts},
            "required": [*names, *self._parts],
            "additionalProperties": False,
        }
        self.fingerprint = value_hash([data, self._prompts, JUDGED_CHARS])

    def ask(self, row: Judged, model: str) -> Ask:
        """The question to the judge about one row."""
        question, answer = self._shown(question_of(row)), self._shown(row["answer"])
        values = {"rubric": self.text, "row_id": row["id"], "question": question, "answer": answer}
        messages: list[Message] = [
            {"role": "system", "content": self._prompts["judge_system"]},
            {"role": "user", "content": fill(self._prompts["judge_user"], values)},
        ]
        shown = f"{question}\n{answer}"

        def check(text: str) -> tuple[dict[str, Any], bool]:
            value, clean = json_in(text)
            return self._checked(value, row["id"], shown), clean

        return Ask(self.key(row, model), messages, self.schema, check, REPLY_TOKENS, self._prompts["judge_repair"])

    def key(self, row: Judged, model: str) -> str:
        """The ledger's key: row, rubric with prompts, and model."""
        return ledger_key("judge", question_of(row), row["answer"], self.fingerprint, model)

    def score(self, value: dict[str, Any]) -> int:
        """0–100 from a checked reply: the weighted sum of the parts, capped where the field is missed."""
        total = 100.0 * sum(float(part["weight"]) * int(value[name]) for name, part in self._parts.items()) / self._most
        if value[self._cap["part"]] <= self._cap["at_most"]:
            total = min(total, float(self._cap["score"]))
        return max(0, min(100, round(total)))

    def points(self, value: dict[str, Any]) -> list[int]:
        """The sub-scores of a checked reply, in the rubric's order."""
        return [int(value[name]) for name in self._parts]

    def reason(self, value: dict[str, Any]) -> str:
        """The judge's reason with its sub-scores."""
        parts = " · ".join(f"{part['name']} {value[name]}" for name, part in self._parts.items())
        return f"{value['reason']} ({parts})"

    def _shown(self, text: str) -> str:
        return self._guard.clean(without_markers(text, self._markers, JUDGED_CHARS))[0]

    def _checked(self, value: Any, row_id: str, shown: str) -> dict[str, Any]:
        checked = check_flat(value, self.schema)
        if checked.pop("id") != row_id:
            raise BadReply("wrong-id", f"id가 행의 번호 {row_id}와 다릅니다")
        if not checked["reason"]:
            raise BadReply("missing-reason", "reason이 비어 있습니다")
        if echoes(checked["reason"], self._template):
            raise BadReply("echoed-reason", "reason에 요청의 말을 그대로 옮겼습니다. 이 행에 대한 이유를 적으십시오")
        if len(bare(checked["evidence"])) < SHORTEST_EVIDENCE or not quotes(checked["evidence"], shown):
            raise BadReply("foreign-evidence", "evidence가 질문이나 답변에 글자 그대로 들어 있지 않습니다")
        return checked

    def _rendered(self, rule: str) -> str:
        lines = []
        for name, part in self._parts.items():
            lines.append(f"{name}({part['name']}): {part['question']}")
            lines += [f"  {level}점: {text}" for level, text in part["anchors"].items()]
        return "\n".join([*lines, rule])
