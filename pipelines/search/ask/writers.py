"""Who writes an answer's sentences: a causal language model on this machine, or an OpenAI-compatible endpoint.

What they write is unchecked: search/citations.py reads it.
"""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from core.errors import BadRequest, Outage
from core.schema.search import Answer as Settings
from core.weights.packages import PREFIX, package_path
from core.weights.safety import check_weights
from core.workspace import expanded
from pipelines.bases import located
from pipelines.tasks.parts.architecture import register_own
from pipelines.tasks.parts.tokens import without

HTTP = ("http://", "https://")
_GGUF = "gguf_file"  # what transformers calls a file that holds all of a model
_TRIES = 2  # a request, and once more when the endpoint does not answer
_SHOWN = 300  # characters of what an endpoint says about a fault
_BOUND = 20  # characters a token: an endpoint that never ends is left there

Messages = Sequence[Mapping[str, str]]  # role, content


class Writer(Protocol):
    def fits(self, messages: Messages) -> bool:
        """Whether the model can read all of it and still write its answer."""

    def write(self, messages: Messages) -> Iterator[str]:
        """The answer in pieces, the likeliest token each time. Raises Outage or BadRequest, also on the way."""


def writer(settings: Settings, root: Path) -> Writer:
    """The one that the settings name. Raises BadRequest when there is none, or no variable with its key."""
    assert settings.model is not None
    if settings.model.startswith(HTTP):
        return Endpoint(settings)
    folder, named = _weights(settings.model, root)  # looked up anew: a champion may be another by now
    return _local(settings.model, folder, named.get(_GGUF), settings.max_tokens)


def require_writer(settings: Settings, root: Path) -> None:
    """Raise BadRequest for a writer that is not here, or needs a variable or a module that is not; loads nothing."""
    if settings.model is None:
        return
    if settings.model.startswith(HTTP):
        Endpoint(settings)
        needed = "openai"
    else:
        needed = "gguf" if _weights(settings.model, root)[1] else "transformers"
    if find_spec(needed) is None:
        raise BadRequest(f"answer.model {settings.model} needs the package {needed}: `pip install 'headrace[answer]'`.")


@dataclass(frozen=True)
class Local:
    """Greedy decoding, a token at a time: who reads may stop at any of them, and a fault is raised where it is read."""

    model: Any
    tokenizer: Any
    max_tokens: int

    def fits(self, messages: Messages) -> bool:
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return limit is None or len(self.ids(messages)) + self.max_tokens <= limit

    def write(self, messages: Messages) -> Iterator[str]:
        import torch

        asked = self.ids(messages)
        reading, cache, written, shown = asked, None, list[int](), ""
        last = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(self.model.forward).parameters else {}
        for _ in range(self.max_tokens):
            with torch.inference_mode():
                out = self.model(input_ids=torch.tensor([reading]), past_key_values=cache, use_cache=True, **last)
            token = int(out.logits[0, -1].argmax())
            if token in self._ends:
                return
            written.append(token)
            text = self.tokenizer.decode(written, skip_special_tokens=True)
            if not text.endswith("\ufffd"):  # half of a character that is several tokens
                yield text[len(shown) :]
                shown = text
            cache = getattr(out, "past_key_values", None)
            reading = [token] if cache is not None else [*asked, *written]  # a recurrent network keeps none

    @property
    def _ends(self) -> set[int]:
        named = (self.model.generation_config.eos_token_id, self.tokenizer.eos_token_id)
        return {token for each in named for token in (each if isinstance(each, list) else [each]) if token is not None}

    def ids(self, messages: Messages) -> list[int]:
        """The prompt's tokens."""
        special = [token for token in self.tokenizer.all_special_tokens if token]
        plain = [{**each, "content": without(special, each["content"])} for each in messages]
        if self.tokenizer.chat_template:
            text = self.tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True)
            return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        return list(self.tokenizer("\n\n".join(each["content"] for each in plain) + "\n\nAnswer:")["input_ids"])


@lru_cache(maxsize=1)
def _local(reference: str, folder: Path, gguf: str | None, max_tokens: int) -> Local:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    named = {} if gguf is None else {_GGUF: gguf}
    register_own()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **named)
        model = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32, **named
        )
    except (ImportError, ValueError, KeyError, OSError) as error:
        raise BadRequest(
            f"answer.model {reference}: {folder} holds no causal language model that can be loaded "
            f"({str(error).strip().splitlines()[0][:_SHOWN]}). A GGUF file needs `pip install 'headrace[answer]'`."
        ) from None
    return Local(model.eval(), tokenizer, max_tokens)


def _weights(reference: str, root: Path) -> tuple[Path, dict[str, str]]:
    """The folder, and the GGUF file in it where there is one; else safetensors, checked as those of any base."""
    path = package_path(reference) if reference.startswith(PREFIX) else root / expanded(reference)
    files = [path] if path.suffix == ".gguf" and path.is_file() else sorted(path.glob("*.gguf"))
    if len(files) > 1:
        raise BadRequest(
            f"answer.model {reference}: {path} holds {len(files)} GGUF files. Name one: {reference}/{files[0].name}"
        )
    if files:
        return files[0].parent, {_GGUF: files[0].name}
    folder = located(reference, None, root)
    check_weights(folder, f"answer.model {reference}")
    return folder, {}


class Endpoint:
    """A server that speaks OpenAI's chat completions: vLLM, llama.cpp, Ollama, a company's gateway, OpenAI."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.place = f"the endpoint {settings.model}"
        self.key = os.environ.get(settings.key_env, "") if settings.key_env else ""
        if settings.key_env and not self.key:
            raise BadRequest(
                f"answer.key_env: the variable {settings.key_env} is not set. It must hold the key of {settings.model}."
            )

    def fits(self, messages: Messages) -> bool:
        """The endpoint knows, and says so."""
        return True

    def write(self, messages: Messages) -> Iterator[str]:
        try:
            import openai
        except ImportError:
            raise BadRequest(f"{self.place} needs the package openai: `pip install 'headrace[answer]'`.") from None
        try:
            yield from self._stream(messages)
        except openai.APITimeoutError:
            raise self._outage(f"did not answer within {self.settings.timeout_s:g} s") from None
        except openai.APIConnectionError as error:
            raise self._outage(f"cannot be reached ({self._clean(error.__cause__ or error)})") from None
        except openai.APIStatusError as error:
            away = error.status_code in (408, 409, 429) or error.status_code >= 500
            said = f"answered {error.status_code}: {self._clean(error.message)}"
            raise (self._outage(said) if away else BadRequest(f"{self.place} {said}")) from None
        except (openai.APIError, ValueError) as error:
            raise self._outage(f"sent what is no chat completion ({self._clean(error)})") from None

    def _stream(self, messages: Messages) -> Iterator[str]:
        from openai import OpenAI

        settings, finished, length = self.settings, None, 0
        until = time.monotonic() + settings.timeout_s
        with OpenAI(
            base_url=settings.model, api_key=self.key or "none", organization="", project="",
            timeout=settings.timeout_s, max_retries=_TRIES - 1,
        ) as client, client.chat.completions.create(
            model=settings.name, messages=list(messages), stream=True, temperature=0, max_tokens=settings.max_tokens,
        ) as stream:  # fmt: skip
            for chunk in stream:
                for choice in chunk.choices[:1]:
                    finished = choice.finish_reason or finished
                    piece = choice.delta.content or ""
                    length += len(piece)
                    yield piece
                if time.monotonic() > until:
                    raise self._outage(f"was not done within {settings.timeout_s:g} s")
                if length > _BOUND * settings.max_tokens:
                    return
        if finished is None:
            raise self._outage("ended in the middle of its answer")

    def _outage(self, what: str) -> Outage:
        return Outage(f"{self.place} {what}. Run again when it does, or set answer.model: null for quoted answers.")

    def _clean(self, said: object) -> str:
        """Servers repeat the key that they refuse."""
        text = " ".join(str(said).split())
        return (text.replace(self.key, "***") if self.key else text)[:_SHOWN]
