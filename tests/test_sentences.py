"""Sentence borders. The expected sentences are written by hand, as a reader would cut them."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.search.text.sentences import paragraph_ends, sentences


@pytest.mark.parametrize(
    "expected",
    [
        ["Payments vary.", "Some get £50 a week.", "Why?", "Nobody knows!"],
        ["Dr. Smith met Mr. J. R. Jones at St. Paul's.", "They spoke."],
        ["Profits rose 3.5% to $1.2bn.", "Shares fell."],
        ["The U.S. Army said so.", "It lives in the U.S.", "The army left."],
        ['"I am done," he said.', '"Next time I win."', "He smiled."],
        ["He asked (why not?) and left.", "She stayed."],
        ["Lucent Technologies Inc. Chairman Russo resigned.", "He joined Sony Corp. in 2001."],
        ["It costs approx. 5 euros, e.g. Monday to Friday.", "See fig. 3 for more."],
        ["Visit www.bbc.co.uk for more.", "Version 2.0.1 is out."],
        ["So did I.", "Then we left…", "Later it rained."],
        ["At 5 p.m. Tony Blair spoke.", "He left at 6 p.m.", "The crowd cheered."],
        ["It is art.", "We saw No. 10 on Dec. 5.", "The answer is no.", "Thanks to Ant and Dec.", "She won."],
        ["How? he asked himself.", "Then he knew."],
    ],
)
def test_english(expected: Any) -> None:
    text = " ".join(expected)
    assert [text[start:end] for start, end in sentences(text)] == expected


def test_chinese_marks_need_no_space() -> None:
    expected = ["他说：“今天下雨。”", "我们走吧！", "真的吗？", "3.5万人参加。"]
    text = "".join(expected)
    assert [text[start:end] for start, end in sentences(text)] == expected


@pytest.mark.parametrize(
    "expected",
    [
        ["他说：“今天下雨。”，然后走了。", "她笑了。"],
        ["真的吗?", "我不知道!", "好吧。"],
        ["项斯（？－？），字子迁。", "研究者Boyatzis和T.F. Gilbert等人提出。"],
        ["「はい。」と彼は言った。", "ところが雨が降った。", "本当に？！", "うん。"],
        ["यह पहला वाक्य है।", "यह दूसरा है।"],
        ["هل هذا صحيح؟", "نعم۔", "حسنا."],
        ["แม่น้ำเอ่อล้น พอรุ่งเช้าทุ่งนาก็จมน้ำ"],  # Thai has no mark for it
    ],
)
def test_other_scripts(expected: Any) -> None:
    text = ("" if expected[0][0] in "他真项「" else " ").join(expected)
    assert [text[start:end] for start, end in sentences(text)] == expected


def test_lines_paragraphs_and_lists() -> None:
    text = "A title\n\nHard wrapped\nlines go on.\n\n- first item\n- second item\n\n1. One thing.\n2. Another"
    assert [text[start:end] for start, end in sentences(text)] == [
        "A title",
        "Hard wrapped\nlines go on.",
        "- first item",
        "- second item",
        "1. One thing.",
        "2. Another",
    ]
    assert paragraph_ends(text) == {text.index("\n\n"), text.index("\n\n- first"), text.index("\n\n1.")}


@pytest.mark.parametrize("text", ["", " \n\n ", "...", "no mark at all", "?!", "\n.\n", "a.\u2028B."])
def test_every_letter_stands_in_exactly_one_sentence(text: Any) -> None:
    spans = sentences(text)
    covered = [place for start, end in spans for place in range(start, end)]
    assert len(covered) == len(set(covered))
    assert {place for place, letter in enumerate(text) if not letter.isspace()} <= set(covered)
