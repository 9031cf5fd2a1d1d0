"""The reader gettext: messages of .po and .mo with their translations, and what is left out or wrong with one."""

from __future__ import annotations

import gettext as standard
import struct
from pathlib import Path
from typing import Any

import pytest

from core.errors import BadRequest
from core.schema.data import Data
from pipelines.sources._files import Files, Record
from pipelines.sources.readers.published import gettext
from pipelines.tasks.text.sequence_to_sequence import SequenceToSequence

HEAD = 'msgid ""\nmsgstr ""\n"Language: de\\n"\n"Content-Type: text/plain; charset=UTF-8\\n"\n\n'
CATALOG = (
    HEAD
    + r"""# a remark
#: shop.py:17
msgid "Cancel"
msgstr "Abbrechen"

#, python-format, fuzzy
#| msgid "Old %s"
msgid "New %s"
msgstr "Alte %s"
msgctxt "month"
msgid "May"
msgstr ""
"Ma"
"i"

msgid "%d day\n"
msgid_plural "%d days \"or\" so\n"
msgstr[0] "%d Tag\n"
msgstr[1] "%d Tage, \303\274\x41\n"

msgid "Nobody"
msgstr ""

#~ msgid "Gone"
#~ msgstr "Weg"
"""
)
KEPT = {"catalog": "shop", "language": "de"}
CANCEL, MAY = {"source": "Cancel", "target": "Abbrechen"}, {"source": "May", "target": "Mai"}


def records(path: Path, **data: Any) -> list[Record]:
    files = Files(path.parent, (path,))
    tables = gettext.read(files, data=Data(source=path.name, **data), contract=SequenceToSequence.contract)
    return [record for table in tables for record in table.records]


def po(folder: Path, content: str) -> Path:
    path = folder / "shop.po"
    path.write_text(content)
    return path


def mo(folder: Path, messages: dict[str, str], *, order: str = "<", encoding: str = "utf-8") -> Path:
    """A catalog as `msgfmt` writes it (GNU gettext's manual, section 10.3), without the optional hash table."""
    pairs = sorted((key.encode(encoding), text.encode(encoding)) for key, text in messages.items())
    texts, tables = b"", [b"", b""]
    start = 28 + 16 * len(pairs)
    for table in (0, 1):
        for pair in pairs:
            tables[table] += struct.pack(f"{order}2I", len(pair[table]), start + len(texts))
            texts += pair[table] + b"\0"
    head = struct.pack(f"{order}7I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 28 + 16 * len(pairs))
    path = folder / "shop.mo"
    path.write_bytes(head + b"".join(tables) + texts)
    return path


def test_a_message_of_a_po_is_a_row_with_its_place(tmp_path: Path) -> None:
    rows = records(po(tmp_path, CATALOG))
    whole = [(row.values, row.place, row.left_out) for row in rows]
    plain = {"context": None, **KEPT}
    assert whole == [
        ({**CANCEL, **plain}, "shop.po:8", None),
        ({"source": "New %s", "target": "Alte %s", **plain}, "shop.po:13", "fuzzy"),
        ({**MAY, "context": "month", **KEPT}, "shop.po:15", None),
        ({"source": "%d day\n", "target": "%d Tag\n", **plain}, "shop.po:21", None),
        ({"source": '%d days "or" so\n', "target": "%d Tage, üA\n", **plain}, "shop.po:21", None),
        ({"source": "Nobody", "target": "", **plain}, "shop.po:26", "not translated"),
    ]
    assert not any(row.fault for row in rows)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_mo_is_read_as_python_reads_it(tmp_path: Path, order: str) -> None:
    """Both orders of bytes; the reference is the standard library's gettext."""
    head = "Language: de\nContent-Type: text/plain; charset=UTF-8\nPlural-Forms: nplurals=2; plural=n != 1;\n"
    said = {"": head, "Cancel": "Abbrechen", "month\4May": "Mai", "day\0days": "Tag\0Tage", "naïve": "naïv"}
    path = mo(tmp_path, said, order=order)
    rows = {(row.values["source"], row.values["context"]): row.values["target"] for row in records(path)}
    with path.open("rb") as file:
        reference = standard.GNUTranslations(file)
    assert rows == {
        ("Cancel", None): reference.gettext("Cancel"),
        ("naïve", None): reference.gettext("naïve"),
        ("May", "month"): reference.pgettext("month", "May"),
        ("day", None): reference.ngettext("day", "days", 1),
        ("days", None): reference.ngettext("day", "days", 2),
    }
    assert {row.values["language"] for row in records(path)} == {"de"}


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("msgstr Abbrechen", r"line 7: neither a keyword with a quoted text nor a comment"),
        ('"no keyword"', r"line 7: neither"),
        ('msgstr "Abbrechen', r"line 7: neither"),
        ('msgctxt "button"\nmsgstr "Abbrechen"', "no msgid"),
    ],
)
def test_a_bad_entry_is_a_bad_row_and_the_next_is_read(tmp_path: Path, line: str, fault: str) -> None:
    start = "" if "msgctxt" in line or "no keyword" in line else 'msgid "Cancel"\n'
    bad, good = records(po(tmp_path, f'{HEAD}{start}{line}\n\nmsgid "May"\nmsgstr "Mai"\n'))
    assert bad.fault is not None and fault.replace("line 7", f"line {7 if start else 6}") in bad.fault
    assert good.values.items() >= MAY.items() and good.fault is None


def test_bytes_that_are_no_text_are_a_bad_row(tmp_path: Path) -> None:
    path = po(tmp_path, CATALOG)
    path.write_bytes(CATALOG.encode().replace(b"Abbrechen", b"Abbre\xe4chen"))
    first, *others = records(path)
    assert first.fault == "line 9: not UTF-8 (byte 13)" and not any(row.fault for row in others)


def test_what_is_no_catalog_is_refused(tmp_path: Path) -> None:
    path = mo(tmp_path, {"Cancel": "Abbrechen"})
    content = path.read_bytes()
    for cut in (content[:20], content[:40], content[:-6]):
        path.write_bytes(cut)
        with pytest.raises(BadRequest, match=r"shop\.mo: a catalog that was cut off"):
            records(path)
    path.write_bytes(b"PK" + content)
    with pytest.raises(BadRequest, match=r"shop\.mo: not a catalog of gettext"):
        records(path)
    other = po(tmp_path, CATALOG.replace("charset=UTF-8", "charset=ISO-8859-2"))
    with pytest.raises(BadRequest, match=r"charset=ISO-8859-2, .* Set data\.encoding: ISO-8859-2"):
        records(other)
    assert records(other, encoding="iso-8859-2")[0].values.items() >= CANCEL.items()
    with pytest.raises(BadRequest, match="encoding 'utf-88' is not known to Python"):
        records(other, encoding="utf-88")


def test_a_message_without_end_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gettext, "MAX_CHARS", 200)
    endless = 'msgid "Cancel"\nmsgstr ""\n' + '"Abbrechen"\n' * 50
    bad, good = records(po(tmp_path, f'{HEAD}{endless}\nmsgid "May"\nmsgstr "Mai"\n'))
    assert bad.fault is not None and "a message of more than 200 characters" in bad.fault
    assert bad.raw is not None and len(bad.raw) < 240 and good.values["target"] == "Mai"
