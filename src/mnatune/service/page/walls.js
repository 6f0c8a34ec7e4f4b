// The administration of walls and models: which keys and models a matter has, what is registered, what is in production.

import { $, el } from "./dom.js";
import { guarded, request } from "./client.js";

const ROLES = { user: "이용", reviewer: "평가", admin: "관리" };
const VERDICTS = { promote: "승격", hold: "보류", reject: "거절" };
const COMMON = "벽 없음";

/** The query of what the administrator looks at: all, or one wall ("" is what is behind none). */
export function chosenWall() {
  const value = $("wall").value;
  return value === "all" ? {} : { wall: value.slice(1) };
}

/** Show the walls, and have the rest of the page follow the choice of one. */
export async function showWalls(changed) {
  const { walls } = await request("GET", "/api/admin/walls");
  if (walls.length < 2 && !walls[0]?.name) return;
  $("walls-part").hidden = false;
  $("wall").parentNode.hidden = walls.length < 2;
  $("wall").append(...walls.map(({ name }) => el("option", { value: `=${name}` }, name || COMMON)));
  $("wall").addEventListener("change", changed);
  $("walls").replaceChildren(...walls.map((wall) => el("tr", {},
    el("th", { scope: "row" }, wall.name || COMMON),
    el("td", {}, wall.name ? wall.models.join(", ") || "–" : "어느 벽에도 없는 모델"),
    el("td", {}, wall.name ? (wall.documents ? "있음" : "–") : "공용"),
    el("td", {}, ...wall.keys.filter((key) => key.state === "active").map((key) => el("span", { class: "key-line" }, `${key.name} (${ROLES[key.role]}, key:${key.id})`))),
    el("td", {}, String(wall.grades)),
    el("td", {}, wall.alpha === null ? "–" : wall.alpha.toFixed(2)))));
}

/** Show the registered models; nothing where the server has no registry or the key is of one matter. */
export async function showModels() {
  const facts = await request("GET", "/api/admin/models").catch((error) => {
    if (["no_registry", "all_walls_only"].includes(error.code)) return null;
    throw error;
  });
  if (!facts) return;
  $("registry-part").hidden = false;
  $("registry").replaceChildren(...facts.registered.map((model) => {
    const names = Object.keys(facts.loaded).filter((name) => facts.loaded[name] === model.name);
    return el("tr", {},
      el("th", { scope: "row" }, model.name),
      el("td", {}, model.created.slice(0, 10)),
      el("td", {}, VERDICTS[model.verdict] || "평가 전"),
      el("td", {}, [model.production && "운영", ...names].filter(Boolean).join(", ") || "–"),
      el("td", {}, ...actions(model, names)));
  }));
}

function actions(model, names) {
  const act = (label, work, told) => el("button", { type: "button", class: "quiet", onclick: guarded(async () => {
    if (!(await work())) return;
    $("registry-told").textContent = told;
    await showModels();
  }) }, label);
  return [
    !model.production && act("운영에 올리기", () => promote(model), `${model.name} 모델을 운영에 올렸습니다. 몇 초 안에 바뀝니다.`),
    !names.length && !model.production && act("적재", () => load(model), `${model.name} 모델을 적재했습니다.`),
    ...names.map((name) => act(`${name} 내리기`, () => unload(name), `${name} 모델을 내렸습니다.`)),
  ];
}

async function promote(model) {
  let reason = "";
  if (model.verdict !== "promote") {
    reason = await askText("판정이 ‘승격’이 아닌 모델입니다. 그래도 운영에 올리는 이유를 적으십시오.", "");
    if (!reason) return false;
  }
  await request("PUT", "/api/admin/production", { model: model.name, reason });
  return true;
}

async function load(model) {
  const name = await askText("이 모델을 부를 이름을 적으십시오 (영문자, 숫자, . _ -).", model.name);
  if (!name) return false;
  await request("PUT", `/api/admin/models/${encodeURIComponent(name)}`, { model: model.name });
  return true;
}

/** Ask for a line of text; empty if the asking was broken off. */
function askText(question, value) {
  const dialog = $("text-dialog");
  $("text-question").textContent = question;
  $("text").value = value;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(dialog.returnValue === "yes" ? $("text").value.trim() : "");
  });
}

async function unload(name) {
  await request("DELETE", `/api/admin/models/${encodeURIComponent(name)}`);
  return true;
}
