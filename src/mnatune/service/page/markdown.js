// Markdown as DOM nodes: paragraphs, headings, lists, quotes, tables, code, emphasis, links. HTML in the text stays text,
// images are not loaded, and links go to http(s) addresses only.

import { el } from "./dom.js";

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([\w+-]*)\s*$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const ITEM = /^(\s*)([-*+•]|\d{1,9}[.)])\s+(.*)$/;
const QUOTE = /^ {0,3}>\s?(.*)$/;
const TABLE_RULE = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)+\|?\s*$/;
const INLINE =
  /(`+)([^`]|[^`][\s\S]*?[^`])\1(?!`)|\*\*(?=\S)([\s\S]*?\S)\*\*|__(?=\S)([\s\S]*?\S)__|\*(?=[^\s*])([^*\n]*?[^\s*])\*|\[([^\]\n]+)\]\(([^()\s]+)\)|(https?:\/\/[^\s<>"'）)\]]+)|~~(?=\S)([\s\S]*?\S)~~/;
const DEEPEST = 8; // nesting of lists, quotes and emphasis; what is deeper stays plain text

/** The text as a fragment. */
export function markdown(text) {
  const fragment = document.createDocumentFragment();
  blocks(text.replace(/\r\n?/g, "\n").split("\n"), fragment, 0);
  return fragment;
}

function blocks(lines, parent, depth) {
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    if (!line.trim()) at += 1;
    else if (FENCE.test(line)) at = fence(lines, at, parent);
    else if (HEADING.test(line)) at = heading(lines, at, parent);
    else if (RULE.test(line)) { parent.append(el("hr")); at += 1; }
    else if (depth < DEEPEST && QUOTE.test(line)) at = quote(lines, at, parent, depth);
    else if (depth < DEEPEST && ITEM.test(line)) at = list(lines, at, parent, depth);
    else if (line.includes("|") && TABLE_RULE.test(lines[at + 1] || "")) at = table(lines, at, parent);
    else at = paragraph(lines, at, parent);
  }
}

function fence(lines, at, parent) {
  const mark = FENCE.exec(lines[at])[1];
  let end = at + 1;
  while (end < lines.length && !lines[end].trim().startsWith(mark)) end += 1;
  parent.append(el("pre", { tabIndex: 0 }, el("code", {}, lines.slice(at + 1, end).join("\n"))));
  return end + 1;
}

function heading(lines, at, parent) {
  const [, marks, text] = HEADING.exec(lines[at]);
  const node = el(`h${Math.min(6, marks.length + 2)}`); // the page's own headings stand above an answer's
  inline(text, node, 0);
  parent.append(node);
  return at + 1;
}

function quote(lines, at, parent, depth) {
  const inner = [];
  while (at < lines.length && QUOTE.test(lines[at])) inner.push(QUOTE.exec(lines[at++])[1]);
  const node = el("blockquote");
  blocks(inner, node, depth + 1);
  parent.append(node);
  return at;
}

function list(lines, at, parent, depth) {
  const [, indent, first] = ITEM.exec(lines[at]);
  const ordered = /\d/.test(first);
  const node = el(ordered ? "ol" : "ul", ordered ? { start: parseInt(first, 10) } : {});
  while (at < lines.length) {
    const item = ITEM.exec(lines[at]);
    if (!item || item[1].length < indent.length || /\d/.test(item[2]) !== ordered) break;
    const inner = [item[3]];
    at += 1;
    while (at < lines.length) {
      const next = ITEM.exec(lines[at]);
      const deeper = /^\s+/.exec(lines[at])?.[0].length > indent.length;
      if (next ? next[1].length <= indent.length : lines[at].trim() && !deeper) break;
      if (!lines[at].trim() && !(/^\s+\S/.test(lines[at + 1] || "") || ITEM.test(lines[at + 1] || ""))) break;
      inner.push(lines[at].slice(Math.min(indent.length + 2, /^\s*/.exec(lines[at])[0].length)));
      at += 1;
    }
    const entry = el("li");
    blocks(inner, entry, depth + 1);
    if (entry.childNodes.length === 1 && entry.firstChild.tagName === "P") entry.replaceChildren(...entry.firstChild.childNodes);
    node.append(entry);
    if (at < lines.length && !lines[at].trim() && ITEM.test(lines[at + 1] || "")) at += 1;
  }
  parent.append(node);
  return at;
}

const cells = (line) => line.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim().replace(/\\\|/g, "|"));

function table(lines, at, parent) {
  const row = (line, tag) =>
    el("tr", {}, ...cells(line).map((cell) => { const node = el(tag); inline(cell, node, 0); return node; }));
  const body = el("tbody");
  const head = row(lines[at], "th");
  for (at += 2; at < lines.length && lines[at].includes("|"); at += 1) body.append(row(lines[at], "td"));
  parent.append(el("div", { class: "scroll", tabIndex: 0 }, el("table", {}, el("thead", {}, head), body)));
  return at;
}

function paragraph(lines, at, parent) {
  const inner = [lines[at++]];
  while (at < lines.length && lines[at].trim() && ![FENCE, HEADING, RULE, QUOTE, ITEM].some((p) => p.test(lines[at]))) {
    if (lines[at].includes("|") && TABLE_RULE.test(lines[at + 1] || "")) break;
    inner.push(lines[at++]);
  }
  const node = el("p");
  inner.forEach((line, index) => {
    if (index) node.append(el("br"));
    inline(line.trim(), node, 0);
  });
  parent.append(node);
  return at;
}

function inline(text, parent, depth) {
  let rest = text;
  while (rest) {
    const found = depth < DEEPEST ? INLINE.exec(rest) : null;
    if (!found) break;
    parent.append(rest.slice(0, found.index));
    const [whole, , code, strong, strong2, em, label, target, address, gone] = found;
    if (code !== undefined) parent.append(el("code", {}, code.trim()));
    else if (label !== undefined) link(parent, label, target, whole);
    else if (address !== undefined) link(parent, address, address, whole);
    else if (gone !== undefined) nested(parent, "del", gone, depth);
    else nested(parent, em === undefined ? "strong" : "em", strong ?? strong2 ?? em, depth);
    rest = rest.slice(found.index + whole.length);
  }
  parent.append(rest);
}

function nested(parent, tag, text, depth) {
  const node = el(tag);
  inline(text, node, depth + 1);
  parent.append(node);
}

function link(parent, label, target, whole) {
  if (!/^https?:\/\//i.test(target)) parent.append(whole);
  else parent.append(el("a", { href: target, target: "_blank", rel: "noopener noreferrer nofollow" }, label));
}
