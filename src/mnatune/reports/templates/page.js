"use strict";
(() => {
  const page = JSON.parse(document.getElementById("page-data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const night = new Map(Object.values(page.palette));
  const PRINT_WIDTH = { wide: 680, two: 330, three: 220 };

  // Charts carry the light palette; by night every colour is exchanged for its counterpart.
  const recolour = (value) => {
    if (typeof value === "string") return night.get(value) ?? value;
    if (Array.isArray(value)) return value.map(recolour);
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, recolour(inner)]));
    }
    return value;
  };

  const draw = (printing) => {
    for (const chart of page.charts) {
      const place = document.getElementById(chart.id);
      if (!place) continue;
      const tint = dark.matches && !printing ? recolour : structuredClone;
      const layout = { ...tint(chart.layout), height: chart.height, autosize: !printing };
      if (printing) {
        const grid = place.closest(".chart.wide") ? "wide" : place.closest(".two") ? "two" : "three";
        layout.width = PRINT_WIDTH[grid];
      }
      Plotly.react(place, tint(chart.data), layout, { displayModeBar: false, responsive: !printing });
    }
  };
  draw(false);
  dark.addEventListener("change", () => draw(false));
  // On paper every reason for a drop is shown; other closed parts stay away.
  const unfolded = [];
  addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll(".funnel details:not([open])")) {
      part.open = true;
      unfolded.push(part);
    }
    draw(true);
  });
  addEventListener("afterprint", () => {
    for (const part of unfolded.splice(0)) part.open = false;
    draw(false);
  });

  // The item browser. Text reaches the page through textContent alone.
  const list = document.getElementById("items");
  if (!list) return;
  const STEP = 10;
  const more = document.getElementById("more");
  const inputs = ["text", "topic", "sort", "kind"].map((name) => document.getElementById(`filter-${name}`));
  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const plain = (text) => text.normalize("NFC").toLowerCase();
  const texts = (item) => item.sides.map((side) => side.segments.map((segment) => segment[0]).join(""));
  const searchable = page.items.map((item) => plain([item.id, item.question, item.reference, ...texts(item)].join("\n")));

  const answer = (side, label, className) => {
    const box = make("section", `answer ${className}`);
    const title = make("h5", "", label);
    if (side.value) title.append(make("small", "", side.value));
    const text = make("p", "text");
    for (const [words, tone, note] of side.segments) {
      if (!tone) { text.append(words); continue; }
      const mark = make("mark", tone, words);
      mark.title = note;
      text.append(mark);
    }
    box.append(title, text);
    if (side.remarks.length) {
      const tags = make("p", "tags");
      tags.append(...side.remarks.map(([tone, remark]) => make("span", `tag ${tone}`, remark)));
      box.append(tags);
    }
    return box;
  };

  const card = (item) => {
    const box = make("article", "item");
    const head = make("header");
    const tags = make("p", "tags");
    tags.append(make("span", "tag", item.kind));
    if (item.topic) tags.append(make("span", "tag", item.topic));
    if (item.gain !== null) {
      tags.append(make("span", `tag ${item.gain > 0 ? "good" : item.gain < 0 ? "bad" : ""}`, `변화 ${item.gain_text}`));
    }
    tags.append(make("span", "quiet", item.id));
    head.append(tags, make("h4", "", item.question));
    const pair = make("div", "pair");
    pair.append(answer(item.sides[0], "학습 전", "before"), answer(item.sides[1], "학습 후", "after"));
    box.append(head, pair);
    if (item.reference) {
      const details = make("details");
      details.append(make("summary", "", "참조 답변"), make("p", "text", item.reference));
      box.append(details);
    }
    return box;
  };

  const fits = (item, at) => {
    const [text, topic, sort, kind] = inputs.map((input) => input.value);
    const words = plain(text).split(/\s+/).filter(Boolean);
    if (!words.every((word) => searchable[at].includes(word))) return false;
    if (topic && item.topic !== topic) return false;
    if (sort && item.kind !== sort) return false;
    if (kind === "better") return item.gain !== null && item.gain > 0;
    if (kind === "worse") return item.gain !== null && item.gain < 0;
    if (kind === "marked") return item.sides.some((side) => side.segments.some(([, tone]) => tone === "bad"));
    return true;
  };

  let matching = [];
  let shown = 0;
  const showMore = () => {
    list.append(...matching.slice(shown, shown + STEP).map(card));
    shown = Math.min(shown + STEP, matching.length);
    more.hidden = shown === matching.length;
    document.getElementById("found").textContent =
      matching.length ? `${matching.length.toLocaleString("ko-KR")}문항 가운데 ${shown.toLocaleString("ko-KR")}개를 보입니다.` : "맞는 문항이 없습니다.";
  };
  const refresh = () => {
    matching = page.items.filter(fits);
    shown = 0;
    list.replaceChildren();
    showMore();
  };
  const offer = (input, key) => {
    const values = [...new Set(page.items.map((item) => item[key]).filter(Boolean))].sort((a, b) => a.localeCompare(b, "ko"));
    input.append(...values.map((value) => make("option", "", value)));
  };
  offer(inputs[1], "topic");
  offer(inputs[2], "kind");
  document.getElementById("filters").addEventListener("submit", (event) => event.preventDefault());
  for (const input of inputs) input.addEventListener("input", refresh);
  more.addEventListener("click", showMore);
  refresh();
})();
