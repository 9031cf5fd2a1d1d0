"""How good a release is, before it goes live: what it finds for judged queries or known items, beside the live one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.atomic_files import write_json
from core.errors import BadRequest
from core.progress import Progress
from core.schema.evaluation import AGAINST_LIVE
from core.schema.search import Judging
from core.tables.statistics import swap_chance
from core.workspace import Job
from pipelines.publish.known_items import known_items, without
from pipelines.publish.measures import PRIMARY, RESAMPLES, SEED, PerQuery, intervals, means, measure, sampled
from pipelines.search.ask.judged_queries import Query, read_judged
from pipelines.search.ask.query import MODES, Asker, Question, asker_of, mode_of
from pipelines.search.ask.question_vectors import Remembered
from pipelines.search.engine.engine import DEPTH, Engine, Missing, Mode, Point
from pipelines.search.engine.releases import Truth, point_id
from pipelines.search.text.passages import embedded
from pipelines.search.text.term_table import weigh
from registry.promotion.gate import Evidence, NoRival, Paired

LIVE, RERANKED = "live", "reranked"
JUDGED, KNOWN = "judged queries", "known items"


@dataclass(frozen=True)
class Judgement:
    """evidence: for the gates. metrics: what metrics.json says. runs: how -> measures of each query."""

    evidence: Evidence
    metrics: Mapping[str, Any]
    queries: Sequence[Query]
    runs: Mapping[str, PerQuery]

    def write(self, folder: Path) -> None:
        """metrics.json, queries.parquet and report.md, into an empty folder."""
        write_json(folder / "metrics.json", self.metrics)
        columns: dict[str, Any] = {
            "id": [query.id for query in self.queries],
            "text": [query.text for query in self.queries],
            "relevant": [json.dumps(query.relevant) for query in self.queries],
        }
        for how, run in self.runs.items():
            columns |= {f"{how}.{name}": values for name, values in run.items()}
        pq.write_table(pa.table(columns), folder / "queries.parquet")
        (folder / "report.md").write_text(report(self.metrics), encoding="utf-8")


def judge(job: Job, truth: Truth, engine: Engine, confidence: float, remembered: Remembered) -> Judgement:
    """Ask a version that was built every query, every way, and the live one too.

    confidence: of the gate against the live release. Raises BadRequest for judged queries that cannot be read.
    """
    evaluation = job.section("evaluation", Judging)
    queries, kind = _queries(job, truth, evaluation)
    if not queries:
        why = "nothing was judged: " + (
            "there are no sentences to ask for" if evaluation.known_items else "known_items: 0"
        )
        return Judgement(Evidence({}, {AGAINST_LIVE: NoRival(why, in_order=False)}), {}, [], {})
    own = str(truth.facts["search"]["mode"])
    with Progress(f"judge {job.name}", total=len(queries) * (len(MODES) + 1), unit="questions") as progress:
        with _under_test(engine, truth, truth.version, queries, job, remembered) as candidate:
            ways: dict[str, PerQuery] = {mode: _run(candidate, queries, mode, remembered, progress) for mode in MODES}
            if candidate.reranker is not None:
                ways[RERANKED] = _run(candidate, queries, mode_of(own), remembered, progress, rerank=True)
        answers = RERANKED if RERANKED in ways else own
        mine = ways[answers]
        live = engine.pointers(truth.index).live
        rival: Paired | NoRival = NoRival("no release is live yet", in_order=True)
        if live == truth.version:
            rival = NoRival("this is the live release", in_order=True)
        elif live is not None:
            rival, theirs = _against(live, mine, queries, engine, truth, job, remembered, progress, confidence)
            if theirs is not None:
                ways[LIVE] = theirs
    drawn = sampled(ways)
    metrics = {
        **intervals(drawn[answers]),
        **{how: intervals(drawn[how]) for how in ways},
        "queries": len(queries),
        "kind": kind,
    }
    evidence = Evidence(means(mine), {AGAINST_LIVE: rival}, f"on {len(queries):,} {kind}")
    return Judgement(evidence, metrics, queries, ways)


def report(metrics: Mapping[str, Any]) -> str:
    """evaluation/report.md: the ways beside each other."""
    if not metrics:
        return "Nothing was judged.\n"
    lines = [f"{metrics['queries']:,} {metrics['kind']}.", ""]
    if metrics["kind"] == KNOWN:
        lines += [
            "Known items tell two releases apart. They are no level: people do not ask in a document's words.",
            "",
        ]
    lines += ["| way | nDCG@10 | recall@10 | MRR |", "|---|---|---|---|"]
    for how in (*MODES, RERANKED, LIVE):
        if how in metrics:
            cells = [f"{each['value']:.4f} [{each['low']:.4f}, {each['high']:.4f}]" for each in metrics[how].values()]
            lines.append(f"| {how} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _queries(job: Job, truth: Truth, evaluation: Judging) -> tuple[list[Query], str]:
    if evaluation.queries is not None:
        return read_judged(evaluation, job.workspace.root, job.settings["judged"]), JUDGED
    return known_items(job.folder / "chunks" / "chunks.parquet", evaluation.known_items), KNOWN


@contextmanager
def _under_test(
    engine: Engine, truth: Truth, version: str, queries: Sequence[Query], job: Job, remembered: Remembered
) -> Iterator[Asker]:
    """A version, without the sentences that are asked for."""
    with ExitStack() as stack:
        release = stack.enter_context(engine.reading(truth.index, version))
        asker = asker_of(release, job.workspace)
        if any(query.sentence for query in queries):
            gone, new = _left_out(asker, queries, remembered)
            scratch = job.workspace.var / "judging" / job.name
            asker = replace(asker, release=stack.enter_context(release.changed(gone, new, scratch)))
        yield asker


def _left_out(asker: Asker, queries: Sequence[Query], remembered: Remembered) -> tuple[set[str], list[Point]]:
    """The points that hold a sentence that is asked for, and what they are without it."""
    gone: set[str] = set()
    kept: list[tuple[Point, str]] = []
    for query in queries:
        for document in query.relevant:
            for point in asker.release.points({"document": document}):
                if query.sentence in point.payload["text"] and point.id not in gone:
                    gone.add(point.id)
                    kept.append((point, without(point.payload["text"], query.sentence)))
    kept = [(point, text) for point, text in kept if text]
    vectors = remembered.vectors(asker, [embedded(point.payload["heading"], text) for point, text in kept])
    average = float(asker.release.facts["terms"]["average"])
    new = [
        Point(
            point_id(f"{point.id} {text}"),
            vector.tolist(),
            weigh(asker.analyser, embedded(point.payload["heading"], text), average),
            {**point.payload, "text": text},
        )
        for (point, text), vector in zip(kept, vectors, strict=True)
    ]
    return gone, new


def _run(
    asker: Asker,
    queries: Sequence[Query],
    mode: Mode,
    remembered: Remembered,
    progress: Progress,
    *,
    rerank: bool = False,
) -> PerQuery:
    """Ask every query. A document stands where its best passage stands."""
    vectors = remembered.vectors(asker, [query.text for query in queries], asked=True)
    rankings = []
    for query, vector in zip(queries, vectors, strict=True):
        asked = Question(query.text, None, DEPTH, mode=mode, rerank=rerank)
        rankings.append(list(dict.fromkeys(each.document for each in asker.ask(asked, vector.tolist()))))
        progress.advance(1)
    return measure(queries, rankings)


def _against(
    live: str, mine: PerQuery, queries: Sequence[Query], engine: Engine, truth: Truth, job: Job,
    remembered: Remembered, progress: Progress, confidence: float,
) -> tuple[Paired | NoRival, PerQuery | None]:  # fmt: skip
    """The candidate against the live release, on the same queries."""
    called = f"release {live}"
    try:
        with _under_test(engine, truth, live, queries, job, remembered) as asker:
            mode = mode_of(asker.release.facts["search"]["mode"])
            theirs = _run(asker, queries, mode, remembered, progress, rerank=asker.reranker is not None)
    except (Missing, BadRequest) as error:
        return NoRival(f"{called} cannot be asked: {error}", in_order=False), None
    drawn = sampled({"mine": mine, "theirs": theirs})
    found = drawn["mine"].better_by(drawn["theirs"], PRIMARY, confidence=confidence, more_is_better=True)
    rows = {"query": np.arange(len(queries))}
    chance = swap_chance(
        dict(mine), dict(theirs), rows, means, draws=RESAMPLES, seed=SEED, metric=PRIMARY, more_is_better=True
    )
    return Paired(
        called, PRIMARY, found.value, found.low, found.high, chance=chance, confidence=confidence, rows=len(queries)
    ), theirs
