"""Documents over HTTP: written into the index's own folder, whole or not at all, once for each key."""

from __future__ import annotations

import io
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import HTTPException
from reportlab.pdfgen.canvas import Canvas
from starlette.testclient import TestClient

from core.errors import BadRequest
from core.schema.columns import DOCUMENTS as CONTRACT
from core.schema.data import Data
from core.workspace import Job
from pipelines.sources._files import local
from pipelines.sources.readers import find_reader, reader_names
from pipelines.sources.readers import folders as folders_reader
from pipelines.sources.readers._rows import PARSER
from serving.http.once import KEPT_S, once
from serving.indexes import source_folder
from serving.indexes import source_folder as folders
from serving.indexes.source_folder import folder_of
from tests import small_index
from tests.served_index import DOCUMENTS, LABELS, app_of, client_of, key_of, keys_of

PLACE = "/indexes/small/documents"


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A published index by its receipt alone: what is here asks no engine."""
    job = small_index.make(tmp_path, {"a": "A text."})
    data = {"source": "documents", "reader": "folders", "encoding": "utf-8"}
    small_index.settings(job, data=data, access={"labels": LABELS, "others": []})
    (job.folder / "published.json").write_text('{"index": "small"}')
    for name, text in DOCUMENTS.items():
        file = tmp_path / "documents" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return job


@pytest.fixture
def client(job: Job) -> TestClient:
    return client_of(app_of(job))


def files(job: Job) -> dict[str, bytes]:
    folder = job.workspace.root / "documents"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_document_is_added_replaced_read_and_deleted(client: TestClient, job: Job) -> None:
    before = files(job)
    for text in ("Ein Bär.", "Zwei Bären."):
        done = client.put(f"{PLACE}/new/bears.md", json={"text": text})
        assert done.status_code == 200, done.text
        assert done.json()["searchable"] == "after POST /indexes/small/updates, or `headrace index small`"
        assert files(job) == {**before, "new/bears.md": text.encode()}
        read = client.get(f"{PLACE}/new/bears.md")
        assert (read.text, read.headers["Content-Disposition"]) == (text, "attachment")
    assert client.delete(f"{PLACE}/new/bears.md").status_code == 200
    assert files(job) == before and not (job.workspace.root / "documents" / "new").exists()
    assert client.delete(f"{PLACE}/new/bears.md").status_code == 404


@pytest.mark.parametrize(
    ("name", "kind", "status"),
    [
        ("a.pdf", "application/pdf", 422), ("a.pdf", "text/plain", 415), ("a.pdf", "application/json", 415),
        ("a.pdf", "application/octet-stream", 422), ("a.md", "text/markdown; charset=utf-8", 200),
        ("a.txt", "text/plain", 200), ("a.py", "text/x-python", 200), ("a.txt", "application/pdf", 415),
        ("a.txt", "", 415), ("a.html", "text/html", 200), ("a.html", "text/plain", 415),
    ],
)  # fmt: skip
def test_the_content_is_what_the_name_says(client: TestClient, job: Job, name: str, kind: str, status: int) -> None:
    done = client.put(f"{PLACE}/{name}", content=b"bytes", headers={"Content-Type": kind})
    assert done.status_code == status, done.text
    assert (files(job).get(name) == b"bytes") == (status == 200)


@pytest.mark.parametrize(
    "name",
    [
        "..", "../x", "a/../../x", "%2e%2e/x", "%2e%2e%2fx", "/etc/x", "//x", ".git/x", "a/.hidden", "a//b", "a/",
        "a%00b", "a%0ab", "a%5cb", "a" * 121, "é" * 61, "/".join(["a" * 100] * 5), " a", "a%20", "__pycache__/a",
        "e%CC%81", "%c0%ae%c0%ae/x", "rows.csv", "rows.JSONL", "a/%2e/b",
    ],
)  # fmt: skip
def test_an_id_is_a_path_below_the_folder_and_nothing_else(client: TestClient, job: Job, name: str) -> None:
    before = files(job)
    done = client.put(f"{PLACE}/{name}", json={"text": "a"})
    assert done.status_code in (404, 405, 422), done.text  # some are another path by HTTP's own rules
    assert files(job) == before
    assert not (job.workspace.root / "x").exists()


def suffixes_of_tables() -> list[str]:
    """Every name that the collector reads as a table: of every reader, packed and not, in any case."""
    known = [suffix for name in reader_names() for suffix in find_reader(Path(name)).SUFFIXES]
    known.remove(".json")  # among documents a text
    packed = [f"{suffix}{pack}" for suffix in known for pack in ("", ".gz")]
    return [*packed, *map(str.upper, packed)]


def test_a_table_is_neither_given_nor_taken_whatever_its_suffix(job: Job) -> None:
    """Its rows have labels of their own: people.csv.gz and board.pq gave all of them."""
    key = key_of(job, "public", requests_per_minute=1000)
    client, walked = client_of(app_of(job, keys_of(job)), key), suffixes_of_tables()
    assert len(walked) == 48
    for suffix in walked:
        (job.workspace.root / "documents" / f"people{suffix}").write_bytes(b"SECRETSALARY")
        for done in (
            client.get(f"{PLACE}/people{suffix}"), client.delete(f"{PLACE}/people{suffix}"),
            client.put(f"{PLACE}/evil{suffix}", content=b"x", headers={"Content-Type": "application/octet-stream"}),
        ):  # fmt: skip
            assert done.status_code == 422, suffix
            assert "a table is many documents, and none by itself" in done.json()["detail"]
    assert not [name for name in files(job) if name.startswith("evil")]


def test_the_folder_s_reader_has_the_same_list(tmp_path: Path) -> None:
    for suffix in suffixes_of_tables():
        (tmp_path / f"t{suffix}").write_bytes(b"torn")
    [table] = folders_reader.read(local(tmp_path, named="x"), data=Data(source="x"), contract=CONTRACT)
    assert {str(record.values["parser"]) for record in table.records} == {PARSER}


def test_a_document_cannot_take_the_id_of_a_table_s_row(client: TestClient, job: Job) -> None:
    """One id for two texts stops an index."""
    for name in ("faq.jsonl%237", "faq.jsonl:2", "a/b.CSV.gz:9", "faq.jsonl%23x/y.txt"):
        done = client.put(f"{PLACE}/{name}", json={"text": "a"})
        assert (done.status_code, "is that of a row of it" in done.text) == (422, True)
    assert client.put(f"{PLACE}/12:30%23.txt", json={"text": "a"}).status_code == 200


def test_a_writer_does_not_take_the_last_document_of_a_rule(client: TestClient, job: Job) -> None:
    """A rule that matches nothing stops the index."""
    done = client.delete(f"{PLACE}/hr/salaries.txt")
    assert (done.status_code, "the last document of the rule 'hr/*'" in done.json()["detail"]) == (409, True)
    assert client.put(f"{PLACE}/hr/other.txt", json={"text": "a"}).status_code == 200
    assert client.delete(f"{PLACE}/hr/salaries.txt").status_code == 200


def test_among_rows_with_labels_a_document_without_any_is_nobodys(job: Job) -> None:
    small_index.settings(job, data=job.settings["data"], access={"labels": {}, "others": None})
    app, key = app_of(job), key_of(job, "public")
    assert client_of(app, key).get(f"{PLACE}/notes/market.txt").status_code == 200  # no labels anywhere
    small_index.screened(job, {"rows.csv:2": {"text": "a", "labels": "hr"}})
    assert client_of(app, key).get(f"{PLACE}/notes/market.txt").status_code == 404
    assert client_of(app, key).put(f"{PLACE}/new.txt", json={"text": "a"}).status_code == 404
    done = client_of(app, key_of(job, "all", sees_everything=True)).put(f"{PLACE}/new.txt", json={"text": "a"})
    assert (done.status_code, "nobody could find this document" in done.text) == (409, True)


def test_a_name_in_other_letters_is_another_document(
    client: TestClient, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a file system that ignores case: the folder says `hr`, and what the rules judge is `HR`."""
    folder = job.workspace.root / "documents"
    (folder / "hr").rename(folder / "HR")
    assert client.get(f"{PLACE}/HR/salaries.txt").status_code == 200
    monkeypatch.setattr(folders, "_names", lambda each: {path.name.lower() for path in each.iterdir()})
    assert client.get(f"{PLACE}/HR/salaries.txt").status_code == 404
    assert client.put(f"{PLACE}/HR/new.txt", json={"text": "a"}).status_code == 404


def test_a_link_out_of_the_folder_is_no_document(client: TestClient, job: Job, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "a.txt").write_text("secret")
    (tmp_path / "documents" / "link").symlink_to(secret)
    (tmp_path / "documents" / "one.txt").symlink_to(secret / "a.txt")
    for name in ("link/a.txt", "one.txt", "link/new.txt"):
        assert client.get(f"{PLACE}/{name}").status_code == 404
        assert client.put(f"{PLACE}/{name}", json={"text": "mine"}).status_code == 404
        assert client.delete(f"{PLACE}/{name}").status_code == 404
    assert [path.read_text() for path in secret.iterdir()] == ["secret"]


def test_what_a_caller_may_not_see_is_not_there_for_them(job: Job) -> None:
    app = app_of(job)
    staff, hr = client_of(app, key_of(job, "staff")), client_of(app, key_of(job, "hr", "hr"))
    before = files(job)
    for name in ("hr/salaries.txt", "hr/nothing.txt", "hr/salaries.txt/below"):
        for refused in (
            staff.get(f"{PLACE}/{name}"), staff.put(f"{PLACE}/{name}", json={"text": "a"}),
            staff.delete(f"{PLACE}/{name}"),
        ):  # fmt: skip
            assert refused.status_code == 404
            assert refused.json() == {"detail": f"small has no document {name!r} that you may see or write."}
    assert staff.put(f"{PLACE}/hr", json={"text": "a"}).status_code == 404  # there is a folder of that name
    assert files(job) == before
    assert hr.get(f"{PLACE}/hr/salaries.txt").text == DOCUMENTS["hr/salaries.txt"]
    assert hr.put(f"{PLACE}/hr/new.txt", json={"text": "a"}).status_code == 200


def test_what_no_rule_speaks_for_is_nobodys_but_the_operators(job: Job) -> None:
    settings = job.settings
    small_index.settings(job, data=settings["data"], access={"labels": {"news/*": [], "hr/*": ["hr"]}, "others": None})
    app = app_of(job)
    assert client_of(app).get(f"{PLACE}/notes/market.txt").status_code == 200
    assert client_of(app, key_of(job, "hr", "hr")).get(f"{PLACE}/notes/market.txt").status_code == 404


def pages(client: TestClient, limit: int) -> list[list[str]]:
    """The ids of each page of the list, each asked for behind the one before."""
    found: list[list[str]] = []
    after: str | None = ""
    while after is not None:
        said = client.get(PLACE, params={"after": after, "limit": limit}).json()
        found.append([each["id"] for each in said["documents"]])
        after = said["next"]
    return found


def test_the_list_has_what_can_be_read_in_the_order_of_ids(client: TestClient, job: Job, tmp_path: Path) -> None:
    """Whatever stands in the folder; the reference asks for every file under every name that leads to it."""
    root = job.workspace.root / "documents"
    for name in (
        "a.txt", "a/b.txt", "a/b/c.txt", "a0.txt", "a-b/x.md", "a/b-.txt", "Z.md", "é.txt", "e\u0301.txt", "a b.txt",
        " a.txt", "a\nb.txt", ".hidden", ".git/x", "a/.b.txt.new", "__pycache__/x.py", "rows.csv", "a/t.jsonl.gz",
        "chart.png", "a/b#1.txt", "12:30.txt", "none.", f"{'d' * 100}/{'e' * 100}/{'f' * 100}/{'g' * 100}.txt",
    ):  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("text")
    (tmp_path / "secret.txt").write_text("secret")
    for link, to in (("in.txt", "a.txt"), ("out.txt", tmp_path / "secret.txt"), ("up", "."), ("gone.txt", "gone"),
                     ("beside", "a"), ("a/back", "..")):  # fmt: skip
        (root / link).symlink_to(to)
    walked = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    walked |= {f"beside/{each.removeprefix('a/')}" for each in walked if each.startswith("a/")}
    read = {name for name in walked if client.get(f"{PLACE}/{quote(name)}").status_code == 200}
    expected = sorted(read - {"chart.png"})
    assert len(expected) >= 20
    for limit in (1, 3, len(expected), 1000):
        found = pages(client, limit)
        assert [name for page in found for name in page] == expected
        assert [len(page) for page in found[:-1]] == [limit] * (len(found) - 1)
    for after in ("a", "a.", "a/", "a/b", "a/bzz", "a0", "a/b.txt", "~", "zzz"):  # which need not be there
        said = client.get(PLACE, params={"after": after, "limit": 2}).json()
        assert [each["id"] for each in said["documents"]] == [each for each in expected if each > after][:2]
    [last] = client.get(PLACE, params={"after": "é"}).json()["documents"]
    assert (last["id"], last["bytes"]) == ("é.txt", 4)
    assert datetime.fromisoformat(last["modified"]).timestamp() == pytest.approx((root / "é.txt").stat().st_mtime)


def test_the_list_says_nothing_of_what_a_caller_may_not_see(job: Job) -> None:
    """As if it were not there: neither in a line, nor as a page that is short or leads on to nothing."""
    for name in ("hr/0.txt", "hr/9.txt", "zz/hr.txt"):
        path = job.workspace.root / "documents" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("text")
    labels = {**LABELS, "zz/*": ["hr"]}
    small_index.settings(job, data=job.settings["data"], access={"labels": labels, "others": []})
    app = app_of(job)
    staff, hr = client_of(app, key_of(job, "staff")), client_of(app, key_of(job, "hr", "hr"))
    assert pages(staff, 2) == [["news/fire.md", "news/flood.md"], ["notes/market.txt"]]
    assert pages(staff, 3) == [["news/fire.md", "news/flood.md", "notes/market.txt"]]
    assert pages(hr, 4) == [["hr/0.txt", "hr/9.txt", "hr/salaries.txt", "news/fire.md"],
                            ["news/flood.md", "notes/market.txt", "zz/hr.txt"]]  # fmt: skip
    small_index.settings(job, data=job.settings["data"], access={"labels": {"news/*": []}, "others": None})
    assert pages(staff, 9) == [["news/fire.md", "news/flood.md"]]  # of the others nothing says who may


@pytest.mark.parametrize("asked", [{"limit": 0}, {"limit": 1001}, {"limit": "all"}, {"after": "x" * 401}])
def test_a_page_of_the_list_has_bounds(client: TestClient, asked: dict[str, Any]) -> None:
    assert client.get(PLACE, params=asked).status_code == 422


def test_one_key_is_one_change(client: TestClient, job: Job) -> None:
    once = {"Idempotency-Key": "a1"}
    first = client.put(f"{PLACE}/a.txt", json={"text": "one"}, headers=once)
    client.put(f"{PLACE}/a.txt", json={"text": "two"})
    again = client.put(f"{PLACE}/a.txt", json={"text": "one"}, headers=once)
    assert (again.status_code, again.content) == (200, first.content)
    assert files(job)["a.txt"] == b"two"  # it was not made again
    for other in (
        client.put(f"{PLACE}/a.txt", json={"text": "three"}, headers=once),
        client.put(f"{PLACE}/b.txt", json={"text": "one"}, headers=once),
        client.delete(f"{PLACE}/a.txt", headers=once),
    ):
        assert other.status_code == 422
        assert "this Idempotency-Key was used for another request" in other.json()["detail"]
    other_caller = client_of(app_of(job), key_of(job, "ada"))
    assert other_caller.put(f"{PLACE}/b.txt", json={"text": "b"}, headers=once).status_code == 200
    assert client.put(f"{PLACE}/c.txt", json={"text": "c"}, headers={"Idempotency-Key": "x" * 201}).status_code in (
        401,
        422,
    )


def test_a_refused_change_is_not_remembered(client: TestClient, job: Job) -> None:
    once = {"Idempotency-Key": "a1"}
    assert client.delete(f"{PLACE}/a.txt", headers=once).status_code == 404
    client.put(f"{PLACE}/a.txt", json={"text": "one"})
    assert client.delete(f"{PLACE}/a.txt", headers=once).status_code == 200
    assert client.delete(f"{PLACE}/a.txt", headers=once).status_code == 200


def test_a_key_used_by_many_at_once_is_one_change_and_forgotten_after_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repeats, made, begin = tmp_path / "r.db", [], threading.Barrier(8)

    def change() -> str:
        made.append(1)
        return f"answer {len(made)}"

    def ask(_: int) -> str:
        begin.wait()
        return once(repeats, "small", "ada", "k", "request", change)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {"answer 1"}
    with pytest.raises(BadRequest, match="used for another request"):
        once(repeats, "small", "ada", "k", "other", change)
    import time

    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + KEPT_S + 1)
    assert once(repeats, "small", "ada", "k", "other", change) == "answer 2"


def test_a_slow_change_of_one_index_holds_up_no_other(tmp_path: Path) -> None:
    repeats, may_end = tmp_path / "r.db", threading.Event()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(once, repeats, "slow", "ada", "k", "r", lambda: str(may_end.wait(timeout=60)))
        assert once(repeats, "quick", "eve", "k", "r", lambda: "done") == "done"
        assert not slow.done()
        may_end.set()
        assert slow.result() == "True"
    assert once(repeats, "slow", "ada", "k", "r", lambda: "again") == "True"


def test_a_folder_has_at_most_so_many_files(client: TestClient, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_folder, "MAX_FILES", len(DOCUMENTS))
    done = client.put(f"{PLACE}/a.txt", json={"text": "one"})
    assert (done.status_code, "a.txt" in files(job)) == (409, False)
    assert "Delete some first" in done.json()["detail"]
    assert client.put(f"{PLACE}/notes/market.txt", json={"text": "replaced"}).status_code == 200


@pytest.mark.parametrize(
    "data",
    [
        {"source": "https://example.org/x.zip", "reader": "folders"}, {"source": "rows.jsonl", "reader": "jsonl"},
        {"source": ".", "reader": "folders"}, {"source": "data", "reader": "folders"},
        {"source": "indexes", "reader": "folders"}, {"source": "/etc", "reader": "folders"},
        {"source": "../elsewhere", "reader": "folders"}, {"source": "var/x", "reader": "folders"},
        {"source": {"url_env": "X", "query": "select"}, "reader": None}, {"source": "none", "reader": "folders"},
    ],
)  # fmt: skip
def test_only_a_folder_of_documents_is_written(job: Job, client: TestClient, data: dict[str, object]) -> None:
    root = job.workspace.root
    for name in ("../elsewhere", "var/x"):
        (root / name).mkdir(parents=True, exist_ok=True)
    small_index.settings(job, data={"encoding": "utf-8", **data})
    with pytest.raises(HTTPException, match="the documents of small are read from elsewhere"):
        folder_of(job)
    for done in (client.put(f"{PLACE}/a.txt", json={"text": "one"}), client.get(PLACE)):
        assert done.status_code == 409
        assert "Only a folder" in done.json()["detail"]


@pytest.mark.parametrize(
    ("body", "says"),
    [(b"{", "not JSON"), (b"{}", "text: Field required"), (b'{"text": 1}', "text: Input should be a valid string"),
     (b'{"text": "a", "id": 1}', "id: Extra inputs"), (b'{"text": "\\ud800"}', "not JSON")],
)  # fmt: skip
def test_a_text_that_is_none(client: TestClient, body: bytes, says: str) -> None:
    done = client.put(f"{PLACE}/a.txt", content=body, headers={"Content-Type": "application/json"})
    assert done.status_code == 422
    assert says in done.json()["detail"]


def pdf(*lines: str) -> bytes:
    """A page with some lines; without any, what a scan is to a reader of text."""
    made = io.BytesIO()
    page = Canvas(made)
    for at, line in enumerate(lines):
        page.drawString(72, 720 - 20 * at, line)
    page.showPage()
    page.save()
    return made.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("scan.pdf", pdf(), "'scan.pdf' cannot be read: .*text"), ("torn.pdf", pdf("A line.")[:300], "PDF"),
        ("a.docx", b"PK no zip", "cannot be read"), ("a.txt", b"caf\xe9", "not UTF-8"), ("a.txt", b"a\0b", "NUL"),
        ("a.md", b" \n", "holds no text"), ("a.html", b"<title>t</title><script>1</script>", "cannot be read"),
        ("empty.pdf", b"", "cannot be read: the file is empty"),
    ],
)  # fmt: skip
def test_a_document_that_cannot_be_read_is_refused_with_the_reason(
    client: TestClient, job: Job, name: str, content: bytes, says: str
) -> None:
    (job.workspace.root / "documents" / name).write_bytes(b"as it was")
    before = files(job)
    done = client.put(f"{PLACE}/{name}", content=content, headers={"Content-Type": "application/octet-stream"})
    assert done.status_code == 422, done.text
    assert re.search(says, done.json()["detail"]) and "Nothing was stored" in done.json()["detail"]
    assert files(job) == before and not list((job.workspace.var / "serving" / "incoming").iterdir())


def test_a_document_that_can_be_read_is_stored_as_it_came(client: TestClient, job: Job) -> None:
    content = pdf("The river rose in the night.")
    assert client.put(f"{PLACE}/a.pdf", content=content, headers={"Content-Type": "application/pdf"}).status_code == 200
    assert files(job)["a.pdf"] == content


def test_who_may_not_write_hears_nothing_of_the_content(job: Job) -> None:
    """The place is looked at first: nobody parses what would not be stored."""
    client = client_of(app_of(job, keys_of(job)), key_of(job, "public"))
    done = client.put(f"{PLACE}/hr/salaries.txt", content=b"a\0b", headers={"Content-Type": "text/plain"})
    assert done.status_code == 404
