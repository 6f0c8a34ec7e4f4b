// The articles beside an answer: which day's law, each article with its full text, and which of them the answer cites.

import { el } from "./dom.js";

const NOT_CHECKED = "‘실재’는 조문이 있고 기준일에 시행 중이라는 뜻이고, ‘근거 확인’은 문장의 낱말·기간·비율이 그 조문과 어긋나지 않는다는 뜻입니다. 결론이 옳은지, 판례와 하위 법령에 맞는지는 확인하지 않았습니다.";

/** The panel of an answer; `report` is the reply's `evidence`. */
export function evidencePanel(report) {
  const list = el("ol", { class: "articles" }, ...report.passages.map(article));
  const told = el("div", { class: "quiet-text" });
  const node = el("aside", { class: "evidence", "aria-label": "법령 근거" },
    el("h4", {}, "법령 근거"),
    report.at && el("p", { class: "quiet-text" }, day(report)),
    report.note && el("p", { class: "note" }, report.note),
    report.status === "unavailable" && el("p", { class: "note" }, "근거 없이 답했습니다."),
    report.passages.length > 0 && list,
    told);
  return {
    node,
    /** The answer is whole: show what it cites, what was mended, and what nobody checked. */
    cited({ citations, rewritten, unchecked }) {
      for (const { passage } of citations) if (passage) list.children[passage - 1]?.classList.add("cited");
      list.querySelectorAll(".cited .used").forEach((mark) => { mark.hidden = false; });
      const struck = citations.filter((citation) => citation.struck).length;
      told.replaceChildren(...[
        rewritten > 0 && `인용이 잘못된 문장 ${rewritten}개를 고쳐 썼습니다.`,
        struck > 0 && `확인되지 않은 인용 ${struck}개에 줄을 그었습니다.`,
        unchecked ? "이 답변의 인용은 확인하지 못했습니다." : NOT_CHECKED,
      ].filter(Boolean).map((text) => el("p", {}, text)));
    },
  };
}

function day({ at, at_words: words }) {
  return words ? `기준일 ${at} (질문의 ‘${words}’에 따름)` : `기준일 ${at} (오늘)`;
}

function article({ name, text, in_force: since, until, note }) {
  return el("li", {}, el("details", {},
    el("summary", {},
      el("span", { class: "article-name" }, name),
      el("span", { class: "article-facts" }, `${since}${until ? `, ${until}까지` : ""}`),
      el("span", { class: "used", hidden: true }, "답변이 인용")),
    note && el("p", { class: "note" }, note),
    el("div", { class: "article-text", tabIndex: 0 }, text)));
}
