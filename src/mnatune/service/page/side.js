// The list of dialogues at the side: finding, opening, naming and deleting them.

import { $, el } from "./dom.js";
import { chats, keep } from "./history.js";

const plain = (text) => (text || "").normalize("NFC").toLowerCase();

/** Whether a dialogue holds all the words, in its name or in what was said. */
function holds(chat, words) {
  const said = plain([chat.title, ...chat.turns.flatMap((turn) => [turn.content, turn.edit, turn.left, turn.right])].join("\n"));
  return words.every((word) => said.includes(word));
}

/** Show the list; `current` is the id of the dialogue on the screen, `open` and `drop` are told what was chosen. */
export function showSide({ current, open, drop }) {
  const all = chats();
  const words = plain($("search").value).split(/\s+/).filter(Boolean);
  const found = words.length ? all.filter((chat) => holds(chat, words)) : all;
  $("search").hidden = !all.length;
  $("found").textContent = words.length ? (found.length ? `${found.length}개를 찾았습니다.` : "찾는 말이 든 대화가 없습니다.") : "";
  $("history").replaceChildren(...found.map((chat) => el("li", {},
    el("button", { type: "button", class: "plain entry", "aria-current": chat.id === current ? "true" : null, onclick: () => open(chat) }, chat.title),
    el("button", { type: "button", class: "plain icon", "aria-label": `‘${chat.title}’ 삭제`, onclick: () => askDelete(chat, drop) }, "✕"))));
}

/** Ask for another name; `done` is called once the dialogue has it. */
export function askName(chat, done) {
  const dialog = $("rename-dialog");
  $("new-title").value = chat.title;
  dialog.returnValue = "";
  dialog.onclose = () => {
    const title = $("new-title").value.replace(/\s+/g, " ").trim();
    if (dialog.returnValue !== "save" || !title) return;
    chat.title = title;
    keep(chat);
    done(chat);
  };
  $("new-title").onkeydown = (event) => { // a dialog's Enter would press its first button, which is the wrong one
    if (event.key !== "Enter" || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    dialog.close("save");
  };
  dialog.showModal();
  $("new-title").select();
}

/** Ask before a dialogue goes; `drop` is called with its id. */
export function askDelete(chat, drop) {
  const dialog = $("delete-dialog");
  $("delete-text").textContent = `‘${chat.title}’ 대화가 이 브라우저에서 지워지며 되돌릴 수 없습니다.`
    + (chat.consent ? " 서버에 저장된 질문·답변·평가는 ‘기록 모두 삭제’로 지웁니다." : "");
  dialog.returnValue = "";
  dialog.onclose = () => { if (dialog.returnValue === "delete") drop(chat.id); };
  dialog.showModal();
}
