"""embed: vectors against transformers, unbatched; what is taken over; bytes that do not depend on history."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import BadRequest
from pipelines.bases import resolve
from pipelines.chunk import chunk
from pipelines.embed import embed
from pipelines.search.vectors import embedder, forward, vector_table
from pipelines.search.vectors.vector_table import read
from tests import small_index
from tests.small_index import MODEL, STORY

FOLDER = resolve(MODEL, Path()).folder
DOCUMENTS = {f"{n}.txt": f"Year {n}\n\n" + STORY.replace("night", f"night of {n}") * 3 for n in range(12)}
TEXTS = ["", "rain", "Who won?", STORY, STORY * 2, "洪水来了。", "x" * 300, STORY * 40, *DOCUMENTS.values()]


@pytest.fixture(scope="module")
def loaded() -> Any:
    return embedder.load(FOLDER, threads=2)


def vectors(job: Any) -> Any:
    table = read(job.folder / "vectors" / "vectors.parquet")
    return dict(zip(table.keys.astype(str), table.matrix, strict=True))


@pytest.mark.slow
def test_against_transformers_one_text_at_a_time(loaded: Any) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(FOLDER).eval(), AutoTokenizer.from_pretrained(FOLDER)
    ours = loaded.encode(TEXTS)
    for text, vector in zip(TEXTS, ours, strict=True):
        with torch.inference_mode():
            hidden = model(**tokenizer(text, return_tensors="pt", truncation=True, max_length=256)).last_hidden_state[0]
        expected = torch.nn.functional.normalize(hidden.mean(0), dim=0).numpy()
        np.testing.assert_allclose(vector, expected, atol=2e-6)


@pytest.mark.slow
@settings(max_examples=8, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_vector_has_the_same_bits_in_any_company(loaded: Any, data: Any) -> None:
    known = _alone()
    rows = data.draw(st.lists(st.sampled_from(range(len(TEXTS))), min_size=1, max_size=6))
    company = loaded.encode([TEXTS[row] for row in rows])
    assert (company == known[rows]).all()


@cache
def _alone() -> Any:
    """Each text by itself, and with one thread."""
    single = embedder.load(FOLDER, threads=1)
    return np.vstack([single.encode([text]) for text in TEXTS])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["document", "passage"])
def test_the_prompts_that_a_model_wants(tmp_path: Any, name: Any) -> None:
    from sentence_transformers import SentenceTransformer

    folder = tmp_path / "model"
    shutil.copytree(FOLDER, folder)
    said = {"prompts": {"query": "query: ", name: "title: none | text: "}}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(said))
    ours, theirs = embedder.load(folder, threads=1), SentenceTransformer(str(folder), device="cpu")
    np.testing.assert_allclose(ours.questions(TEXTS[:2]), theirs.encode_query(TEXTS[:2]), atol=2e-6)
    np.testing.assert_allclose(ours.encode(TEXTS[:2]), theirs.encode(TEXTS[:2], prompt_name=name), atol=2e-6)
    (folder / "config_sentence_transformers.json").write_text('{"prompts": {"query": 3}}')
    with pytest.raises(BadRequest, match="Allowed: a text for each name"):
        embedder.load(folder)


def test_a_model_that_is_not_bert_goes_through_transformers(tmp_path: Any) -> None:
    import torch
    from transformers import AutoTokenizer, DistilBertConfig, DistilBertModel

    config = DistilBertConfig(vocab_size=30522, dim=24, hidden_dim=48, n_layers=2, n_heads=2)
    model, tokenizer = DistilBertModel(config).eval(), AutoTokenizer.from_pretrained(FOLDER)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    texts = ["rain fell", "no rain fell on the hills"]
    whole = embedder.load(tmp_path, threads=1)
    found = whole.encode(texts)
    for text, vector in zip(texts, found, strict=True):
        with torch.inference_mode():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        np.testing.assert_allclose(vector, torch.nn.functional.normalize(hidden.mean(0), dim=0), atol=2e-6)

    assert isinstance(whole.forward, forward.Torch)
    large = replace(whole, forward=replace(whole.forward, pass_tokens=128))  # as on a GPU
    company = large.encode([*texts, "snow", *texts])
    np.testing.assert_allclose(company[:2], found, atol=2e-6)
    assert (company[3:] == large.encode(texts)).all()


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("tokenizer.json", None, "no tokenizer.json"),
        ("1_Pooling/config.json", '{"pooling_mode_max_tokens": true}', "pooling .* is not known. Allowed: mean, cls"),
        (
            "modules.json",
            '[{"type": "sentence_transformers.models.Dense", "path": "2"}]',
            "module 'Dense' is not known",
        ),
    ],
)
def test_a_folder_that_is_no_embedder(tmp_path: Any, file: Any, text: Any, message: Any) -> None:
    folder = tmp_path / "model"
    shutil.copytree(FOLDER, folder)
    (folder / file).unlink()
    if text:
        (folder / file).write_text(text)
    with pytest.raises(BadRequest, match=message):
        embedder.load(folder)


def counts(capsys: Any) -> Any:
    said = re.findall(r"embed: ([\d,]+) new, ([\d,]+) reused, ([\d,]+) dropped", capsys.readouterr().err)
    return tuple(int(number.replace(",", "")) for number in said[-1])


@pytest.mark.slow
def test_only_what_changed_is_embedded_and_bytes_do_not_show_it(tmp_path: Any, capsys: Any) -> None:
    job = small_index.make(tmp_path / "grown", DOCUMENTS)
    chunk.run(job)
    embed.run(job)
    total, reused, _ = counts(capsys)
    assert (total, reused) == (len({row["key"] for row in small_index.rows(job)}), 0)

    edited = {**DOCUMENTS, "3.txt": DOCUMENTS["3.txt"].replace("The river rose", "The stream sank", 1)}
    del edited["7.txt"]
    small_index.screened(job, edited)
    chunk.run(job)
    embed.run(job)
    new, reused, dropped = counts(capsys)
    assert 1 <= new <= 2  # the passages of 3.txt that hold the edit
    assert dropped == total - reused
    assert set(vectors(job)) == {row["key"] for row in small_index.rows(job)}

    fresh = small_index.make(tmp_path / "fresh", edited)
    chunk.run(fresh)
    embed.run(fresh)
    assert counts(capsys)[1] == 0
    first, second = ((one.folder / "vectors" / "vectors.parquet").read_bytes() for one in (job, fresh))
    assert first == second


@pytest.mark.slow
def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Any, capsys: Any, monkeypatch: Any) -> None:
    job = small_index.make(tmp_path, DOCUMENTS)
    chunk.run(job)
    monkeypatch.setattr(vector_table, "_TEXTS_A_PART", 8)
    monkeypatch.setattr(forward.OpenVino, "texts", 4)
    whole = embedder.Embedder.encode_batches

    def until_the_fourth(self: Any, texts: Any) -> Any:
        for number, batch in enumerate(whole(self, texts)):
            if number == 3:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(embedder.Embedder, "encode_batches", until_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        embed.run(job)
    assert not (job.folder / "vectors").exists()
    monkeypatch.setattr(embedder.Embedder, "encode_batches", whole)
    capsys.readouterr()
    embed.run(job)
    assert counts(capsys)[1] == 8
    assert not list((job.workspace.var / "vectors").rglob("*.parquet"))


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["other arithmetic", "damaged file"])
def test_vectors_that_cannot_be_trusted_are_not_taken_over(tmp_path: Any, capsys: Any, harm: Any) -> None:
    job = small_index.make(tmp_path, {"a.txt": STORY})
    chunk.run(job)
    embed.run(job)
    if harm == "other arithmetic":
        small_index.settings(job, embed={"model": MODEL, "precision": "bf16"})
    else:
        path = job.folder / "vectors" / "vectors.parquet"
        path.write_bytes(path.read_bytes()[:-100])
    capsys.readouterr()
    embed.run(job)
    assert counts(capsys)[1] == 0


def test_weights_other_than_the_lock_s(tmp_path: Any) -> None:
    job = small_index.make(tmp_path, {"a.txt": STORY})
    chunk.run(job)
    small_index.settings(job, bases={MODEL: {"sha256": "0" * 64, "version": None}})
    with pytest.raises(BadRequest, match="the lock names 000000000000"):
        embed.run(job)
