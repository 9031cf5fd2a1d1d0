"""Great Expectations' pages as files that are equal whenever their content is, that need no network and run nothing.

It puts an expectation's own words into a page as they are (a description is its template), and escapes some values
itself. Here all of them are escaped before, and no browser runs or loads anything that got past that.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from itertools import count
from typing import Any

# What its pages load from elsewhere: style sheets, scripts, its logo, its newsletter.
_ELSEWHERE = re.compile(
    r"<link\b[^>]*>|<script\b.*?</script>|<img\b[^>]*>|<footer\b.*?</footer>|<!--.*?-->", re.DOTALL | re.IGNORECASE
)
_RANDOM_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_LOGO = re.compile(r"url\(['\"]?https?:[^)]*\)")
_LINKS = {r'href="(?:\.\./)+index\.html"': 'href="index.html"',
          r'href="(?:\.\./)*expectations/[^"]*\.html"': 'href="expectations.html"'}  # fmt: skip
# Enough of Bootstrap for these pages to read as meant, without loading it.
# Says the same where a browser reads it: the page's own styles and pictures, nothing else.
_POLICY = (
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
    "img-src data:; base-uri 'none'; form-action 'none'\">"
)
_STYLE = """
body { font-family: system-ui, sans-serif; margin: 1.5rem auto; max-width: 72rem; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1rem; }
th, td { border: 1px solid #ccc; padding: .35rem .5rem; text-align: left; vertical-align: top; }
td { overflow-wrap: anywhere; }
ol.ge-breadcrumbs { list-style: none; padding: 0; } .nav { list-style: none; padding: 0; }
.fa-check-circle::before { content: "\\2713"; color: #1a7f37; }
.fa-times::before { content: "\\2717"; color: #b42318; }
.fa-exclamation-triangle::before { content: "\\26A0"; color: #b25e00; }
.text-success, .fa-check-circle { color: #1a7f37; } .text-danger { color: #b42318; }
.badge { background: #eee; border-radius: .25rem; padding: 0 .3rem; font-family: ui-monospace, monospace; }
.sticky { position: static; } .sticky > .card:first-child { display: none; }
"""


def escaped(value: Any) -> Any:
    """The same with every text safe to stand in a page, keys included."""
    if isinstance(value, Mapping):
        return {escaped(key): escaped(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set):
        return type(value)(map(escaped, value))
    return html.escape(value) if isinstance(value, str) else value


def worded(expectation: Any) -> Any:
    """An expectation as the pages show it: its arguments, description and notes escaped, for no other use."""
    return expectation.copy(update={name: escaped(getattr(expectation, name)) for name in expectation.__fields__})


def escaped_once(value: Any) -> Any:
    """What Great Expectations should do where it escapes a value itself: one that is escaped already stays so.

    It does not ask for a JSON schema's, whose escapes are seen.
    """
    return html.escape(html.unescape(value), quote=False) if isinstance(value, str) else value


def offline(page: str) -> str:
    """One of Great Expectations' pages without random ids and without anything loaded from the network."""
    page = _LOGO.sub("none", _ELSEWHERE.sub("", page))
    numbers, seen = count(1), dict[str, str]()
    page = _RANDOM_ID.sub(lambda match: seen.setdefault(match[0], f"id-{next(numbers)}"), page)
    for pattern, link in _LINKS.items():
        page = re.sub(pattern, link, page)
    page = page.replace("<head>", f"<head>\n{_POLICY}", 1).replace("</head>", f"<style>{_STYLE}</style>\n</head>", 1)
    return "\n".join(line.rstrip() for line in page.splitlines() if line.strip()) + "\n"
