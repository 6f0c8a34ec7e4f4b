// A dialogue as a file: what was asked and answered, what was corrected, which articles it rested on, what was checked.

import { handOver } from "./dom.js";
import { marksOf } from "./citations.js";
import { docx } from "./docx.js";

const WARNING = "AI가 만든 답변에는 오류가 있을 수 있으며 법률 자문이 아닙니다. 조문의 실재와 근거 확인은 결론이 옳다는 뜻이 아닙니다.";

/** The parts of a dialogue in their order: {level, heading, text (Markdown), notes}. */
export function parts(chat) {
  return chat.turns.flatMap((turn) => {
    if (turn.role === "user") return [{ level: 2, heading: "질문", text: turn.content, verbatim: true, notes: [] }];
    if (turn.role === "pair") {
      return ["left", "right"].map((side) => ({
        level: 2,
        heading: `답변 ${side === "left" ? "가" : "나"}${turn.names ? ` (${turn.names[side]})` : ""}${turn.choice === side ? " · 더 좋은 답변으로 고름" : ""}`,
        text: turn[side], notes: [],
      }));
    }
    const notes = [
      ...(turn.cut ? ["이 답변은 끝까지 오지 않았습니다."] : []),
      ...(turn.evidence?.passages || []).map((passage) => `근거: ${passage.name} (${passage.in_force})`),
      ...(turn.edit ? [] : (turn.checked?.citations || []).map((citation) => `인용 ${citation.text}: ${marksOf(citation)}`)),
    ];
    const answer = { level: 2, heading: `답변 (${turn.model})`, text: turn.content, notes };
    return turn.edit ? [{ level: 2, heading: "답변 (고친 답변)", text: turn.edit, notes: [] }, { ...answer, level: 3, heading: `고치기 전 답변 (${turn.model})` }] : [answer];
  });
}

const today = () => new Date().toLocaleDateString("ko-KR", { year: "numeric", month: "long", day: "numeric" });
const quoted = (text) => text.split("\n").map((line) => `> ${line}`).join("\n");

/** The dialogue as Markdown; a question stands as it was typed, in a quote. */
export function markdownOf(chat) {
  const told = parts(chat).flatMap(({ level, heading, text, verbatim, notes }) =>
    [`${"#".repeat(level)} ${heading}`, verbatim ? quoted(text) : text, ...(notes.length ? [notes.map((note) => `- ${note}`).join("\n")] : [])]);
  return `${[`# ${chat.title}`, `${today()}에 내보냄`, ...told, "---", WARNING].join("\n\n")}\n`;
}

/** Hand the dialogue to the reader as a file; it is made in the browser, nothing is sent. */
export function save(chat, kind) {
  const made = kind === "md"
    ? new Blob([markdownOf(chat)], { type: "text/markdown;charset=utf-8" })
    : docx({ title: chat.title, subtitle: `${today()}에 내보냄`, parts: parts(chat), closing: WARNING });
  const name = chat.title.replace(/[\\/:*?"<>|\s\u0000-\u001f]+/g, " ").replace(/^[ .]+|[ .]+$/g, "") || "대화";
  handOver(made, `${name}.${kind}`);
}
