"""Addresses: secrets in them are found, left out of what is said, and hashed in what is kept; which of them a proxy of
the environment is asked for.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from urllib.parse import unquote

# Each pattern is linear in the text: a settings file may have a line of millions of characters.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://\S*")
_WEB = ("http://", "https://")
# user:password@ in any address, anything before @ in a web address
_USER = re.compile(r"(?<=://)[^/?#\s@:]*:[^/?#\s@]*@|(?<=http://)[^/?#\s]+@|(?<=https://)[^/?#\s]+@", re.IGNORECASE)
_PART = re.compile(r"([?&#;]([^=&?#;\s]+)=)([^?&#;\s]*)")
_AROUND = "\"'`:,.)]"  # what a sentence puts behind an address
_NAMELESS = re.compile(r"(?<=[?&])[^=?&#;\s]+(?=[&#;\s]|$)")
_NO_VALUE = re.compile(
    r"\*\*\*|~[0-9a-f]{8}\b|\$?\{[\w.]+\}|\$[A-Z_]+\b"
)  # left out or hashed already; a variable's name
_TELLING = re.compile(
    r"key|token|secret|sig|auth|code|pass(?:w|phrase|$)|pwd|credential|jwt|bearer|session[_-]?id|\bsas", re.IGNORECASE
)
_ORDINARY = re.compile(  # words of data portals in which such a name stands
    r"authors?(?!i)|keywords?|keyboard|monkey|design|assign|signal|(?:country|language|post|zip)[_-]?codes?|(?:en|de)code",
    re.IGNORECASE,
)
_REST = re.compile(r"[?#;]|%(?:25)*(?:3f|23|3b|26)", re.IGNORECASE)
_ESCAPED_TIMES = 5
_LOOPBACK = ("localhost", ".localhost", "127.0.0.1", "::1")
_NO_PROXY = ("no_proxy", "NO_PROXY")  # which of the two is read differs from library to library
_EVERYTHING = "*"
_IN_BRACKETS = re.compile(r"\[(.*?)(?:%[^]]*)?\](?::\d+)?")  # an IPv6 address, with a zone or a port: [fe80::1%eth0]:80
_RANGE = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*/\d+")  # of IPv6 addresses: fe80::/10


def spare_loopback() -> None:
    """Let no proxy be asked for what runs on this machine, by this process and by those that it starts.

    Every library reads these variables. What goes elsewhere keeps its proxy. Nothing is added where the environment
    names no proxy: there the system's own settings count, and a variable would switch them off (macOS). Hosts that are
    spared already are written as httpx reads them, which otherwise makes no client at all; a range of IPv6 addresses,
    which none of our libraries heeds, is left out.
    """
    proxies = {name.lower() for name, value in os.environ.items() if name.lower().endswith("_proxy") and value}
    spare = _LOOPBACK if proxies - {_NO_PROXY[0]} else ()
    given = {name: os.environ.get(name) for name in _NO_PROXY}
    for name, other in (_NO_PROXY, reversed(_NO_PROXY)):
        own = given[name] if given[name] is not None else given[other]
        hosts = (_IN_BRACKETS.sub(r"\1", part.strip()) for part in (own or "").split(","))
        spared = [host for host in hosts if host and not _RANGE.fullmatch(host)]
        if spared != [_EVERYTHING] and (own or spare):
            os.environ[name] = ",".join([*spared, *(each for each in spare if each not in spared)])


def holds_secret(text: str) -> bool:
    """Whether an address in the text has a password, or a parameter whose name says that its value is a secret.

    Names are read as a server reads them: %6b is k, and so is %256b for one behind it.
    """
    return "://" in text and any(_tells(form) for address in _addresses(text) for form in _forms(address))


def without_secrets(text: str) -> str:
    """The text, with passwords and secret values taken out of the addresses in it: a library's words may repeat one."""
    return _ADDRESS.sub(lambda found: _shown(found[0]), text) if "://" in text else text


def recorded(address: str) -> str:
    """An address as locks, manifests and the registry keep it: a short hash stands for each value of its query.

    Another value is still another address; one without a query, or recorded already, stays as it is.
    """
    if "://" not in address:
        return address
    kept = _PART.sub(lambda found: found[1] + _hash(found[3]), address)
    if kept.lower().startswith(_WEB):
        kept = _NAMELESS.sub(lambda found: _hash(found[0]), kept)
    return without_secrets(kept)


def _addresses(text: str) -> list[str]:
    """Those in the text; one that begins with a scheme is an address as a whole, spaces included."""
    return [text.strip()] if _ADDRESS.match(text.strip()) else _ADDRESS.findall(text)


def _forms(address: str) -> Iterator[str]:
    """The address as it stands, and with its escapes resolved, time and again."""
    yield address
    for _ in range(_ESCAPED_TIMES):
        before, address = address, unquote(address)
        if address == before:
            return
        yield address


def _tells(address: str) -> bool:
    return bool(_USER.search(address)) or any(_is_secret(*found.group(2, 3)) for found in _PART.finditer(address))


def _is_secret(name: str, value: str) -> bool:
    told = value.strip(_AROUND)
    return bool(told and not _NO_VALUE.match(told) and _TELLING.search(_ORDINARY.sub("", name)))


def _shown(address: str) -> str:
    shown = _USER.sub("", _PART.sub(_left_out, address))
    if holds_secret(shown):  # by escapes: all that comes behind the path is left out
        shown = _REST.split(shown, maxsplit=1)[0] + "?***"
    return f"{shown.partition('://')[0]}://***" if holds_secret(shown) else shown


def _left_out(part: re.Match[str]) -> str:
    if not _is_secret(part[2], part[3]):
        return part[0]
    return f"{part[1]}***{part[3][len(part[3].rstrip(_AROUND)) :]}"


def _hash(value: str) -> str:
    return value if not value or _NO_VALUE.fullmatch(value) else f"~{hashlib.sha256(value.encode()).hexdigest()[:8]}"
