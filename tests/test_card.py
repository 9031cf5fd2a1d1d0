"""The model card: what a reader must know first stands first."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bs4 import BeautifulSoup
from markdown_it import MarkdownIt

from pipelines.register.version_contents import signed_card
from registry.promotion.card import Facts, baseline_line, card, shortened, winners
from registry.promotion.gate import Reason, Verdict
from registry.promotion.measured import Measured
from registry.store import signing


def interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.02, "high": value + 0.02}


def found(*, own: float = 0.83, tfidf: float = 0.77) -> Measured:
    return Measured(
        model={"accuracy": interval(own), "log_loss": interval(0.4)},
        baselines={
            "majority": {"accuracy": interval(0.5), "log_loss": interval(0.69)},
            "tfidf": {"accuracy": interval(tfidf), "log_loss": interval(0.5)},
        },
        differences={"tfidf": interval(own - tfidf)},
        slices={"genre": {"war": {"accuracy": interval(0.8), "rows": 12}, "a|b": {"accuracy": interval(0.7)}}},
        labels={"pos": {"support": 7, **{name: interval(0.6) for name in ("precision", "recall", "f1")}}},
    )


FACTS = Facts(
    name="film-reviews",
    task="text_classification",
    recipe="film-reviews",
    primary="accuracy",
    measured=found(),
    model={"base": "package://minilm", "method": "lora"},
    verdict=Verdict(True, [Reason("accuracy", 0.83, "at least 0.8", "passed", "on the test split")]),
    data={"source": "rows.csv", "licence": "CC0"},
    hashes={"raw_hash": "a" * 64, "validated_hash": "b" * 64, "model_hash": "d" * 64, "code_commit": "e" * 40},
    better={"accuracy": True, "log_loss": False},
)


def test_the_card_holds_what_it_must() -> None:
    text = card(FACTS)
    for part in (
        "# film-reviews", "film-reviews, by the recipe `film-reviews`: a model for text",
        "method `lora`, from package://minilm", "licence: CC0", "raw hash: `aaaaaaaaaaaa`",
        "code commit: `eeeeeeeeeeee`", "| **accuracy** | 0.8300 [0.8100, 0.8500] | 0.5000 [0.4800, 0.5200] |",
        "log_loss (less is better)", "Gates: passed", "at least 0.8", "| genre | war | 12 |",
        "| pos | 7 | 0.6000 [0.5800, 0.6200] |",
        "models:/film-reviews@champion",
    ):  # fmt: skip
        assert part in text
    assert "baseline wins" not in text


def test_the_card_of_what_is_signed_names_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before evidence.json takes the card's hash, which the signature is over."""
    key = signing.PublicKey(b"ours")
    monkeypatch.setattr(signing, "signing_key", lambda: key)
    assert f"With the key `{key.fingerprint}`" in signed_card(FACTS)


def test_a_winning_baseline_is_said_before_anything_else() -> None:
    lines = card(replace(FACTS, measured=found(own=0.96, tfidf=0.982))).splitlines()
    assert lines[0] == "# film-reviews"
    assert lines[2].startswith("> **A baseline wins: tfidf has accuracy 0.9820, this model 0.9600.")


def test_less_is_better_turns_the_comparison() -> None:
    for loss, better in ((0.4, []), (0.6, ["tfidf"]), (0.9, ["tfidf", "majority"])):
        assert winners(replace(found(), model={"log_loss": interval(loss)}), "log_loss", more_is_better=False) == better


def test_the_title_stands_first_and_hashes_last() -> None:
    text = card(replace(FACTS, title="Does a *film* review\npraise the film?"))
    assert text.startswith("# Does a \\*film\\* review praise the film?\n")
    last = text.split("\n## ")[-1]
    assert last.startswith("Hashes\n") and last.count("hash: `") == 3
    assert "hash: `" not in text.removesuffix(last)


def test_a_tie_is_no_win() -> None:
    assert baseline_line(found(own=0.77), "accuracy", more_is_better=True) is None


def test_a_failed_gate_stands_in_the_card() -> None:
    verdict = Verdict(False, [Reason("accuracy", 0.7, "at least 0.8", "failed", "on the test split")])
    assert "## Gates: FAILED" in card(replace(FACTS, verdict=verdict))
    assert "The recipe has none." in card(replace(FACTS, verdict=Verdict(True, [])))


def test_what_is_known_of_serving_stands_in_the_card() -> None:
    assert "Serving" not in card(FACTS)
    assert "\n\nONNX: 2 times as fast.\n" in card(replace(FACTS, variant="2 times as fast"))
    assert "| latency_p50_ms | 3.5 |" in card(replace(FACTS, serving={"latency_p50_ms": 3.5}))


def test_an_architecture_is_named_as_not_pretrained() -> None:
    model = {"base": {"architecture": "resnet", "settings": {}}, "method": "pretrain"}
    assert "from a new resnet (no pretrained weights)" in card(replace(FACTS, model=model))


def test_a_cell_cannot_break_the_table() -> None:
    assert "| genre | `a\\|b` |" in card(FACTS)


def test_a_label_in_a_reason_is_no_markdown() -> None:
    gate = "f1[label=<b>|*x*](y)\n]"
    verdict = Verdict(False, [Reason(gate, 0.7, "at least 0.8", "failed", "on the test split")])
    [line] = [line for line in card(replace(FACTS, verdict=verdict)).splitlines() if line.startswith("- FAILED")]
    html = MarkdownIt("commonmark").enable("table").render(line)
    assert "<b>" not in html and "<em>" not in html and "<a" not in html
    assert (
        'FAILED  "f1[label=<b>|*x*](y)\\n]": 0.7000, bound at least 0.8'
        in BeautifulSoup(html, "html.parser").get_text()
    )


def test_a_card_of_many_labels_says_where_the_others_are_and_is_still_usable_on_mlflows_page() -> None:
    labels = {
        f"l{at:03}": {"support": 9, "f1": interval(at / 100), "recall": interval(0.5), "precision": interval(0.5)}
        for at in range(100)
    }
    text = card(replace(FACTS, measured=Measured(labels=labels)))
    assert "| l029 |" in text and "| l030 |" not in text
    assert "The 30 labels of the lowest F1; 70 more stand in evidence/report.json." in text
    assert "mlflow.pyfunc.load_model" in shortened(text)


def test_a_card_is_made_without_baselines_or_slices() -> None:
    bare = Measured({"accuracy": interval(0.9)})
    assert "| **accuracy** | 0.9000 [0.8800, 0.9200] |" in card(replace(FACTS, measured=bare))
