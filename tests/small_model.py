"""A real text classifier, small and untrained, and what registers it: for the tests of the registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from core.atomic_files import sha256_json
from core.manifest import read_manifest, write_manifest
from core.schema.model import Architecture, Method, Model
from core.tables.task import Base
from core.weights.base_store import FOLDER, seal
from pipelines.tasks import find_task
from pipelines.tasks.parts import tokens
from registry.promotion.gate import Outcome, Reason, Verdict
from registry.promotion.promotion import Judge
from registry.store import versions
from registry.store.versions import Version
from registry.version.packing import Contents
from registry.version.predict import Answers, load
from registry.version.runs import Candidate
from tests.conftest import film_rows
from tests.places import a_learner, a_place, learnt


def trusting(version: Version, champion: Version | None) -> Verdict:
    """A judge for tests of what follows from a verdict: what its gates said when it was registered."""
    outcome: Outcome = "passed" if version.passed else "failed"
    return Verdict(version.passed, [Reason("accuracy", 0.9, "at least 0.8", outcome, "as it was registered")])


def aliases(name: str, var: Path) -> dict[str, str]:
    """Alias -> version, as they count."""
    return {alias: version.version for version in versions.versions(name, var) for alias in version.aliases}


def ask(name: str, inputs: Sequence[str], var: Path, judge: Judge, which: str = "champion") -> Answers:
    """What a version says to inputs, as `headrace predict` asks it."""
    return load(name, which, var, judge).answer(inputs, local_files=True)


TEXTS = ["a brilliant and moving film", "dull and clumsy from start to end"]


def make_small_model(folder: Path, *, seed: int = 7) -> Path:
    """One layer x 32 for made film reviews, as the stages would save it. Returns folder/model."""
    rows = pd.DataFrame(film_rows(96))
    task = find_task("text_classification")
    settings = {
        "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64,
        "max_position_embeddings": 32,
    }  # fmt: skip
    architecture = Architecture(architecture="bert", settings=settings)
    base = Base(architecture, None, None)
    encoder, model = folder / "encoder", folder / "model"
    encoder.mkdir(parents=True)
    model.mkdir()
    options = task.Preprocess.model_validate({"max_tokens": 16, "vocabulary": 300})
    task.prepare([rows], options, a_place(encoder, base=base, media=folder))
    module = a_learner(task, Model(base=architecture, method="pretrain"), a_place(encoder, base=base, seed=seed)).module
    task.save(learnt(module), a_place(encoder), into=model)
    write_manifest(model, {})
    return model


def make_small_adapters(folder: Path, *, seed: int = 7, method: Method = "lora") -> Path:
    """Adapters on one layer x 32, as `train` would save them. Returns folder/model; its base is folder/base.

    method: `transfer` adds a head alone, and needs no peft.
    """
    import torch
    from transformers import BertConfig, BertModel

    rows, task = pd.DataFrame(film_rows(96)), find_task("text_classification")
    start, encoder = folder / "start", folder / "encoder"
    for place in (start, encoder, folder / FOLDER, folder / "model"):
        place.mkdir(parents=True)
    tokens.learn(rows["text"].tolist(), start, size=300)
    torch.manual_seed(1)
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(**size, vocab_size=300, max_position_embeddings=32)).save_pretrained(start)
    base = Base("./start", start, "5" * 64)
    options = task.Preprocess.model_validate({"max_tokens": 16})
    task.prepare([rows], options, a_place(encoder, base=base, media=folder))
    module = a_learner(task, Model(base=base.reference, method=method), a_place(encoder, base=base, seed=seed)).module
    for name, parameter in module.named_parameters():
        if "lora_B" in name:  # zero before training
            torch.nn.init.normal_(parameter, std=0.1)
    task.save(learnt(module), a_place(encoder), into=folder / "model", base=folder / FOLDER)
    seal(folder / FOLDER, folder / "model", reference="./start", sha256="5" * 64)
    write_manifest(folder / "model", {})
    return folder / "model"


def candidate(model: Path, evidence: Path, *, passed: bool = True, promote: bool = True, rival: str | None = None,
              tags: Mapping[str, str] | None = None) -> Candidate:  # fmt: skip
    """A small model as `register` hands it to the store."""
    outcome: Outcome = "passed" if passed else "failed"
    reason = Reason("accuracy", 0.9 if passed else 0.4, "at least 0.8", outcome, "on the test split")
    example, answers = pd.DataFrame({"text": TEXTS}), pd.DataFrame({"label": ["pos", "neg"], "confidence": [0.5, 0.5]})
    return Candidate(
        name="films",
        recipe="films",
        model_hash=sha256_json(read_manifest(model)["files"]),
        contents=Contents(model, "text_classification", ("text",), None, example, answers),
        verdict=Verdict(passed, [reason]),
        card="# films\n",
        tags=dict(tags or {"data_raw": "r" * 64}),
        evidence={path.name: path for path in sorted(evidence.iterdir())},
        metrics={"accuracy": reason.value or 0.0, "log_loss": 0.3},
        history=[{"step": 1, "loss": 0.7}, {"step": 2, "loss": 0.5}],
        params={"training.epochs": "1"},
        rival=rival,
        promote=promote,
    )
