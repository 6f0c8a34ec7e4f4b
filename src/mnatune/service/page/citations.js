// Marks statute citations in a rendered answer: does the article exist, does it carry the sentence, what is its title (shown
// on hover and focus).

import { el } from "./dom.js";
import { request } from "./client.js";

const WORDS = { valid: "실재", invalid: "없는 조문", unresolved: "확인할 수 없는 조문" };
/** What the marks of an answer without a panel of articles do not say. */
export const ONLY_EXISTENCE = "‘실재’는 그 조문이 있다는 뜻입니다. 문장이 조문과 맞는지(근거)와 결론이 옳은지는 확인하지 않았습니다.";
const SUPPORT = { supported: "근거 확인", unsupported: "근거와 다름", unchecked: "근거는 확인하지 않음" };

/** Look up the citations of `text` and mark them inside `root`. */
export async function markCitations(root, text) {
  if (!/제\s*\d+\s*조/.test(text)) return;
  showCitations(root, (await request("POST", "/api/citations", { text })).citations);
}

/** Mark citations inside `root`, in the order in which they stand. */
export function showCitations(root, citations) {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  let node = walker.nextNode();
  let from = 0;
  for (const citation of citations) {
    const before = { node, from };
    while (node && node.data.indexOf(citation.text, from) < 0) {
      node = walker.nextNode();
      from = 0;
    }
    if (!node) { // the citation is split by markup: leave it unmarked and go on from where we were
      ({ node, from } = before);
      walker.currentNode = node || root;
      continue;
    }
    const hit = node.splitText(node.data.indexOf(citation.text, from));
    const rest = hit.splitText(citation.text.length);
    hit.replaceWith(badge(citation));
    walker.currentNode = node = rest;
    from = 0;
  }
}

/** What was found of a citation, in words: the two marks, or the fault. */
export function marksOf({ verdict, support, label }) {
  return label || (verdict === "valid" ? `${WORDS.valid} · ${SUPPORT[support || "unchecked"]}` : WORDS[verdict]);
}

/** Two marks beside a citation that exists: that it does, and whether the article carries the sentence. */
function signs({ verdict, support, label, note }) {
  if (label || verdict !== "valid") return [];
  const carries = support === "supported";
  const exists = note && !support ? ["지금은 없음", "unsure"] : ["실재", "good"]; // a note without a check of support says since when
  return [exists, [carries ? "근거 확인" : "근거 미확인", carries ? "good" : "open"]].map(([word, kind]) =>
    el("span", { class: `mark ${kind}`, "aria-hidden": "true" }, word));
}

function badge(citation) {
  const { text, verdict, title, note, law, support, label } = citation;
  const told = [marksOf(citation), title && `${law} ${title}`.trim(), note].filter(Boolean).join(": ");
  const kind = label ? "invalid" : `${verdict} ${support || ""}`;
  const node = el("span", { class: `cite ${kind}`, tabIndex: 0, "data-told": told, onpointerenter: () => showTip(node, told), onpointerleave: hideTip,
    onfocus: () => showTip(node, told), onblur: hideTip }, text, ...signs(citation), el("span", { class: "sr" }, ` (${told})`));
  return node;
}

const tip = el("div", { class: "tip", hidden: true, "aria-hidden": "true" }); // readers hear the text in the badge itself
document.body.append(tip);
document.addEventListener("scroll", () => { // focusing a citation may scroll it into view
  if (!tip.hidden && document.activeElement?.dataset?.told) showTip(document.activeElement, document.activeElement.dataset.told);
  else hideTip();
}, true);
document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });

/** Above the first line of the citation, below it where there is no room; never outside the window. */
function showTip(node, told) {
  const [line] = node.getClientRects();
  tip.textContent = told;
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(line.left, innerWidth - width - 8))}px`;
  tip.style.top = `${line.top - height - 6 > 0 ? line.top - height - 6 : line.bottom + 6}px`;
}

function hideTip() {
  tip.hidden = true;
}
