"""Walks the code: nothing in it can execute what is read, and no archive is unpacked."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(
    path.relative_to(ROOT)
    for top in ("core", "flows", "pipelines", "registry", "serving")
    for path in (ROOT / top).rglob("*.py")
)
MODULES = {
    "pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "runpy", "imp", "code",  # they execute
    "yaml",  # PyYAML's plain loader does as well
    "zipfile", "tarfile", "py7zr", "rarfile",  # they unpack: names in an archive may lead out of it
}  # fmt: skip
CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.load", "np.load", "numpy.load",
    "pd.read_pickle", "pandas.read_pickle", "mlflow.pyfunc.load_model",
    "shutil.unpack_archive",
}  # fmt: skip
METHODS = {"extractall", "extract_all", "unpack_archive", "read_pickle", "load_extension", "enable_load_extension"}
# What runs our own code: a packed model is tried in a process of its own when its code is this workspace's
# (registry.version.packing.holds_own_code).
OWN = {
    "registry/version/rehearsal.py": ["mlflow.pyfunc.load_model()"],
    "flows/run/stage_template.py": ["import runpy"],  # a stage, by the name that dvc.yaml gives it: `python -m` does so
    # They read sizes and parts, and write a file in memory; nothing is unpacked to a name.
    "pipelines/sources/parsers/docx.py": ["import zipfile"],
    "pipelines/sources/parsers/word/ooxml.py": ["import zipfile"],
    "pipelines/sources/readers/sheets.py": ["import zipfile"],
    "pipelines/tasks/parts/tables/estimator_file.py": ["from zipfile"],
}
# Names that are imported when they are known: each is looked for in the list of a folder's files first.
IMPORTS_BY_NAME = {
    "pipelines/tasks/__init__.py",
    "pipelines/sources/__init__.py",
    "pipelines/sources/readers/__init__.py",
    "flows/run/stage_template.py",  # libraries, from a list in the code
    "pipelines/tasks/parts/tables/estimators.py",  # modules of scikit-learn, from a list in the code
}


def dotted(node: ast.AST) -> str:
    """np.load of the call `np.load(...)`; what is no name is a question mark."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return "?"


def options(call: ast.Call) -> dict[str, object]:
    """Keyword arguments; of one that is no constant, its node."""
    return {
        each.arg: each.value.value if isinstance(each.value, ast.Constant) else each.value
        for each in call.keywords
        if each.arg
    }


def dangers(code: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (f"import {each.name}" for each in node.names if each.name.split(".")[0] in MODULES)
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in MODULES:
            yield f"from {node.module}"
        if isinstance(node, ast.Call):
            yield from of_call(node)


def of_call(call: ast.Call) -> Iterator[str]:
    name, given = dotted(call.func), options(call)
    last = name.rpartition(".")[2]
    if name in CALLS or ("." in name and last in METHODS):
        yield f"{name}()"
    if given.get("allow_pickle") or given.get("shell") or given.get("trust_remote_code", False) is not False:
        yield f"{name}(): allow_pickle, shell or trust_remote_code"
    if last == "YAML" and given.get("typ", "rt") not in ("rt", "safe"):
        yield f"{name}(typ={given['typ']!r})"
    if last == "QdrantClient" and {"path", "location"} & given.keys():
        yield f"{name}(): its local store is pickles"
    if last in ("from_pretrained", "from_config") and given.get("trust_remote_code") is not False:
        yield f"{name}() without trust_remote_code=False: transformers would ask on stdin"
    if last == "from_pretrained":
        yield from of_loading(name, given)
    if name == "Image.open" and "formats" not in given:
        yield "Image.open() of any format: one of them starts Ghostscript"


def of_loading(name: str, given: dict[str, object]) -> Iterator[str]:
    if given.get("local_files_only") is not True:
        yield f"{name}() may go to the hub"
    if not name.startswith(("AutoConfig.", "AutoTokenizer.")) and given.get("use_safetensors") is not True:
        yield f"{name}() without use_safetensors=True"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_nothing_executes_what_is_read(path: Path) -> None:
    assert list(dangers((ROOT / path).read_text())) == OWN.get(str(path), [])


@pytest.mark.slow
def test_what_was_walked() -> None:
    assert len(FILES) >= 120
    code = [ast.parse((ROOT / path).read_text()) for path in FILES]
    calls = [dotted(node.func) for tree in code for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert len([name for name in calls if name.endswith((".from_pretrained", ".from_config"))]) >= 6
    by_name = {
        str(path)
        for path, tree in zip(FILES, code, strict=True)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and dotted(node.func).endswith("import_module")
    }
    assert by_name == IMPORTS_BY_NAME


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from joblib import load", "import tarfile", "eval(x)", "exec(x)", "torch.load(x)",
        "import yaml", "np.load(x, allow_pickle=True)", "YAML(typ='unsafe')",
        "AutoModel.from_pretrained(x, trust_remote_code=True)",
        "AutoModel.from_pretrained(x, local_files_only=True, trust_remote_code=False)",
        "AutoConfig.from_pretrained(x, trust_remote_code=False)", "AutoModel.from_config(x)", "Image.open(x)",
        "QdrantClient(path=x)", "archive.extractall()", "subprocess.run(x, shell=True)", "mlflow.pyfunc.load_model(x)",
    ],
)  # fmt: skip
def test_the_walk_finds(code: str) -> None:
    assert list(dangers(code))


def test_servers_listen_on_this_machine_only() -> None:
    """By their code: an address of all interfaces stands nowhere, and what starts a server names the loopback one."""
    everywhere = ("0.0.0.0", "::", "*")
    for path in FILES:
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(node, ast.Constant) and node.value in everywhere[:2]:
                assert node.value == "::" and path.name == "remote.py", f"{path}:{node.lineno}"
    gateway = (ROOT / "flows" / "servers" / "gateway.py").read_text()
    assert gateway.count(".bind((") == 1 and gateway.count("_listening(socket.AF_INET") == 2
    assert '_listening(socket.AF_INET, "127.0.0.1", ' in gateway and '_listening(socket.AF_INET6, "::1", ' in gateway
