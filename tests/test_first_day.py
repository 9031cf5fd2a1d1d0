"""The first day with one's own data, by commands alone: no file is edited."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import Workspace

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("warm_children")]
WORDS = {
    "billing": ["invoice", "charged", "refund", "card", "price"],
    "access": ["password", "locked", "login", "account", "reset"],
    "shipping": ["parcel", "late", "courier", "address", "lost"],
}


def write_tickets(file: Path, rows: int) -> None:
    """A table as a help desk exports it: semicolons, five columns, accents, an empty cell here and there."""
    drawn = random.Random(3)
    lines = ["Ticket #;opened on;Kunde;What happened?;Queue"]
    for at in range(rows):
        queue = sorted(WORDS)[at % 3]
        words = drawn.choices(WORDS[queue], k=3) + drawn.choices(["the", "my", "please", "since", "again"], k=4)
        customer = "" if at % 11 == 0 else "Müller"
        lines.append(f'{1000 + at};0{at % 9 + 1}.03.2024;{customer};"{" ".join(words)}; thanks {at}";{queue}')
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_photos(folder: Path, count: int) -> None:
    """Red and blue squares on grey, each somewhere else."""
    drawn = random.Random(4)
    for at in range(count):
        name = ("red", "blue")[at % 2]
        picture = Image.new("RGB", (24, 24), (drawn.randrange(90, 160),) * 3)
        picture.paste(name, (x := drawn.randrange(12), y := drawn.randrange(12), x + 10, y + 10))
        (folder / name).mkdir(parents=True, exist_ok=True)
        picture.save(folder / name / f"{at}.png")


def write_handbook(folder: Path, count: int) -> None:
    folder.mkdir()
    for at in range(count):
        topic = f"procedure {at}"
        (folder / f"{at}.md").write_text(
            f"# {topic.title()}\n\nTo begin {topic}, turn dial number {at * 7} to the left.\n"
        )


def test_own_tickets_photos_and_documents_go_live(workspace: Workspace) -> None:
    write_tickets(workspace.path("tickets.csv"), 240)
    write_photos(workspace.path("photos"), 300)
    write_handbook(workspace.path("handbook"), 30)
    for name, source in (("tickets", "tickets.csv"), ("photos", "photos"), ("guide", "handbook/")):
        done = workspace.headrace("new", name, "--source", source)
        assert done.returncode == 0, done.stderr
    done = workspace.headrace("run", "--json")
    assert done.returncode == 0, done.stderr
    results = {each["name"]: each for each in json.loads(done.stdout)["results"]}
    assert {name: set(each["registered"]["aliases"]) for name, each in results.items()} == {
        name: {"challenger", "champion"} for name in ("tickets", "photos")
    }
    done = workspace.headrace("index", "guide")
    assert done.returncode == 0, done.stderr
    found = json.loads(workspace.headrace("query", "guide", "how do I begin procedure 11?", "--json").stdout)
    assert found["passages"][0]["document"] == "11.md"
    said = workspace.headrace("predict", "tickets", "my password was reset and I am locked out").stdout
    assert "access" in said
