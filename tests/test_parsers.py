"""Documents of every kind, whole, broken and hostile, made here; parsed by the real libraries in their process."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import HeadraceError
from core.schema.columns import DOCUMENTS
from core.schema.data import Data
from pipelines.sources import _parsing
from pipelines.sources._files import Files, Found, Record, local
from pipelines.sources._parsing import Parsers
from pipelines.sources.parsers import Unreadable, docx, html, kind_of, markdown
from pipelines.sources.readers import folders

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
SECRET = "/etc/passwd"


@pytest.fixture(scope="module")
def parsers() -> Iterator[Parsers]:
    with Parsers() as process:
        yield process


def make_pdf(pages: Sequence[Sequence[str]], *, title: str = "") -> bytes:
    """A PDF by hand: Helvetica, a line below the other. Source: ISO 32000-1, 7.5."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", "", "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    kids = []
    for lines in pages:
        shown = " T* ".join(f"({line}) Tj" for line in lines)
        stream = f"BT /F1 12 Tf 14 TL 72 720 Td {shown} ET"
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {len(objects)} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>"
    objects.append(f"<< /Title ({title}) >>")
    out, offsets = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{each}\nendobj\n".encode("latin-1")
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    trailer = f"<< /Size {len(objects) + 1} /Root 1 0 R /Info {len(objects)} 0 R >>"
    return out + (
        f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer\n{trailer}\nstartxref\n{len(out)}\n%%EOF\n"
    ).encode("latin-1")


def make_docx(path: Path, body: str, *, head: str = "", title: str = "", relationship: str = "") -> Path:
    """The least that Word calls a document: ECMA-376, part 2."""
    kind = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{PACKAGE}/content-types"><Default Extension="rels" '
            'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            f'<Override PartName="/word/document.xml" ContentType="{kind}"/></Types>',
        )
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="r" Type="{OFFICE}/officeDocument" '
            'Target="word/document.xml"/></Relationships>',
        )
        archive.writestr(
            "word/_rels/document.xml.rels",
            f'<Relationships xmlns="{PACKAGE}/relationships">{relationship}</Relationships>',
        )
        archive.writestr(
            "word/document.xml", f'{head}<w:document xmlns:w="{WORD}"><w:body>{body}</w:body></w:document>'
        )
        archive.writestr(
            "docProps/core.xml", f'<c xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{title}</dc:title></c>'
        )
    return path


def paragraph(text: str, style: str = "") -> str:
    named = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{named}<w:r><w:t>{text}</w:t></w:r></w:p>"


def read(folder: Path) -> dict[str, Record]:
    (table,) = folders.read(local(folder, named="x"), data=Data(source="x"), contract=DOCUMENTS)
    return {record.place: record for record in table.records}


# --- the kinds


def test_a_folder_of_every_kind(tmp_path: Path) -> None:
    (tmp_path / "report.pdf").write_bytes(
        make_pdf([["The river rose", "in the night."], ["It fell."]], title="The flood")
    )
    make_docx(tmp_path / "Guide.DOCX", paragraph("Install", "Heading1") + paragraph("Run it."), title=" The  guide ")
    (tmp_path / "page.html").write_text("<title>Home</title><h1>Hello</h1><p>World.", encoding="utf-8")
    (tmp_path / "note.md").write_text("# Note\n", encoding="utf-8")
    (tmp_path / "code.py").write_text("def f():\n    return 1\n", encoding="utf-8")
    found = read(tmp_path)
    assert {name: (record.values["title"], record.values["text"]) for name, record in found.items()} == {
        "report.pdf": ("The flood", "The river rose\nin the night.\n\fIt fell.\n\f"),
        "Guide.DOCX": ("The guide", "# Install\n\nRun it.\n"),
        "page.html": ("Home", "# Hello\n\nWorld.\n"),
        "note.md": (None, "# Note\n"),
        "code.py": (None, "def f():\n    return 1\n"),
    }
    assert {name: (record.values["format"], record.values["parser"]) for name, record in found.items()} == {
        "report.pdf": ("text", "pdf 2"), "Guide.DOCX": ("markdown", "docx 2"), "page.html": ("markdown", "html 2"),
        "note.md": ("markdown", "markdown 2"), "code.py": ("text", "text 1"),
    }  # fmt: skip
    assert not [record.fault for record in found.values() if record.fault]


def test_pages_are_cleaned_where_it_is_asked_for(tmp_path: Path) -> None:
    """By the process that parses them."""
    (tmp_path / "a.html").write_text(f"<p>{'Text. ' * 20}</p><div class=cookie-bar>Cookies!</div>", encoding="utf-8")
    for remove in (False, True):
        data = Data(source="x", remove_boilerplate=remove)
        (table,) = folders.read(local(tmp_path, named="x"), data=data, contract=DOCUMENTS)
        (record,) = table.records
        assert ("Cookies!" in record.values["text"]) is not remove


def test_a_table_among_documents_is_a_document_a_row(tmp_path: Path) -> None:
    (tmp_path / "prices.csv").write_text("name,price,note\nbolt,3,\nnut,4,M8\nnut,4\n", encoding="utf-8")
    faq = '{"id": 7, "title": "Why?", "text": "Because.", "labels": ["hr"]}\n{'
    (tmp_path / "faq.jsonl").write_text(faq, encoding="utf-8")
    (tmp_path / "empty.tsv").write_bytes(b"")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    found = {name: (record.values["id"], record.values["text"]) for name, record in read(tmp_path).items()}
    assert found == {
        "prices.csv:2": ("prices.csv:2", "name: bolt\nprice: 3"),
        "prices.csv:3": ("prices.csv:3", "name: nut\nprice: 4\nnote: M8"),
        "prices.csv:4": ("prices.csv:4", None),
        "faq.jsonl:1": ("faq.jsonl#7", "Because."),
        "faq.jsonl:2": ("faq.jsonl:2", None),
        "empty.tsv": ("empty.tsv", None),
        "torn.parquet": ("torn.parquet", None),
    }
    records = read(tmp_path)
    assert (records["faq.jsonl:1"].values["title"], records["faq.jsonl:1"].values["labels"]) == ("Why?", ["hr"])
    assert records["prices.csv:4"].fault == "2 fields where the header has 3"
    assert "the file is empty" in str(records["empty.tsv"].fault)
    assert "not a Parquet file" in str(records["torn.parquet"].fault)


def test_html_without_what_is_not_its_text() -> None:
    page = (
        "<html><head><title>Install | Docs</title><style>p {}</style></head><body><nav>Menu</nav><header>Site</header>"
        "<div role=search>Find</div><main><header><h1>Install</h1></header><p>Run <b>this</b> <a href=x>step</a>:</p>"
        "<pre><code>pip install x\n# go</code></pre><script>alert(1)</script><h2>Linux</h2><ul><li>one<li>two</ul>"
        f"<table><tr><th>a<th>b<tr><td>1<td>2</table><img src='file://{SECRET}' alt='it'><p hidden>old</p></main>"
        f"<iframe src='file://{SECRET}'></iframe><object data='{SECRET}'></object><footer>Imprint</footer>"
    )
    found = html.parse(page.encode(), "utf-8")
    assert found.title == "Install"
    assert found.text == (
        "# Install\n\nRun this step:\n\n```\npip install x\n# go\n```\n\n## Linux\n\n- one\n- two\n\n"
        "| a | b |\n| --- | --- |\n| 1 | 2 |\n\nit\n"
    )


@pytest.mark.parametrize(
    "content",
    [
        '<meta charset="iso-8859-1"><p>“é”'.encode("cp1252"),
        '<meta http-equiv="Content-Type" content="text/html; charset=windows-1252"><p>“é”'.encode("cp1252"),
        '<?xml version="1.0" encoding="cp1252"?><p>“é”'.encode("cp1252"),
        "<p>“é”".encode("utf-16"),
        "<meta charset=utf-8><p>“é”".encode("utf-8-sig"),
    ],
)
def test_a_page_declares_its_encoding(content: bytes) -> None:
    assert html.parse(content, "ascii").text == "“é”\n"


def test_html_in_markdown_is_read_without_its_tags() -> None:
    text = (
        "# Title <a name='x'></a>\n\n<!-- note -->\n<div>\n\n10<sup>6</sup> litres, <del>8095</del> ~~80~~ 95 crowns, "
        "`<b>` and vector<int> AT&amp;T <https://x.y>\n\n</div>\n\n<table><tr><th>a<th>b</tr>\n\n"
        "<tr><td>1<td>2</tr></table>\n\n"
        "```html\n<i>code</i>\n```\n\n<your-name>\n"
    )
    found = markdown.of_text(text).text
    wanted = (
        "# Title 10^6 litres, 95 crowns, `<b>` and vector<int> AT&T <https://x.y> | a | b | | --- | --- | | 1 | 2 | "
        "```html <i>code</i> ``` <your-name>"
    )
    assert found.split() == wanted.split()
    assert markdown.of_text("plain *text*\n").text == "plain *text*\n"


def test_the_kind_goes_by_the_name() -> None:
    assert [kind_of(name).name for name in ("a.HTM", "b/c.xhtml", "LICENCE", "x.rs", "a.markdown")] == [
        "html", "html", "text", "text", "markdown",
    ]  # fmt: skip


# --- broken ones


def test_a_document_that_cannot_be_parsed_is_a_row_with_the_reason(tmp_path: Path) -> None:
    whole = make_pdf([["x"]])
    locked = b"/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >> /ID [<00> <00>] /Root"
    for name, content in {
        "broken.pdf": whole[:200], "named.pdf": b"hello", "scan.pdf": make_pdf([[], []]), "empty.pdf": b"",
        "locked.pdf": whole.replace(b"/Root", locked % (b"ab" * 32, b"cd" * 32)),
        "cut.docx": b"PK\x03\x04 cut", "old.docx": b"\xd0\xcf\x11\xe0" + bytes(512),
        "bad.html": "<p>Дом у моря".encode("cp1251"), "picture.dat": b"\x89PNG\r\n\x1a\n" + bytes(9),
        "data.bin": b"a\0b", "fine.txt": b"Fine.",
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(content)
    found = {name: record.fault for name, record in read(tmp_path).items()}
    assert found == {
        "broken.pdf": "no PDF, or a broken one (Failed to load document (PDFium: Data format error).)",
        "named.pdf": "no PDF, or a broken one (Failed to load document (PDFium: Data format error).)",
        "scan.pdf": "no text on any of its 2 pages: pictures of pages need OCR first",
        "empty.pdf": "the file is empty",
        "locked.pdf": "encrypted: it needs a password",
        "cut.docx": "no DOCX, or one that was cut off (File is not a zip file)",
        "old.docx": "encrypted, or of Word 97: save it as DOCX without a password",
        "bad.html": "not UTF-8 (byte 3), and it declares no other encoding",
        "picture.dat": "not UTF-8 (byte 0)",
        "data.bin": "holds NUL: a binary file that no parser here reads",
        "fine.txt": None,
    }


def test_a_picture_among_documents_is_left_out_and_counted(tmp_path: Path) -> None:
    for name in ("plan.md", "images/a.PNG", "images/b.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("Words.")
    table = next(folders.read(Files(tmp_path), data=Data(source="docs"), contract=DOCUMENTS))
    assert [(record.place, record.left_out) for record in table.records] == [
        ("images/a.PNG", "picture"), ("images/b.jpg", "picture"), ("plan.md", None),
    ]  # fmt: skip


# --- hostile ones


def entities() -> str:
    names = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    return f'<!DOCTYPE d [<!ENTITY e0 "ha">{names}]>'


def test_entities_neither_grow_nor_read_files(tmp_path: Path, parsers: Parsers) -> None:
    bomb = make_docx(tmp_path / "bomb.docx", paragraph("&e9;"), head=entities())
    with pytest.raises(Unreadable, match=r"document\.xml declares a document type, which no Word file does"):
        parsers.parse("docx", bomb, "utf-8")
    outside = f'<!DOCTYPE d [<!ENTITY x SYSTEM "file://{SECRET}">]>'
    with pytest.raises(Unreadable, match="declares a document type"):
        parsers.parse("docx", make_docx(tmp_path / "x.docx", paragraph("a&x;b"), head=outside), "utf-8")
    page = tmp_path / "x.xhtml"
    page.write_text(f'<?xml version="1.0"?>{outside}<html><body><p>A&x;B</p></body></html>', encoding="utf-8")
    assert "root:" not in parsers.parse("html", page, "utf-8").text


def test_a_picture_elsewhere_is_not_read(tmp_path: Path, parsers: Parsers) -> None:
    drawing = "http://schemas.openxmlformats.org/drawingml/2006"
    body = (
        f'<w:p><w:r><w:drawing><wp:inline xmlns:wp="{drawing}/wordprocessingDrawing">'
        f'<a:graphic xmlns:a="{drawing}/main">'
        f'<a:graphicData><pic:pic xmlns:pic="{drawing}/picture"><pic:blipFill><a:blip xmlns:r="{OFFICE}" r:link="p"/>'
        "</pic:blipFill></pic:pic></a:graphicData></a:graphic></wp:inline></w:drawing></w:r></w:p>"
    )
    link = f'<Relationship Id="p" Type="{OFFICE}/image" Target="file://{SECRET}" TargetMode="External"/>'
    path = make_docx(tmp_path / "a.docx", body + paragraph("Text."), relationship=link)
    assert parsers.parse("docx", path, "utf-8").text == "Text.\n"


def test_documents_that_loop_or_ask_for_something(tmp_path: Path) -> None:
    """Each is refused or read as its text, in bounded time, and nobody is asked for anything."""
    with socket.create_server(("127.0.0.1", 0)) as asked, Parsers(seconds=2) as parsers:
        asked.settimeout(0.1)
        away = f"http://127.0.0.1:{asked.getsockname()[1]}/x"
        entity = f'<!DOCTYPE d [<!ENTITY x SYSTEM "{away}">]>'
        quadratic = f'<!DOCTYPE d [<!ENTITY q "{"ha" * 50_000}">]>'
        page = f'<iframe src="{away}"></iframe><img src="{away}"><link rel="stylesheet" href="{away}"><p>Text.'
        looped = make_pdf([["Text."]]).replace(b"/Type /Pages /Kids [5 0 R]", b"/Type /Pages /Kids [2 0 R]")
        opening = f"<< /Type /Catalog /OpenAction << /S /URI /URI ({away}) >> /Pages 2 0 R >>".encode()
        assert looped != make_pdf([["Text."]])
        cases = {
            "entity.docx": make_docx(tmp_path / "e.docx", paragraph("a&x;b"), head=entity).read_bytes(),
            "core.docx": make_docx(tmp_path / "c.docx", paragraph("Text."), title=f"{entity}&x;").read_bytes(),
            "quadratic.docx": make_docx(tmp_path / "q.docx", paragraph("&q;" * 5_000), head=quadratic).read_bytes(),
            "nested.docx": make_docx(tmp_path / "n.docx", "<w:p>" * 20_000 + "</w:p>" * 20_000).read_bytes(),
            "page.html": page.encode(), "divs.html": b"<div>" * 20_000, "loop.pdf": looped,
            "action.pdf": make_pdf([["Text."]]).replace(b"<< /Type /Catalog /Pages 2 0 R >>", opening),
        }  # fmt: skip
        for name, content in cases.items():
            path = tmp_path / name
            path.write_bytes(content)
            with suppress(Unreadable):
                assert len(parsers.parse(path.suffix[1:], path, "utf-8").text) < 1_000, name
        with pytest.raises(TimeoutError):
            asked.accept()


def test_a_zip_that_unpacks_to_more_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docx, "_MAX_XML_BYTES", 100_000)
    path = make_docx(tmp_path / "a.docx", paragraph(" " * 200_000))
    assert path.stat().st_size < 3_000
    with pytest.raises(Unreadable, match=r"unpacks to 2\d\d,\d\d\d bytes of XML in 5 parts; at most 100,000"):
        docx.parse(path.read_bytes())


@pytest.mark.slow
def test_deep_html_and_one_that_takes_too_long(tmp_path: Path, parsers: Parsers) -> None:
    deep, long, fine = (tmp_path / name for name in ("deep.html", "long.html", "fine.html"))
    deep.write_text("<div>" * 3_000, encoding="utf-8")
    long.write_text("<p>word" * 300_000, encoding="utf-8")
    fine.write_text("<p>Fine.", encoding="utf-8")
    with pytest.raises(Unreadable, match="nested too deeply"):
        parsers.parse("html", deep, "utf-8")
    with Parsers(seconds=2) as hurried:
        with pytest.raises(Unreadable, match="takes more than 2 s of processor time"):
            hurried.parse("html", long, "utf-8")
        assert hurried.parse("html", fine, "utf-8").text == "Fine.\n"  # by another process


def test_a_parser_that_breaks_down_is_the_document_s_fault_and_a_missing_library_is_not() -> None:
    with pytest.raises(HeadraceError, match=r"ended by itself \(exit 1\)"):
        Parsers()._ending(1)
    assert Parsers()._ending(-signal.SIGSEGV) == "the parser broke down over it (SIGSEGV; it may use 2 GiB of memory)"


def in_parquet(folder: Path, texts: Any) -> Path:
    file = folder / "bomb.pq"
    pq.write_table(pa.table({"text": texts}), file, compression="zstd")
    assert file.stat().st_size < 200_000
    return file


def test_a_cell_that_is_longer_than_a_document_may_be_is_its_row_s_fault(tmp_path: Path) -> None:
    in_parquet(tmp_path, ["x" * 40_000_000, "Fine."])
    found = read(tmp_path)
    assert found["bomb.pq:1"].fault == "text: 40,000,000 characters; at most 10,485,760 are read"
    assert (found["bomb.pq:2"].fault, found["bomb.pq:2"].values["text"]) == (None, "Fine.")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cell", "rows", "says"),
    [("x" * 40_000_000, 500, "needs more than 2 GiB of memory to parse"),
     ("x" * 100_000, 2_000, "unpacks to more than 200 times its size")],
)  # fmt: skip
def test_a_table_that_unpacks_to_gigabytes_costs_the_parsers_process(
    tmp_path: Path, cell: str, rows: int, says: str
) -> None:
    in_parquet(tmp_path, pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), [cell]))
    (tmp_path / "fine.csv").write_text("text\nFine.\n", encoding="utf-8")
    found = read(tmp_path)
    assert says in str(found["bomb.pq"].fault)
    assert sum(len(record.values["text"] or "") for record in found.values()) < 80_000_000
    assert found["fine.csv:2"].values["text"] == "Fine."  # by the same process, or the next


def test_who_wants_no_more_rows_does_not_wait_for_them(tmp_path: Path, parsers: Parsers) -> None:
    (tmp_path / "a.csv").write_text("text\n" + "x\n" * 300_000, encoding="utf-8")
    rows = parsers.rows(Found("a.csv", tmp_path / "a.csv"), tmp_path, Data(source=""), [])
    assert next(rows).values["text"] == "x"
    rows.close()  # type: ignore[attr-defined]
    (tmp_path / "b.html").write_text("<p>Fine.", encoding="utf-8")
    assert parsers.parse("html", tmp_path / "b.html", "utf-8").text == "Fine.\n"


def test_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.html"
    path.write_text("<p>" + "word " * 100, encoding="utf-8")
    monkeypatch.setattr(_parsing, "MAX_FILE_BYTES", 100)
    with pytest.raises(Unreadable, match="a file of 503 bytes; at most 100 are parsed"):
        _parsing.parse("html", path, "utf-8")
    monkeypatch.setattr(html, "MAX_CHARS", 50)
    with pytest.raises(Unreadable, match="longer than 50 characters"):
        html.of_text(path.read_text())


def test_memory_has_an_end(tmp_path: Path) -> None:
    """In its process, a parser that asks for more than the limit gets an error and not the machine's memory."""
    code = (
        "import resource; from pipelines.sources import _parsing as p; from pipelines.sources.parsers import pdf\n"
        "def greedy(content): return bytearray(3 * 2**30)\n"
        "pdf.parse = greedy\np.main(9)"
    )
    (tmp_path / "a.pdf").write_bytes(b"x")
    asked: list[Any] = ["pdf", str(tmp_path / "a.pdf"), "utf-8"]
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(asked) + "\n", capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == {"fault": "needs more than 2 GiB of memory to parse"}
