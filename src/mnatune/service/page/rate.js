// The rating workspace: batches of answers, the one whose grade would change most first, graded by the keys 1 to 4.

import { $, el, say } from "./dom.js";
import { download, explain, guarded, request, signIn } from "./client.js";
import { earlierTurns, labelled, reasonChips } from "./said.js";
import { markCitations } from "./citations.js";

const GUIDELINE = "mnatune.guideline";
const number = (value) => value.toLocaleString("ko-KR");

let batch = [];
let at = 0;
let grades = [];
let sending = false;
let given = 0; // grades of this batch

const query = () => new URLSearchParams({
  show: $("show").value, model: $("model").value, verdict: $("verdict").value, words: $("words").value.trim(), limit: $("size").value,
});

async function openBatch() {
  const reply = await request("GET", `/api/rating?${query()}`);
  batch = reply.items;
  grades = reply.grades;
  at = given = 0;
  showFigures(reply.progress, reply.total);
  const model = $("model").value;
  $("model").replaceChildren(el("option", { value: "" }, "모두"), ...reply.models.map((name) => el("option", { value: name }, name)));
  $("model").value = reply.models.includes(model) ? model : "";
  $("rules").replaceChildren(...reply.guideline.map((rule) => el("li", {}, rule)));
  $("grades").replaceChildren(...grades.map(({ label, means }) => el("li", {}, el("strong", {}, label), ` ${means}`)));
  showItem();
}

function showFigures(progress, left) {
  const figures = [["오늘", progress.today], ["평가", progress.grades], ["건너뜀", progress.skipped], ["조건에 맞는 답변", left]];
  $("figures").replaceChildren(...figures.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, number(value)))));
}

function showItem() {
  $("bar").max = batch.length || 1;
  $("bar").value = Math.min(at, batch.length);
  $("bar").hidden = !batch.length;
  $("count").textContent = batch.length ? `묶음 ${number(Math.min(at + 1, batch.length))} / ${number(batch.length)}` : "";
  const item = batch[at];
  $("card").replaceChildren(item ? card(item) : nothingMore());
  if (item) $("card").querySelector("h3").focus({ preventScroll: true });
}

function nothingMore() {
  if (!batch.length) return el("p", { class: "quiet-text" }, "조건에 맞는 답변이 없습니다. 저장에 동의한 대화의 답변만 여기에 나옵니다.");
  return el("div", { class: "review" },
    el("h3", { tabIndex: -1 }, "묶음을 마쳤습니다"),
    el("p", {}, `${number(batch.length)}건 가운데 ${number(given)}건을 평가했습니다.`),
    el("div", { class: "row" },
      el("button", { type: "button", onclick: guarded(openBatch) }, "다음 묶음"),
      el("button", { type: "button", class: "quiet", onclick: () => step(-1) }, "이전 답변")));
}

function card(item) {
  const comment = el("input", { type: "text", maxLength: 2000, value: item.comment, placeholder: "의견 (선택)", "aria-label": "의견", id: "comment" });
  const answer = labelled(`답변 · ${item.model}`, item.answer);
  markCitations(answer.querySelector(".text"), item.answer).catch(() => say("조문을 확인하지 못했습니다."));
  const buttons = grades.map(({ label, means }, place) => el("button", {
    type: "button", class: "quiet grade", title: means, "aria-pressed": String(item.own === String(place + 1)), onclick: () => send(place + 1),
  }, el("kbd", {}, String(place + 1)), ` ${label}`));
  return el("article", { class: "review" },
    el("p", { class: "meta" }, `${new Date(item.created * 1000).toLocaleString("ko-KR")}`, item.topic && ` · ${item.topic}`),
    reasonChips(item.reasons),
    earlierTurns(item.dialogue.slice(0, -1)),
    el("h3", { tabIndex: -1 }, item.question),
    answer,
    comment,
    el("div", { class: "grade-row", role: "group", "aria-label": "등급" }, ...buttons),
    el("div", { class: "row" },
      el("button", { type: "button", class: "plain", onclick: () => send(null) }, "건너뛰기 (S)"),
      el("button", { type: "button", class: "plain", disabled: at === 0, onclick: () => step(-1) }, "이전 (←)"),
      item.own && el("button", { type: "button", class: "plain", onclick: () => send(0) }, "평가 거두기")),
    el("p", { class: "error", role: "alert", id: "told" }));
}

function step(by) {
  at = Math.max(0, Math.min(batch.length, at + by));
  showItem();
}

/** Send a grade (null skips, 0 takes back); the next answer comes only once the server has it. */
async function send(grade) {
  const item = batch[at];
  if (sending || !item) return;
  sending = true;
  const comment = $("comment").value;
  try {
    await request("PUT", `/api/rating/${encodeURIComponent(item.id)}`, { grade, comment });
    const before = item.own;
    item.own = grade === null ? "skip" : grade ? String(grade) : "";
    item.comment = grade ? comment : "";
    given += Number(Boolean(grade)) - Number(Boolean(before) && before !== "skip");
    say(grade ? `${grade} ${grades[grade - 1].label}로 저장했습니다.` : grade === null ? "건너뛰었습니다." : "평가를 거두었습니다.");
    const progress = await request("GET", "/api/me/progress").catch(() => null);
    if (progress) for (const [place, name] of ["today", "grades", "skipped"].entries()) $("figures").querySelectorAll("dd")[place].textContent = number(progress[name]);
    if (grade === 0) showItem();
    else step(1);
  } catch (error) {
    const now = item.own && item.own !== "skip" ? `등급 ${item.own}` : item.own ? "건너뜀" : "없음";
    $("told").textContent = `저장되지 않았습니다. ${explain(error)} 서버에 있는 것은 지금도 ‘${now}’입니다. 등급을 다시 누르면 다시 보냅니다.`;
  } finally {
    sending = false;
  }
}

function listen() {
  $("guideline").open = localStorage.getItem(GUIDELINE) !== "closed";
  $("guideline").addEventListener("toggle", () => localStorage.setItem(GUIDELINE, $("guideline").open ? "open" : "closed"));
  const open = guarded(openBatch);
  $("filters").addEventListener("submit", (event) => { event.preventDefault(); open(); });
  for (const id of ["show", "model", "verdict", "size"]) $(id).addEventListener("change", open);
  $("csv").addEventListener("click", guarded(() => download("/api/rating/sheet.csv", "grades.csv")));
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.repeat || event.isComposing) return;
    if (event.target.closest("input, textarea, select, dialog")) return;
    const grade = /^(?:Digit|Numpad)([1-4])$/.exec(event.code);
    if (grade) send(Number(grade[1]));
    else if (event.code === "KeyS") send(null);
    else if (event.code === "ArrowLeft") step(-1);
    else return;
    event.preventDefault();
  });
}

async function begin() {
  await signIn((told) => told.reviewer);
  listen();
  await openBatch();
  document.body.dataset.ready = "true";
}

guarded(begin)();
