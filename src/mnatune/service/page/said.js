// What was said, as the pages for reviewers show it: a labelled text, a whole dialogue, the reasons for its place.

import { el } from "./dom.js";
import { markdown } from "./markdown.js";

const WHO = { user: "질문", assistant: "답변" };

/** A text with its label. */
export function labelled(label, content) {
  const body = el("div", { class: "text" });
  body.append(markdown(content));
  return el("div", { class: "answer" }, el("p", { class: "who" }, label), body);
}

/** The turns before a question, folded away; nothing where there are none. */
export function earlierTurns(turns) {
  if (!turns.length) return null;
  return el("details", { class: "earlier" }, el("summary", {}, `앞선 대화 ${turns.length}개`),
    ...turns.map((turn) => labelled(WHO[turn.role] || turn.role, turn.content)));
}

/** Why an item stands where it stands. */
export function reasonChips(reasons) {
  return reasons?.length ? el("ul", { class: "reasons", "aria-label": "먼저 보는 이유" }, ...reasons.map((text) => el("li", {}, text))) : null;
}
