"""What lies in var/: each folder and file once, with what `headrace gc` and `headrace forget` make of it.

gc, forget and status walk this list. tests/test_var_folders.py holds it against the code that writes into var/, against
workspaces in which stages and commands ran, and against the table in docs/registry.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# What keeps an entry from gc. registry, engine: the model registry or the search engine is asked (flows/cleanup/gc.py).
# The others are answered in flows/cleanup/unused_files.py.
Unless = Literal[
    "registry", "engine", "unfinished recipe", "unfinished index", "any unfinished recipe", "live", "stage",
    "of live index", "on server", "base of a model", "never",
]  # fmt: skip
MODEL = "part of a model, which is checked by its hash; train and promote another, then `headrace gc`"


@dataclass(frozen=True)
class Gc:
    """what: how gc calls an entry. unless: what keeps it. because: why it can go otherwise."""

    what: str
    unless: Unless
    because: str


@dataclass(frozen=True)
class Place:
    """A folder or file of var/.

    name: below var/. holds: what is in it. gc: which of its entries gc frees; None: it stays. forget: what becomes of
    an entry that holds a row. why: it is kept then. running: a program may write there at any time, so forget removes
    one file and no whole entry, and gc looks for no leftovers.
    """

    name: str
    holds: str
    gc: Gc | None = None
    forget: Literal["remove", "rewrite", "keep", "not looked at"] = "remove"
    why: str = ""
    running: bool = False


VERSIONS = Gc("model versions", "registry", "nothing needs it; its evidence stays")
INDEXES = Gc("index versions", "engine", "superseded; its vectors stand in Parquet")
PLACES = (
    Place("checkpoints", "interrupted trainings, by recipe",
          Gc("checkpoints", "unfinished recipe", "no work of a live one goes on from it")),
    Place("vectors", "what an interrupted `embed` had computed, by index",
          Gc("parts of vectors", "unfinished index", "no work of a live one goes on from it")),
    Place("features", "a base's outputs for texts and pictures, for the method transfer",
          Gc("features", "any unfinished recipe", "a training computes them again")),
    Place("rejected", "the rows that made `validate` stop, with reasons",
          Gc("rejected rows", "live", "of what is not live")),
    Place("judging", "an index while it is judged without the sentences that are asked for",
          Gc("leftovers", "never", "a process was killed while it wrote it")),
    Place("mlflow", "the model registry: its database, and files of runs and versions",
          VERSIONS, forget="rewrite"),
    Place("mlflow/downloads", "models from an MLflow server",
          Gc("downloads", "on server", "no version of the server in charge has them"), forget="rewrite"),
    Place("bases", "models that adapters of registered versions add to, by hash",
          Gc("bases of adapters", "base of a model", "no model adds to it"), forget="keep", why=MODEL),
    Place("merged", "whole models, made of a base and adapters",
          Gc("merged models", "never", "made again of base and adapters when it is needed")),
    Place("qdrant", "the embedded search engine's versions of each index", INDEXES, forget="keep",
          why="the search engine's file of a live index: run the same again"),
    Place("embedders", "int8 models that published releases embed questions with"),
    Place("releases", "which release of an index was live when"),
    Place("judged", "how the 20 last releases of each index answered each question, and what they were made of",
          Gc("judged releases", "of live index", "of an index that is not live")),
    Place("downloads", "files of sources, as they were fetched"),
    Place("code", "the 20 last data/code.json, for `headrace status` to name the file that changed"),
    Place("logs", "what the servers said, and the last update of each index over HTTP", running=True),
    Place("logs/stages", "what each stage said when it ran last",
          Gc("logs", "stage", "of a stage that is no more"), running=True),
    Place("prefect", "Prefect's database and settings", running=True),
    Place("servers", "where the own servers listen, the port that each had last, and their keys", running=True),
    Place("serving", "changes of documents over HTTP: locks, and answers by Idempotency-Key"),
    Place("notices", "of which failures somebody was told, and when"),
    Place("slots", "until when each schedule was served"),
    Place("forgetting", "what an unfinished `headrace forget` looks for", forget="not looked at"),
    Place("locks", "one file for whoever works alone, with its command", forget="keep",
          why="somebody works here: run the same again"),
    Place("keys.yaml", "who may ask `headrace serve`: hashes of keys", forget="keep",
          why="your own list of who may ask: name the holder otherwise"),
    Place("boot.json", "at which start of the machine DVC's cache was looked at"),
    Place("expectations.json", "hashes of expectations that Great Expectations took when `headrace check` asked"),
    Place("peers", "packages that `make peers` installs, for benchmarks", forget="keep", why="installed packages"),
)  # fmt: skip


def place_of(below: Path) -> Place:
    """Where something lies, by its path below var/. What nobody describes may hold a row like anything else."""
    around = [place for place in PLACES if below.is_relative_to(place.name)]
    return max(around, key=lambda place: len(place.name), default=Place(below.parts[0], "not known to Headrace"))
