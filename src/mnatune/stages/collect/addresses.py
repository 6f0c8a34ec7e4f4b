"""Which addresses may be fetched, what an address is called once noise is taken off, and which are traps."""

import ipaddress
import re
import socket
from collections import Counter
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

SESSION = re.compile(
    r"^(?:phpsessid|jsessionid|aspsessionid\w*|sessionid|session_id|sid|sessid|cfid|cftoken|utm_\w+|fbclid|gclid|ref)$",
    re.IGNORECASE,
)
PATH_SESSION = re.compile(r";(?:jsessionid|phpsessid|sid)=[^/?#]*", re.IGNORECASE)
NUMERIC = re.compile(r"(?:0x[0-9a-f]*|\d+)(?:\.(?:0x[0-9a-f]*|\d+)){0,3}", re.IGNORECASE)
LONGEST = 1000
REPEATED_SEGMENTS = 3
PORTS = (None, 80, 443)


def canonical(url: str) -> str:
    """The address without session parameters, tracking parameters and fragment; parameters in order."""
    parts = urlsplit(url)
    query = sorted((k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if not SESSION.match(k))
    path = PATH_SESSION.sub("", parts.path) or "/"
    return urlunsplit((parts.scheme.lower(), parts.netloc.lower(), path, urlencode(query), ""))


def shape(url: str) -> str:
    """What addresses of one template have in common: the path with numbers as #, and the parameters' names."""
    parts = urlsplit(url)
    names = sorted(key for key, _ in parse_qsl(parts.query, keep_blank_values=True))
    return f"{parts.netloc}{re.sub(r'[0-9]+', '#', parts.path)}?{'&'.join(names)}"


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
    """The address that a host spells, in the odd ways too that connecting accepts: 2130706433, 0x7f.1, 0177.0.0.1."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host)) if NUMERIC.fullmatch(host) else None
    except (OSError, UnicodeError):
        return None
