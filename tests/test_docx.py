"""What comes out of a Word file: all that Word shows of it, with the numbers that Word counts."""

from __future__ import annotations

import io
import zipfile

import docx as word
import pytest
from docx.oxml import parse_xml

from pipelines.sources.parsers import Unreadable, docx
from pipelines.sources.parsers.word.numbering import formatted

URL = "http://schemas.openxmlformats.org"
SPACES = " ".join(
    f'xmlns:{name}="{URL}/{path}"'
    for name, path in {
        "w": "wordprocessingml/2006/main", "m": "officeDocument/2006/math", "a": "drawingml/2006/main",
        "wp": "drawingml/2006/wordprocessingDrawing", "c": "drawingml/2006/chart", "mc": "markup-compatibility/2006",
        "r": "officeDocument/2006/relationships", "pic": "drawingml/2006/picture", "dgm": "drawingml/2006/diagram",
    }.items()
)  # fmt: skip
SPACES += ' xmlns:v="urn:schemas-microsoft-com:vml" xmlns:w14="http://schemas.microsoft.com/office/word/2010/wordml"'
HEAD = (
    f'<Relationships xmlns="{URL}/package/2006/relationships"><Relationship Id="r" '
    f'Type="{URL}/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/></Relationships>'
)


def file_of(body: str, **parts: str) -> bytes:
    """A Word file by hand; parts: by their names in word/, and the relationships of the document."""
    made, related = io.BytesIO(), ""
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in parts.items():
            related += f'<Relationship Id="{name}" Type="{URL}/{name}" Target="{name}.xml"/>'
            archive.writestr(f"word/{name}.xml", content)
        archive.writestr("[Content_Types].xml", f'<Types xmlns="{URL}/package/2006/content-types"/>')
        archive.writestr("_rels/.rels", HEAD)
        relations = f'<Relationships xmlns="{URL}/package/2006/relationships">{related}</Relationships>'
        archive.writestr("word/_rels/document.xml.rels", relations)
        archive.writestr("word/document.xml", f"<w:document {SPACES}><w:body>{body}</w:body></w:document>")
    return made.getvalue()


def run(text: str, properties: str = "") -> str:
    return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'


def text(body: str, **parts: str) -> str:
    return docx.parse(file_of(body, **parts)).text.strip()


def line(inside: str) -> str:
    """The text of one paragraph."""
    return text(f"<w:p>{inside}</w:p>")


@pytest.mark.parametrize(
    ("inside", "says"),
    [
        # raised, lowered, struck, hidden, tracked
        (run("10") + run("6", '<w:vertAlign w:val="superscript"/>') + run(" litres"), "10^6 litres"),
        (run("CO") + run("2", '<w:vertAlign w:val="subscript"/>'), "CO2"),
        (run("80", "<w:strike/>") + run("95"), "95"),
        (run("80", "<w:dstrike/>") + run("95", '<w:strike w:val="0"/>'), "95"),
        (run("1") + run("2", "<w:strike/>") + run("3"), "1 3"),
        (run("old", "<w:vanish/>") + run("new"), "new"),
        (f"<w:del><w:r><w:delText>80</w:delText></w:r></w:del><w:ins>{run('95')}</w:ins>", "95"),
        (f"<w:moveFrom>{run('80')}</w:moveFrom><w:moveTo>{run('95')}</w:moveTo>", "95"),
        # characters that are elements
        ("<w:r><w:t>A</w:t><w:noBreakHyphen/><w:t>12</w:t></w:r>", "A-12"),
        ("<w:r><w:t>exam</w:t><w:softHyphen/><w:t>ple</w:t></w:r>", "example"),
        ("<w:r><w:t>one</w:t><w:cr/><w:t>two</w:t><w:ptab/><w:t>three</w:t></w:r>", "one\ntwo three"),
        ('<w:r><w:sym w:font="Wingdings" w:char="F0FE"/><w:t> yes</w:t></w:r>', "🗹 yes"),
        ('<w:r><w:sym w:font="Symbol" w:char="F061"/><w:sym w:font="Arial" w:char="2713"/></w:r>', "α✓"),
        (run("\uf061", '<w:rFonts w:ascii="Symbol"/>'), "α"),
        # wrappers
        (f'<w:fldSimple w:instr="DATE">{run("3 May")}</w:fldSimple>', "3 May"),
        (f"<w:bdo><w:dir>{run('inside')}</w:dir></w:bdo>", "inside"),
        (f"<w:ruby><w:rt>{run('kan')}</w:rt><w:rubyBase>{run('漢')}</w:rubyBase></w:ruby>", "漢"),
        (f"<w:sdt><w:sdtContent>{run('a')}<w:sdt><w:sdtContent>{run('b')}</w:sdtContent></w:sdt></w:sdtContent></w:sdt>",
         "ab"),
        # boxes and lists of forms
        ("<w:sdt><w:sdtPr><w14:checkbox><w14:checked w14:val='1'/></w14:checkbox></w:sdtPr><w:sdtContent>"
         f"{run('☒')}</w:sdtContent></w:sdt>{run(' tea')}", "[x] tea"),
        ("<w:r><w:fldChar w:fldCharType='begin'><w:ffData><w:checkBox><w:default w:val='1'/></w:checkBox></w:ffData>"
         "</w:fldChar></w:r><w:r><w:instrText>FORMCHECKBOX</w:instrText></w:r><w:r><w:fldChar w:fldCharType='end'/>"
         f"</w:r>{run('tea')}", "[x] tea"),
        ("<w:r><w:fldChar w:fldCharType='begin'><w:ffData><w:ddList><w:result w:val='1'/><w:listEntry w:val='red'/>"
         "<w:listEntry w:val='blue'/></w:ddList></w:ffData></w:fldChar></w:r>"
         "<w:r><w:fldChar w:fldCharType='end'/></w:r>",
         "blue"),
        # pictures, WordArt
        ('<w:r><w:drawing><wp:inline><wp:docPr id="1" name="x" descr="A map"/></wp:inline></w:drawing></w:r>', "A map"),
        ('<w:r><w:pict><v:shape alt="A plan"><v:textpath string="DRAFT"/></v:shape></w:pict></w:r>', "A plan DRAFT"),
    ],
)  # fmt: skip
def test_what_a_line_shows(inside: str, says: str) -> None:
    assert line(inside) == says


def m(name: str, **parts: str) -> str:
    inside = "".join(f"<m:{part}>{said}</m:{part}>" for part, said in parts.items())
    return f"<m:{name}>{inside}</m:{name}>"


def letters(said: str) -> str:
    return f"<m:r><m:t>{said}</m:t></m:r>"


@pytest.mark.parametrize(
    ("formula", "says"),
    [
        (letters("A=") + m("f", num=letters("b h"), den=letters("2")), "A=(b h)/2"),
        (letters("v=9.") + letters("81 t"), "v=9.81 t"),
        (m("sSup", e=letters("10"), sup=letters("6")), "10^6"),
        (m("sSup", e=letters("a+b"), sup=letters("n+1")), "(a+b)^(n+1)"),
        (m("sSub", e=letters("x"), sub=letters("1")), "x_(1)"),
        (m("sSubSup", e=letters("x"), sub=letters("1"), sup=letters("2")), "x_(1)^2"),
        (m("rad", deg="", e=letters("2")), "√(2)"),
        (m("rad", deg=letters("3"), e=letters("8")), "root(3, 8)"),
        (m("d", e=letters("a+b")), "(a+b)"),
        ('<m:nary><m:naryPr><m:chr m:val="∑"/></m:naryPr><m:sub><m:r><m:t>i=1</m:t></m:r></m:sub><m:sup>'
         "<m:r><m:t>n</m:t></m:r></m:sup><m:e><m:r><m:t>i</m:t></m:r></m:e></m:nary>", "∑_(i=1)^n i"),
        (m("func", fName=letters("sin"), e=letters("x")), "sin x"),
        (m("m", mr=f"<m:e>{letters('1')}</m:e><m:e>{letters('2')}</m:e>"), "[1, 2]"),
    ],
)  # fmt: skip
def test_formulas_are_text(formula: str, says: str) -> None:
    """In a line, in a paragraph of their own, and without any paragraph."""
    equation = f"<m:oMath>{formula}</m:oMath>"
    assert line(run("Here ") + equation + run(" it is.")) == f"Here {says} it is."
    assert line(f"{run('Here')}{equation}{run('.')}") == f"Here {says}."
    assert line(f"<m:oMathPara>{equation}</m:oMathPara>") == says
    assert text(f"<m:oMathPara>{equation}</m:oMathPara>") == says


LEVELS = "".join(
    f'<w:lvl w:ilvl="{depth}"><w:start w:val="1"/><w:numFmt w:val="{form}"/><w:lvlText w:val="{said}"/></w:lvl>'
    for depth, (form, said) in enumerate(
        [("decimal", "%1."), ("lowerLetter", "(%2)"), ("decimal", "%1.%2.%3"), ("bullet", "•")]
    )
)
NUMBERING = (
    f'<w:numbering {SPACES}><w:abstractNum w:abstractNumId="0">{LEVELS}</w:abstractNum>'
    '<w:abstractNum w:abstractNumId="1"><w:lvl w:ilvl="0"><w:start w:val="4"/><w:numFmt w:val="upperRoman"/>'
    '<w:lvlText w:val="Article %1"/><w:pStyle w:val="Heading1"/></w:lvl></w:abstractNum>'
    '<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num><w:num w:numId="2"><w:abstractNumId w:val="1"/></w:num>'
    '<w:num w:numId="3"><w:abstractNumId w:val="0"/><w:lvlOverride w:ilvl="0"><w:startOverride w:val="7"/>'
    "</w:lvlOverride></w:num></w:numbering>"
)
STYLES = (
    f'<w:styles {SPACES}><w:style w:type="paragraph" w:styleId="Heading1"><w:name w:val="heading 1"/><w:pPr><w:numPr>'
    '<w:numId w:val="2"/></w:numPr></w:pPr></w:style><w:style w:type="paragraph" w:styleId="Own"><w:name w:val="Own"/>'
    '<w:basedOn w:val="Heading1"/></w:style><w:style w:type="character" w:styleId="Gone"><w:name w:val="Gone"/>'
    "<w:rPr><w:strike/></w:rPr></w:style></w:styles>"
)


def item(said: str, depth: int = 0, number: int = 1) -> str:
    listed = f'<w:numPr><w:ilvl w:val="{depth}"/><w:numId w:val="{number}"/></w:numPr>'
    return f"<w:p><w:pPr>{listed}</w:pPr>{run(said)}</w:p>"


def heading(said: str, style: str = "Heading1") -> str:
    return f'<w:p><w:pPr><w:pStyle w:val="{style}"/></w:pPr>{run(said)}</w:p>'


def test_lists_have_the_numbers_that_word_counts() -> None:
    """Several levels, a list that goes on behind a paragraph, one that starts again, bullets between."""
    body = [item("one"), item("a", 1), item("b", 1), item("deep", 2), item("dot", 3), f"<w:p>{run('Between.')}</w:p>"]
    body += [item("two"), item("a again", 1), item("seven", 0, 3), item("eight", 0, 3)]
    found = " ".join(text("".join(body), numbering=NUMBERING).split())
    assert found == "1. one (a) a (b) b 1.b.1 deep - dot Between. 2. two (a) a again 7. seven 8. eight"


def test_what_was_deleted_counts_no_further() -> None:
    gone = item("x").replace(run("x"), "<w:del><w:r><w:delText>gone</w:delText></w:r></w:del>")
    assert text(item("one") + gone + item("two"), numbering=NUMBERING) == "1. one\n2. two"


def test_headings_have_their_numbers_and_depths() -> None:
    """By their style, by a style that is based on it, and by an outline level of their own."""
    outline = f'<w:p><w:pPr><w:outlineLvl w:val="1"/></w:pPr>{run("Part")}</w:p>'
    found = text(heading("Scope") + heading("Terms", "Own") + outline, numbering=NUMBERING, styles=STYLES)
    assert found == "# Article IV Scope\n\n# Article V Terms\n\n## Part"


@pytest.mark.parametrize("level", ["", "12", "x"])
def test_an_outline_level_that_is_none_makes_no_heading(level: str) -> None:
    style = f'<w:style w:type="paragraph" w:styleId="Odd"><w:pPr><w:outlineLvl w:val="{level}"/></w:pPr></w:style>'
    assert text(heading("Scope", "Odd"), styles=f"<w:styles {SPACES}>{style}</w:styles>") == "Scope"


def test_a_style_may_strike_out() -> None:
    struck = "<w:p>" + run("80", '<w:rStyle w:val="Gone"/>') + run("95") + "</w:p>"
    assert text(struck, styles=STYLES) == "95"


@pytest.mark.parametrize(
    ("number", "form", "says"),
    [(4, "lowerRoman", "iv"), (1999, "upperRoman", "MCMXCIX"), (28, "lowerLetter", "bb"), (3, "decimalZero", "03"),
     (22, "ordinal", "22nd"), (11, "ordinal", "11th"), (23, "chineseCounting", "二十三"), (5, "unheardOf", "5")],
)  # fmt: skip
def test_forms_of_numbers(number: int, form: str, says: str) -> None:
    assert formatted(number, form) == says


def cell(said: str, properties: str = "") -> str:
    return f"<w:tc><w:tcPr>{properties}</w:tcPr><w:p>{run(said)}</w:p></w:tc>"


def table(*rows: str) -> str:
    return f"<w:tbl>{''.join(f'<w:tr>{row}</w:tr>' for row in rows)}</w:tbl>"


AB, ABC = cell("a") + cell("b"), cell("a") + cell("b") + cell("c")


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([AB, cell("1") + cell("2")], ["a | b", "1 | 2"]),
        ([AB, cell("x", '<w:vMerge w:val="restart"/>') + cell("1"), cell("", "<w:vMerge/>") + cell("2")],
         ["a | b", "x | 1", "x | 2"]),
        ([ABC, cell("x", '<w:gridSpan w:val="2"/>') + cell("1")], ["a | b | c", "x | x | 1"]),
        ([ABC, cell("x", '<w:hMerge w:val="restart"/>') + cell("", "<w:hMerge/>") + cell("1")],
         ["a | b | c", "x | x | 1"]),
        ([AB, '<w:trPr><w:gridBefore w:val="1"/></w:trPr>' + cell("1")], ["a | b", "| 1"]),
        ([AB, "<w:trPr><w:del/></w:trPr>" + cell("8") + cell("8"), cell("1") + cell("2")], ["a | b", "1 | 2"]),
        ([AB, f"{cell('1')}<w:tc>{table(cell('Mon') + cell('8'))}<w:p/></w:tc>"], ["a | b", "1 | Mon: 8"]),
        ([AB, f"<w:sdt><w:sdtContent>{cell('1')}</w:sdtContent></w:sdt>{cell('2')}"], ["a | b", "1 | 2"]),
    ],
)  # fmt: skip
def test_tables_have_a_head_and_keep_their_columns(rows: list[str], says: list[str]) -> None:
    found = [" ".join(each.strip("|").replace("|  |", "| |").split()) for each in text(table(*rows)).split("\n")]
    assert [found[0], *found[2:]] == says
    assert set(found[1]) <= set("-| ")


def test_text_boxes_stand_once() -> None:
    """In both forms in which Word writes them, side by side; in the new one alone; in each other."""
    box = f"<w:txbxContent><w:p>{run('In the box 42.')}</w:p></w:txbxContent>"
    new = f'<w:drawing><wp:anchor><wp:docPr id="1" name="x"/><a:graphic>{box}</a:graphic></wp:anchor></w:drawing>'
    old = f"<w:pict><v:shape><v:textbox>{box}</v:textbox></v:shape></w:pict>"
    both = f"<mc:AlternateContent><mc:Choice>{new}</mc:Choice><mc:Fallback>{old}</mc:Fallback></mc:AlternateContent>"
    for form in (new, old, both, f"<mc:AlternateContent><mc:Choice>{new}</mc:Choice></mc:AlternateContent>"):
        assert line(run("Around it. ") + f"<w:r>{form}</w:r>") == "Around it.\n\nIn the box 42."


def test_charts_and_diagrams_say_their_numbers_and_words() -> None:
    points = "".join(f'<c:pt idx="{n}"><c:v>{v}</c:v></c:pt>' for n, v in enumerate(["4.3", "2.4000000000000004"]))
    names = "".join(f'<c:pt idx="{n}"><c:v>{v}</c:v></c:pt>' for n, v in enumerate(["North", "South"]))
    title = "<c:title><a:p><a:r><a:t>Sales</a:t></a:r></a:p></c:title>"
    chart = (
        f'<c:chartSpace {SPACES}>{title}<c:ser><c:tx><c:pt idx="0"><c:v>2020</c:v></c:pt></c:tx><c:cat>{names}</c:cat>'
        f"<c:val>{points}</c:val></c:ser></c:chartSpace>"
    )
    drawing = '<w:r><w:drawing><wp:inline><a:graphic><c:chart r:id="chart1"/></a:graphic></wp:inline></w:drawing></w:r>'
    found = text(f"<w:p>{run('See:')}{drawing}</w:p><w:p>{run('End.')}</w:p>", chart1=chart)
    assert found == "See:\n\nSales\n\n| | 2020 |\n| --- | --- |\n| North | 4.3 |\n| South | 2.4 |\n\nEnd.".replace(
        "|  |", "| |"
    )
    data = f"<dgm:dataModel {SPACES}><a:p><a:r><a:t>First step</a:t></a:r></a:p></dgm:dataModel>"
    art = '<w:p><w:r><w:drawing><wp:inline><dgm:relIds r:dm="data1"/></wp:inline></w:drawing></w:r></w:p>'
    assert text(art, data1=data) == "First step"


def test_marks_of_notes_join_no_number_and_notes_are_read() -> None:
    raised = run("6", '<w:vertAlign w:val="superscript"/>')
    note = f'<w:footnote w:id="2"><w:p>{run("See the annex, 10")}{raised}</w:p></w:footnote>'
    notes = f"<w:footnotes {SPACES}>{note}</w:footnotes>"
    made = io.BytesIO()
    mark = '<w:r><w:footnoteReference w:id="2"/></w:r>'
    content = file_of(f"<w:p>{run('in 1999')}{mark}{run('.')}</w:p>", footnotes=notes)
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(made, "w") as new:
        for name in old.namelist():
            kind = "officeDocument/2006/relationships/footnotes"
            new.writestr(
                name,
                old.read(name).replace(b'Type="' + f"{URL}/footnotes".encode(), b'Type="' + f"{URL}/{kind}".encode()),
            )
    assert docx.parse(made.getvalue()).text == "in 1999[1].\n\n1. See the annex, 10^6\n"


def test_heads_and_feet_of_pages_stand_once_behind_the_text() -> None:
    """With python-docx: of two sections, and without the numbers of pages."""
    document = word.Document()
    document.add_paragraph("The text.")
    for section in (document.sections[0], document.add_section()):
        section.header.is_linked_to_previous = False
        section.header.paragraphs[0].text = "Contract 17/2026"
    feet = document.sections[0].footer.paragraphs[0]
    feet.text = "Page "
    field = f'<w:fldSimple {SPACES} w:instr=" PAGE "><w:r><w:t>3</w:t></w:r></w:fldSimple>'
    feet._p.append(parse_xml(field))
    made = io.BytesIO()
    document.save(made)
    assert docx.parse(made.getvalue()).text == "The text.\n\nContract 17/2026\n\nPage\n"


def test_what_is_not_in_the_text_is_told() -> None:
    made = io.BytesIO(
        file_of(f"<w:p>{run('x')}</w:p>", comments=f'<w:comments {SPACES}><w:comment w:id="1"/></w:comments>')
    )
    with zipfile.ZipFile(made, "a") as archive:
        archive.writestr("word/embeddings/sheet1.xlsx", b"x")
    assert docx.parse(made.getvalue()).unread == "1 embedded files, 1 comments"


def test_styles_and_lists_that_refer_to_themselves() -> None:
    styles = f'<w:styles {SPACES}><w:style w:type="paragraph" w:styleId="A"><w:basedOn w:val="A"/></w:style></w:styles>'
    numbering = (
        f'<w:numbering {SPACES}><w:abstractNum w:abstractNumId="0"><w:numStyleLink w:val="A"/></w:abstractNum>'
        '<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num></w:numbering>'
    )
    assert text(heading("Here", "A") + item("there"), styles=styles, numbering=numbering) == "Here\n\nthere"


def test_xml_that_is_none_is_told() -> None:
    with pytest.raises(Unreadable, match=r"word/document.xml is no XML"):
        docx.parse(file_of("<w:p>"))
