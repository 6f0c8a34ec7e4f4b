// A Word document made from the nodes that the page itself shows: WordprocessingML in a zip without compression. Text only
// ever becomes text nodes of an XML document, so that nothing in it can become markup.

import { markdown } from "./markdown.js";

const W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main";
const XML = "http://www.w3.org/XML/1998/namespace";
const TWIPS = 360; // of one step of indentation
const FONT = "맑은 고딕";

/** The document as a Blob; a part is {level, heading, text (Markdown, or verbatim), notes}. */
export function docx({ title, subtitle, parts, closing }) {
  const page = document.implementation.createDocument(W, "w:document");
  const w = maker(page);
  const body = w("body");
  page.documentElement.append(body);
  const write = writer(w, body);
  write.paragraph("Title", [[title, {}]]);
  write.paragraph("Subtitle", [[subtitle, {}]]);
  for (const part of parts) {
    write.paragraph(`Heading${part.level}`, [[part.heading, {}]]);
    if (part.verbatim) for (const line of part.text.split("\n")) write.paragraph("Quote", [[line, {}]]);
    else write.blocks(markdown(part.text), 0);
    for (const note of part.notes) write.paragraph("Note", [[note, {}]]);
  }
  write.paragraph("Note", [[closing, {}]]);
  body.append(w("sectPr", {}, w("pgSz", { w: 11906, h: 16838 }), w("pgMar", { top: 1440, right: 1440, bottom: 1440, left: 1440, header: 720, footer: 720, gutter: 0 })));
  return zip([
    ["[Content_Types].xml", TYPES],
    ["_rels/.rels", RELATIONS],
    ["word/_rels/document.xml.rels", STYLE_RELATION],
    ["word/styles.xml", xml(styles())],
    ["word/document.xml", xml(page)],
  ]);
}

/** Makes elements of WordprocessingML; all attributes are of its namespace. */
function maker(page) {
  return (name, attributes = {}, ...children) => {
    const node = page.createElementNS(W, `w:${name}`);
    for (const [key, value] of Object.entries(attributes)) node.setAttributeNS(W, `w:${key}`, value);
    node.append(...children);
    return node;
  };
}

function writer(w, body) {
  let into = body;

  function runs(node, look = {}) {
    if (node.nodeType === Node.TEXT_NODE) return [[node.data, look]];
    if (node.tagName === "BR") return [["\n", look]];
    const more = { STRONG: { b: 1 }, TH: { b: 1 }, EM: { i: 1 }, DEL: { strike: 1 }, CODE: { code: 1 }, A: { u: 1 } }[node.tagName] || {};
    const inner = [...node.childNodes].flatMap((child) => runs(child, { ...look, ...more }));
    const target = node.tagName === "A" && node.textContent !== node.getAttribute("href") ? node.getAttribute("href") : "";
    return target ? [...inner, [` (${target})`, look]] : inner;
  }

  function paragraph(style, pieces, { indent = 0, mark = "" } = {}) {
    const properties = w("pPr", {}, w("pStyle", { val: style }));
    if (indent) properties.append(w("ind", { left: indent * TWIPS, ...(mark ? { hanging: TWIPS } : {}) }));
    const all = mark ? [[`${mark}\t`, {}], ...pieces] : pieces;
    into.append(w("p", {}, properties, ...all.map(([text, look]) => run(text, look))));
  }

  function run(text, look) {
    const properties = w("rPr");
    if (look.code) properties.append(w("rFonts", { ascii: "Consolas", hAnsi: "Consolas" }));
    for (const name of ["b", "i", "strike"]) if (look[name]) properties.append(w(name));
    if (look.u) properties.append(w("u", { val: "single" }));
    const node = w("r", {}, properties);
    allowed(text).split(/(\n|\t)/).forEach((piece) => {
      if (piece === "\n") node.append(w("br"));
      else if (piece === "\t") node.append(w("tab"));
      else if (piece) {
        const words = w("t", {}, piece);
        words.setAttributeNS(XML, "xml:space", "preserve");
        node.append(words);
      }
    });
    return node;
  }

  function blocks(parent, depth) {
    for (const node of parent.childNodes) block(node, depth);
  }

  function block(node, depth) {
    const place = { indent: depth };
    if (node.nodeType === Node.TEXT_NODE) paragraph("Normal", [[node.data, {}]], place);
    else if (/^H[1-6]$/.test(node.tagName)) paragraph(`Heading${Math.min(4, Number(node.tagName[1]))}`, runs(node), place);
    else if (node.tagName === "HR") paragraph("Normal", [["―".repeat(10), {}]], place);
    else if (node.tagName === "PRE") node.textContent.split("\n").forEach((line) => paragraph("Normal", [[line, { code: 1 }]], { indent: depth + 1 }));
    else if (node.tagName === "UL" || node.tagName === "OL") list(node, depth + 1);
    else if (node.tagName === "BLOCKQUOTE") blocks(node, depth + 1);
    else if (node.tagName === "DIV") table(node.querySelector("table"));
    else paragraph("Normal", runs(node), place);
  }

  function list(node, depth) {
    [...node.children].forEach((item, at) => {
      const split = [...item.childNodes].findIndex((child) => ["UL", "OL", "P", "PRE", "BLOCKQUOTE", "DIV"].includes(child.tagName));
      const [head, rest] = split < 0 ? [[...item.childNodes], []] : [[...item.childNodes].slice(0, split), [...item.childNodes].slice(split)];
      if (!head.length && rest[0]?.tagName === "P") head.push(rest.shift());
      paragraph("Normal", head.flatMap((child) => runs(child)), { indent: depth, mark: node.tagName === "OL" ? `${(node.start || 1) + at}.` : "•" });
      for (const child of rest) block(child, depth);
    });
  }

  function table(node) {
    const edges = ["top", "left", "bottom", "right", "insideH", "insideV"].map((edge) => w(edge, { val: "single", sz: 4, space: 0, color: "999999" }));
    const columns = Math.max(...[...node.rows].map((row) => row.cells.length));
    const width = Math.floor(9026 / columns);
    const made = w("tbl", {}, w("tblPr", {}, w("tblW", { w: 0, type: "auto" }), w("tblBorders", {}, ...edges)),
      w("tblGrid", {}, ...Array.from({ length: columns }, () => w("gridCol", { w: width }))));
    for (const row of node.rows) {
      const line = w("tr");
      for (let at = 0; at < columns; at += 1) {
        const cell = w("tc", {}, w("tcPr", {}, w("tcW", { w: width, type: "dxa" })));
        into = cell;
        paragraph("Normal", row.cells[at] ? runs(row.cells[at]) : []);
        line.append(cell);
      }
      made.append(line);
    }
    into = body;
    into.append(made);
    paragraph("Normal", []);
  }

  return { paragraph, blocks };
}

/** The text without what XML cannot hold. */
const allowed = (text) => text.replace(/[^\t\n\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, "");

function styles() {
  const page = document.implementation.createDocument(W, "w:styles");
  const w = maker(page);
  const look = (size, { bold = false, color = "" } = {}) => w("rPr", {}, ...(bold ? [w("b")] : []), ...(color ? [w("color", { val: color })] : []), w("sz", { val: size }));
  const space = (before, after, left = 0) => w("pPr", {}, w("spacing", { before, after, line: 300, lineRule: "auto" }), ...(left ? [w("ind", { left })] : []));
  const style = (id, paragraph, run, normal = false) => w("style", { type: "paragraph", styleId: id, ...(normal ? { default: 1 } : {}) },
    w("name", { val: id.replace(/(\d)/, " $1") }), ...(normal ? [] : [w("basedOn", { val: "Normal" })]), paragraph, run);
  page.documentElement.append(
    w("docDefaults", {}, w("rPrDefault", {}, w("rPr", {}, w("rFonts", { ascii: FONT, hAnsi: FONT, eastAsia: FONT, cs: FONT }), w("lang", { val: "ko-KR", eastAsia: "ko-KR" })))),
    style("Normal", space(0, 120), look(21), true),
    style("Title", space(0, 60), look(34, { bold: true })),
    style("Subtitle", space(0, 240), look(19, { color: "666666" })),
    style("Heading2", space(300, 100), look(26, { bold: true })),
    style("Heading3", space(220, 80), look(23, { bold: true })),
    style("Heading4", space(180, 60), look(21, { bold: true })),
    style("Quote", space(0, 60, TWIPS), look(21, { color: "333333" })),
    style("Note", space(0, 60), look(18, { color: "666666" })));
  return page;
}

const xml = (page) => `<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n${new XMLSerializer().serializeToString(page)}`;
const KINDS = "application/vnd.openxmlformats-officedocument.wordprocessingml";
const LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
const HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n';
const TYPES = `${HEAD}<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override PartName="/word/document.xml" ContentType="${KINDS}.document.main+xml"/><Override PartName="/word/styles.xml" ContentType="${KINDS}.styles+xml"/></Types>`;
const relation = (type, target) => `${HEAD}<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="${LINKS}/${type}" Target="${target}"/></Relationships>`;
const RELATIONS = relation("officeDocument", "word/document.xml");
const STYLE_RELATION = relation("styles", "styles.xml");

/** A zip of stored files; PKWARE's APPNOTE 6.3, sections 4.3.7, 4.3.12 and 4.3.16. */
function zip(files) {
  const encoder = new TextEncoder();
  const pieces = [];
  const index = [];
  let offset = 0;
  for (const [name, text] of files) {
    const [label, data] = [encoder.encode(name), encoder.encode(text)];
    // version 2.0, flag 0x800 (names in UTF-8), stored, 1980-01-01 00:00
    const facts = [[2, 20], [2, 0x800], [2, 0], [2, 0], [2, 0x21], [4, crc32(data)], [4, data.length], [4, data.length], [2, label.length], [2, 0]];
    const local = [numbers([[4, 0x04034b50], ...facts]), label, data];
    index.push(numbers([[4, 0x02014b50], [2, 20], ...facts, [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]]), label);
    pieces.push(...local);
    offset += local.reduce((sum, piece) => sum + piece.length, 0);
  }
  const size = index.reduce((sum, piece) => sum + piece.length, 0);
  const end = numbers([[4, 0x06054b50], [2, 0], [2, 0], [2, files.length], [2, files.length], [4, size], [4, offset], [2, 0]]);
  return new Blob([...pieces, ...index, end], { type: `${KINDS}.document` });
}

/** Little-endian numbers of [bytes, value]. */
function numbers(list) {
  return Uint8Array.from(list.flatMap(([bytes, value]) => Array.from({ length: bytes }, (_, at) => (value >>> (8 * at)) & 255)));
}

function crc32(data) {
  let crc = -1;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return (crc ^ -1) >>> 0;
}
