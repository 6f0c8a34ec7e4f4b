// Marks statute citations in a rendered answer: does the article exist, does it carry the sentence, what is its title (shown
// on hover and focus).

import { el } from "./dom.js";
import { request } from "./client.js";

const WORDS = { valid: "실재", invalid: "없는 조문", unresolved: "확인할 수 없는 조문" };
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

function badge({ text, verdict, title, note, law, support, label }) {
  const marks = label || (verdict === "valid" ? `${WORDS.valid} · ${SUPPORT[support || "unchecked"]}` : WORDS[verdict]);
  const told = [marks, title && `${law} ${title}`.trim(), note].filter(Boolean).join(": ");
  const kind = label ? "invalid" : `${verdict} ${support || ""}`;
  const node = el("span", { class: `cite ${kind}`, tabIndex: 0, onpointerenter: () => showTip(node, told), onpointerleave: hideTip,
    onfocus: () => showTip(node, told), onblur: hideTip }, text, el("span", { class: "sr" }, ` (${told})`));
  return node;
}

const tip = el("div", { class: "tip", hidden: true, "aria-hidden": "true" }); // readers hear the text in the badge itself
document.body.append(tip);
document.addEventListener("scroll", hideTip, true);
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
