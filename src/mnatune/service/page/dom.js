// Small things that every part of the pages uses. Text only ever becomes text nodes: nothing here parses HTML.

export const $ = (id) => document.getElementById(id);

/** An element; properties that begin with "on" are listeners, "aria"/"data" keys become attributes. */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.className = value;
    else if (name in node && !name.startsWith("aria")) node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Say something to screen readers. */
export function say(text) {
  $("status").textContent = text;
}

/** Put text on the clipboard, also where the page is served without TLS. */
export async function copy(text) {
  if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
  const area = el("textarea", { value: text, class: "sr" });
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** Hand a Blob to the reader as a file. */
export function handOver(blob, name) {
  const address = URL.createObjectURL(blob);
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
