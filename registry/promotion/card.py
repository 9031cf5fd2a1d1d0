"""Facts of a version -> its model card in Markdown. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.addresses import recorded
from core.tables.spelling import cell, prose
from registry.promotion.gate import CONFIDENCE, Verdict, corrected
from registry.promotion.ledger import Entry
from registry.promotion.measured import REPORT, Intervals, Measured

_HASH_CHARACTERS = 12
_MANY_SLICES = 40
_MANY_LABELS = 30
_LONGEST = 4900  # characters: MLflow's column holds 5,000; the whole card is an artifact
_USE = """## Use

```python
import mlflow, pandas
model = mlflow.pyfunc.load_model("models:/{name}@champion")
model.predict(pandas.DataFrame({{{inputs}}}))
```"""
_FIGURES = ("precision", "recall", "f1")  # of a label
_DATA_HASHES = ("raw_hash", "validated_hash", "prepared_hash")


@dataclass(frozen=True)
class Facts:
    """What a card is made of."""

    name: str
    task: str
    recipe: str
    primary: str
    measured: Measured
    verdict: Verdict
    model: Mapping[str, Any]  # the recipe's `model:`
    data: Mapping[str, Any]  # source, licence, reader
    hashes: Mapping[str, str]  # what -> sha256 or commit
    better: Mapping[str, bool] = field(default_factory=dict)  # metric -> True when more is better
    inputs: Sequence[str] = ("text",)
    simple: Sequence[str] = ()  # baselines that can be the model
    asked: int = 1  # the how many-th model these test rows judge
    serving: Mapping[str, float] = field(default_factory=dict)  # latency, throughput and memory of what is served
    variant: str | None = None  # its ONNX variant, in a line
    files: str | None = None  # how pictures or sounds are read, where the task reads some
    rows: str | None = None  # what became of the source's rows, in a line
    title: str = ""  # the recipe's


def winners(found: Measured, primary: str, *, more_is_better: bool) -> list[str]:
    """Baselines whose primary metric is better than the model's, the best one first."""
    own, sign = _value(found.model, primary), 1 if more_is_better else -1
    values = {name: _value(each, primary) for name, each in found.baselines.items()}
    better = [
        (value, name)
        for name, value in values.items()
        if own is not None and value is not None and sign * value > sign * own
    ]
    return [name for _, name in sorted(better, reverse=more_is_better)]


def preferred(baseline: str, simple: Sequence[str]) -> str:
    """What to do about a baseline that wins. simple: those that can be the model."""
    if baseline not in simple:
        return "Prefer the baseline."
    return f"Prefer it: `model: {{base: {{architecture: {baseline}}}, method: pretrain}}` makes it the recipe's model."


def baseline_line(found: Measured, primary: str, *, more_is_better: bool, simple: Sequence[str] = ()) -> str | None:
    """The sentence to be said first when a baseline wins. simple: baselines that can be the model."""
    names = winners(found, primary, more_is_better=more_is_better)
    if not names:
        return None
    best, own = _value(found.baselines[names[0]], primary), _value(found.model, primary)
    return f"A baseline wins: {names[0]} has {primary} {best:.4f}, this model {own:.4f}. {preferred(names[0], simple)}"


def card(facts: Facts) -> str:
    """The model card."""
    more = facts.better.get(facts.primary, True)
    first = baseline_line(facts.measured, facts.primary, more_is_better=more, simple=facts.simple)
    base = facts.model["base"]
    start = base if isinstance(base, str) else f"a new {base['architecture']} (no pretrained weights)"
    data = [
        f"- source: `{recorded(str(facts.data['source']))}`",
        f"- licence: {facts.data.get('licence') or 'not stated in the recipe'}",
        *([f"- {facts.files}"] if facts.files else []),
        *([f"- rows: {facts.rows}"] if facts.rows else []),
    ]
    others = [name for name in facts.hashes if name not in _DATA_HASHES]
    hashes = _hash_lines(facts.hashes, (*_DATA_HASHES, *others))
    parts = [
        f"# {prose(facts.title) if facts.title else facts.name}",
        f"> **{first}**" if first else "",
        f"{facts.name}, by the recipe `{facts.recipe}`: a model for {facts.task.replace('_', ' ')}, "
        f"method `{facts.model['method']}`, from {start}.",
        _gates(facts.verdict),
        _metrics(facts),
        _wear(facts.asked),
        _serving(facts),
        "\n".join(["## Data", "", *data]),
        _USE.format(name=facts.name, inputs=", ".join(f'"{name}": [...]' for name in facts.inputs)),
        _slices(facts.measured, facts.primary),  # from here on MLflow's page may cut off; hashes are tags there too
        "\n".join(label_lines(facts.measured.labels, where=f"evidence/{REPORT}")).strip(),
        "\n".join(["## Hashes", "", *hashes]) if hashes else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def with_forced(text: str, forced: Sequence[Entry]) -> str:
    """A card that says first which promotions went without evidence: those stand there for ever."""
    lines = [f"> **Promoted without evidence** on {entry.at[:10]} by {entry.who}: {entry.forced}" for entry in forced]
    return "\n".join([*lines, "", text]) if lines else text


def with_signer(text: str, fingerprint: str) -> str:
    """A card that says at its end who signed the version."""
    what = "`evidence/model.sig` and `evidence/evidence.sig` (model-signing)"
    return f"{text}\n## Signed\n\nWith the key `{fingerprint}`: {what}.\n"


def title_of(text: str) -> str:
    """The title of a card."""
    return next(line.removeprefix("# ") for line in text.splitlines() if line.startswith("# "))


def shortened(text: str) -> str:
    """A card as MLflow's page can show it."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}\n..."


def _wear(asked: int) -> str:
    """How much the test rows have been used: each model that they judge makes them say a little less."""
    if asked == 1:
        return ""
    return (
        f"These test rows have judged {asked} models, this one included. What they say of the next is asked with more "
        f"confidence, {corrected(CONFIDENCE, asked):.5g} instead of {CONFIDENCE:g}; fresh rows would say more."
    )


def _serving(facts: Facts) -> str:
    rows = [[name, f"{value:g}"] for name, value in facts.serving.items()]
    figures = "\n".join(table(["what", "value"], rows)) if rows else ""
    said = [part for part in (figures, f"ONNX: {facts.variant}." if facts.variant else "") if part]
    return "\n\n".join(["## Serving, on the machine that registered it", *said]) if said else ""


def _gates(verdict: Verdict) -> str:
    if not verdict.reasons:
        return "## Gates\n\nThe recipe has none."
    lines = [f"- {prose(str(reason))}" for reason in verdict.reasons]
    return "\n".join([f"## Gates: {'passed' if verdict.passed else 'FAILED'}", "", *lines])


def _metrics(facts: Facts) -> str:
    found = facts.measured
    names = [name for name in facts.better if name in found.model]
    rows = [
        [_label(name, facts), *(interval(each.get(name)) for each in (found.model, *found.baselines.values()))]
        for name in names
    ]
    measured = table(["metric", "this model", *found.baselines], rows)
    lines = ["## Test split", "", *measured, "", "In brackets: 95 % bootstrap intervals."]
    for name, difference in found.differences.items():
        lines.append(f"Paired difference to {name}: {facts.primary} {interval(difference)}.")
    return "\n".join(lines)


def label_lines(labels: Mapping[str, Mapping[str, Any]], *, where: str) -> list[str]:
    """Each label's figures as a table of Markdown; of many labels those of the lowest F1. where: the file with all."""
    if not labels:
        return []
    shown = sorted(labels)
    if len(labels) > _MANY_LABELS:
        shown.sort(key=lambda label: (_value(labels[label], "f1") or 0.0, -labels[label]["support"]))
    rows = [
        [cell(label), f"{labels[label]['support']:,}", *(interval(labels[label].get(name)) for name in _FIGURES)]
        for label in shown[:_MANY_LABELS]
    ]
    left = len(labels) - len(rows)
    more = ["", f"The {len(rows)} labels of the lowest F1; {left:,} more stand in {where}."] if left else []
    return ["", "## By label", "", *table(["label", "support", "precision", "recall", "F1"], rows), *more]


def _slices(found: Measured, primary: str) -> str:
    rows = [
        [cell(column), cell(value), f"{metrics['rows']:,}" if "rows" in metrics else "", interval(metrics[primary])]
        for column, values in sorted(found.slices.items())
        for value, metrics in sorted(values.items())
        if primary in metrics
    ]
    if not rows:
        return ""
    shown, left = rows[:_MANY_SLICES], len(rows) - _MANY_SLICES
    more = ["", f"{left:,} more stand in evidence/{REPORT}."] if left > 0 else []
    return "\n".join(["## Slices", "", *table(["column", "value", "rows", primary], shown), *more])


def _hash_lines(hashes: Mapping[str, str], names: Sequence[str]) -> list[str]:
    return [f"- {name.replace('_', ' ')}: `{hashes[name][:_HASH_CHARACTERS]}`" for name in names if hashes.get(name)]


def _label(metric: str, facts: Facts) -> str:
    mark = " (less is better)" if not facts.better[metric] else ""
    return f"**{metric}**{mark}" if metric == facts.primary else f"{metric}{mark}"


def interval(value: Any, gap: str = " ") -> str:
    """A metric's value and the ends of its interval, as far as they are known."""
    if not isinstance(value, Mapping) or value.get("value") is None:
        return ""
    low, high = value.get("low"), value.get("high")
    return f"{value['value']:.4f}" + (f"{gap}[{low:.4f}, {high:.4f}]" if low is not None and high is not None else "")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of Markdown. Cells that hold somebody's data are spelled by cell() or prose()."""
    return [_row(head), "|" + "---|" * len(head), *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _value(intervals: Intervals, metric: str) -> float | None:
    return intervals.get(metric, {}).get("value")
