// Blind comparison: two answers side by side, the names shown only after the reader has picked.

import { el, say } from "./dom.js";
import { events, explain, request } from "./client.js";
import { answerBody } from "./answer.js";

const LABELS = { left: "답변 가", right: "답변 나" };
const CHOICES = [["left", "가가 더 좋음"], ["tie", "비슷함"], ["both_bad", "둘 다 부족"], ["right", "나가 더 좋음"]];

/** Stream both answers; returns the turn with pair id and texts, or null if it was stopped half-way. */
export async function streamPair(parent, body, { signal, citations }) {
  const sides = { left: answerBody(LABELS.left), right: answerBody(LABELS.right) };
  parent.append(el("div", { class: "pair" }, sides.left.node, sides.right.node));
  const turn = { role: "pair", pair: "", left: "", right: "" };
  let whole = false;
  try {
    for await (const event of events("/api/compare", body, signal)) {
      if (event.pair) turn.pair = event.pair;
      else if (event.complete) whole = true;
      else sides[event.side].add(event.text);
    }
  } finally {
    turn.left = sides.left.text;
    turn.right = sides.right.text;
    await Promise.all(Object.values(sides).map((side) => side.end({ citations })));
  }
  return whole ? turn : null;
}

/** A pair from the history. */
export async function showPair(parent, turn, { citations }) {
  const sides = { left: answerBody(turn.names?.left || LABELS.left), right: answerBody(turn.names?.right || LABELS.right) };
  parent.append(el("div", { class: "pair" }, sides.left.node, sides.right.node));
  for (const name of ["left", "right"]) {
    sides[name].add(turn[name]);
    await sides[name].end({ citations });
  }
}

/** The question which answer is better, and the unveiling. */
export function pairTools(parent, turn, changed) {
  const bar = el("div", { class: "verdict" });
  const ask = () => bar.replaceChildren(
    el("p", { class: "quiet-text" }, "어느 답변이 더 좋은가요? 고른 뒤에 모델 이름이 나타납니다."),
    el("div", { class: "row", role: "group", "aria-label": "더 좋은 답변" },
      ...CHOICES.map(([choice, label]) => el("button", { type: "button", class: "quiet", onclick: () => pick(choice) }, label))));
  const unveil = () => {
    const label = CHOICES.find(([choice]) => choice === turn.choice)[1];
    bar.replaceChildren(el("p", { class: "note" }, `‘${label}’로 저장했습니다. 가: ${turn.names.left} · 나: ${turn.names.right}`));
    parent.querySelectorAll(".pair .answer").forEach((node, at) => {
      const side = at ? "right" : "left";
      node.classList.toggle("chosen", turn.choice === side);
      node.querySelector(".who").textContent = `${LABELS[side]} · ${turn.names[side]}`;
    });
    say(bar.textContent);
  };
  async function pick(choice) {
    try {
      turn.names = await request("PUT", `/api/pairs/${turn.pair}/choice`, { choice });
      turn.choice = choice;
      changed();
      unveil();
    } catch (error) {
      bar.append(el("p", { class: "error", role: "alert" }, explain(error)));
    }
  }
  if (turn.choice) unveil();
  else ask();
  return bar;
}
