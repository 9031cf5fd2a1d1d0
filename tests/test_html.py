"""What comes out of a page: the text that a reader sees, and numbers of the value that they have there."""

from __future__ import annotations

import re

import pytest

from pipelines.sources.parsers import Unreadable, html


def text(page: str, *, remove_boilerplate: bool = False) -> str:
    return html.of_text(page, remove_boilerplate=remove_boilerplate).text.strip()


@pytest.mark.parametrize(
    ("page", "says"),
    [
        # a header or menu that the author did not close holds the page
        ("<body><header><div>Menu</div><p>The text.", "Menu\n\nThe text."),
        ("<body><nav><div>Menu</div><p>The text.", "Menu\n\nThe text."),
        ("<body><header>Site<div><p>The text.</p></div>", "Site\n\nThe text."),
        # a headline and a lead in a header of their own, also above a long text
        ("<header><h1>Title</h1><p>The lead.</p></header><div><p>Text.</div>", "# Title\n\nThe lead.\n\nText."),
        (
            f"<div><header><h1>Title</h1><p>By Ann</p></header><p>{'word ' * 99}end</p></div>",
            f"# Title\n\nBy Ann\n\n{'word ' * 99}end",
        ),
        (f"<header><h1><a href=/>Site</a></h1></header><nav>Menu</nav><p>{'word ' * 20}</p>", f"{'word ' * 19}word"),
        # text beside <main>, several of them, an article beside one
        ("<main><h1>Title</h1></main><article><p>The text.</p></article>", "# Title\n\nThe text."),
        ("<main><p>One text.</p></main><main><p>Another.</p></main><div>aside</div>", "One text.\n\nAnother."),
        ("<main><p>The text of the page.</p></main><article>More.</article>", "The text of the page.\n\nMore."),
        # scripts are off
        ("<script>x</script><noscript><p>The text.</p></noscript>", "The text."),
        (f"<p>{'word ' * 20}</p><noscript>Switch scripts on.</noscript>", f"{'word ' * 19}word"),
        # what opens
        ("<h3><button>Question?</button></h3><p>Answer.", "### Question?\n\nAnswer."),
        ("<button aria-controls=a>Question?</button><div id=a hidden>Answer 42</div>", "Question?\n\nAnswer 42"),
        (f"<p>{'word ' * 20}</p><a href='#b'>More</a><div id=b aria-hidden=true>7 more</div>",
         f"{'word ' * 20}\n\nMore\n\n7 more".replace(" \n", "\n")),
        ("<details><summary>Terms</summary><p hidden>14 days</details>", "Terms\n\n14 days"),
        (f"<p>{'word ' * 20}</p><p hidden>old</p><i aria-hidden=true>x</i>", f"{'word ' * 19}word"),
        # frames, shadow roots, XHTML
        ("<frameset><frame src=a><noframes><p>No frames here.</noframes></frameset>", "No frames here."),
        ("<my-note><template shadowrootmode=open><p>Inside.</template></my-note>", "Inside."),
        ("<?xml version='1.0'?><html><head><title/><script src='x'/></head><body><p>a<![CDATA[<b]]></p>", "a<b"),
        # in a script and nowhere else
        ('<div id=app></div><script type="application/ld+json">[{"articleBody":"All <b>of</b> it."}]</script>',
         "All of it."),
    ],
)  # fmt: skip
def test_nothing_that_a_reader_sees_is_left_out(page: str, says: str) -> None:
    assert text(page) == says


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("10<sup>6</sup> litres", "10^6 litres"),
        ("1.5×10<sup>−5</sup> m", "1.5×10^−5 m"),
        ("2<sup>2<sup>3</sup></sup>", "2^(2^3)"),
        ("2<sup>10</sup>5", "2^10 5"),
        ("10<span style='vertical-align: super'>6</span>", "10^6"),
        ("<style>.up{vertical-align:super}</style><p>10<i class=up>6</i>", "10^6"),
        ("x<sup>n+1</sup>, m<sup>2</sup>", "x^(n+1), m^2"),
        ("the 1<sup>st</sup>, 20<sup>°</sup>, Brand<sup>TM</sup>", "the 1st, 20°, Brand^TM"),
        ("5<sup>3</sup>/<sub>4</sub> in", "5 3/4 in"),
        ("CO<sub>2</sub> and H<sub>2</sub>O", "CO2 and H2O"),
        ("10<sub>2</sub>, log<sub>2</sub>8, a<sub>n+1</sub>", "10_2, log_2 8, a_(n+1)"),
        ("<sup>14</sup>C", "14 C"),
        ("in 1999<sup><a href='#n1'>3</a></sup>", "in 1999[3]"),
        ("in 1999<a href='#n1'><sup>3</sup></a>", "in 1999[3]"),
        ("in 1999<sup class=reference>[3]</sup>", "in 1999[3]"),
        ("costs <del>80</del><ins>95</ins> crowns", "costs 95 crowns"),
        ("<s>80</s> <strike>85</strike> 95", "95"),
        ("1<s>2</s>3", "1 3"),
        ("<b style='color:red; text-decoration: line-through'>80</b> 95", "95"),
        ("<style>p .x, .old {text-decoration:line-through}</style><p><b class=old>80</b> 95", "95"),
        ("<math><mi>E</mi><mo>=</mo><mi>m</mi><msup><mi>c</mi><mn>2</mn></msup></math>", "E = m c^2"),
        ("<math><mfrac><mrow><mi>a</mi><mo>+</mo><mn>1</mn></mrow><mn>2</mn></mfrac></math>", "(a + 1)/2"),
        ("<math><msqrt><msub><mi>x</mi><mn>1</mn></msub></msqrt></math>", "√(x_(1))"),
        ("<math><semantics><mn>7</mn><annotation>\\seven</annotation></semantics></math>", "7"),
        (
            "<span class=katex><span><math><mn>7</mn></math></span><span aria-hidden=true>7</span></span> is it",
            "7 is it",
        ),
        ("<ruby>漢<rt>かん</rt></ruby><ruby>字<rp>(</rp><rt>じ</rt></ruby>を読む", "漢字を読む"),
        ("Caber&shy;net zero&#8203;width &#xfeff;می&zwnj;خواهم", "Cabernet zerowidth می\u200cخواهم"),
        ("<img alt='A map of the flood'>", "A map of the flood"),
        ("Look<img alt='at this'>now", "Look at this now"),
        ("<figure><img alt='Sales'><figcaption>Sales, 2020</figcaption></figure>", "Sales, 2020"),
        ("<img alt='IMG_2034.jpg'>x", "x"),
        ("<svg><title>icon</title><text>12 %</text></svg>", "12 %"),
        ("<h2>Use <a class=headerlink href='#use'>¶</a></h2>", "## Use"),
        ("<ul><li><input type=checkbox checked disabled> done<li><input type=checkbox disabled> open</ul>",
         "- [x] done\n- [ ] open"),
    ],
)  # fmt: skip
def test_marks_keep_what_they_say(page: str, says: str) -> None:
    assert text(page) == says


@pytest.mark.parametrize(
    "name", ["aside", "details", "address", "fieldset", "figure", "form", "header", "center", "main", "dl"]
)
def test_blocks_do_not_glue_words(name: str) -> None:
    blocks = f"<{name}>one</{name}><{name}>two</{name}>three"
    assert text(f"<article>{blocks}</article>").split() == ["one", "two", "three"]
    assert "| one two three | x |" in text(f"<article><table><tr><td>{blocks}<td>x<tr><td>1<td>2</table></article>")


@pytest.mark.parametrize(
    ("page", "rows"),
    [
        # merged downwards and across: in each cell that they span
        ("<tr><th>Year<th>Part<th>n<tr><td rowspan=2>2025<td>Q1<td>7<tr><td>Q2<td>9",
         ["Year|Part|n", "2025|Q1|7", "2025|Q2|9"]),
        ("<tr><th>a<th>b<th>c<tr><td colspan=2>1<td>2<tr><td>3<td>4<td>5", ["a|b|c", "1|1|2", "3|4|5"]),
        # two rows of heads are one
        ("<thead><tr><th rowspan=2>Zone<th colspan=2>Fare<tr><th>Adult<th>Child<tbody><tr><td>N<td>1<td>2",
         ["Zone|Fare Adult|Fare Child", "N|1|2"]),
        # a line across the table is said once; empty rows go; short rows are filled; the sum stands last
        ("<tr><th>a<th>b<tfoot><tr><td>sum<td>9<tbody><tr><td colspan=2>North<tr><tr><td>1",
         ["a|b", "North|", "1|", "sum|9"]),
        # to the end of its part of the table, and no further
        ("<tr><th>a<th>b<tbody><tr><td rowspan=0>x<td>1<tr><td>2<tbody><tr><td>y<td>3",
         ["a|b", "x|1", "x|2", "y|3"]),
        ("<tr><th>a<th>b<tbody><tr><td rowspan=99>x<td>1<tbody><tr><td>y<td>3", ["a|b", "x|1", "y|3"]),
        # without a head the first row is it
        ("<tr><td>a<td>b<tr><td>1<td>2", ["a|b", "1|2"]),
        # cells of several lines, lists and bars
        ("<tr><td>a<td>b<tr><td><p>x</p><p>y</p><td><ol start=3><li>p<li>q</ol>", ["a|b", "x y|3. p 4. q"]),
        ("<tr><td>a\\b<td>b<tr><td>x|y<td>1<br>2", ["a\\b|b", "x\\|y|1 2"]),
        # a table in a cell is a line of it
        ("<tr><th>a<th>b<tr><td>1<td><table><tr><td>Mon<td>8<tr><td>Tue<td>9</table>", ["a|b", "1|Mon: 8; Tue: 9"]),
        # spans that are mistakes, or there to cost memory
        ("<tr><td>a<td>b<tr><td colspan=-1>1<td colspan=x>2", ["a|b", "1|2"]),
        ("<tr><td>a<td>b<tr><td colspan=99999 rowspan=99999>1", ["a|b", "1|"]),
    ],
)  # fmt: skip
def test_a_number_stays_in_its_column(page: str, rows: list[str]) -> None:
    said = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in text(f"<table>{page}</table>").split("\n")
    ]
    assert [said[0], *said[2:]] == [re.split(r"(?<!\\)\|", row) for row in rows]
    assert set(said[1]) == {"---"}


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("<table><tr><td><h1>Title</h1><p>Text.<td><ul><li>one</ul></table>", "# Title\n\nText.\n\n- one"),
        ("<table role=presentation><tr><td>a<td>b</table>", "a\n\nb"),
        ("<table><tr><td><pre>1\n2</pre><td><pre>a\nb</pre></table>", "```\n1\n2\n```\n\n```\na\nb\n```"),
        ("<table><tr><td><table><tr><th>a<th>b<tr><td>1<td>2</table></table>", "| a | b |\n| --- | --- |\n| 1 | 2 |"),
        ("<ul><li><table><tr><td>a<td>b<tr><td>1<td>2</table></ul>", "-\n  | a | b |\n  | --- | --- |\n  | 1 | 2 |"),
        ("<table><caption>Fares</caption><tr><th>a<tr><td>1</table>", "Fares\n\n| a |\n| --- |\n| 1 |"),
    ],
)
def test_tables_that_only_place_parts_and_tables_in_them(page: str, says: str) -> None:
    assert text(page) == says


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("<p># 17 votes</p>", "\\# 17 votes"),
        ("<p>a<br>---</p><p>```", "a\n\\---\n\n\\```"),
        ("<p>one\n# two</p>", "one # two"),
        ("<pre>\n# code\n  x   y\n</pre>", "```\n# code\n  x   y\n```"),
        ("<pre>a\n```\nb</pre>", "````\na\n```\nb\n````"),
        ("<ol start=3><li>a<li value=7>b<li>c</ol>", "3. a\n7. b\n8. c"),
        ("<ol reversed><li>a<li>b</ol>", "2. a\n1. b"),
        ("<ol type=a><li>a<li>b<ol type=I><li>c</ol></ol>", "a. a\nb. b\n   I. c"),
        ("<h2>C#</h2>", "## C#"),
    ],
)
def test_markdown_means_what_the_page_meant(page: str, says: str) -> None:
    assert text(page) == says


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"<head><!--" + b" " * 1_100 + b"--><meta charset=iso-8859-1></head><p>\xe9", "é"),
        (b"<head>" + b"<meta name=x>" * 999 + b"<meta charset=iso-8859-2></head><p>\xb1", "ą"),
        (b"<!-- <meta charset=koi8-r> --><p>\xc3\xa9", "é"),
        ("<meta charset=utf-8><p>The text, é".encode() + b" but one \xfc here.", "The text, é but one \ufffd here."),
        ("<meta charset=gb2312><p>朱镕基".encode("gb18030"), "朱镕基"),
        ("<meta charset=latin1><p>“é”".encode("cp1252"), "“é”"),
        ("<meta charset=x-sjis><p>①表".encode("cp932"), "①表"),
        ("<meta charset=ks_c_5601-1987><p>똠방".encode("cp949"), "똠방"),
        ("<meta charset=tis-620><p>ไทย…".encode("cp874"), "ไทย…"),
        ("<meta charset=iso-8859-8-i><p>שלום".encode("iso8859-8"), "שלום"),
        ("<meta charset=utf-16><p>é".encode(), "é"),
        ("<meta charset=klingon><p>é".encode(), "é"),
        ("<meta charset=unicode_escape><p>\\x41é".encode(), "\\x41é"),
        ("<p>é".encode("utf-16"), "é"),
        ("\ufeff<p>é".encode("utf-16-be"), "é"),
        ("<p>é".encode("utf-16-le"), "é"),
        (b"<p>caf\xe9 \x96 5 \x80", "café – 5 €"),
    ],
)  # fmt: skip
def test_characters_as_browsers_mean_them(content: bytes, says: str) -> None:
    assert html.parse(content, "utf-8").text.strip() == says


def test_what_is_no_western_text_is_not_taken_for_one() -> None:
    """Without a declaration, another encoding than the settings say is a fault and no guess."""
    for page in ("<p>Дом у моря".encode("cp1251"), "<p>漢字を読む".encode("euc-jp"), b"\x89PNG\r\n\x1a\n" + bytes(9)):
        with pytest.raises(Unreadable, match=r"not UTF-8 \(byte \d+\), and it declares no other|holds NUL"):
            html.parse(page, "utf-8")
    assert html.parse("<p>Дом у моря".encode("cp1251"), "cp1251").text == "Дом у моря\n"


def test_characters_that_could_not_be_read_are_told() -> None:
    found = html.parse("<meta charset=utf-8><p>é".encode() + b"\xfc\xfc", "utf-8")
    assert found.unread == "2 characters that are not in its encoding (U+FFFD)"
    assert not html.parse(b"<p>fine", "utf-8").unread


def test_boxes_and_lists_of_links_go_where_it_is_asked_for() -> None:
    """remove_boilerplate takes what is around a text, and leaves a text that happens to stand in such a box."""
    prose = "A sentence of the page's own text. " * 9
    page = (
        f"<div class=cookie-notice>We use cookies.</div><p>{prose}</p><div class='sidebar'>{prose}</div>"
        "<ul><li><a>one page</a><li><a>two pages</a><li><a>more pages</a></ul><div class=related-posts>Read on</div>"
        "<ul><li><a>Name</a> with a long description of it <li><a>b</a> and <a>c</a> with another one</ul>"
    )
    kept = text(page)
    assert all(each in kept for each in ("We use cookies.", "two pages", "Read on"))
    left = text(page, remove_boilerplate=True)
    assert not any(each in left for each in ("We use cookies.", "two pages", "Read on"))
    assert left.count(prose.strip()) == 2
    assert "long description" in left
    assert text(f"<div class=cookie-recipes><p>{prose}</p></div>", remove_boilerplate=True) == prose.strip()


def test_menus_and_what_shares_a_page_always_go() -> None:
    links = "".join(f"<li><a href=/{n}>Page number {n}</a>" for n in range(40))
    page = f"<nav><ul>{links}</ul></nav><p>{'text ' * 99}end</p><a href='https://www.facebook.com/sharer.php?u=x'>Share</a>"
    assert text(page) == "text " * 99 + "end"
    assert text("<form action=/search><input type=search><b>Find</b></form><p>Text.") == "Text."
    assert text("<form><label>Name</label><textarea>Ada</textarea></form>") == "Name\n\nAda"


def test_a_page_of_many_or_deep_tags_is_read() -> None:
    """Fonts that nobody closed, thousands of pictures, a long cell that spans all of a table."""
    fonts = "".join(f"<font size={n}>" for n in range(150))
    assert text(f"<p>{fonts}Deep.") == "Deep."
    assert text(f"<p>{'<img>' * 5_000}Late.") == "Late."
    wide = f"<table><tr><td colspan=50 rowspan=50>{'x' * 100_000}<td>a{'<tr><td>b' * 50}</table>"
    assert len(text(wide)) < 500_000
