"""A local site of generated pages with known text, three encodings and the traps of the open web."""

import gzip
import threading
import time
import zlib
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORDS = [
    "합병",
    "주주",
    "이사회",
    "계약",
    "공시",
    "인수",
    "자산",
    "부채",
    "평가",
    "실사",
    "매수",
    "매도",
    "승인",
    "결의",
    "의결권",
    "지분",
    "신주",
    "채권자",
    "이의",
    "등기",
    "공고",
    "기한",
    "절차",
    "요건",
    "효력",
    "책임",
    "보증",
    "손해",
    "배상",
    "해제",
]
ENCODINGS = ("utf-8", "euc-kr", "cp949")
ARTICLES = 200


def sentences(number: int) -> list[str]:
    """Eight sentences that only this page has."""
    pick = [WORDS[(number * 7 + at * 11) % len(WORDS)] for at in range(40)]
    name = "".join("영일이삼사오육칠팔구"[int(digit)] for digit in str(number))
    return [
        f"{name} 글의 {at + 1}째 문장은 {pick[at]}에 관한 {pick[at + 8]}의 {pick[at + 16]}을 다루며 "
        f"{pick[at + 24]}과 {pick[at + 5]}의 관계를 {number * 10 + at}개의 예로 설명합니다."
        for at in range(8)
    ]


def article(number: int) -> tuple[bytes, str]:
    """A page's bytes and Content-Type; the declaration is wrong on every seventh page."""
    encoding = ENCODINGS[number % 3]
    declared = "utf-8" if number % 7 == 0 else encoding
    body = "".join(f"<p>{s}</p>" for s in sentences(number))
    broken = "<div><b>" if number % 11 == 0 else ""
    following = [n for n in (2 * number, 2 * number + 1) if n <= ARTICLES]
    links = "".join(f'<a href="/a/{n}.html">글 {n}</a> ' for n in following)
    html = (
        f'<html><head><meta charset="{declared}"><title>글 {number}</title>'
        f'<meta name="author" content="편집부"></head>'
        f'<body><nav><a href="/">처음</a> <a href="/a/1.html?PHPSESSID=q{number:031x}">차례</a> {links}</nav>'
        f"{broken}<article><h1>글 {number}</h1>{body}</article><footer>한빛자료원</footer></body></html>"
    )
    return html.encode(encoding), "text/html"


def page(text: str, links: str = "", head: str = "") -> tuple[bytes, str]:
    """A small page in UTF-8."""
    html = f"<html><head>{head}<title>쪽</title></head><body><article><p>{text}</p></article>{links}</body></html>"
    return html.encode(), "text/html; charset=utf-8"


GIGABYTE = 1 << 30
LONG = "이 쪽에는 다른 데 없는 긴 글이 있어서 본문으로 뽑힐 만합니다. " * 6
HOME_LINKS = "".join(
    f'<a href="{path}">x</a>'
    for path in (
        "/a/1.html",
        "/loop/x",
        "/calendar/2030/1",
        "/noindex",
        "/forbids",
        "/huge",
        "/gigabyte",
        "/gigabyte-announced",
        "/bomb",
        "/private/secret",
        "/to-loopback",
        "/to-name",
        "/to-decimal",
        "/to-linklocal",
        "/to-ipv6",
        "/to-zero",
        "/missing",
        "/error",
        "/busy",
        "/file.hwp",
        "/report.pdf",
        "/image.png",
        "javascript:void(0)",
        "http://user:pw@127.0.0.1/x",
        "/nofollowed",
    )
).replace('href="/nofollowed"', 'rel="nofollow" href="/nofollowed"')


class Site:
    """The site, served from a thread; `hits` counts requests by path, `times` keeps when they came."""

    def __init__(self) -> None:
        self.hits: Counter[str] = Counter()
        self.times: list[tuple[float, str]] = []
        self.agents: set[str] = set()
        self.unchanged: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.robots = (200, b"User-agent: *\nDisallow: /private/\n")
        self.busy_until = 0.0
        self._stop = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                site._serve(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.root = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "Site":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        path = handler.path.partition("?")[0]
        self.hits[path] += 1
        self.times.append((time.monotonic(), path))
        self.agents.add(handler.headers.get("User-Agent", ""))
        with suppress(ConnectionError):  # the crawler cut it off
            self._answer(handler, path)

    def _answer(self, handler: BaseHTTPRequestHandler, path: str) -> None:
        port = self._server.server_address[1]
        moved = {
            "/to-loopback": f"http://127.0.0.2:{port}/inside",
            "/to-name": f"http://localhost:{port}/inside",
            "/to-decimal": "http://2130706433/inside",
            "/to-linklocal": "http://169.254.169.254/latest/",
            "/to-ipv6": f"http://[::1]:{port}/inside",
            "/to-zero": f"http://0.0.0.0:{port}/inside",
            "/hop": "/second-hop",
            "/second-hop": "http://inner.start.example/inside",
        }
        if path in moved:
            return self._send(handler, 302, b"", "text/html", {"Location": moved[path]})
        if path == "/robots.txt":
            return self._send(handler, self.robots[0], self.robots[1], "text/plain")
        if path == "/huge":
            return self._stream(handler, path, 30 << 20)
        if path in ("/gigabyte", "/gigabyte-announced"):
            return self._stream(handler, path, GIGABYTE, announced=path.endswith("announced"))
        if path == "/slow":
            return self._drip(handler)
        if path == "/busy" and self.hits[path] == 1:
            self.busy_until = time.monotonic() + 1.0
            return self._send(handler, 429, b"", "text/html", {"Retry-After": "1"})
        if path == "/bomb":
            return self._send(handler, 200, bomb(GIGABYTE), "text/html", {"Content-Encoding": "gzip"})
        if path == "/sitemap.xml":
            index = f"<sitemapindex><sitemap><loc>{self.root}/more.xml.gz</loc></sitemap></sitemapindex>"
            return self._send(handler, 200, index.encode(), "application/xml")
        if path == "/more.xml.gz":
            listed = "".join(f"<url><loc>{self.root}{at}</loc></url>" for at in ("/a/150.html", "/a/151.html"))
            return self._send(handler, 200, gzip.compress(f"<urlset>{listed}</urlset>".encode()), "application/gzip")
        if path == "/bomb.xml.gz":
            return self._send(handler, 200, bomb(GIGABYTE), "application/gzip")
        if path == "/error":
            return self._send(handler, 500, b"", "text/html")
        found = self._page(path)
        if found is None:
            return self._send(handler, 404, b"", "text/html")
        tag = f'"{hash(found[0]) & 0xFFFFFFFF:x}"'
        if handler.headers.get("If-None-Match") == tag:
            self.unchanged[path] += 1
            return self._send(handler, 304, b"", found[1], {"ETag": tag})
        return self._send(handler, 200, found[0], found[1], {"ETag": tag, "Cache-Control": "max-age=0"})

    def _page(self, path: str) -> tuple[bytes, str] | None:
        parts = path.strip("/").split("/")
        if path == "/":
            return page("처음 쪽", HOME_LINKS)
        if parts[0] == "a" and parts[1].removesuffix(".html").isdigit() and 0 < int(parts[1][:-5]) <= ARTICLES:
            return article(int(parts[1][:-5]))
        if parts[0] == "calendar":
            year, month = int(parts[1]), int(parts[2])
            following = f"/calendar/{year + month // 12}/{month % 12 + 1}"
            return page("이달의 일정이 없습니다. " * 20, f'<a href="{following}">다음</a>')
        if parts[0] == "loop":
            return page(f"{len(parts)}층 {LONG}" * len(parts), f'<a href="{path.rstrip("/")}/x">더</a>')
        if path == "/noindex":
            return page(LONG, head='<meta name="ROBOTS" content="noindex">')
        if path == "/forbids":
            return page(LONG + "무단 전재 및 재배포 금지")
        if path in ("/busy", "/inside", "/private/secret", "/nofollowed"):
            return page(path + LONG)
        if path == "/report.pdf":
            return pdf("Merger report for shareholders. " * 12), "application/pdf"
        return None

    def _send(
        self, handler: BaseHTTPRequestHandler, status: int, body: bytes, kind: str, more: dict[str, str] | None = None
    ) -> None:
        handler.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(more or {})}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    def _stream(self, handler: BaseHTTPRequestHandler, path: str, size: int, *, announced: bool = False) -> None:
        """So many bytes, never held at once; `sent` counts those that the crawler's machine took."""
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html")
        handler.send_header("Connection", "close")
        if announced:
            handler.send_header("Content-Length", str(size))
        handler.end_headers()
        handler.close_connection = True
        for _ in range(size >> 16):
            handler.wfile.write(b"<p>" + b"a" * 65_533)
            self.sent[path] += 1 << 16

    def _drip(self, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html")
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        for _ in range(600):
            if self._stop.wait(0.1):
                return
            handler.wfile.write(b"a")
            handler.wfile.flush()


def bomb(size: int) -> bytes:
    """A gzip stream of about a thousandth of what it unpacks to; after a full flush equal input is equal output."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    piece = b"a" * (1 << 20)
    first = packer.compress(b"<html><body>" + piece) + packer.flush(zlib.Z_FULL_FLUSH)
    following = packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + following * (size >> 20) + packer.flush()


def pdf(text: str) -> bytes:
    """A one-page PDF with a text layer."""
    content = b"BT /F1 12 Tf 72 720 Td (" + text.encode("ascii") + b") Tj ET"
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(content), content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj%s endobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"xref\n0 6\n0000000000 65535 f \n%strailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (table, len(out))
    return out + end
