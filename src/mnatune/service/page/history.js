// The dialogues of this browser. They live in localStorage and go to the server only as part of a question.

const PLACE = "mnatune.chats";
const MOST = 60;

const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, "0")).join("");

/** All dialogues, newest first. */
export function chats() {
  try {
    const stored = JSON.parse(localStorage.getItem(PLACE) || "[]");
    return Array.isArray(stored) ? stored : [];
  } catch {
    return [];
  }
}

export const UNNAMED = "새 대화";

/** A new, empty dialogue; it is kept once it has a turn, and stored or not (`consent`) as when its first was asked. */
export const newChat = () => ({ id: newId(), title: UNNAMED, consent: false, turns: [] });

/** Keep a dialogue as the newest; the oldest go when there is no room. */
export function keep(chat) {
  if (chat.gone) return;
  let all = [chat, ...chats().filter((other) => other.id !== chat.id)].slice(0, MOST);
  for (;;) {
    try {
      localStorage.setItem(PLACE, JSON.stringify(all));
      return;
    } catch {
      if (all.length <= 1) return;
      all = all.slice(0, Math.ceil(all.length / 2));
    }
  }
}

/** Forget one dialogue, or all. */
export function forget(id) {
  if (id === undefined) localStorage.removeItem(PLACE);
  else localStorage.setItem(PLACE, JSON.stringify(chats().filter((chat) => chat.id !== id)));
}
