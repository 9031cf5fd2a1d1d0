"""The ledger alone: what it says of any time, and that no edit, removal or cut goes unseen."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.promotion.ledger import START, Action, Entry, Kept, champion, champion_before, forced_of, read_chain
from registry.store.ledger_head import Head, parse_head

DAY = datetime(2026, 11, 1, 12, tzinfo=UTC)


def entry(number: int, action: Action, before: str | None, to: str | None, **more: object) -> Entry:
    at = (DAY + timedelta(days=number - 1)).isoformat()
    made = Entry("films", number, at, "ann@desk", action, before, to, "m" * 64, "e" * 64)
    return replace(made, **more)  # type: ignore[arg-type]


def chained(entries: Sequence[Entry]) -> list[Entry]:
    """The entries, each with the hash of the one before."""
    found: list[Entry] = []
    for each in entries:
        found.append(replace(each, previous=found[-1].hash if found else START))
    return found


def kept(entries: Sequence[Entry]) -> list[Kept]:
    return [Kept(each.number, each.text, each.hash) for each in entries]


def head(entries: Sequence[Entry]) -> Head:
    return Head(entries[-1].number, entries[-1].hash, champion(entries), settled=True)


STORY = chained(
    [
        entry(1, "registered", None, "1"),
        entry(2, "promoted", None, "1"),
        entry(3, "registered", "1", "2"),
        entry(4, "refused", "1", "2", why=("FAILED  accuracy: 0.4",)),
        entry(5, "promoted", "1", "2", forced="it is needed tonight"),
        entry(6, "rolled back", "2", "1"),
    ]
)


def test_a_whole_chain_has_no_fault_and_says_who_was_champion_when() -> None:
    chain = read_chain("films", kept(STORY), head(STORY))
    assert (chain.faults, list(chain.entries), chain.champion) == ([], STORY, "1")
    assert champion(STORY, DAY - timedelta(days=1)) is None
    assert champion(STORY, DAY + timedelta(days=1)) == "1"
    assert champion(STORY, DAY + timedelta(days=4, hours=1)) == "2"
    assert champion(STORY, DAY + timedelta(days=9)) == "1"
    assert [each.number for each in forced_of(STORY, "2")] == [5]


def test_rollbacks_step_over_what_was_rolled_back() -> None:
    moves = [entry(n, "promoted", None, str(n)) for n in (1, 2, 3)]
    assert champion_before(moves[:1]) is None
    assert champion_before(moves) == "2"
    back = [*moves, entry(4, "rolled back", "3", "2")]
    assert champion_before(back) == "1"
    assert champion_before([*back, entry(5, "rolled back", "2", "1")]) is None
    assert champion_before([*back, entry(5, "promoted", "2", "7")]) == "2"


def edits(text: str) -> list[str]:
    """Every way to change one character of a text into another of two, to drop it, or to add one."""
    changed = [text[:at] + other + text[at + 1 :] for at in range(len(text)) for other in "0x" if text[at] != other]
    dropped = [text[:at] + text[at + 1 :] for at in range(len(text))]
    added = [text[:at] + " " + text[at:] for at in range(len(text) + 1)]
    return [*changed, *dropped, *added]


@pytest.mark.parametrize("at", range(len(STORY)))
def test_every_edit_of_one_character_is_found(at: int) -> None:
    whole = kept(STORY)
    tried = 0
    for text in edits(whole[at].text):
        edited = [*whole[:at], replace(whole[at], text=text), *whole[at + 1 :]]
        assert read_chain("films", edited, head(STORY)).faults, text
        tried += 1
    for stored in edits(whole[at].hash):
        edited = [*whole[:at], replace(whole[at], hash=stored), *whole[at + 1 :]]
        assert read_chain("films", edited, head(STORY)).faults, stored
        tried += 1
    assert tried > 1500


@pytest.mark.parametrize("at", range(len(STORY)))
def test_an_edit_with_its_hash_made_fit_breaks_the_next_link(at: int) -> None:
    forged = replace(STORY[at], who="nobody@nowhere")
    edited = [*STORY[:at], forged, *STORY[at + 1 :]]
    faults = read_chain("films", kept(edited), head(STORY)).faults
    where = f"entry {at + 2} does not follow" if at + 1 < len(STORY) else "entry 6 is not the one that the model names"
    assert any(where in fault for fault in faults)


@pytest.mark.parametrize("at", range(len(STORY)))
def test_a_removed_entry_is_found(at: int) -> None:
    faults = read_chain("films", kept([*STORY[:at], *STORY[at + 1 :]]), head(STORY)).faults
    assert f"entry {at + 1} is missing" in faults


@pytest.mark.parametrize("left", range(len(STORY)))
def test_a_tail_that_was_cut_off_is_found(left: int) -> None:
    assert read_chain("films", kept(STORY[:left]), head(STORY)).faults
    if left > 1:  # even when the head went with it
        assert read_chain("films", kept(STORY[:left]), None).faults


def test_a_doubled_entry_and_one_of_another_model_are_found() -> None:
    assert "entry 3 stands there twice" in read_chain("films", kept([*STORY, STORY[2]]), head(STORY)).faults
    foreign = chained([replace(each, model="other") if each.number == 2 else each for each in STORY])
    assert "entry 2 was altered" in read_chain("films", kept(foreign), head(foreign)).faults


def test_a_writer_that_was_stopped_before_the_head_is_no_fault() -> None:
    chain = read_chain("films", kept(STORY), head(STORY[:-1]))
    assert (chain.faults, chain.champion) == ([], "1")


def test_known_faults_are_not_told_for_ever() -> None:
    torn = [STORY[0], replace(STORY[1], who="eve"), *STORY[2:]]
    faults = read_chain("films", kept(torn), head(torn)).faults
    assert faults == ["entry 3 does not follow entry 2"]
    anew = replace(
        entry(7, "promoted", "1", "1", forced="restored"), previous=torn[-1].hash, acknowledged=tuple(faults)
    )
    after = [*torn, anew]
    assert read_chain("films", kept(after), head(after)).faults == []
    assert read_chain("films", kept([*torn[:3], *after[4:]]), head(after)).faults


@given(text=st.text(alphabet=string.printable, max_size=40))
def test_a_head_that_is_none_is_no_head(text: str) -> None:
    found = parse_head(text)
    assert found is None or str(found).split(":")[1] == text.split(":")[1]


@given(number=st.integers(1, 999), version=st.none() | st.integers(1, 99).map(str), settled=st.booleans())
def test_a_head_comes_back_as_it_was_written(number: int, version: str | None, settled: bool) -> None:
    written = Head(number, "a" * 64, version, settled)
    assert parse_head(str(written)) == written
