"""Secrets in addresses, whatever their name is and however it is written: refused, not said, and not kept."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from core.addresses import holds_secret, recorded, without_secrets
from core.errors import Outage
from core.schema.reading import BadSettings, read_document
from flows.catalog.named import outward
from tests.conftest import TINY_RECIPE

SECRET = "Zq7-0xfeed"
NAMES = [
    "key", "auth", "code", "client_secret", "sig", "token", "api_key", "Authorization", "X-Amz-Credential", "apiKeyV2",
    "PASSWORD",    "pwd", "jwt", "sas", "subscription-key", "authors_key", "auth%5Btoken%5D", "tok%65n", "tok%2565n",
    "%74%6F%6B%65%6E",
]  # fmt: skip
SECRETS = [
    *(f"https://h.example/rows.csv?a=1&{name}={SECRET}" for name in NAMES),
    f"https://h.example/#access_token={SECRET}", f"https://h.example/x;jsessionid={SECRET}?a=1",
    f"https://h.example/?next=/x?token={SECRET}", f"https://h.example/%3Ftoken%3D{SECRET}", f"s3://bucket/x?sig={SECRET}",
    f"https://me:{SECRET}@h.example/", f"https://{SECRET}@h.example/", f"s3://AKIA:{SECRET}@bucket/", f"s3://a%3A{SECRET}@b/",
]  # fmt: skip
HARMLESS = [
    "https://h.example/rows.csv?version=2", "https://h.example/?author=woolf&keyword=sea&country_code=DE",
    "s3://b/a?b*.csv", "https://h.example/?key=", "https://h.example/?token={TOKEN}",
    "https://h.example/?token=$TOKEN", "hub://a/b",
    "rows/a?b=c*.csv",
]  # fmt: skip


@pytest.mark.parametrize("address", SECRETS)
def test_a_secret_is_refused_not_said_and_not_kept(address: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    for line in (f"source: {address!r}", f"# was {address} before"):
        file.write_text(f"title: x\n{line}\n")
        with pytest.raises(BadSettings, match=r"recipe\.yaml:2: .*an address with a password or a token") as refused:
            read_document(file)
        assert SECRET not in str(refused.value)
    assert SECRET not in without_secrets(f"tried {address}: it answered 403 ({address}).")
    assert SECRET not in str(Outage(f"{address} does not answer"))
    assert SECRET not in recorded(address)


@pytest.mark.parametrize("address", HARMLESS)
def test_another_address_is_read_and_said_as_it_is(address: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(f"source: {json.dumps(address)}\n")
    assert read_document(tmp_path / "recipe.yaml").values["source"] == address
    assert without_secrets(f"{address}: no answer.") == f"{address}: no answer."


def test_yaml_does_not_hide_one(tmp_path: Path) -> None:
    """Its escapes, its folded lines, the keys of its mappings: all mistakes of a file at once."""
    file = tmp_path / "recipe.yaml"
    file.write_text(
        f'a: "https://h.example/?tok\\u0065n={SECRET}"\nb:\n  - "https://h.example/x?to\\\n    ken={SECRET}"\n'
        f'? "https://h.example/?\\x6bey={SECRET}"\n: 1\n'
    )
    with pytest.raises(BadSettings) as refused:
        read_document(file)
    assert [mistake.line for mistake in refused.value.mistakes] == [1, 3, 5]


def test_what_is_recorded_moves_with_the_query_and_stays_without_one() -> None:
    for address in (
        "rows.csv",
        "package://a/b.csv",
        "https://h.example/rows.csv",
        "s3://b/a?b*.csv",
        "rows/a?b=c*.csv",
    ):
        assert recorded(address) == address
    one, other = (recorded(f"https://h.example/rows.csv?version={number}&x") for number in (1, 2))
    assert one.startswith("https://h.example/rows.csv?version=~") and one != other
    assert recorded(one) == one and not holds_secret(recorded(f"https://h.example/?key={SECRET}"))


def test_a_line_of_a_million_characters_takes_no_longer_than_it_must() -> None:
    began = time.monotonic()
    for text in (
        "x://" + ":" * 10**6,
        "a" * 10**6 + "://",
        "https://h/?" + "&key" * 250_000,
        "https://h/?a=" + "." * 10**6,
    ):
        without_secrets(text)
    assert time.monotonic() - began < 30  # 5 s on two busy cores; each was a matter of hours where it was quadratic


def test_new_says_where_texts_go(tmp_path: Path) -> None:
    (tmp_path / "index.yaml").write_text(
        "documents: {source: 'https://h.example/docs.jsonl?version=2', reader: jsonl, columns: {id: id, text: text}}\n"
        "embed: {model: org/embedder}\n"
        "answer: {model: 'https://llm.example/v1', name: m, key_env: HEADRACE_ANSWER_KEY}\n"
    )
    assert outward(tmp_path / "index.yaml", "index", tmp_path) == [
        "reads from https://h.example/docs.jsonl?version=2",
        "reads org/embedder from the Hugging Face hub",
        "sends each question and the passages found for it to https://llm.example/v1, with the key that "
        "HEADRACE_ANSWER_KEY holds",
    ]
    sql = TINY_RECIPE.replace("source: rows.csv", "source: {sql: {url_env: MY_DATABASE, query: select 1}}")
    (tmp_path / "recipe.yaml").write_text(sql)
    assert (
        outward(tmp_path / "recipe.yaml", "recipe", tmp_path)[0]
        == "sends its query to the database that MY_DATABASE names"
    )
