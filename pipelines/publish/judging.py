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
from core.tables.statistics import Sampled, means, sample, swap_chance, whole
from core.workspace import Job
from pipelines.publish.known_items import known_items, without
from pipelines.search.ask.judged_queries import Query, read_judged
from pipelines.search.ask.query import MODES, Asker, Passage, Question, asker_of
from pipelines.search.ask.question_vectors import Remembered
from pipelines.search.engine.engine import DEPTH, Engine, Missing, Mode, Point
from pipelines.search.engine.releases import Truth, point_id
from pipelines.search.text.passages import embedded
from pipelines.search.text.term_table import weigh
from registry.promotion.gate import Evidence, NoRival, Paired
from registry.promotion.measured import METRICS, REPORT

LIVE, RERANKED = "live", "reranked"
JUDGED, KNOWN = "judged queries", "known items"
MEASURES: Mapping[str, str] = {"ndcg_at_10": "ndcg_cut_10", "recall_at_10": "recall_10", "mrr": "recip_rank"}
PRIMARY = "ndcg_at_10"
RESAMPLES = 2000
SEED = 7

PerQuery = Mapping[str, np.ndarray[Any, np.dtype[np.float64]]]  # measure -> (queries,)


@dataclass(frozen=True)
class Judgement:
    """evidence: for the gates. told: report.json. runs: how -> measures of each query."""

    evidence: Evidence
    told: Mapping[str, Any]
    queries: Sequence[Query]
    runs: Mapping[str, PerQuery]

    def write(self, folder: Path) -> None:
        """metrics.json, report.json, queries.parquet and report.md, into an empty folder."""
        write_json(folder / METRICS, self.evidence.metrics)
        write_json(folder / REPORT, self.told)
        columns: dict[str, Any] = {
            "id": [query.id for query in self.queries],
            "text": [query.text for query in self.queries],
            "relevant": [json.dumps(query.relevant) for query in self.queries],
        }
        for how, run in self.runs.items():
            columns |= {f"{how}.{name}": values for name, values in run.items()}
        pq.write_table(pa.table(columns), folder / "queries.parquet")
        (folder / "report.md").write_text(report(self.told), encoding="utf-8")


def judge(job: Job, truth: Truth, engine: Engine, confidence: float, remembered: Remembered) -> Judgement:
    """Ask a version that was built every query, every way, and the live one too.

    confidence: of the gate against the live release. Raises BadRequest for judged queries that cannot be read.
    """
    evaluation = job.section("evaluation", Judging)
    if evaluation.queries is not None:
        queries, kind = read_judged(evaluation, job.workspace.root, job.settings["judged"]), JUDGED
    else:
        queries, kind = known_items(job.folder / "chunks" / "chunks.parquet", evaluation.known_items), KNOWN
    if not queries:
        why = "there are no sentences to ask for" if evaluation.known_items else "known_items: 0"
        rival = NoRival(f"nothing was judged: {why}", in_order=False)
        return Judgement(Evidence({}, {AGAINST_LIVE: rival}), {}, [], {})
    own: Mode = truth.facts["search"]["mode"]
    with Progress(f"judge {job.name}", total=len(queries) * (len(MODES) + 1), unit="questions") as progress:
        examiner = _Examiner(job, truth, engine, queries, remembered, progress)
        with examiner.asker(truth.version) as candidate:
            ways: dict[str, PerQuery] = {mode: examiner.run(candidate, mode) for mode in MODES}
            if candidate.reranker is not None:
                ways[RERANKED] = examiner.run(candidate, own, rerank=True)
        answers = RERANKED if RERANKED in ways else own
        against, theirs, live = examiner.against_live(ways[answers], confidence)
    ways |= theirs
    drawn = sampled(ways)
    told = {
        "model": intervals(drawn[answers]),
        "ways": {how: intervals(drawn[how]) for how in ways},
        "queries": len(queries),
        "kind": kind,
        "primary": PRIMARY,
        "way": answers,
        "live": live,
    }
    evidence = Evidence(whole(means, ways[answers]), {AGAINST_LIVE: against}, f"on {len(queries):,} {kind}")
    return Judgement(evidence, told, queries, ways)


def report(told: Mapping[str, Any]) -> str:
    """evaluation/report.md: the ways beside each other. told: report.json."""
    if not told:
        return "Nothing was judged.\n"
    lines = [f"{told['queries']:,} {told['kind']}.", ""]
    if told["kind"] == KNOWN:
        lines += [
            "Known items tell two releases apart. They are no level: people do not ask in a document's words.",
            "",
        ]
    lines += ["| way | nDCG@10 | recall@10 | MRR |", "|---|---|---|---|"]
    for how in (*MODES, RERANKED, LIVE):
        if how in told["ways"]:
            cells = [
                f"{each['value']:.4f} [{each['low']:.4f}, {each['high']:.4f}]" for each in told["ways"][how].values()
            ]
            lines.append(f"| {how} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class _Examiner:
    """Asks releases of an index the same queries."""

    job: Job
    truth: Truth
    engine: Engine
    queries: Sequence[Query]
    remembered: Remembered
    progress: Progress

    @contextmanager
    def asker(self, version: str) -> Iterator[Asker]:
        """A version, without the sentences that are asked for."""
        with ExitStack() as stack:
            release = stack.enter_context(self.engine.reading(self.truth.index, version))
            asker = asker_of(release, self.job.workspace)
            if any(query.sentence for query in self.queries):
                gone, new = self._left_out(asker)
                scratch = self.job.workspace.var / "judging" / self.job.name
                asker = replace(asker, release=stack.enter_context(release.changed(gone, new, scratch)))
            yield asker

    def _left_out(self, asker: Asker) -> tuple[set[str], list[Point]]:
        """The points that hold a sentence that is asked for, and what they are without it."""
        gone: set[str] = set()
        kept: list[tuple[Point, str]] = []
        for query in self.queries:
            for document in query.relevant:
                for point in asker.release.points({"document": document}):
                    if query.sentence in point.payload["text"] and point.id not in gone:
                        gone.add(point.id)
                        if text := without(point.payload["text"], query.sentence):
                            kept.append((point, text))
        said = [embedded(point.payload["heading"], text) for point, text in kept]
        vectors = self.remembered.vectors(asker, said)
        average = float(asker.release.facts["terms"]["average"])
        return gone, [
            Point(
                point_id(f"{point.id} {text}"),
                vector.tolist(),
                weigh(asker.analyser, whole, average),
                {**point.payload, "text": text},
            )
            for (point, text), whole, vector in zip(kept, said, vectors, strict=True)
        ]

    def run(self, asker: Asker, mode: Mode, *, rerank: bool = False) -> PerQuery:
        """Ask every query. A document stands where its best passage stands."""
        vectors = self.remembered.vectors(asker, [query.text for query in self.queries], asked=True)
        rankings = []
        for query, vector in zip(self.queries, vectors, strict=True):
            asked = Question(query.text, None, DEPTH, mode=mode, rerank=rerank)
            found = asker.ask(asked, vector.tolist())
            rankings.append(list(dict.fromkeys(_judged_as(each, query.relevant) for each in found)))
            self.progress.advance(1)
        return measure(self.queries, rankings)

    def against_live(
        self, mine: PerQuery, confidence: float
    ) -> tuple[Paired | NoRival, dict[str, PerQuery], str | None]:
        """The candidate's measures against the live release's; the latter and which it is, where it can be asked."""
        live = self.engine.pointers(self.truth.index).live
        if live is None:
            return NoRival("no release is live yet", in_order=True), {}, None
        if live == self.truth.version:
            return NoRival("this is the live release", in_order=True), {}, None
        called = f"release {live}"
        try:
            with self.asker(live) as asker:
                theirs = self.run(asker, asker.release.facts["search"]["mode"], rerank=asker.reranker is not None)
        except (Missing, BadRequest) as error:
            return NoRival(f"{called} cannot be asked: {error}", in_order=False), {}, None
        drawn = sampled({"mine": mine, "theirs": theirs})
        found = drawn["mine"].better_by(drawn["theirs"], PRIMARY, confidence=confidence, more_is_better=True)
        chance = swap_chance(mine, theirs, means, draws=RESAMPLES, seed=SEED, metric=PRIMARY, more_is_better=True)
        interval = (found.value, found.low, found.high)
        paired = Paired(called, PRIMARY, *interval, chance=chance, confidence=confidence, rows=len(self.queries))
        return paired, {LIVE: theirs}, live


def _judged_as(passage: Passage, relevant: Mapping[str, int]) -> str:
    """The document that a passage stands for: the most relevant of those that have it, else the one that it names."""
    return max((passage.document, *passage.copies), key=lambda document: relevant.get(document, 0))


# --- rankings against judgments ---


def measure(queries: Sequence[Query], rankings: Sequence[Sequence[str]]) -> PerQuery:
    """Each measure of each query, by trec_eval's own code.

    rankings: documents, the best first; an empty one counts as 0, as any other miss.
    """
    import pytrec_eval

    judged = {str(row): dict(query.relevant) for row, query in enumerate(queries)}
    run = {
        str(row): {document: float(len(ranking) - rank) for rank, document in enumerate(ranking)}
        for row, ranking in enumerate(rankings)
    }
    found = pytrec_eval.RelevanceEvaluator(judged, set(MEASURES.values())).evaluate(run)
    return {
        name: np.array([found.get(str(row), {}).get(key, 0.0) for row in range(len(queries))])
        for name, key in MEASURES.items()
    }


def sampled(runs: Mapping[str, PerQuery]) -> dict[str, Sampled]:
    """Means over the queries, and over resamples of them: the same ones for every run."""
    return sample(runs, means, resamples=RESAMPLES, seed=SEED)


def intervals(of: Sampled) -> dict[str, dict[str, float | None]]:
    """As report.json holds them."""
    return {name: of.interval(name).as_json() for name in MEASURES}
