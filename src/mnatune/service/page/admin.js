// The admin page: usage and ratings over time, and the queue of feedback that waits for a reviewer.

import { $, el, say } from "./dom.js";
import { download, explain, guarded, request, signIn } from "./client.js";
import { earlierTurns, labelled, reasonChips } from "./said.js";
import { chosenWall, showModels, showWalls } from "./walls.js";

const PAGE = 20;
const DAY = 86_400_000; // milliseconds
const KINDS = { rating: "평가", edit: "고친 답변", pair: "비교", grade: "등급" };
const VALUES = { up: "좋아요", down: "아쉬워요", left: "가가 더 좋음", right: "나가 더 좋음", tie: "비슷함", both_bad: "둘 다 부족" };
const SVG = "http://www.w3.org/2000/svg";

let tags = {};
let offset = 0;

const number = (value) => value.toLocaleString("ko-KR");
const sum = (rows, name) => rows.reduce((total, row) => total + row[name], 0);

function svg(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

async function showUsage() {
  const { days, waiting, running } = await request("GET", `/api/admin/usage?${new URLSearchParams({ days: $("days").value, ...chosenWall() })}`);
  const up = sum(days, "up");
  const down = sum(days, "down");
  const figures = [
    ["답변", number(sum(days, "generations"))],
    ["좋아요 비율", up + down ? `${Math.round((100 * up) / (up + down))}% (${number(up + down)}건)` : "–"],
    ["고친 답변", number(sum(days, "edits"))],
    ["지금", `생성 ${number(running)} · 대기 ${number(waiting)}`],
  ];
  $("figures").replaceChildren(...figures.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  $("chart").replaceChildren(chart(days, Number($("days").value)));
  const models = [...new Set(days.map((row) => row.model))].sort();
  $("models").replaceChildren(...models.map((model) => {
    const rows = days.filter((row) => row.model === model);
    const duel = ["wins", "ties", "losses"].map((name) => number(sum(rows, name))).join(" · ");
    const cells = ["generations", "completion_tokens", "up", "down", "edits"].map((name) => el("td", {}, number(sum(rows, name))));
    return el("tr", {}, el("th", { scope: "row" }, model), ...cells, el("td", {}, duel));
  }));
}

/** Ratings of each of the last days (UTC, as the server counts): likes upward, dislikes downward from one base line. */
function chart(rows, count) {
  if (!rows.some((row) => row.up || row.down)) return el("p", { class: "quiet-text" }, "아직 평가가 없습니다.");
  const dates = Array.from({ length: count }, (_, at) => new Date(Date.now() - (count - 1 - at) * DAY).toISOString().slice(0, 10));
  const byDay = dates.map((day) => {
    const these = rows.filter((row) => row.day === day);
    return { day, up: sum(these, "up"), down: sum(these, "down") };
  });
  const most = Math.max(...byDay.map((d) => Math.max(d.up, d.down)), 1);
  const [left, half, step] = [36, 80, 684 / count];
  const width = Math.min(step * 0.7, 48);
  const middle = (at) => left + (at + 0.5) * step;
  const told = byDay.filter((d) => d.up || d.down).map((d) => `${d.day} 좋아요 ${d.up} 아쉬워요 ${d.down}`).join(", ");
  const bars = byDay.flatMap((d, at) => [["up", "좋아요", -1], ["down", "아쉬워요", 1]].filter(([kind]) => d[kind]).map(([kind, label, side]) => {
    const height = (d[kind] / most) * half;
    return svg("rect", { class: kind, x: middle(at) - width / 2, y: half + 11 + (side < 0 ? -1 - height : 1), width, height, rx: 2 },
      svg("title", {}, `${d.day} ${label} ${d[kind]}`));
  }));
  const marks = [[half + 11, "0"], [10, number(most)], [2 * half + 12, number(most)]].map(([y, value]) =>
    svg("text", { x: left - 8, y: y + 4, "text-anchor": "end" }, value));
  const labels = [0, count - 1].map((at) =>
    svg("text", { x: middle(at), y: 2 * half + 36, "text-anchor": at ? "end" : "start" }, dates[at].slice(5).replace("-", ". ") + "."));
  return svg("svg", { viewBox: `0 0 720 ${2 * half + 42}`, role: "img", "aria-label": `날짜별 평가: ${told}` },
    svg("line", { x1: left, x2: 720, y1: half + 11, y2: half + 11 }), ...bars, ...marks, ...labels);
}

const filters = () => ({ ...chosenWall(), state: $("state").value, kind: $("kind").value, model: $("model").value, words: $("words").value.trim() });

async function showQueue() {
  const query = new URLSearchParams({ ...filters(), order: $("order").value, limit: PAGE, offset });
  const { items, total } = await request("GET", `/api/admin/reviews?${query}`);
  $("count").textContent = total ? `${number(total)}건 가운데 ${number(offset + 1)}–${number(offset + items.length)}` : "해당하는 항목이 없습니다.";
  $("before").disabled = offset === 0;
  $("after").disabled = offset + items.length >= total;
  $("order").disabled = $("state").value !== "open";
  $("queue").replaceChildren(...items.map((item) => el("li", {}, card(item))));
  $("all").checked = false;
  showChosen();
}

const boxes = () => [...$("queue").querySelectorAll(".choose")];
const chosen = () => boxes().filter((box) => box.checked).map((box) => box.value);

function showChosen() {
  const count = chosen().length;
  $("chosen").textContent = count ? `${number(count)}건 고름` : "";
  $("approve").disabled = $("reject").disabled = !count;
}

/** Decide all that is chosen alike, and tell what was gone meanwhile. */
async function decideAll(state) {
  const { done, unknown } = await request("PUT", "/api/admin/reviews", { items: chosen(), state });
  await showQueue();
  const told = `${number(done.length)}건을 ${state === "approved" ? "승인" : "반려"}했습니다.${unknown.length ? ` ${number(unknown.length)}건은 그사이 바뀌거나 지워져 건너뛰었습니다.` : ""}`;
  $("chosen").textContent = told;
  say(told);
}

async function showAgreement() {
  const told = await request("GET", `/api/admin/agreement?${new URLSearchParams(chosenWall())}`);
  const early = told.items < told.least; // too few for an interval, or for a word on it
  const decimal = (value) => value.toFixed(2);
  const figures = [
    ["크리펜도르프 알파", told.alpha === null ? "–" : decimal(told.alpha) + (early ? "" : ` (${decimal(told.low)}–${decimal(told.high)})`)],
    ["같은 등급", told.same === null ? "–" : `${Math.round(100 * told.same)}%`],
    ["둘 이상이 평가한 답변", number(told.items)],
    ...told.raters.map(({ rater, grades, mean }) => [rater, `${number(grades)}건 · 평균 ${mean}`]),
  ];
  $("agreement").replaceChildren(...figures.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  $("agreement-words").textContent = told.alpha === null
    ? "같은 답변을 두 사람 이상이 평가하면 일치도가 나옵니다."
    : early ? `${told.least}건이 되기 전에는 일치도를 말하기 이릅니다.`
    : `${told.alpha >= told.reliable ? "믿고 쓸 만합니다." : told.alpha >= told.tentative ? "잠정적인 결론에만 쓰십시오." : "평가 기준을 먼저 맞추십시오."} 서열 척도, 괄호는 95 % 구간. ${told.reliable} 이상이면 믿을 만하고 ${told.tentative} 미만이면 쓰지 않습니다.`;
  $("apart-fold").hidden = !told.apart.length;
  $("apart").replaceChildren(...told.apart.map(({ question, answer, grades }) => el("li", {}, el("article", { class: "review" },
    el("p", { class: "meta" }, Object.entries(grades).map(([rater, grade]) => `${rater}: ${grade}`).join(" · ")), el("h3", {}, question), labelled("답변", answer)))));
}

function card(item) {
  const told = el("p", { class: "error", role: "alert" });
  const note = el("input", { type: "text", maxLength: 2000, value: item.note, placeholder: "검토 의견 (선택)", "aria-label": "검토 의견" });
  const edited = item.kind === "edit" ? el("textarea", { rows: 6, value: item.value, "aria-label": "고친 답변" }) : null;
  const decide = (state) => async () => {
    try {
      const text = edited && edited.value !== item.value ? edited.value : null;
      await request("PUT", `/api/admin/reviews/${encodeURIComponent(item.id)}`, { state, note: note.value, text });
      say(state === "approved" ? "승인했습니다." : state === "rejected" ? "반려했습니다." : "검토 전으로 되돌렸습니다.");
      await showQueue();
    } catch (error) {
      told.textContent = explain(error);
    }
  };
  const reasons = item.tags.map((tag) => tags[tag] || tag).join(", ");
  const said = item.kind === "edit" ? "" : VALUES[item.value] || item.value;
  return el("article", { class: "review" },
    el("p", { class: "meta" },
      el("input", { type: "checkbox", class: "choose", value: item.id, "aria-label": `고르기: ${item.question.slice(0, 40)}`, onchange: showChosen }), " ",
      el("strong", {}, KINDS[item.kind]), said && ` ${said}`, ` · ${item.model}`, item.other_model && ` 대 ${item.other_model}`,
      ` · ${new Date(item.created * 1000).toLocaleString("ko-KR")} · ${item.rater}`),
    reasonChips(item.reasons),
    earlierTurns(item.earlier),
    el("h3", {}, item.question),
    el("div", { class: item.other ? "pair" : "" }, labelled(item.other ? "가" : "답변", item.answer), item.other && labelled("나", item.other)),
    edited && el("div", { class: "field" }, el("p", { class: "quiet-text" }, "고친 답변"), edited),
    reasons && el("p", { class: "quiet-text" }, `이유: ${reasons}`),
    item.comment && el("p", { class: "quiet-text" }, `의견: ${item.comment}`),
    el("div", { class: "row" }, note,
      item.state !== "approved" && el("button", { type: "button", onclick: decide("approved") }, "승인"),
      item.state !== "rejected" && el("button", { type: "button", class: "quiet", onclick: decide("rejected") }, "반려"),
      item.state !== "open" && el("button", { type: "button", class: "quiet", onclick: decide("open") }, "되돌리기")),
    told);
}

async function begin() {
  const facts = await signIn((told) => told.admin);
  tags = facts.tags;
  $("model").append(...facts.models.map((name) => el("option", { value: name }, name)));
  const queue = guarded(showQueue);
  const turn = (by) => () => { offset = Math.max(0, offset + by); queue(); };
  const fresh = () => { offset = 0; queue(); };
  $("days").addEventListener("change", guarded(showUsage));
  for (const id of ["state", "order", "kind", "model"]) $(id).addEventListener("change", fresh);
  $("filters").addEventListener("submit", (event) => { event.preventDefault(); fresh(); });
  $("all").addEventListener("change", () => { boxes().forEach((box) => { box.checked = $("all").checked; }); showChosen(); });
  $("approve").addEventListener("click", guarded(() => decideAll("approved")));
  $("reject").addEventListener("click", guarded(() => decideAll("rejected")));
  $("csv").addEventListener("click", guarded(() => download(`/api/admin/reviews.csv?${new URLSearchParams(filters())}`, `reviews-${$("state").value}.csv`)));
  $("before").addEventListener("click", turn(-PAGE));
  $("after").addEventListener("click", turn(PAGE));
  await guarded(() => showWalls(guarded(async () => { offset = 0; await showUsage(); await showAgreement(); await showQueue(); })))();
  await guarded(showModels)();
  await guarded(showUsage)();
  await guarded(showAgreement)();
  await queue();
  document.body.dataset.ready = "true";
}

guarded(begin)();
