"""Words of every script are found by words alone: known items, and the ways in which one word is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.workspace import Job
from pipelines.search.ask.citations import numbers
from pipelines.search.ask.citations import words as cited_words
from pipelines.search.ask.query import query
from pipelines.search.engine.choice import choose
from pipelines.search.text import rules_1
from pipelines.search.text.terms import VERSION, Analyser, Sparse
from pipelines.search.text.words import words
from serving.indexes.searching import marks
from tests import small_index

# language -> a text and a question that has a word of it, mostly in another form or with something written on to it.
KNOWN_ITEMS = {
    "english": ("The ferry to the island leaves at seven in the morning.", "ferries to an island"),
    "german": ("Die Straßen\u00adbahn\u00adhaltestelle wurde verlegt.", "STRASSENBAHNHALTESTELLE"),
    "french": ("L\u2019e\u0301te\u0301 fut sec et les puits étaient vides.", "été"),
    "turkish": ("İSTANBUL'da vapur sabah yedide kalkar.", "istanbul vapur"),
    "vietnamese": ("Con tàu rời bến lúc bảy giờ sáng.", "bến tàu"),
    "yoruba": ("Ẹja tuntun wà ní ọjà ní àárọ̀.", "ọjà ẹja"),
    "greek": ("ΤΟ ΠΛΟΙΟ ΦΕΥΓΕΙ ΓΙΑ ΤΗΝ ΑΘΗΝΑ.", "πλοίο Αθήνα"),
    "russian": ("Пти\u0301цы улетели на юг в октябре.", "птица"),
    "ukrainian": ("Свіжа м'ята росте біля криниці.", "мʼята"),
    "armenian": ("Ինչո՞ւ է գետը բարձրացել գիշերը։", "ինչու գետը"),
    "georgian": ("მდინარე ღამით ადიდდა და მინდვრები დატბორა.", "მდინარე"),
    "amharic": ("ወንዙ በሌሊት ሞላ እና እርሻዎች ተጥለቀለቁ።", "ወንዙ"),
    "hebrew": ("הַסְּפָרִים עומדים על מדף עץ.", "ספרים"),
    "arabic": ("الْمَكْتَبَة تفتح أبوابها في الصباح الباكر.", "مكتبـــة"),
    "persian": ("کتاب\u200cها روی میز چوبی هستند.", "كتاب"),
    "urdu": ("کشتی صبح سات بجے بندرگاہ سے نکلتی ہے۔", "کشتی بندرگاہ"),
    "hindi": ("लकड़ी की अलमारी में किताबें रखी हैं।", "किताब"),
    "marathi": ("गाड़ी सकाळी सात वाजता सुटते.", "गाड\u093cी"),
    "bengali": ("নৌকা ভোরবেলা ঘাট ছেড়ে যায়।", "নৌকা"),
    "punjabi": ("ਪਿੰਡ ਦਾ ਖੂਹ ਗਰਮੀਆਂ ਵਿੱਚ ਸੁੱਕ ਗਿਆ।", "ਖੂਹ"),
    "gujarati": ("હોડી સવારે કિનારેથી નીકળે છે.", "હોડી"),
    "tamil": ("படகு காலையில் துறைமுகத்தை விட்டுச் செல்கிறது.", "படகு"),
    "telugu": ("పడవ ఉదయం ఏడు గంటలకు బయలుదేరుతుంది.", "పడవ"),
    "kannada": ("ದೋಣಿ ಬೆಳಿಗ್ಗೆ ಏಳು ಗಂಟೆಗೆ ಹೊರಡುತ್ತದೆ.", "ದೋಣಿ"),
    "malayalam": ("വള്ളം രാവിലെ ഏഴു മണിക്ക് പുറപ്പെടും.", "വള്ളം"),
    "sinhala": ("ඔරුව උදේ හතට පිටත් වේ.", "ඔරුව"),
    "thai": ("เรือออกจากท่าตอนเจ็ดโมงเช้า", "เรือ"),
    "lao": ("ຫໍສະໝຸດເປີດປະຕູຕອນເຊົ້າ", "ຫໍສະໝຸດ"),
    "khmer": ("បណ្ណាល័យ\u200bបើក\u200bនៅ\u200bពេល\u200bព្រឹក", "បណ្ណាល័យបើក"),
    "burmese": ("စာကြည့်တိုက်ကို မနက်စောစော ဖွင့်သည်။", "စာကြည့်တိုက်"),
    "tibetan": ("དཔེ་མཛོད་ཁང་སྔ་དྲོ་ཕྱེ།", "དཔེ་མཛོད་ཁང"),
    "chinese": ("河水在夜里上涨，田野被淹没。", "河"),
    "japanese": ("人々は窓辺の猫を見ていた。", "猫"),
    "korean": ("도서관은 아침 일찍 문을 연다.", "도서관"),
}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Job:
    job = small_index.make(tmp_path_factory.mktemp("scripts"), {name: text for name, (text, _) in KNOWN_ITEMS.items()})
    small_index.settings(job, search=small_index.HYBRID)
    small_index.build(job)
    return job


@pytest.mark.parametrize("language", KNOWN_ITEMS)
def test_a_known_item_is_found_by_words_alone(index: Job, language: str) -> None:
    found = query(index.workspace, "small", KNOWN_ITEMS[language][1], 1, access=None, mode="sparse")
    assert [each.document for each in found] == [language]


def shared(one: str, other: str, language: Any = "english") -> set[int]:
    analyser = Analyser(language)
    return set(analyser.asked(one).ids) & set(analyser.terms(other).ids)


@pytest.mark.parametrize(
    ("asked", "written"),
    [
        ("물", "물은 맑다"), ("집", "집에서는 조용하다"), ("물을", "물이 맑다"), ("학교", "학교에서"),
        ("full width", "ｆｕｌｌ ｗｉｄｔｈ"), ("カタカナ", "ｶﾀｶﾅ"), ("34", "٣٤"), ("34", "३४"),
        ("葛", "葛\U000e0100城"),
        ("word", "wo\u200brd"), ("word", "\u2066word\u2069"), ("word", "\ufeffword"), ("স্ব\u200cর", "স্বর"),
        ("צה״ל", 'חיילי צה"ל'), ("ספר", "שבספר"), ("ёлка", "ЕЛКА"), ("елка", "Ёлка"), ("résumé", "re\u0301sume\u0301"),
        ("가다", "\u1100\u1161\u1103\u1161"),
    ],
)  # fmt: skip
def test_one_word_is_one_however_it_is_written(asked: str, written: str) -> None:
    assert shared(asked, written)


def test_the_turkish_i() -> None:
    for one, other in (("KAPILAR", "kapılar"), ("İNCİR", "incir"), ("INTERNET", "internet")):
        assert Analyser("turkish").terms(one).ids == Analyser("turkish").terms(other).ids
    assert shared("istanbul", "İstanbul") and shared("isparta", "ısparta")


def test_english_words_are_what_they_were() -> None:
    """Rules 2 change nothing of a text in Latin letters."""
    text = "Don\u2019t — the naïve café, 3.5 km\u00b2 of a_b; \u201cJ. Smith\u201d won \u00a340 \u2026 x y"
    assert list(words(text)) == list(rules_1.words(text))
    assert list(words(text.replace("ï", "i").encode("ascii", "ignore").decode())) != []


def test_a_release_is_asked_by_the_rules_that_its_terms_were_made_by(tmp_path: Path, monkeypatch: Any) -> None:
    """One that an earlier commit published parts Hindi at its vowel signs, and so must the question."""
    job = small_index.make(tmp_path, {"a.txt": "किताबें रखी हैं।", "b.txt": "नौका चली गई।"})
    small_index.settings(job, search=small_index.HYBRID)
    with monkeypatch.context() as earlier:
        earlier.setattr("pipelines.embed.embed.Analyser", lambda language: Analyser(language, rules=1))
        small_index.build(job)
    with choose(job.workspace).reading("small") as release:
        assert release.facts["terms"]["rules"] == 1 != VERSION
    assert [each.document for each in query(job.workspace, "small", "रखी", 1, access=None)] == ["a.txt"]
    small_index.build(job)
    with choose(job.workspace).reading("small") as release:
        assert release.facts["terms"]["rules"] == VERSION


@pytest.mark.parametrize(
    ("question", "text", "marked"),
    [
        ("किताब", "यहाँ किताबें हैं", ["किताबें"]), ("bahnhof", "Am Bahn\u00adhof.", ["Bahn\u00adhof"]),
        ("도서관은", "도서관을 연다", ["도서관"]), ("猫", "人々の猫が", ["猫"]), ("كتاب", "کتاب\u200cها", ["کتاب"]),
        ("صبح", "صُبح", ["صُبح"]), ("floods", "Don't flood it", ["flood"]), ("猫", "犬", []),
    ],
)  # fmt: skip
def test_words_of_the_question_are_marked_where_they_stand(question: str, text: str, marked: list[str]) -> None:
    assert [text[start:end] for start, end in marks(question, text, Analyser())] == marked


def test_citations_know_words_with_marks() -> None:
    assert cited_words("किताबें Bahn\u00adhof don\u2019t a_b") == ["किताबें", "bahnhof", "don't", "a", "b"]
    assert cited_words("도서관") == ["도서", "서관"]


def test_nothing_that_is_unseen_is_a_word() -> None:
    assert Analyser().terms("\u00ad \u200b \u200d \ufe0f \u202e") == Sparse([], [])


@pytest.mark.parametrize(
    ("written", "number", "wrong"),
    [("10⁶ m²", "10", "106"), ("im Jahr 2024¹", "2024", "20241"), ("12½ л", "12", "121")],
)
def test_a_raised_figure_is_no_digit_of_the_number_before_it(written: str, number: str, wrong: str) -> None:
    assert number in words(written) and wrong not in words(written)
    assert number in numbers(written) and wrong not in numbers(written)
