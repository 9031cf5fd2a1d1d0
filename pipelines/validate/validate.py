"""validate: raw/ -> validated/. Checks the table of examples, sets bad rows aside, and stops on a broken contract.

Great Expectations looks at a batch of rows at a time; what it needs a whole column for gets those columns alone.
What stands between rows (duplicates, contradictions, leakage, drift) comes from a few numbers kept of each row.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from core.atomic_files import replacing, write_json, write_text
from core.errors import BadData
from core.manifest import require_whole, write_manifest
from core.progress import Progress
from core.schema.columns import ADDED, FAULT, Contract, own_names
from core.schema.data import Split
from core.schema.expectations import DataContract
from core.splits.split import with_columns
from core.splits.time_split import sides_of_table
from core.workspace import Job
from pipelines.expectations.expectation_plan import plan
from pipelines.expectations.outcome import Outcome, refuse_exceptions
from pipelines.expectations.rules import Tally
from pipelines.expectations.sound_rules import find_usual_rate
from pipelines.validate.data_docs import escaped, escaped_once, offline, worded
from pipelines.validate.feature_faults import FeatureFaults
from pipelines.validate.link_faults import LinkFaults
from pipelines.validate.quarantine import check_schema, numbered, write_screened
from pipelines.validate.row_facts import Facts, facts_of, joined
from pipelines.validate.verdict import judge, problems, report, summary

_LONG = {"unexpected_list", "unexpected_index_query", "partial_unexpected_index_list", "partial_unexpected_counts"}
_RUN = {"run_name": "validate", "run_time": "1970-01-01T00:00:00Z"}
_NO_TIME = "no time: equal data give equal pages"


class Engine:
    """Great Expectations with its pandas engine, an ephemeral context, and nothing sent or drawn."""

    def __init__(self, settings_file: str) -> None:
        import great_expectations as gx

        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = {"globally": False, "metric_calculations": False}
        asset = context.data_sources.add_pandas("examples").add_dataframe_asset("examples")
        self._settings_file = settings_file
        self._definition = asset.add_batch_definition_whole_dataframe("rows")

    def look(self, rows: pd.DataFrame, outcomes: Sequence[Outcome]) -> None:
        """Add what each rule says of these rows; the index of the frame is the rows' position in the table."""
        groups: dict[tuple[str, ...], list[Outcome]] = defaultdict(list)
        for outcome in outcomes:
            groups[_taken_for_its_columns(outcome, rows.columns)].append(outcome)
        for others, some in groups.items():
            self._look(rows.drop(columns=list(others)), some)

    def _look(self, rows: pd.DataFrame, outcomes: Sequence[Outcome]) -> None:
        import great_expectations as gx
        from great_expectations.util import convert_to_json_serializable

        suite = gx.ExpectationSuite("contract")
        for at, outcome in enumerate(outcomes):
            suite.add_expectation(outcome.expectation.copy(update={"meta": {"rule": at}}))
        batch = self._definition.get_batch(batch_parameters={"dataframe": rows})
        for result in batch.validate(suite, result_format={"result_format": "COMPLETE"}).results:
            outcome = outcomes[result.expectation_config.meta["rule"]]
            refuse_exceptions(outcome.rule, result.exception_info, self._settings_file)
            said = {key: value for key, value in result.result.items() if key not in _LONG}
            plain = json.loads(json.dumps(convert_to_json_serializable(said)), parse_constant=str)  # NaN is not JSON
            outcome.add(plain, success=bool(result.success))


def _taken_for_its_columns(outcome: Outcome, columns: Iterable[str]) -> tuple[str, ...]:
    """Columns whose names differ from a rule's in letter case alone: Great Expectations would read one of them."""
    own = {str(name).casefold(): name for name in outcome.rule.columns}
    return tuple(name for name in columns if own.get(name.casefold(), name) != name)


def scan(
    raw: Path,
    engine: Engine,
    outcomes: Sequence[Outcome],
    facts_of_rows: Callable[[pd.DataFrame, pa.RecordBatch], Facts],
    taken: Collection[str],
) -> Facts:
    """Read the table once: every rule over its rows, and the facts of each row. taken: columns that `collect` adds."""
    fault, *others = outcomes
    by_batch = [outcome for outcome in others if not outcome.whole]
    count = pq.read_metadata(raw).num_rows

    def parts() -> Iterator[Facts]:
        with Progress("validate", total=count, unit="rows") as progress:
            for start, batch in numbered(raw):
                rows = batch.to_pandas().set_axis(pd.RangeIndex(start, start + len(batch)), axis="index")
                engine.look(rows[[FAULT]], [fault])
                engine.look(_as_meant(rows[rows[FAULT].isna()], taken), by_batch)
                yield facts_of_rows(rows, batch)
                progress.advance(len(batch))

    facts = joined(parts(), count)
    table = pq.ParquetFile(raw)
    for outcome in others:
        if outcome.whole:
            engine.look(_its_columns(table, outcome, taken), [outcome])
    return facts


def _as_meant(rows: pd.DataFrame, taken: Collection[str]) -> pd.DataFrame:
    """With the source's own values under the names that a condition knows them by."""
    own = own_names(rows.columns, taken)
    return rows.assign(**{name: rows[column] for column, name in own.items()}) if own else rows


def _its_columns(table: Any, outcome: Outcome, taken: Collection[str]) -> pd.DataFrame:
    """The columns that an expectation over all rows needs, of the rows that could be read."""
    schema = table.schema_arrow
    if outcome.rule.name.startswith(("expect_column_to_exist", "expect_table_column")):
        own = own_names([name for name in schema.names if name not in outcome.rule.columns], taken)
        ours = [name for name in ADDED if name not in outcome.rule.columns or name in own.values()]
        kept = schema.empty_table().drop_columns(ours)
        frame: pd.DataFrame = kept.rename_columns(own).to_pandas()
        return frame
    named = None if "row_condition" in outcome.rule.arguments else [*outcome.rule.columns, FAULT]
    rows: pd.DataFrame = table.read(columns=named).to_pandas()
    return _as_meant(rows[rows[FAULT].isna()], taken)


def write_docs(outcomes: Sequence[Outcome], folder: Path) -> None:
    """Great Expectations' own pages: index.html says what came of the contract, expectations.html what it is."""
    import great_expectations as gx
    from great_expectations.core import ExpectationSuiteValidationResult, ExpectationValidationResult
    from great_expectations.render.renderer import ExpectationSuitePageRenderer, ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    shown = [worded(outcome.expectation) for outcome in outcomes]
    results = [
        ExpectationValidationResult(
            success=outcome.passed, expectation_config=expectation.configuration, result=escaped(outcome.result())
        )
        for outcome, expectation in zip(outcomes, shown, strict=True)
    ]
    passed = sum(outcome.passed for outcome in outcomes)
    statistics = {
        "evaluated_expectations": len(results),
        "successful_expectations": passed,
        "unsuccessful_expectations": len(results) - passed,
        "success_percent": 100 * passed / len(results),
    }
    said = ExpectationSuiteValidationResult(
        success=passed == len(results), results=results, suite_name="contract", statistics=statistics,
        meta={"run_id": _RUN, "batch_spec": {"data_asset_name": "examples.parquet"}},
    )  # fmt: skip
    suite = gx.ExpectationSuite("contract", expectations=shown)
    pages = {
        "index.html": ValidationResultsPageRenderer(run_info_at_end=True).render(said),
        "expectations.html": ExpectationSuitePageRenderer().render(suite),
    }
    view = DefaultJinjaPageView()
    view._escape_template_param_value = escaped_once
    for name, page in pages.items():
        write_text(folder / name, offline(view.render(page)).replace(_RUN["run_time"], _NO_TIME))


def run(job: Job) -> None:
    """Screen the table of examples of a recipe or an index."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read when great_expectations is imported
    examples, contract = job.section("examples", Contract), job.section("contract", DataContract)
    split = job.section("split", Split) if job.kind == "recipe" else None
    settings_file = job.settings_file.relative_to(job.workspace.root).as_posix()
    require_whole(job.folder / "raw")
    raw = job.folder / "raw" / "examples.parquet"
    columns = check_schema(raw, examples)
    if split is not None:
        split = with_columns(split, columns, examples, settings_file)
    given, usual_rate = split.given if split is not None else None, find_usual_rate(raw, examples)
    outcomes = plan(examples, contract, columns, settings_file, given=given, usual_rate=usual_rate)
    by_time = None if split is None else sides_of_table(raw, split, settings_file=settings_file)
    features, links = FeatureFaults(examples), LinkFaults(examples)

    def remember(rows: pd.DataFrame, batch: pa.RecordBatch) -> Facts:
        features.look(rows[rows[FAULT].isna()])
        links.look(rows)
        return facts_of(rows, batch, examples, split=split, by_time=by_time)

    facts = scan(raw, Engine(settings_file), outcomes, remember, examples.added)
    judged = judge(
        facts, [*(outcome.check() for outcome in outcomes), *features.checks(), *links.checks()],
        examples=examples, contract=contract, split=split, reference=job.settings["reference"],
    )  # fmt: skip
    rejected = job.workspace.var / "rejected" / f"{job.kind}-{job.name}"
    stops = any(problems(judged, Tally(), {}, contract))
    with replacing(rejected if stops else job.folder / "validated") as folder:
        wanted = {first for _, first in judged.scarce.values()}
        tally, places = write_screened(raw, folder, judged.checks, judged.clean, wanted=wanted, keep_clean=not stops)
        found = list(problems(judged, tally, places, contract))
        write_json(folder / "report.json", report(judged, tally, contract, found))
        write_json(folder / "profile.json", judged.profile)
        write_docs(outcomes, folder / "docs")
        write_manifest(folder, {"rows": len(judged.clean), "quarantined": judged.bad, "duplicates": judged.duplicates})
    if stops:
        at = os.path.relpath(rejected, job.workspace.root)
        raise BadData(
            f"{settings_file}: the data breaks its contract.\n"
            + "\n".join(f"  {problem}" for problem in found)
            + f"\nBad rows, their reasons and the report: {at}/quarantine.parquet, {at}/docs/index.html. "
            "Correct the source, or change `contract:`; earlier outputs stand as they were."
        )
    shutil.rmtree(rejected, ignore_errors=True)
    print(summary(judged), file=sys.stderr, flush=True)
