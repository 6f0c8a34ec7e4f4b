// The chat page: one dialogue at a time, asked alone or in blind comparison, with its history in this browser.

import { $, el, say } from "./dom.js";
import { dropKey, events, explain, hasKey, request, signIn } from "./client.js";
import { answerBody, answerTools } from "./answer.js";
import { evidencePanel } from "./evidence.js";
import { pairTools, showPair, streamPair } from "./compare.js";
import { chats, forget, keep, newChat } from "./history.js";

const CONSENT = "mnatune.consent";
const EVIDENCE = "mnatune.evidence";

let facts;
let chat = newChat();
let busy = null; // AbortController of the answer that is being made
const writing = new Map(); // dialogue id → the dialogue, while an answer to it is being made or broken off

const consents = () => localStorage.getItem(CONSENT) === "yes";
const save = (dialogue) => { keep(dialogue); showHistory(); };
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

async function ask(question) {
  if (busy || !question.trim()) return;
  if (chat.turns.length && Boolean(chat.consent) !== consents()) {
    // Earlier turns go along with every question: what was said under another consent must not.
    await openChat(newChat());
    say("저장 동의가 바뀌어 새 대화를 시작합니다.");
  }
  // The reader may open another dialogue at any moment: whatever comes belongs to this one.
  const asked = chat;
  if (!asked.turns.length) asked.consent = consents();
  asked.turns.push({ role: "user", content: question.trim() });
  if (asked.turns.length === 1) asked.title = question.trim().slice(0, 40);
  $("chat-title").textContent = asked.title;
  $("welcome").hidden = true;
  $("turns").append(questionNode(question.trim()));
  save(asked);
  toEnd();
  const place = el("section", { class: "turn", "aria-label": "답변" });
  $("turns").append(place);
  const controller = new AbortController();
  working(controller);
  writing.set(asked.id, asked);
  const follow = setInterval(() => { if (place.isConnected && atEnd()) toEnd(); }, 120);
  try {
    await (comparing() ? askPair(asked, place, controller.signal) : askOne(asked, place, controller.signal));
  } finally {
    clearInterval(follow);
    writing.delete(asked.id);
    if (busy === controller) working(null);
    save(asked);
    if (chat === asked && !place.isConnected) await openChat(asked); // left and come back meanwhile
    else if (place.isConnected && atEnd()) toEnd();
  }
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
  if (turn.content) asked.turns.push(turn);
  await answer.end({ citations: facts.citations, checked: turn.checked });
  if (turn.checked) panel?.cited(turn.checked);
  finished(answer.node, failure, asked);
  if (turn.content) place.append(answerTools(turn, { tags: facts.tags, changed: () => save(asked) }));
}

/** What a request says of evidence; nothing where the server has none to offer. */
function evidenceWish() {
  return facts.evidence ? { evidence: $("evidence").getAttribute("aria-pressed") === "true" } : {};
}

/** The articles beside an answer; they stay with its turn. */
function showEvidence(place, turn, report) {
  turn.evidence = report;
  const panel = evidencePanel(report);
  place.classList.add("grounded");
  place.append(panel.node);
  return panel;
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
  place.append(pairTools(place, turn, () => save(asked)));
}

function finished(node, failure, asked) {
  if (failure) {
    const stopped = failure.name === "AbortError";
    node.append(el("p", stopped ? { class: "note" } : { class: "error", role: "alert" }, stopped ? "답변을 중지했습니다." : explain(failure)));
    if (asked.turns.at(-1)?.role === "user") node.append(retry(asked));
  }
  if (asked === chat) say(failure ? "답변을 중지했습니다." : "답변이 끝났습니다.");
}

/** Asks the last question of a dialogue again, which has no answer. */
function retry(asked) {
  return el("div", { class: "tools" }, el("button", { type: "button", class: "plain", onclick: async () => {
    if (busy || chat !== asked) return;
    const question = asked.turns.pop().content;
    await openChat(asked);
    ask(question);
  } }, "다시 시도"));
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

function questionNode(text) {
  return el("section", { class: "turn question", "aria-label": "질문" }, el("div", { class: "text" }, text));
}

async function openChat(next) {
  busy?.abort();
  if (busy) working(null);
  chat = writing.get(next.id) || next;
  const shown = chat;
  $("chat-title").textContent = chat.title;
  $("welcome").hidden = chat.turns.length > 0;
  $("turns").replaceChildren();
  for (const turn of [...shown.turns]) {
    if (chat !== shown) return; // the reader has opened another one
    if (turn.role === "user") {
      $("turns").append(questionNode(turn.content));
      continue;
    }
    const place = el("section", { class: "turn", "aria-label": "답변" });
    $("turns").append(place);
    if (turn.role === "pair") {
      await showPair(place, turn, { citations: facts.citations });
      place.append(pairTools(place, turn, () => save(shown)));
    } else {
      const answer = answerBody(turn.model);
      place.append(answer.node);
      answer.add(turn.content);
      const panel = turn.evidence && showEvidence(place, turn, turn.evidence);
      await answer.end({ citations: facts.citations, checked: turn.checked });
      if (turn.checked) panel?.cited(turn.checked);
      place.append(answerTools(turn, { tags: facts.tags, changed: () => save(shown) }));
    }
  }
  if (chat !== shown) return;
  if (shown.turns.at(-1)?.role === "user" && !writing.has(shown.id)) {
    $("turns").append(el("section", { class: "turn" }, el("p", { class: "note" }, "이 질문의 답변은 끝까지 오지 않았습니다."), retry(shown)));
  }
  showHistory();
  sideOpen(false);
  if (chat.turns.length) toEnd();
  $("question").focus({ preventScroll: true });
}

function showHistory() {
  const rows = chats().map((stored) => el("li", {},
    el("button", { type: "button", class: "plain entry", "aria-current": stored.id === chat.id ? "true" : null, onclick: () => openChat(stored) }, stored.title),
    el("button", { type: "button", class: "plain icon", "aria-label": `‘${stored.title}’ 삭제`, onclick: () => drop(stored.id) }, "✕")));
  $("history").replaceChildren(...rows);
}

function drop(id) {
  forget(id);
  if (writing.has(id)) writing.get(id).gone = true; // what is still to come must not bring it back
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
  ask(question);
}

async function forgetAll() {
  $("forget-dialog").showModal();
  $("forget-dialog").onclose = async () => {
    if ($("forget-dialog").returnValue !== "delete") return;
    for (const asked of writing.values()) asked.gone = true;
    forget();
    const told = await request("DELETE", "/api/me").then(() => "모든 기록을 삭제했습니다.", explain);
    await openChat(newChat());
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
  $("sign-out").addEventListener("click", () => {
    for (const asked of writing.values()) asked.gone = true;
    busy?.abort();
    forget(); // whoever signs in next at this machine reads nothing of it
    dropKey();
    location.reload();
  });
}

async function begin() {
  listen();
  try {
    facts = await signIn();
  } catch (error) {
    $("turns").append(el("p", { class: "error", role: "alert" }, explain(error)));
    return;
  }
  document.title = $("brand").textContent = facts.title;
  $("model").replaceChildren(...facts.models.map((name) => el("option", { value: name }, name)));
  $("admin-link").hidden = !facts.admin;
  $("sign-out").hidden = !hasKey();
  $("evidence").hidden = !facts.evidence;
  $("evidence").setAttribute("aria-pressed", String((localStorage.getItem(EVIDENCE) || (facts.evidence_default ? "yes" : "no")) === "yes"));
  const decided = localStorage.getItem(CONSENT);
  setConsentShown(decided);
  $("examples").replaceChildren(...facts.examples.map((text) => el("li", {}, el("button", { type: "button", class: "quiet", onclick: () => ask(text) }, text))));
  await openChat(chats()[0] || newChat());
  document.body.dataset.ready = "true";
}

function setConsentShown(decided) {
  $("consent-notice").hidden = decided !== null;
  $("consent").checked = decided === "yes";
  $("compare").hidden = facts.models.length < 2 || decided !== "yes";
}

begin();
