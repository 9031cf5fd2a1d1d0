"""The four methods on a small pretrained base, the ways to get a base wrong, and what loading costs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, GPT2Config, GPT2Model

from core.errors import BadRequest
from core.manifest import write_manifest
from core.schema.model import Architecture, Lora, Method, Model
from core.tables.task import Base, Task
from core.weights.base_store import FOLDER, seal
from core.weights.pooling import mean_pool
from pipelines.bases import identify, locked
from pipelines.tasks import find_task
from pipelines.tasks.parts import tokens
from pipelines.tasks.parts.encoder import pad_tokens
from pipelines.tasks.parts.pooled_classifier import MeanPooledClassifier
from pipelines.tasks.text.text_classification import TextPredictor
from tests.conftest import ROOT, film_rows
from tests.places import a_learner, a_place, learnt

SMALL = {
    "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 64,
    "max_position_embeddings": 40, "vocab_size": 300,
}  # fmt: skip
ROWS = pd.DataFrame(film_rows(40))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """A small BERT as save_pretrained() writes it, with a tokenizer."""
    folder = tmp_path_factory.mktemp("base")
    tokens.learn(ROWS["text"].tolist(), folder, size=300)
    torch.manual_seed(1)
    BertModel(BertConfig(**SMALL)).save_pretrained(folder)
    return Base("./base", folder, "0" * 64)


@pytest.fixture
def task() -> Task:
    return find_task("text_classification")


def _encoder(task: Task, base: Base, folder: Path, **options: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    given = task.Preprocess.model_validate({"max_tokens": 32, "vocabulary": 300, **options})
    task.prepare([ROWS], given, a_place(folder, base=base, media=folder))
    return folder


def _built(task: Task, base: Base, encoder: Path, method: Method, **settings: Any) -> MeanPooledClassifier:
    module = a_learner(task, Model(base=base.reference, method=method, **settings), a_place(encoder, base=base)).module
    assert isinstance(module, MeanPooledClassifier)
    return module


def _saved(task: Task, module: nn.Module, encoder: Path, folder: Path) -> Path:
    folder.mkdir()
    task.save(learnt(module), a_place(encoder), into=folder)
    return folder


def _saved_apart(task: Task, module: nn.Module, encoder: Path, folder: Path) -> Path:
    """As `train` saves a model: what was not trained beside it, in a folder of its own."""
    for name in (FOLDER, "model"):
        (folder / name).mkdir(parents=True)
    task.save(learnt(module), a_place(encoder), into=folder / "model", base=folder / FOLDER)
    seal(folder / FOLDER, folder / "model", reference="./base", sha256="0" * 64)
    write_manifest(folder / "model", {})
    return folder / "model"


def _adapted(task: Task, base: Base, encoder: Path, **lora: Any) -> MeanPooledClassifier:
    """Adapters that change something: they are zero before training."""
    module = _built(task, base, encoder, "lora", lora=Lora(rank=4, alpha=8.0, **lora))
    torch.manual_seed(3)
    for name, parameter in module.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    return module.eval()


def _said(task: Task, model: Path) -> np.ndarray[Any, Any]:
    return task.load(model).predict(ROWS)["probabilities"]


def _loaded(task: Task, model: Path) -> dict[str, torch.Tensor]:
    predictor = task.load(model)
    assert isinstance(predictor, TextPredictor)
    weights: dict[str, torch.Tensor] = predictor.module.encoder.state_dict()
    return weights


def test_importing_the_task_loads_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "sklearn", "peft", "pandas", "tokenizers")
    code = f"import sys, pipelines.tasks.text.text_classification; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_serving_adapters_needs_no_peft(task: Task, base: Base, tmp_path: Path) -> None:
    encoder = _encoder(task, base, tmp_path / "encoder")
    model = _saved_apart(task, _adapted(task, base, encoder), encoder, tmp_path / "adapters")
    code = (
        "import sys, pandas; from pathlib import Path; from pipelines.tasks import find_task;"
        f"predictor = find_task('text_classification').load(Path({str(model)!r}));"
        "predictor.predict(pandas.DataFrame({'text': ['a film']}));"
        "print([m for m in ('peft', 'sklearn', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_mean_pooling_leaves_padding_out() -> None:
    hidden = torch.randn(2, 3, 4)
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    expected = torch.stack([(hidden[0, 0] + hidden[0, 1]) / 2, (hidden[1, 0] + hidden[1, 1] + hidden[1, 2]) / 3])
    torch.testing.assert_close(mean_pool(hidden, mask), expected)


def test_tokens_are_padded_to_the_longest_of_the_batch() -> None:
    batch = pad_tokens([[5, 6], [7]], pad=9)
    assert batch["input_ids"].tolist() == [[5, 6], [7, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1], [1, 0]]


@pytest.mark.parametrize("method", ["full", "lora", "transfer"])
def test_what_a_method_trains(task: Task, base: Base, tmp_path: Path, method: Method) -> None:
    module = _built(task, base, _encoder(task, base, tmp_path), method)
    trained = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    assert {name for name in trained if name.startswith("head.")}, "the fresh head always learns"
    inner = {name for name in trained if name.startswith("encoder.")}
    if method == "full":
        assert len(inner) == len(list(module.encoder.parameters()))
    elif method == "lora":
        assert inner
        assert all("lora_" in name for name in inner)
    else:
        assert not inner


def test_adapters_are_merged_as_peft_does_it(task: Task, base: Base, tmp_path: Path) -> None:
    """The same bits as peft's own merge into the same base, whether the base is kept apart or not."""
    from peft import PeftModel

    encoder = _encoder(task, base, tmp_path / "encoder")
    module = _adapted(task, base, encoder)
    model = _saved_apart(task, module, encoder, tmp_path / "apart")
    assert not {"model.safetensors", "tokenizer.json"} & {path.name for path in model.iterdir()}
    batch = pad_tokens(tokens.token_ids(tokens.read(encoder, max_tokens=32), ROWS["text"].tolist()), 0)
    with torch.inference_mode():
        unmerged = module(**batch).logits.softmax(-1).numpy()
        with module.encoder.disable_adapter():
            without = module(**batch).logits.softmax(-1).numpy()
    said = _said(task, model)
    np.testing.assert_allclose(said, unmerged, atol=1e-5)
    assert abs(said - without).max() > 1e-3
    np.testing.assert_array_equal(said, _said(task, _saved(task, module, encoder, tmp_path / "whole")))

    assert base.folder is not None
    alone = PeftModel.from_pretrained(
        AutoModel.from_pretrained(base.folder, add_pooling_layer=False), model / "adapter"
    )
    theirs, ours = alone.merge_and_unload().state_dict(), _loaded(task, model)
    assert theirs.keys() == ours.keys()
    assert [name for name in theirs if not torch.equal(theirs[name], ours[name])] == []
    assert json.loads((model / "adapter/adapter_config.json").read_text())["base_model_name_or_path"] == "./base"


def test_a_frozen_base_is_kept_apart(task: Task, base: Base, tmp_path: Path) -> None:
    encoder = _encoder(task, base, tmp_path / "encoder")
    module = _built(task, base, encoder, "transfer")
    model = _saved_apart(task, module, encoder, tmp_path / "apart")
    assert (model / "head.safetensors").is_file()
    assert not (model / "model.safetensors").exists()
    np.testing.assert_array_equal(_said(task, model), _said(task, _saved(task, module, encoder, tmp_path / "whole")))


def test_all_methods_of_one_base_keep_the_same(task: Task, base: Base, tmp_path: Path) -> None:
    encoder = _encoder(task, base, tmp_path / "encoder")
    modules = {
        "adapters": _adapted(task, base, encoder), "dropout": _built(task, base, encoder, "lora", dropout=0.2),
        "frozen": _built(task, base, encoder, "transfer"),
    }  # fmt: skip
    models = [_saved_apart(task, module, encoder, tmp_path / name) for name, module in modules.items()]
    assert len({(model.parent / FOLDER / "manifest.json").read_bytes() for model in models}) == 1


def test_what_cannot_be_kept_apart_is_kept_whole(task: Task, tmp_path: Path) -> None:
    """All of `full`; and adapters on layers that are transposed, as GPT-2's."""
    folder = tmp_path / "gpt2"
    folder.mkdir()
    tokens.learn(ROWS["text"].tolist(), folder, size=300)
    GPT2Model(GPT2Config(n_embd=32, n_layer=1, n_head=2, n_positions=40, vocab_size=300)).save_pretrained(folder)
    gpt2 = Base("./gpt2", folder, "0" * 64)
    encoder = _encoder(task, gpt2, tmp_path / "encoder")
    modules = {"full": _built(task, gpt2, encoder, "full"), "lora": _adapted(task, gpt2, encoder, targets=["c_proj"])}
    for name, module in modules.items():
        model = _saved_apart(task, module.eval(), encoder, tmp_path / name)
        assert [path.name for path in (model.parent / FOLDER).iterdir()] == ["manifest.json"]
        assert (model / "model.safetensors").is_file()
        batch = pad_tokens(tokens.token_ids(tokens.read(encoder, max_tokens=32), ROWS["text"].tolist()), 0)
        with torch.inference_mode():
            expected = module(**batch).logits.softmax(-1).numpy()
        np.testing.assert_allclose(_said(task, model), expected, atol=1e-5)


def test_adapters_are_a_base_too(task: Task, base: Base, tmp_path: Path) -> None:
    """Whoever trains from them or embeds with them gets a folder that transformers reads."""
    encoder = _encoder(task, base, tmp_path / "encoder")
    model = _saved_apart(task, _adapted(task, base, encoder), encoder, tmp_path / "first")
    identity = identify(str(model), tmp_path)
    found = locked(str(model), identity, tmp_path)
    assert found.folder.is_relative_to(tmp_path / "var" / "merged")
    assert found.sha256 == identity.sha256
    ours = _loaded(task, model)
    theirs = AutoModel.from_pretrained(found.folder, add_pooling_layer=False).state_dict()
    assert [name for name in ours if not torch.equal(theirs[name], ours[name])] == []

    written = (found.folder / "model.safetensors").stat().st_mtime_ns
    assert locked(str(model), identity, tmp_path) == found
    assert (found.folder / "model.safetensors").stat().st_mtime_ns == written, "it is made once"
    again = Base(str(model), found.folder, found.sha256)
    second = _encoder(task, again, tmp_path / "second")
    assert (second / "tokenizer.json").read_bytes() == (encoder / "tokenizer.json").read_bytes()
    third = _saved_apart(task, _adapted(task, again, second), second, tmp_path / "third")
    np.testing.assert_array_equal(
        _said(task, third), _said(task, _saved(task, _adapted(task, again, second), second, tmp_path / "whole"))
    )


def test_transformers_reads_the_model_folder(task: Task, base: Base, tmp_path: Path) -> None:
    encoder = _encoder(task, base, tmp_path / "encoder")
    module = _built(task, base, encoder, "full")
    model = _saved(task, module, encoder, tmp_path / "model")
    text = ROWS["text"][0]
    theirs = AutoTokenizer.from_pretrained(model)(text)["input_ids"]
    assert theirs == tokens.token_ids(tokens.read(encoder, max_tokens=32), [text])[0]
    batch = pad_tokens([theirs], 0)
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(model).eval()(**batch).last_hidden_state
        torch.testing.assert_close(hidden, module.eval().encoder(**batch).last_hidden_state)


def test_a_trained_model_is_a_base(task: Task, base: Base, tmp_path: Path) -> None:
    encoder = _encoder(task, base, tmp_path / "encoder")
    model = _saved(task, _built(task, base, encoder, "full"), encoder, tmp_path / "model")
    again = Base("models:/films@champion", model, "1" * 64)
    module = _built(task, again, _encoder(task, again, tmp_path / "second"), "transfer")
    stored = load_file(model / "model.safetensors")
    torch.testing.assert_close(
        module.encoder.embeddings.word_embeddings.weight, stored["embeddings.word_embeddings.weight"]
    )


def test_an_lstm_is_an_encoder_like_any_other(task: Task, tmp_path: Path) -> None:
    """Built from its settings, and gone on from: trained whole, or frozen below a new head."""
    fresh = Base(Architecture(architecture="lstm", settings={"hidden_size": 16, "num_layers": 2}), None, None)
    encoder = _encoder(task, fresh, tmp_path / "encoder")
    model = _saved(task, _built(task, fresh, encoder, "pretrain"), encoder, tmp_path / "model")
    stored = Base("./model", model, "1" * 64)
    for method in ("full", "transfer"):
        own = _encoder(task, stored, tmp_path / method)
        module = _built(task, stored, own, method)
        torch.testing.assert_close(module.encoder.state_dict(), _loaded(task, model))
        again = _saved(task, module, own, tmp_path / f"{method}-model")
        assert _said(task, again).shape == (len(ROWS), 2)


def test_frozen_features_are_computed_once(task: Task, base: Base, tmp_path: Path) -> None:
    encoder, cache = _encoder(task, base, tmp_path / "encoder"), tmp_path / "cache"
    model = Model(base=base.reference, method="transfer")
    learner = a_learner(task, model, a_place(encoder, base=base, cache=cache))
    module, collate = learner.module, learner.collate
    table = task.encode(ROWS, a_place(encoder, media=tmp_path))
    first = learner.features(table)
    (file,) = cache.iterdir()
    written = file.stat().st_mtime_ns
    again = learner.features(table)
    assert file.stat().st_mtime_ns == written
    assert first.equals(again)
    learner.features(table.slice(1))
    assert len(list(cache.iterdir())) == 2, "other rows, other features"

    module.eval()
    for from_tokens, from_features in zip(table.to_pylist()[:4], first.to_pylist()[:4], strict=True):
        from_features["features"] = np.array(from_features["features"], dtype=np.float32)
        with torch.inference_mode():
            expected, found = (module(**collate([row])).logits for row in (from_tokens, from_features))
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_the_bases_dropout_is_off_unless_asked_for(task: Task, base: Base, tmp_path: Path) -> None:
    encoder = _encoder(task, base, tmp_path)
    assert _built(task, base, encoder, "lora").encoder.config.hidden_dropout_prob == 0.0
    assert _built(task, base, encoder, "full", dropout=0.2).encoder.config.attention_probs_dropout_prob == 0.2
    fresh = Base(Architecture(architecture="bert", settings=SMALL), None, None)
    assert _built(task, fresh, encoder, "pretrain").encoder.config.hidden_dropout_prob == 0.1


def test_a_learnt_tokenizer_is_equal_in_every_process(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pipelines.tasks.parts import tokens;"
        "from tests.conftest import film_rows;"
        "texts = [row['text'] for row in film_rows(90)][:: int(sys.argv[2])];"
        "folder = Path(sys.argv[1]); folder.mkdir();"
        "tokens.learn(texts, folder, size=400)"
    )
    for name, order in (("first", "1"), ("second", "1"), ("backwards", "-1")):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name), order], cwd=ROOT, check=True)
    files = [(tmp_path / name / "tokenizer.json").read_bytes() for name in ("first", "second", "backwards")]
    assert files[0] == files[1] == files[2]


def test_long_texts_are_cut(task: Task, base: Base, tmp_path: Path) -> None:
    encoder = _encoder(task, base, tmp_path, max_tokens=8)
    table = task.encode(ROWS, a_place(encoder, media=tmp_path))
    assert max(table["length"].to_pylist()) == 8


@pytest.mark.parametrize(
    ("architecture", "settings", "message"),
    [
        ("bertt", {}, r"architecture: 'bertt'.*Did you mean.*bert"),
        ("bert", {"hiden_size": 8}, r"settings.hiden_size.*Did you mean hidden_size"),
        ("bert", {"hidden_size": "wide"}, r"settings.*hidden_size.*wide"),
        ("bert", {"hidden_size": 30, "num_attention_heads": 4}, r"not a multiple"),
        ("bert", {"vocab_size": 10}, r"vocab_size is 10.*tokenizer"),
        ("resnet", {}, r"resnet does not read text"),
        ("t5", {}, r"t5 does not read text"),
    ],
)
def test_impossible_architectures_are_refused(
    task: Task, tmp_path: Path, architecture: str, settings: dict[str, Any], message: str
) -> None:
    base = Base(Architecture(architecture=architecture, settings=settings), None, None)
    with pytest.raises(BadRequest, match=message):
        _built(task, base, _encoder(task, base, tmp_path), "pretrain")


def test_more_tokens_than_positions_are_refused(task: Task, base: Base, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"preprocess.max_tokens: 64 is more than the 40 positions"):
        _encoder(task, base, tmp_path, max_tokens=64)


def test_adapters_that_fit_nowhere_are_refused(task: Task, base: Base, tmp_path: Path) -> None:
    encoder = _encoder(task, base, tmp_path)
    with pytest.raises(BadRequest, match=r"model.lora.targets.*q_projection.*dense, key, query, value"):
        _built(task, base, encoder, "lora", lora=Lora(targets=["q_projection"]))


def test_a_folder_that_is_no_model_is_refused(task: Task, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    base = Base("./empty", tmp_path / "empty", "0" * 64)
    with pytest.raises(BadRequest, match=r"'./empty'"):
        _encoder(task, base, tmp_path / "encoder")


def test_weights_that_do_not_fit_are_refused(task: Task, base: Base, tmp_path: Path) -> None:
    assert base.folder is not None
    encoder = _encoder(task, base, tmp_path / "encoder")
    for name, spoil in (("short", _without_a_layer), ("other", _with_another_width), ("torn", _torn)):
        folder = tmp_path / name
        shutil.copytree(base.folder, folder)
        spoil(folder / "model.safetensors")
        with pytest.raises(BadRequest, match=rf"'./{name}': the weights in .*{name} cannot be used"):
            _built(task, Base(f"./{name}", folder, "0" * 64), encoder, "full")


def _without_a_layer(weights: Path) -> None:
    kept = {name: value for name, value in load_file(weights).items() if "layer.3." not in name}
    save_file(kept, weights, {"format": "pt"})


def _with_another_width(weights: Path) -> None:
    stored = load_file(weights)
    stored["embeddings.word_embeddings.weight"] = torch.zeros(300, 16)
    save_file(stored, weights, {"format": "pt"})


def _torn(weights: Path) -> None:
    weights.write_bytes(weights.read_bytes()[:5000])
