"""BERT in torch alone: the numbers are transformers', to the last bit; other encoders are left to it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, BertConfig, BertModel

from core.weights.bert_config import is_plain_bert
from core.weights.tensor_files import write_tensors
from pipelines.tasks.parts.architecture import portable
from pipelines.tasks.parts.encoder import load_encoder
from pipelines.tasks.parts.plain_bert import PlainBert

SMALL = {"vocab_size": 99, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96}


def batch(lengths: list[int], vocabulary: int) -> dict[str, torch.Tensor]:
    """Token ids by chance, those behind each length padding."""
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    ids = torch.randint(1, vocabulary, mask.shape, generator=torch.Generator().manual_seed(len(lengths)))
    return {"input_ids": ids * mask, "attention_mask": mask.long()}


def saved(config: Any, folder: Path) -> BertModel:
    """A model with weights by chance, as save_encoder() writes one."""
    from core.atomic_files import write_json

    torch.manual_seed(3)
    model = AutoModel.from_config(config, add_pooling_layer=False).eval()
    write_tensors(model.state_dict(), folder / "model.safetensors")
    write_json(folder / "config.json", portable(config))
    return model


@pytest.mark.parametrize("changed", [{}, {"layer_norm_eps": 1e-6, "max_position_embeddings": 40, "type_vocab_size": 3}])
def test_the_numbers_are_those_of_transformers(tmp_path: Path, changed: dict[str, Any]) -> None:
    theirs = saved(BertConfig(**SMALL, **changed), tmp_path)
    ours, head = load_encoder(tmp_path, None)
    assert isinstance(ours, PlainBert)
    assert head == {}
    for lengths in ([1], [7], [40], [5, 5], [3, 17, 9], list(range(1, 33))):
        given = batch(lengths, 99)
        with torch.inference_mode():
            mine = ours.eval()(**given, output_hidden_states=True)
            expected = theirs(**given, output_hidden_states=True)
        assert torch.equal(mine.last_hidden_state, expected.last_hidden_state), lengths
        for one, other in zip(mine.hidden_states, expected.hidden_states, strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize(
    "other",
    [
        {"model_type": "roberta"}, {"hidden_act": "relu"}, {"is_decoder": True}, {"dtype": "bfloat16"},
        {"position_embedding_type": "relative_key"}, {"num_attention_heads": 5}, {"hidden_size": "48"},
    ],
    ids=str,
)  # fmt: skip
def test_other_encoders_are_left_to_transformers(other: dict[str, Any]) -> None:
    assert is_plain_bert({"model_type": "bert", **SMALL})
    assert not is_plain_bert({"model_type": "bert", **SMALL, **other})
    assert not is_plain_bert({})


@pytest.mark.slow
def test_a_saved_bert_is_read_without_transformers(tmp_path: Path) -> None:
    saved(BertConfig(**SMALL), tmp_path)
    code = (
        "import sys; from pathlib import Path; from pipelines.tasks.parts.encoder import load_encoder;"
        "import pipelines.tasks.parts.pooled_classifier; load_encoder(Path(sys.argv[1]), None); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert not {"transformers", "peft", "sklearn", "mlflow"} & set(done.stdout.split())
