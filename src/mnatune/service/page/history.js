// The dialogues of this browser. They live in localStorage and go to the server only as part of a question. Each wall has its
// own: whoever signs in with a key of another matter sees nothing of them.

const ALL = "mnatune.chats";
let place = ALL;

/** From now on the dialogues are those of this wall; an empty name is no wall. */
export function behind(wall) {
  place = wall ? `${ALL}.${wall}` : ALL;
}
const MOST = 60;

const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, "0")).join("");

/** All dialogues, newest first. */
export function chats() {
  try {
    const stored = JSON.parse(localStorage.getItem(place) || "[]");
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
      localStorage.setItem(place, JSON.stringify(all));
      return;
    } catch {
      if (all.length <= 1) return;
      all = all.slice(0, Math.ceil(all.length / 2));
    }
  }
}

/** Forget the dialogues of every wall. */
export function forgetEverything() {
  for (const key of Object.keys(localStorage)) if (key === ALL || key.startsWith(`${ALL}.`)) localStorage.removeItem(key);
}

/** Forget one dialogue, or all of this wall. */
export function forget(id) {
  if (id === undefined) localStorage.removeItem(place);
  else localStorage.setItem(place, JSON.stringify(chats().filter((chat) => chat.id !== id)));
}
