"""Documents and dialogues as the tokens that a model reads: what it is asked, and which tokens it has to foretell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import BadRequest
from pipelines.tasks.parts import text_input, tokens
from pipelines.tasks.parts.generation.sequences import Part

Messages = Sequence[Mapping[str, str]]  # role, content

# How a dialogue is put for a tokenizer that is learnt here, and for a base that says nothing of its own.
TEMPLATE = (
    "{% for message in messages %}{{ bos_token }}{{ message['role'] }}\n{{ message['content'] }}{{ eos_token }}\n"
    "{% endfor %}{% if add_generation_prompt %}{{ bos_token }}assistant\n{% endif %}"
)
_PLAIN = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}Answer: {{ message['content'] }}"
    "{{ eos_token }}{% else %}{{ message['content'] }}{% endif %}\n\n{% endfor %}"
    "{% if add_generation_prompt %}Answer:{% endif %}"
)


@dataclass(frozen=True)
class Texts:
    """A folder's tokenizer, as a language model reads by it.

    special: the texts of its special tokens, which no text of a caller becomes. ends: the token that ends a text.
    """

    tokenizer: Any
    template: str
    names: Mapping[str, str]
    special: Sequence[str]
    start: int
    end: int

    def documents(self, texts: Sequence[str]) -> list[Part]:
        """Each text with its end, all of it to be foretold."""
        return [_part(at, [self.start], [*ids, self.end]) for at, ids in enumerate(self._plain(texts))]

    def begun(self, texts: Sequence[str]) -> list[list[int]]:
        """Each text as it is asked to be continued."""
        return [[self.start, *ids] for ids in self._plain(texts)]

    def asked(self, prompts: Sequence[str]) -> list[list[int]]:
        """Each prompt, up to where the answer begins."""
        return self._ids([self._put(prompt) for prompt in prompts])

    def answered(self, prompts: Sequence[str], answers: Sequence[str]) -> list[Part]:
        """Each dialogue of a prompt and its answer; the answer and its end alone are to be foretold.

        Raises BadRequest for a template by which a dialogue does not begin as the prompt alone does.
        """
        before = [self._put(prompt) for prompt in prompts]
        whole = [self._put(*pair) for pair in zip(prompts, answers, strict=True)]
        if not all(text.startswith(start) for start, text in zip(before, whole, strict=True)):
            raise BadRequest("model.base: by its chat_template an answer changes what stands before it.")
        said = [text[len(start) :].rstrip() for start, text in zip(before, whole, strict=True)]
        pairs = zip(self._ids(before), self._ids(said), strict=True)
        return [
            _part(at, start, ids if ids[-1:] == [self.end] else [*ids, self.end])
            for at, (start, ids) in enumerate(pairs)
        ]

    def text(self, ids: Sequence[int]) -> str:
        """What is written there, special tokens left out, and half a character at the end."""
        found: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return found.rstrip("\ufffd")

    def _put(self, prompt: str, answer: str | None = None) -> str:
        from transformers.utils.chat_template_utils import render_jinja_template

        turns = [("user", prompt), *([] if answer is None else [("assistant", answer)])]
        messages = [{"role": role, "content": tokens.without(self.special, text)} for role, text in turns]
        rendered, _ = render_jinja_template(
            conversations=[messages], chat_template=self.template, add_generation_prompt=answer is None, **self.names
        )
        found: str = rendered[0]
        return found

    def _plain(self, texts: Sequence[str]) -> list[list[int]]:
        return self._ids([tokens.without(self.special, text) for text in texts])

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [each.ids for each in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


def _part(of: int, read: Sequence[int], own: Sequence[int]) -> Part:
    return Part(of, np.array([*read, *own], np.int32), np.repeat([False, True], [len(read), len(own)]))


def texts_of(folder: Path, base: Path | None = None) -> Texts:
    """By the tokenizer that prepare() left in `folder`, or that was moved to `base`."""
    tokenizer, names = text_input.uncut(folder, base), tokens.named(folder)
    template = names.pop("chat_template", None) or _PLAIN
    names = {name: value for name, value in names.items() if name.endswith("_token")}
    names.setdefault("bos_token", names["eos_token"])
    special = [token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special]
    start, end = (tokenizer.token_to_id(names[name]) for name in ("bos_token", "eos_token"))
    assert start is not None
    assert end is not None
    return Texts(tokenizer, template, names, special, start, end)
