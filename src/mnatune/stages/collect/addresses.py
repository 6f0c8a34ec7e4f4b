"""Decides which addresses may be fetched, strips session noise from them, and recognises crawler traps."""

import ipaddress
import re
import socket
from collections import Counter
from urllib.parse import urlsplit, urlunsplit

SESSION = re.compile(r"(?:phpsessid|jsessionid|aspsessionid\w*|cfid|cftoken|utm_\w+|fbclid|gclid)", re.IGNORECASE)
MAYBE_SESSION = re.compile(r"(?:s|session_?|sess)id", re.IGNORECASE)  # a session's, or an article's number
TOKEN = re.compile(r"(?=[^=]*[0-9])(?=[^=]*[a-z])[0-9a-z_-]{16,}", re.IGNORECASE)
PATH_SESSION = re.compile(r";(?:jsessionid|phpsessid|sid)=[^/?#]*", re.IGNORECASE)
NUMERIC = re.compile(r"(?:0x[0-9a-f]*|\d+)(?:\.(?:0x[0-9a-f]*|\d+)){0,3}", re.IGNORECASE)
LONGEST = 1000
REPEATED_SEGMENTS = 3
PORTS = (None, 80, 443)


def canonical(url: str) -> str:
    """The address to request: without fragment, session and tracking parameters, otherwise byte for byte."""
    parts = urlsplit(url)
    query = "&".join(piece for piece in parts.query.split("&") if not _session(piece))
    path = PATH_SESSION.sub("", parts.path) or "/"
    return urlunsplit((parts.scheme.lower(), parts.netloc.lower(), path, query, ""))


def address_key(url: str) -> str:
    """The same for all addresses of one page: the canonical address with sorted parameters."""
    address, mark, query = canonical(url).partition("?")
    return address + mark + "&".join(sorted(query.split("&")))


def _session(piece: str) -> bool:
    """True for session and tracking parameters; `sid=17` may be an article, a long mixed value is a session."""
    name, _, value = piece.partition("=")
    return bool(SESSION.fullmatch(name) or (MAYBE_SESSION.fullmatch(name) and TOKEN.fullmatch(value)))


def shape(url: str) -> str:
    """The same for all addresses of one template: path and parameter names, with numbers as #."""
    parts = urlsplit(url)
    names = sorted(piece.partition("=")[0] for piece in parts.query.split("&"))
    return re.sub(r"[0-9]+", "#", f"{parts.path}?{'&'.join(names)}") + parts.netloc


def trap(url: str) -> bool:
    """True for addresses that grow without end: very long ones, and those whose segments repeat."""
    segments = Counter(part for part in urlsplit(url).path.split("/") if part)
    return len(url) > LONGEST or max(segments.values(), default=0) >= REPEATED_SEGMENTS


def refusal(url: str, private_hosts: frozenset[str]) -> str:
    """Why an address must not be fetched, by its spelling alone; "" if it may. Names are checked again after DNS."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return "bad-address"
    if parts.scheme not in ("http", "https") or not host:
        return "not-http"
    if parts.username is not None or parts.password is not None:
        return "credentials-in-address"
    if host in private_hosts:
        return ""
    if not public(host):
        return "private-address"
    return "" if port in PORTS else "unusual-port"


def public(host: str) -> bool:
    """False for a literal address that is not of the public internet, and for names that are local by definition."""
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal", ".home.arpa")):
        return False
    address = _literal(host)
    if address is None:
        return True
    mapped = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None)
    return address.is_global and not address.is_multicast and (mapped is None or mapped.is_global)


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that a host spells, including forms that connect() accepts: 2130706433, 0x7f.1, 0177.0.0.1."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host)) if NUMERIC.fullmatch(host) else None
    except (OSError, UnicodeError):
        return None
