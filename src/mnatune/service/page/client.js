// Talking to the server: the key, JSON requests, streams of server-sent events.

import { $, handOver } from "./dom.js";

const KEY = "mnatune.key";

export class Refusal extends Error {
  constructor(status, error = {}) {
    super(error.message || `HTTP ${status}`);
    this.status = status;
    this.code = error.code || "";
  }
}

export const hasKey = () => sessionStorage.getItem(KEY) !== null;
export const dropKey = () => sessionStorage.removeItem(KEY);

function headers(body) {
  const key = sessionStorage.getItem(KEY);
  return {
    ...(body === undefined ? {} : { "Content-Type": "application/json" }),
    ...(key ? { Authorization: `Bearer ${key}` } : {}),
  };
}

async function send(method, path, body, signal) {
  const reply = await fetch(path, {
    method,
    headers: headers(body),
    body: body === undefined ? undefined : JSON.stringify(body),
    signal,
  });
  if (reply.ok) return reply;
  const said = await reply.json().catch(() => ({}));
  throw new Refusal(reply.status, said.error);
}

/** The JSON of a reply; null where there is none. */
export async function request(method, path, body) {
  const reply = await send(method, path, body);
  return reply.status === 204 ? null : reply.json();
}

/** Hand the body of a reply to the reader as a file. */
export async function download(path, name) {
  const reply = await send("GET", path);
  handOver(await reply.blob(), name);
}

/** The events of a stream; an event that reports an error throws it. */
export async function* events(path, body, signal) {
  const reply = await send("POST", path, body, signal);
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Refusal(502, { code: "broken_off", message: "the stream ended early" });
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const data = line.slice(5).trim();
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new Refusal(500, event.error);
      yield event;
    }
  }
}

/** What the page is told, after asking for a key as long as one is needed and none fits. */
export async function signIn(enough = () => true) {
  for (let tried = false; ; tried = true) {
    const facts = await request("GET", "/api/page").catch((error) => {
      if (error.status === 401) return { signed_in: false };
      throw error;
    });
    if (facts.signed_in && enough(facts)) return facts;
    $("key-error").textContent = tried ? "키가 맞지 않거나, 만료되었거나, 권한이 없습니다." : "";
    sessionStorage.setItem(KEY, await askKey());
  }
}

function askKey() {
  const dialog = $("key-dialog");
  $("key").value = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.oncancel = (event) => event.preventDefault();
    $("key-form").onsubmit = () => resolve($("key").value.trim());
  });
}

/** A refusal in words for the reader. */
export function explain(error) {
  const known = {
    context_length_exceeded: "대화가 모델이 읽을 수 있는 길이를 넘었습니다. 새 대화에서 질문을 나누어 보내 주세요.",
    queue_full: "지금 이용자가 많아 대기열이 가득 찼습니다. 잠시 뒤 다시 보내 주세요.",
    rate_limit_exceeded: "이 키의 분당 사용 한도에 이르렀습니다. 잠시 뒤 다시 보내 주세요.",
    deadline_exceeded: "답변이 제한 시간을 넘겨 중단되었습니다.",
    draining: "서버가 다시 시작하는 중입니다. 잠시 뒤 다시 보내 주세요.",
    engine_unavailable: "모델이 지금 답할 수 없습니다. 잠시 뒤 다시 보내 주세요.",
    unknown_item: "서버에 저장되지 않은 답변이라 처리할 수 없습니다.",
    feedback_store: "피드백 저장소에 문제가 있어 저장하지 못했습니다.",
    broken_off: "답변이 중간에 끊어졌습니다. 다시 시도해 주세요.",
    one_model: "비교하려면 두 모델이 제공되어야 합니다.",
  };
  if (error instanceof Refusal) {
    if (error.status === 401) return "키가 더 이상 유효하지 않습니다. 페이지를 새로 고쳐 다시 입력해 주세요.";
    return known[error.code] || `요청이 처리되지 않았습니다 (${error.status}).`;
  }
  return "서버에 연결할 수 없습니다. 네트워크와 서버 상태를 확인해 주세요.";
}

/** The work as a listener that tells in the page's line for trouble what went wrong. */
export const guarded = (work) => async () => {
  try {
    $("trouble").textContent = "";
    await work();
  } catch (error) {
    $("trouble").textContent = explain(error);
  }
};
