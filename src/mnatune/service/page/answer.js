// One answer on the page: streamed text, then citations, copy, rating with reasons, and correction.

import { copy, el, say } from "./dom.js";
import { explain, request } from "./client.js";
import { markdown } from "./markdown.js";
import { markCitations, showCitations } from "./citations.js";

const GOOD = ["accurate", "well_cited", "clear"];

/** The body of an answer, painted at most once per frame while text comes in. */
export function answerBody(label) {
  const body = el("div", { class: "text waiting" });
  const node = el("article", { class: "answer" }, el("h3", { class: "who" }, label), body);
  let text = "";
  let due = 0;
  const paint = () => {
    due = 0;
    body.classList.toggle("waiting", !text);
    body.replaceChildren(markdown(text));
  };
  return {
    node,
    get text() { return text; },
    add(piece) {
      text += piece;
      due ||= requestAnimationFrame(paint);
    },
    /** No more text: paint the rest and mark the citations, those that the server has checked or those that it finds now. */
    async end({ citations, checked }) {
      cancelAnimationFrame(due);
      paint();
      body.classList.remove("waiting");
      if (checked && !checked.unchecked) showCitations(body, checked.citations);
      else if (citations) await markCitations(body, text).catch(() => say("조문을 확인하지 못했습니다."));
    },
    name(label) { node.querySelector(".who").textContent = label; },
    tell(message, kind = "note") { node.append(el("p", { class: kind, role: kind === "error" ? "alert" : null }, message)); },
  };
}

/** Buttons under an answer; `turn` is its record in the history, `changed` saves it. */
export function answerTools(turn, { tags, changed }) {
  const copied = el("button", { type: "button", class: "plain", onclick: async () => {
    await copy(turn.edit || turn.content);
    copied.textContent = "복사됨";
    setTimeout(() => { copied.textContent = "복사"; }, 1500);
  } }, "복사");
  const bar = el("div", { class: "tools" }, copied);
  if (!turn.id) {
    bar.append(el("span", { class: "quiet-text" }, turn.content ? "저장에 동의하지 않아 평가할 수 없습니다." : ""));
    return bar;
  }
  const more = el("div", { class: "more" });
  const thumbs = [thumb(1, "좋아요"), thumb(-1, "아쉬워요")];
  const correct = el("button", { type: "button", class: "plain", "aria-expanded": "false", onclick: () => toggle(correct, editor) }, "답변 고치기");
  bar.append(...thumbs, correct, more);
  show();
  return bar;

  function thumb(value, label) {
    return el("button", { type: "button", class: "plain thumb", value, onclick: () => rate(value) }, label);
  }

  function show() {
    thumbs.forEach((button) => button.setAttribute("aria-pressed", String(Number(button.value) === (turn.thumb || 0))));
    correct.textContent = turn.edit ? "고친 답변 다시 보기" : "답변 고치기";
  }

  async function rate(value) {
    const wanted = turn.thumb === value ? 0 : value;
    correct.setAttribute("aria-expanded", "false");
    // Pressed is what the server has: a rating that did not arrive is told, and can be given again.
    if (!await save("rating", { thumb: wanted, tags: [], comment: "" }, { thumb: wanted, tags: [] })) return;
    say(wanted ? "평가를 저장했습니다." : "평가를 거두었습니다.");
    more.replaceChildren(...(wanted ? [reasons(value)] : []));
  }

  function reasons(value) {
    const fitting = Object.entries(tags).filter(([key]) => GOOD.includes(key) === value > 0);
    const boxes = fitting.map(([key, label]) => el("label", { class: "chip" }, el("input", { type: "checkbox", value: key }), el("span", {}, label)));
    const comment = el("input", { type: "text", maxLength: 2000, placeholder: "의견 (선택)", "aria-label": "의견" });
    return el("form", { class: "panel", onsubmit: async (event) => {
      event.preventDefault();
      const chosen = [...event.target.querySelectorAll("input:checked")].map((box) => box.value);
      if (await save("rating", { thumb: turn.thumb, tags: chosen, comment: comment.value }, { tags: chosen })) thank("의견을 보냈습니다. 고맙습니다.");
    } },
      el("fieldset", {}, el("legend", {}, value > 0 ? "어떤 점이 좋았나요?" : "어떤 점이 아쉬웠나요?"), el("div", { class: "chips" }, ...boxes)),
      el("div", { class: "row" }, comment, el("button", { type: "submit" }, "의견 보내기")));
  }

  function editor() {
    const area = el("textarea", { value: turn.edit || turn.content, rows: 8, maxLength: 100000, "aria-label": "고친 답변" });
    return el("form", { class: "panel", onsubmit: async (event) => {
      event.preventDefault();
      if (!area.value.trim()) return area.focus();
      if (await save("edit", { text: area.value }, { edit: area.value })) {
        correct.setAttribute("aria-expanded", "false");
        thank("고친 답변을 저장했습니다. 검토를 거쳐 다음 학습에 쓰입니다.");
      }
    } },
      el("p", { class: "quiet-text" }, "올바른 답변으로 고쳐 주세요. 원래 답변과 함께 저장됩니다."),
      area,
      el("div", { class: "row end" },
        el("button", { type: "button", class: "quiet", onclick: () => toggle(correct, editor) }, "취소"),
        el("button", { type: "submit" }, "고친 답변 저장")));
  }

  function toggle(button, panel) {
    const open = button.getAttribute("aria-expanded") !== "true";
    button.setAttribute("aria-expanded", String(open));
    more.replaceChildren(...(open ? [panel()] : []));
    const area = more.querySelector("textarea");
    area?.setSelectionRange(0, 0); // begin at the top of a long answer
    (area || button).focus();
  }

  function thank(text) {
    more.replaceChildren(el("p", { class: "note" }, text));
    say(text);
  }

  /** Have the server store feedback; only then the turn says so too. */
  async function save(kind, body, stored) {
    try {
      await request("PUT", `/api/generations/${turn.id}/${kind}`, body);
      Object.assign(turn, stored);
      changed();
      show();
      return true;
    } catch (error) {
      more.replaceChildren(el("p", { class: "error", role: "alert" }, explain(error)));
      return false;
    }
  }
}
