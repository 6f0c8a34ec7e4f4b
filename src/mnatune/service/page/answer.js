// One answer on the page: streamed text, then citations, copy, rating with reasons, correction, and asking once more.

import { copy, el, say } from "./dom.js";
import { explain, request } from "./client.js";
import { markdown } from "./markdown.js";
import { markCitations, ONLY_EXISTENCE, showCitations } from "./citations.js";

const GOOD = ["accurate", "well_cited", "clear"];
const THUMBS = { 1: "좋아요", "-1": "아쉬워요", 0: "없음" };

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
      if (!checked && body.querySelector(".cite.valid")) node.append(el("p", { class: "quiet-text not-checked" }, ONLY_EXISTENCE));
    },
  };
}

/**
 * Buttons under an answer.
 *
 * `turn` is its record in the history; `changed` saves it; `edited` shows the answer anew after a correction, `flip` its other
 * wording; `again` asks for another answer and `back` shows an earlier one, where they make sense.
 */
export function answerTools(turn, { tags, changed, edited, flip, again, back }) {
  const copied = el("button", { type: "button", class: "plain", onclick: async () => {
    await copy(turn.edit || turn.content);
    copied.textContent = "복사됨";
    setTimeout(() => { copied.textContent = "복사"; }, 1500);
  } }, "복사");
  const bar = el("div", { class: "tools" }, copied);
  if (again) bar.append(el("button", { type: "button", class: "plain last-only", onclick: again }, turn.cut ? "다시 시도" : "다시 생성"));
  if (back && turn.earlier?.length) {
    bar.append(el("button", { type: "button", class: "plain last-only", onclick: back }, `다른 답변 보기 (${turn.earlier.length})`));
  }
  if (flip) bar.append(el("button", { type: "button", class: "plain", onclick: flip.show }, flip.label));
  if (!turn.id) {
    bar.append(el("span", { class: "quiet-text" }, turn.content ? "저장에 동의하지 않아 평가할 수 없습니다." : ""));
    return bar;
  }
  const more = el("div", { class: "more" });
  const thumbs = [thumb(1), thumb(-1)];
  const correct = el("button", { type: "button", class: "plain", "aria-expanded": "false", onclick: () => toggle(correct, editor) });
  bar.append(...thumbs, correct, more);
  show();
  return bar;

  function thumb(value) {
    return el("button", { type: "button", class: "plain thumb", value, onclick: () => rate(value) }, THUMBS[value]);
  }

  /** Pressed is what the server has. */
  function show() {
    thumbs.forEach((button) => button.setAttribute("aria-pressed", String(Number(button.value) === (turn.thumb || 0))));
    correct.textContent = turn.edit ? "고친 답변 다시 고치기" : "답변 고치기";
  }

  async function rate(value) {
    const wanted = turn.thumb === value ? 0 : value;
    correct.setAttribute("aria-expanded", "false");
    const failure = await save("rating", { thumb: wanted, tags: [], comment: "" }, { thumb: wanted, tags: [] });
    if (failure) {
      more.replaceChildren(el("p", { class: "error", role: "alert" }, failure),
        el("button", { type: "button", class: "quiet", onclick: () => rate(value) }, "다시 보내기"));
      return;
    }
    say(wanted ? "평가를 저장했습니다." : "평가를 거두었습니다.");
    more.replaceChildren(...(wanted ? [reasons(value)] : []));
  }

  function reasons(value) {
    const fitting = Object.entries(tags).filter(([key]) => GOOD.includes(key) === value > 0);
    const boxes = fitting.map(([key, label]) => el("label", { class: "chip" }, el("input", { type: "checkbox", value: key }), el("span", {}, label)));
    const comment = el("input", { type: "text", maxLength: 2000, placeholder: "의견 (선택)", "aria-label": "의견" });
    return form("의견 보내기", async () => {
      const chosen = boxes.map((box) => box.firstChild).filter((box) => box.checked).map((box) => box.value);
      const failure = await save("rating", { thumb: turn.thumb, tags: chosen, comment: comment.value }, { tags: chosen });
      if (!failure) thank("의견을 보냈습니다. 고맙습니다.");
      return failure;
    }, (button) => [
      el("fieldset", {}, el("legend", {}, value > 0 ? "어떤 점이 좋았나요?" : "어떤 점이 아쉬웠나요?"), el("div", { class: "chips" }, ...boxes)),
      el("div", { class: "row" }, comment, button)]);
  }

  function editor() {
    const area = el("textarea", { value: turn.edit || turn.content, rows: 8, maxLength: 100000, "aria-label": "고친 답변" });
    return form("고친 답변 저장", async () => {
      if (!area.value.trim()) {
        area.focus();
        return "";
      }
      const failure = await save("edit", { text: area.value }, { edit: area.value });
      if (!failure) edited("고친 답변을 저장했습니다. 다음 질문은 고친 답변에 이어지며, 검토를 거쳐 다음 학습에 쓰입니다.");
      return failure;
    }, (button) => [
      el("p", { class: "quiet-text" }, "올바른 답변으로 고쳐 주세요. 원래 답변과 함께 저장됩니다."),
      area,
      el("div", { class: "row end" }, el("button", { type: "button", class: "quiet", onclick: () => toggle(correct, editor) }, "취소"), button)]);
  }

  /** A form that keeps what was typed when it cannot be sent, says so, and can be sent again. */
  function form(label, send, fields) {
    const told = el("p", { class: "error", role: "alert" });
    const button = el("button", { type: "submit" }, label);
    return el("form", { class: "panel", onsubmit: async (event) => {
      event.preventDefault();
      if (button.disabled) return;
      button.disabled = true;
      told.textContent = await send();
      button.disabled = false;
      button.textContent = told.textContent ? "다시 보내기" : label;
    } }, ...fields(button), told);
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

  /** Have the server store feedback; only then the turn says so too. Returns why not, empty if it did. */
  async function save(kind, body, stored) {
    thumbs.forEach((button) => { button.disabled = true; }); // two ratings at once could arrive in any order
    try {
      await request("PUT", `/api/generations/${turn.id}/${kind}`, body);
      Object.assign(turn, stored);
      changed();
      return "";
    } catch (error) {
      const now = kind === "rating" ? `평가 ‘${THUMBS[turn.thumb || 0]}’` : turn.edit ? "앞서 고친 답변" : "원래 답변";
      return `저장되지 않았습니다. ${explain(error)} 서버에 있는 것은 지금도 ${now}입니다.`;
    } finally {
      thumbs.forEach((button) => { button.disabled = false; });
      show();
    }
  }
}
