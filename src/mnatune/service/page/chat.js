// The chat page: one dialogue at a time, asked alone or in blind comparison, with its history in this browser.

import { $, el, say } from "./dom.js";
import { dropKey, events, explain, hasKey, request, signIn } from "./client.js";
import { answerBody, answerTools } from "./answer.js";
import { pairTools, streamPair } from "./compare.js";
import { save as saveFile } from "./dialogue_file.js";
import { behind, chats, forget, forgetEverything, keep, newChat, UNNAMED } from "./history.js";
import { askDelete, askName, showSide } from "./side.js";
import { fillAnswer, fillPair, questionNode, showEvidence } from "./turns.js";

const CONSENT = "mnatune.consent";
const EVIDENCE = "mnatune.evidence";

let facts;
let chat = newChat();
let busy = null; // AbortController of the answer that is being made
const writing = new Map(); // dialogue id → {asked: the dialogue, draft: its answer so far}, while that is being made or broken off

const consents = () => localStorage.getItem(CONSENT) === "yes";
const save = (dialogue) => { keep(dialogue); showHistory(); };
const titled = (question) => question.replace(/\s+/g, " ").slice(0, 40);
const atEnd = () => $("log").scrollHeight - $("log").scrollTop - $("log").clientHeight < 120;
const toEnd = () => { $("log").scrollTop = $("log").scrollHeight; };

/** A dialogue as the server takes it: of compared answers the one that was picked, of corrected ones the correction. */
function messages(asked) {
  return asked.turns.flatMap((turn) => {
    if (turn.role === "user") return [{ role: "user", content: turn.content }];
    const content = turn.role === "pair" ? turn[turn.choice === "right" ? "right" : "left"] : turn.edit || turn.content;
    return content ? [{ role: "assistant", content }] : [];
  });
}

/** Questions without an answer (stopped, failed) are left out: two user turns in a row were never trained. */
function sent(asked) {
  const all = messages(asked);
  return all.filter((message, at) => message.role !== "user" || all[at + 1]?.role !== "user");
}

/** Ask a question in a dialogue; `old` is the answer that the new one takes the place of. */
async function ask(asked, question, old = null) {
  if (busy || !question.trim()) return;
  if (asked.turns.length && Boolean(asked.consent) !== consents()) {
    // Earlier turns go along with every question: what was said under another consent must not.
    asked = newChat();
    openChat(asked);
    say("저장 동의가 바뀌어 새 대화를 시작합니다.");
  }
  // The reader may open another dialogue at any moment: whatever comes belongs to this one.
  if (!asked.turns.length) asked.consent = consents();
  const turn = { role: "user", content: question.trim() };
  asked.turns.push(turn);
  if (old) asked.spare = old;
  if (asked.title === UNNAMED) asked.title = titled(turn.content);
  showTitle();
  $("welcome").hidden = true;
  $("turns").querySelectorAll(".last-only").forEach((button) => button.remove());
  $("turns").append(questionNode(turn.content, (wanted) => changeQuestion(asked, turn, wanted)));
  save(asked);
  toEnd();
  const place = el("section", { class: "turn", "aria-label": "답변" });
  $("turns").append(place);
  const controller = new AbortController();
  working(controller);
  writing.set(asked.id, { asked, draft: () => null });
  const follow = setInterval(() => { if (place.isConnected && atEnd()) toEnd(); }, 120);
  try {
    await (comparing() && !old ? askPair(asked, place, controller.signal) : askOne(asked, place, controller.signal));
  } finally {
    clearInterval(follow);
    writing.delete(asked.id);
    if (busy === controller) working(null);
    const restored = restore(asked);
    save(asked);
    if (chat === asked && !place.isConnected) openChat(asked); // left and come back meanwhile
    else if (restored && place.isConnected) fillAnswer(place.parentNode.insertBefore(el("section", { class: "turn" }), place), asked.turns.at(-1), hooksOf(asked, asked.turns.at(-1)));
    else if (place.isConnected && atEnd()) toEnd();
  }
}

/** Where no new answer came, the one that it was to take the place of comes back; true if it did. */
function restore(asked) {
  const { spare } = asked;
  delete asked.spare;
  if (!spare || asked.turns.at(-1)?.role !== "user") return false;
  asked.turns.push(spare);
  return true;
}

/** Ask the last question of a dialogue again; an answer that it had stays behind the new one. */
function rerun(asked) {
  if (busy || chat !== asked) return;
  const question = asked.turns.findLast((turn) => turn.role === "user").content;
  if (Boolean(asked.consent) !== consents()) {
    ask(asked, question);
    return;
  }
  const old = asked.turns.at(-1).role === "user" ? null : asked.turns.pop();
  asked.turns.pop();
  cutTurns();
  ask(asked, question, old);
}

/** Take the last question, and what stands after it, off the screen. */
function cutTurns() {
  const last = [...$("turns").querySelectorAll(".question")].at(-1);
  while (last.nextSibling) last.nextSibling.remove();
  last.remove();
}

/** Show an earlier answer to the last question in the place of the present one. */
function goBack(asked) {
  if (busy || chat !== asked) return;
  const { earlier, ...present } = asked.turns.pop();
  asked.turns.push({ ...earlier[0], earlier: [...earlier.slice(1), present] });
  save(asked);
  openChat(asked);
}

/** Ask a question in another wording: where it has an answer, in a dialogue that branches off before it. */
function changeQuestion(asked, turn, wanted) {
  if (busy || chat !== asked) {
    say("답변이 끝난 뒤에 고칠 수 있습니다.");
    return false;
  }
  const at = asked.turns.indexOf(turn);
  if (at === asked.turns.length - 1) {
    if (asked.title === titled(turn.content)) asked.title = UNNAMED;
    asked.turns.pop();
    cutTurns();
    ask(asked, wanted);
    return true;
  }
  const branch = { ...newChat(), title: at ? `${asked.title} (고친 질문)` : titled(wanted), consent: asked.consent, turns: structuredClone(asked.turns.slice(0, at)) };
  openChat(branch);
  ask(branch, wanted);
  say("고친 질문은 새 대화에서 이어집니다. 원래 대화는 그대로 남아 있습니다.");
  return true;
}

/** What the tools under an answer may do. */
function hooksOf(asked, turn) {
  const last = asked.turns.at(-1) === turn;
  return {
    tags: facts.tags,
    citations: facts.citations,
    changed: () => { save(asked); showMine(); },
    again: last && (() => rerun(asked)),
    back: last && (() => goBack(asked)),
  };
}

function comparing() {
  return $("compare").getAttribute("aria-pressed") === "true";
}

async function askOne(asked, place, signal) {
  const model = $("model").value;
  const answer = answerBody(model);
  place.append(answer.node);
  const turn = { role: "assistant", content: "", model, id: "" };
  let failure = null;
  let panel = null;
  writing.get(asked.id).draft = () => ({ ...turn, content: answer.text.trim() });
  try {
    const body = { model, messages: sent(asked), stream: true, store: asked.consent, metadata: { conversation: asked.id }, ...evidenceWish() };
    for await (const event of events("/v1/chat/completions", body, signal)) {
      const choice = event.choices[0];
      if (body.store) turn.id = event.id;
      if (event.evidence) panel = showEvidence(place, turn, event.evidence);
      if (choice?.citations) turn.checked = { citations: choice.citations, rewritten: choice.rewritten, unchecked: choice.unchecked };
      answer.add(choice?.delta.content || "");
    }
  } catch (error) {
    failure = error;
  }
  turn.content = answer.text.trim();
  if (failure) turn.cut = true;
  if (turn.content) {
    if (asked.spare) turn.earlier = earlierOf(asked.spare);
    asked.turns.push(turn);
    delete asked.spare;
    save(asked);
  }
  await answer.end({ citations: facts.citations, checked: turn.checked });
  if (turn.checked) panel?.cited(turn.checked);
  finished(answer.node, failure, asked);
  if (!turn.content) return;
  const edited = (words) => { say(words); fillAnswer(place, turn, hooksOf(asked, turn), { told: words }); };
  place.append(answerTools(turn, { ...hooksOf(asked, turn), edited }));
}

/** An answer and those before it, the newest first; a few are enough. */
function earlierOf({ earlier = [], ...answer }) {
  return [answer, ...earlier].slice(0, 5);
}

/** What a request says of evidence; nothing where the server has none to offer. */
function evidenceWish() {
  return facts.evidence ? { evidence: $("evidence").getAttribute("aria-pressed") === "true" } : {};
}

async function askPair(asked, place, signal) {
  let turn = null;
  let failure = null;
  try {
    const body = { messages: sent(asked), store: asked.consent, metadata: { conversation: asked.id } };
    turn = await streamPair(place, body, { signal, citations: facts.citations });
  } catch (error) {
    failure = error;
  }
  finished(place, failure, asked);
  if (!turn) return;
  asked.turns.push(turn);
  place.append(pairTools(place, turn, hooksOf(asked, turn).changed));
}

function finished(node, failure, asked) {
  if (failure) {
    const stopped = failure.name === "AbortError";
    node.append(el("p", stopped ? { class: "note" } : { class: "error", role: "alert" }, stopped ? "답변을 중지했습니다." : explain(failure)));
    if (asked.turns.at(-1)?.role === "user") node.append(retry(asked));
  }
  if (asked === chat) say(failure ? "답변을 중지했습니다." : "답변이 끝났습니다.");
}

function retry(asked) {
  return el("div", { class: "tools last-only" }, el("button", { type: "button", class: "plain", onclick: () => rerun(asked) }, "다시 시도"));
}

function working(controller) {
  busy = controller;
  $("send").hidden = Boolean(controller);
  $("stop").hidden = !controller;
  $("model").disabled = $("compare").disabled = Boolean(controller);
  $("evidence").disabled = Boolean(controller) || comparing();
  if (controller) say("답변을 쓰고 있습니다.");
  else $("question").focus({ preventScroll: true });
}

function openChat(next) {
  busy?.abort();
  if (busy) working(null);
  chat = writing.get(next.id)?.asked || next;
  const shown = chat;
  if (!writing.has(shown.id)) restore(shown);
  showTitle();
  $("welcome").hidden = shown.turns.length > 0;
  $("turns").replaceChildren();
  for (const turn of shown.turns) {
    if (turn.role === "user") {
      $("turns").append(questionNode(turn.content, (wanted) => changeQuestion(shown, turn, wanted)));
      continue;
    }
    const place = el("section", { class: "turn", "aria-label": "답변" });
    $("turns").append(place);
    (turn.role === "pair" ? fillPair : fillAnswer)(place, turn, hooksOf(shown, turn)).then(() => {
      if (chat === shown && turn === shown.turns.at(-1)) toEnd();
    });
  }
  if (shown.turns.at(-1)?.role === "user" && !writing.has(shown.id)) {
    $("turns").append(el("section", { class: "turn" }, el("p", { class: "note" }, "이 질문의 답변은 끝까지 오지 않았습니다."), retry(shown)));
  }
  showHistory();
  sideOpen(false);
  if (shown.turns.length) toEnd();
  $("question").focus({ preventScroll: true });
}

function showTitle() {
  $("chat-title").textContent = chat.title;
  $("chat-menu").hidden = !chat.turns.length;
}

function showHistory() {
  showSide({ current: chat.id, open: openChat, drop });
}

/** How many answers the reader has rated and corrected, and what became of it. */
async function showMine() {
  if (!consents()) {
    $("mine").textContent = "";
    return;
  }
  const { ratings, edits, pairs, approved } = await request("GET", "/api/me/progress").catch(() => ({}));
  if (ratings === undefined) return;
  $("mine").textContent = ratings + edits + pairs ? `내 평가 ${ratings} · 고침 ${edits} · 비교 ${pairs} · 승인 ${approved}` : "";
}

function drop(id) {
  forget(id);
  if (writing.has(id)) writing.get(id).asked.gone = true; // what is still to come must not bring it back
  if (id === chat.id) openChat(newChat());
  else showHistory();
}

function sideOpen(open) {
  $("side").classList.toggle("open", open);
  $("shade").hidden = !open;
  $("side-open").setAttribute("aria-expanded", String(open));
  if (open) $("side-close").focus();
}

function setConsent(yes) {
  localStorage.setItem(CONSENT, yes ? "yes" : "no");
  $("consent").checked = yes;
  $("consent-notice").hidden = true;
  $("compare").hidden = facts.models.length < 2 || !yes;
  if (!yes) $("compare").setAttribute("aria-pressed", "false");
  $("evidence").disabled = Boolean(busy) || comparing();
  showMine();
}

function setEvidence(on) {
  localStorage.setItem(EVIDENCE, on ? "yes" : "no");
  $("evidence").setAttribute("aria-pressed", String(on));
}

function grow() {
  const box = $("question");
  box.style.height = "auto";
  box.style.height = `${Math.min(box.scrollHeight, 220)}px`;
}

function submit() {
  const question = $("question").value;
  if (busy || !question.trim()) return;
  $("question").value = "";
  grow();
  ask(chat, question);
}

async function forgetAll() {
  $("forget-dialog").showModal();
  $("forget-dialog").onclose = async () => {
    if ($("forget-dialog").returnValue !== "delete") return;
    for (const { asked } of writing.values()) asked.gone = true;
    forget();
    const told = await request("DELETE", "/api/me").then(() => "모든 기록을 삭제했습니다.", explain);
    openChat(newChat());
    showMine();
    say(told);
  };
}

function listen() {
  $("composer").addEventListener("submit", (event) => { event.preventDefault(); submit(); });
  $("question").addEventListener("input", grow);
  $("question").addEventListener("keydown", (event) => {
    // Enter that ends the composition of a Hangul syllable must not send.
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229) {
      event.preventDefault();
      submit();
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && busy) busy.abort();
    if (event.key === "Escape") sideOpen(false);
    if (event.altKey && event.code === "KeyN") { event.preventDefault(); openChat(newChat()); }
  });
  $("stop").addEventListener("click", () => busy?.abort());
  $("new-chat").addEventListener("click", () => openChat(newChat()));
  $("compare").addEventListener("click", () => {
    $("compare").setAttribute("aria-pressed", String(!comparing()));
    $("model-pick").hidden = comparing();
    $("evidence").disabled = comparing(); // a blind comparison is of what the models say by themselves
  });
  $("evidence").addEventListener("click", () => setEvidence($("evidence").getAttribute("aria-pressed") !== "true"));
  $("consent").addEventListener("change", (event) => setConsent(event.target.checked));
  $("consent-yes").addEventListener("click", () => setConsent(true));
  $("consent-no").addEventListener("click", () => setConsent(false));
  $("side-open").addEventListener("click", () => sideOpen(true));
  $("side-close").addEventListener("click", () => { sideOpen(false); $("side-open").focus(); });
  $("shade").addEventListener("click", () => sideOpen(false));
  $("forget").addEventListener("click", forgetAll);
  $("search").addEventListener("input", showHistory);
  addEventListener("pagehide", keepDrafts);
  listenToMenu();
  $("sign-out").addEventListener("click", () => {
    for (const { asked } of writing.values()) asked.gone = true;
    busy?.abort();
    forgetEverything(); // whoever signs in next at this machine reads nothing of it
    dropKey();
    location.reload();
  });
}

function listenToMenu() {
  const choose = (id, work) => $(id).addEventListener("click", () => { $("chat-menu").open = false; work(); });
  choose("rename", () => askName(chat, () => { showTitle(); showHistory(); }));
  choose("export-md", () => saveFile(chat, "md"));
  choose("export-docx", () => saveFile(chat, "docx"));
  choose("delete-chat", () => askDelete(chat, drop));
  document.addEventListener("click", (event) => { if (!$("chat-menu").contains(event.target)) $("chat-menu").open = false; });
}

/** The page goes: what has come of an answer stays in its dialogue, marked as broken off. */
function keepDrafts() {
  for (const { asked, draft } of writing.values()) {
    const turn = draft();
    const { spare, ...rest } = asked;
    if (!turn?.content || asked.turns.at(-1)?.role !== "user") keep(asked);
    else keep({ ...rest, turns: [...asked.turns, { ...turn, cut: true, ...(spare && { earlier: earlierOf(spare) }) }] });
  }
}

async function begin() {
  listen();
  try {
    facts = await signIn();
  } catch (error) {
    $("turns").append(el("p", { class: "error", role: "alert" }, explain(error)));
    return;
  }
  behind(facts.wall);
  document.title = $("brand").textContent = facts.title;
  $("wall").textContent = facts.wall;
  $("wall").hidden = !facts.wall;
  $("model").replaceChildren(...facts.models.map((name) => el("option", { value: name }, name)));
  $("welcome-title").textContent = facts.welcome.title;
  $("welcome-text").textContent = facts.welcome.text;
  $("evidence-hint").hidden = !facts.evidence;
  $("admin-link").hidden = !facts.admin;
  $("rate-link").hidden = !facts.reviewer;
  $("sign-out").hidden = !hasKey();
  $("evidence").hidden = !facts.evidence;
  $("evidence").setAttribute("aria-pressed", String((localStorage.getItem(EVIDENCE) || (facts.evidence_default ? "yes" : "no")) === "yes"));
  const decided = localStorage.getItem(CONSENT);
  setConsentShown(decided);
  $("examples").replaceChildren(...facts.examples.map((text) => el("li", {}, el("button", { type: "button", class: "quiet", onclick: () => ask(chat, text) }, text))));
  openChat(chats()[0] || newChat());
  showMine();
  document.body.dataset.ready = "true";
}

function setConsentShown(decided) {
  $("consent-notice").hidden = decided !== null;
  $("consent").checked = decided === "yes";
  $("compare").hidden = facts.models.length < 2 || decided !== "yes";
}

begin();
