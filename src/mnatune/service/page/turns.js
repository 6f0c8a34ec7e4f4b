// The turns of a dialogue as nodes: a question that can be changed, an answer with what it rests on, a compared pair.

import { el, say } from "./dom.js";
import { answerBody, answerTools } from "./answer.js";
import { pairTools, showPair } from "./compare.js";
import { evidencePanel } from "./evidence.js";

/** A question; `change` gets its new wording. */
export function questionNode(text, change) {
  const shown = el("div", { class: "text" }, text);
  const button = el("button", { type: "button", class: "plain", onclick: open }, "질문 고치기");
  const node = el("section", { class: "turn question", "aria-label": "질문" }, shown, el("div", { class: "question-tools" }, button));
  return node;

  function open() {
    const area = el("textarea", { value: text, rows: Math.min(8, 1 + text.split("\n").length), maxLength: 20000, "aria-label": "고친 질문" });
    const close = () => { panel.remove(); button.hidden = false; button.focus(); };
    const panel = el("form", { class: "panel", onsubmit: (event) => {
      event.preventDefault();
      const wanted = area.value.trim();
      if (!wanted || wanted === text) close();
      else if (change(wanted)) panel.remove();
    } }, area, el("div", { class: "row end" },
      el("button", { type: "button", class: "quiet", onclick: close }, "취소"), el("button", { type: "submit" }, "고쳐서 묻기")));
    button.hidden = true;
    node.append(panel);
    area.focus();
  }
}

/** The articles beside an answer; they stay with its turn. */
export function showEvidence(place, turn, report) {
  turn.evidence = report;
  const panel = evidencePanel(report);
  place.classList.add("grounded");
  place.append(panel.node);
  return panel;
}

/** An answer of one model: the corrected text where there is one, with the original behind a button. */
export async function fillAnswer(place, turn, hooks, { original = false, told = "" } = {}) {
  const corrected = Boolean(turn.edit) && !original;
  const answer = answerBody(corrected ? `${turn.model} · 고친 답변` : turn.model);
  place.replaceChildren(answer.node);
  const checked = corrected ? undefined : turn.checked;
  answer.add(corrected ? turn.edit : turn.content);
  const panel = turn.evidence && showEvidence(place, turn, turn.evidence);
  await answer.end({ citations: hooks.citations, checked });
  if (checked) panel?.cited(checked);
  if (turn.cut) answer.node.append(el("p", { class: "note" }, "이 답변은 끝까지 오지 않았습니다."));
  const flip = turn.edit && { label: original ? "고친 답변 보기" : "원래 답변 보기", show: () => fillAnswer(place, turn, hooks, { original: !original }) };
  const edited = (words) => { say(words); fillAnswer(place, turn, hooks, { told: words }); };
  place.append(answerTools(turn, { ...hooks, edited, flip }));
  if (told) place.append(el("p", { class: "note" }, told));
}

/** A compared pair from the history. */
export async function fillPair(place, turn, hooks) {
  await showPair(place, turn, { citations: hooks.citations });
  place.append(pairTools(place, turn, hooks.changed));
}
