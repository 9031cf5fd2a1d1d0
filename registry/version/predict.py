"""Inputs -> answers of a registered version, in this process: what `headrace predict` and serving ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.atomic_files import read_json
from core.errors import BadRequest, near
from core.weights.device import use_cores
from registry.promotion.promotion import Judge, settle
from registry.store.versions import ABOUT_FILE, CHAMPION, MODEL_FILES, Version, packed_folder, resolve
from registry.version.evidence_files import settings_file
from registry.version.onnx_choice import chosen

if TYPE_CHECKING:
    from registry.version.answerer import Answerer


@dataclass(frozen=True)
class Answers:
    """version: which one answered. rows: one an input."""

    version: Version
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class Loaded:
    """A version in memory. engine: torch or onnx. remark: why not onnx, where the version has that too."""

    version: Version
    answerer: Answerer
    engine: str = "torch"
    remark: str | None = None

    def answer(self, inputs: Sequence[str | Mapping[str, Any]], *, local_files: bool) -> Answers:
        """inputs: objects of the columns that are sent, or mere texts where one column must be.

        Media are files in base64 or, with local_files, paths of this machine. Raises BadRequest.
        """
        import pandas as pd

        if not inputs:
            return Answers(self.version, [])
        frame = pd.DataFrame([self._named(number, one) for number, one in enumerate(inputs, start=1)])
        answers = self.answerer.answer(frame, local_files=local_files).to_dict(orient="records")
        return Answers(self.version, [{str(key): value for key, value in row.items()} for row in answers])

    def _named(self, number: int, one: str | Mapping[str, Any]) -> dict[str, Any]:
        """An input under the names of its columns."""
        columns = self.answerer.about.inputs
        if isinstance(one, str):
            if (plain := self.answerer.plain) is None:
                raise BadRequest(f"input {number}: must be an object with {', '.join(columns)}, got a text.")
            return {plain: one}
        for name in one:
            if name not in columns:
                raise BadRequest(
                    f"input {number}: no column {name!r}. {near(name, columns)}It has: {', '.join(columns)}."
                )
        return dict(one)


def settings_of(version: Version, var: Path) -> dict[str, Any] | None:
    """settings.json of the recipe as it was when the version was registered; None where it was not kept."""
    file = settings_file(version, var)
    settings: dict[str, Any] | None = read_json(file) if file is not None else None
    return settings


def load(name: str, version_or_alias: str, var: Path, judge: Judge) -> Loaded:
    """Load a version with this workspace's code of its task. Raises BadRequest when there is no such version.

    An alias `champion` that somebody moved is judged first: what answers is a champion that was accepted.
    """
    if version_or_alias.removeprefix("@") == CHAMPION:
        settle(name, var, judge)
    return load_version(resolve(name, version_or_alias, var), var)


def load_version(version: Version, var: Path, *, cores: int | None = None) -> Loaded:
    """Load a version that was looked up, its files re-hashed. Raises BadRequest or BadData when they are not whole.

    cores: how many ONNX Runtime takes for one batch; None: as many as torch.
    """
    folder = packed_folder(version, var)
    from registry.version.answerer import Answerer, load_answerer

    loaded = load_answerer(folder / MODEL_FILES, folder / ABOUT_FILE)
    if cores is not None:
        use_cores(cores)
    choice = chosen(version, loaded.predictor, var)
    answerer = Answerer(loaded.about, loaded.contract, choice.predictor)
    return Loaded(version, answerer, choice.engine, choice.remark)
