"""Signed versions: what a key vouches for is used, and nothing else, whatever somebody writes into the registry."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("model_signing", reason="pip install 'headrace[signing]'")

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from core.atomic_files import sha256_json, write_json
from core.errors import BadData, BadRequest
from core.manifest import read_manifest, write_manifest
from core.workspace import Workspace
from flows.catalog import check, machine
from registry.promotion import promotion
from registry.store import signing, versions
from registry.store.connection import connect, exclusive
from registry.store.versions import ABOUT_FILE, MODEL_FILES, MODEL_HASH, Version
from registry.version import register_version
from serving.models.champions import Champions
from tests.small_model import candidate, make_small_model, trusting

Place = Callable[[str], Path]


def write_key(folder: Path, name: str, *, passphrase: str | None = None) -> None:
    """folder/NAME.pem and folder/NAME.pub, as openssl would write them."""
    key = ec.generate_private_key(ec.SECP256R1())
    sealed = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    file = folder / f"{name}.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealed))
    file.chmod(0o600)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / f"{name}.pub").write_bytes(public)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The key pairs `ours` and `theirs`, and `sealed` with the passphrase "open"."""
    folder = tmp_path_factory.mktemp("keys")
    write_key(folder, "ours")
    write_key(folder, "theirs")
    write_key(folder, "sealed", passphrase="open")
    return folder


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (signing.KEY, signing.PASSPHRASE, signing.TRUSTED):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    return [make_small_model(folder / str(seed), seed=seed) for seed in (1, 2)]


def register(model: Path, var: Path, name: str = "films") -> Version:
    """As the stage registers it; nobody becomes champion by that."""
    evidence = var.parent / f"evidence of {model.parent.name}"
    subject = candidate(model, _made(evidence), promote=False)
    write_json(evidence / signing.BUNDLE, {"model": {"name": name, "model_hash": subject.model_hash}})
    subject = replace(subject, name=name, evidence={path.name: path for path in evidence.iterdir()})
    with exclusive(var):
        return register_version.register(subject, var).version


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory, models: list[Path], keys: Path) -> Path:
    """A store with films/1 and films/2, both signed with `ours`."""
    var = tmp_path_factory.mktemp("signed") / "var"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(signing.KEY, str(keys / "ours.pem"))
        for model in models:
            register(model, var)
    return var


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch, keys: Path) -> None:
    monkeypatch.setenv(signing.TRUSTED, str(keys / "ours.pub"))


def one(var: Path, number: str = "1") -> Version:
    return versions.resolve("films", number, var)


def kept(version: Version, name: str, var: Path) -> Path:
    file = versions.evidence(version, name, var)
    assert file is not None
    return file


def stored(version: Version, var: Path) -> Path:
    """The folder of a version, whatever is in it."""
    return next((var / "mlflow" / "artifacts").rglob(f"{version.model_id}/artifacts"))


@pytest.fixture
def restored(signed: Path, tmp_path: Path):
    """The store, put back after a test that alters it."""
    files, before = signed / "mlflow" / "artifacts", str(one(signed).model_hash)
    shutil.copytree(files, tmp_path / "copy")
    yield signed
    shutil.rmtree(files)
    shutil.copytree(tmp_path / "copy", files)
    connect(signed).set_model_version_tag("films", "1", MODEL_HASH, before)


@pytest.mark.slow
@pytest.mark.usefixtures("trusted")
def test_what_is_signed_with_a_trusted_key_is_used(signed: Path, keys: Path) -> None:
    version = one(signed)
    folder = versions.packed_folder(version, signed)
    assert (folder / ABOUT_FILE).is_file()
    for target, name in ((folder, signing.MODEL), (kept(version, signing.BUNDLE, signed), signing.EVIDENCE)):
        command = [sys.executable, "-m", "model_signing", "verify", "key", str(target)]
        options = ["--signature", str(kept(version, name, signed)), "--public_key", str(keys / "ours.pub")]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("trusted")
def test_what_python_and_mlflow_leave_in_the_folder_is_no_forgery(restored: Path) -> None:
    folder = stored(one(restored), restored)
    (folder / "code" / "pipelines" / "__pycache__").mkdir()
    (folder / "code" / "pipelines" / "__pycache__" / "task.cpython-311.pyc").write_bytes(b"bytecode")
    (folder / "registered_model_meta").write_text("model_name: films\n")
    assert versions.packed_folder(one(restored), restored) == folder


def edit_weights(var: Path) -> None:
    """Another model, with all that the registry says of it corrected: only the signature tells."""
    model = stored(one(var), var) / MODEL_FILES
    weights = model / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    write_manifest(model, {})
    digest = sha256_json(read_manifest(model)["files"])
    connect(var).set_model_version_tag("films", "1", MODEL_HASH, digest)


def edit_code(var: Path) -> None:
    with (stored(one(var), var) / "pyfunc.py").open("a") as file:
        file.write("\nprint('mine now')\n")


def edit_about(var: Path) -> None:
    (stored(one(var), var) / ABOUT_FILE).write_text('{"task": "other", "content": "text", "media": null}')


def add_a_file(var: Path) -> None:
    (stored(one(var), var) / "code" / "sitecustomize.py").write_text("print('mine now')\n")


def edit_evidence(var: Path) -> None:
    file = kept(one(var), signing.BUNDLE, var)
    file.write_text(file.read_text().replace("{", '{"verdict": {"passed": true},', 1))


def take_the_signature_of_another(var: Path) -> None:
    for name in (signing.MODEL, signing.EVIDENCE):
        shutil.copyfile(kept(one(var, "2"), name, var), kept(one(var), name, var))


def become_another(var: Path) -> None:
    """The files, evidence, signatures and hash of version 2 under the number 1."""
    first, second = one(var), one(var, "2")
    shutil.rmtree(place := stored(first, var))
    shutil.copytree(stored(second, var), place)
    for name in (signing.MODEL, signing.EVIDENCE, signing.BUNDLE):
        shutil.copyfile(kept(second, name, var), kept(first, name, var))
    connect(var).set_model_version_tag("films", "1", MODEL_HASH, str(second.model_hash))


def edit_signed_list(var: Path) -> None:
    """The list of files in the signature says what the files are now."""
    import base64
    import hashlib

    edit_code(var)
    file = kept(one(var), signing.MODEL, var)
    bundle = json.loads(file.read_text())
    payload = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    digest = hashlib.sha256((stored(one(var), var) / "pyfunc.py").read_bytes()).hexdigest()
    for resource in payload["predicate"]["resources"]:
        if resource["name"] == "pyfunc.py":
            resource["digest"] = digest
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
    file.write_text(json.dumps(bundle))


ATTACKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "weights, manifest and tag": (edit_weights, r"not over artifacts: .*artifacts/model/model.safetensors differs"),
    "code": (edit_code, "not over artifacts: pyfunc.py differs"),
    "task": (edit_about, "not over artifacts: artifacts/about.json differs"),
    "a file more": (add_a_file, "not over artifacts: Extra files: code/sitecustomize.py "),
    "evidence": (edit_evidence, r"not over evidence.json: \. differs"),
    "signature of another": (take_the_signature_of_another, "not over artifacts"),
    "all of another": (become_another, "what is signed is another version: films, "),
    "list of files": (edit_signed_list, "it was altered"),
    "no signature": (lambda var: kept(one(var), signing.MODEL, var).unlink(), "it is not signed"),
    "no signature of the evidence": (lambda var: kept(one(var), signing.EVIDENCE, var).unlink(), "it is not signed"),
    "no evidence": (lambda var: kept(one(var), signing.BUNDLE, var).unlink(), "it has no evidence"),
    "torn": (lambda var: kept(one(var), signing.MODEL, var).write_text("{"), "no signature made with a key"),
    "empty": (lambda var: kept(one(var), signing.MODEL, var).write_text("{}"), "no signature made with a key"),
}


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused(restored: Path, attack: str) -> None:
    act, reason = ATTACKS[attack]
    act(restored)
    with pytest.raises(BadData, match=rf"(?s)films/1 is not used: .*{reason}"):
        versions.packed_folder(one(restored), restored)


def test_the_signature_of_another_key_is_refused(signed: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(signing.KEY, str(keys / "ours.pem"))
    monkeypatch.setenv(signing.TRUSTED, str(keys / "theirs.pub"))
    ours, [theirs] = signing.signing_key(), signing.trusted_keys()
    with pytest.raises(BadData, match=f"signed with the key {ours}; trusted: {theirs} .HEADRACE_TRUSTED_KEY.*KEY set"):
        versions.packed_folder(one(signed), signed)


def test_a_key_that_only_calls_itself_trusted_is_refused(
    restored: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(signing.TRUSTED, str(keys / "ours.pub"))
    version, [ours] = one(restored), signing.trusted_keys()
    monkeypatch.setenv(signing.KEY, str(keys / "theirs.pem"))
    file = kept(version, signing.MODEL, restored)
    signing.sign(stored(version, restored), file)
    file.write_text(file.read_text().replace(str(signing.signing_key().fingerprint), ours.fingerprint))  # type: ignore[union-attr]
    with pytest.raises(BadData, match="it was altered"):
        versions.packed_folder(version, restored)


def test_after_a_rotation_both_keys_are_trusted(
    signed: Path, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = tmp_path / "trusted.pem"
    both.write_bytes(b"# the new one\n" + (keys / "theirs.pub").read_bytes() + (keys / "ours.pub").read_bytes())
    monkeypatch.setenv(signing.TRUSTED, str(both))
    assert len(signing.trusted_keys()) == 2
    assert versions.packed_folder(one(signed), signed).is_dir()


@pytest.mark.slow
def test_an_unsigned_champion_is_signed_by_registering_it_again(
    models: list[Path], keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And until then the champion before goes on answering, and nobody promotes or returns to an unsigned one."""
    var = tmp_path / "var"
    monkeypatch.setenv(signing.KEY, str(keys / "ours.pem"))
    monkeypatch.setenv(signing.TRUSTED, str(keys / "ours.pub"))
    register(models[0], var)
    promotion.promote("films", "1", var, trusting)
    said: list[str] = []
    champions = Champions(var, trusting, ["films"], said.append)
    champions.look()
    monkeypatch.delenv(signing.KEY)
    assert register(models[1], var).version == "2"
    with pytest.raises(promotion.Refused, match=r"signature: no value.*films/2 is not used: it is not signed"):
        promotion.promote("films", "2", var, trusting)
    with pytest.raises(BadData, match="films/2 is not used: it is not signed"):
        promotion.promote("films", "2", var, trusting, forced="for a test")
    monkeypatch.delenv(signing.TRUSTED)  # another machine, which asks for nothing
    promotion.promote("films", "2", var, trusting)
    monkeypatch.setenv(signing.TRUSTED, str(keys / "ours.pub"))
    champions.look()
    assert champions.serving["films"].loaded.version.version == "1"
    assert "films/2 is not used: it is not signed" in champions.faults["films"]
    assert "version 1 goes on answering" in said[-1]
    monkeypatch.setenv(signing.KEY, str(keys / "ours.pem"))
    assert register(models[1], var).version == "2"
    monkeypatch.setattr("serving.models.champions.RETRY_EVERY_S", 0.0)
    champions = Champions(var, trusting, ["films"], said.append)
    champions.look()
    assert champions.serving["films"].loaded.version.version == "2" and champions.faults == {}


def test_other_code_is_not_signed_unless_this_key_did(
    models: list[Path], keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    var = tmp_path / "var"
    version = register(models[0], var)
    edit_code(var)
    monkeypatch.setenv(signing.KEY, str(keys / "ours.pem"))
    with pytest.raises(BadRequest, match="films: the version with these weights is not signed: it holds other code"):
        register(models[0], var)
    signing.sign(stored(version, var), tmp_path / signing.MODEL)  # as it was when that was this workspace's code
    connect(var).log_artifact(version.run_id, str(tmp_path / signing.MODEL), versions.EVIDENCE)
    register(models[0], var)
    monkeypatch.setenv(signing.TRUSTED, str(keys / "ours.pub"))
    assert versions.packed_folder(version, var).is_dir()


def test_a_key_with_a_passphrase_signs(keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(signing.KEY, str(keys / "sealed.pem"))
    with pytest.raises(BadRequest, match=r"sealed.pem: it needs a passphrase: HEADRACE_SIGNING_PASSPHRASE"):
        signing.signing_key()
    monkeypatch.setenv(signing.PASSPHRASE, "shut")
    with pytest.raises(BadRequest, match="HEADRACE_SIGNING_PASSPHRASE does not open it"):
        signing.signing_key()
    monkeypatch.setenv(signing.PASSPHRASE, "open")
    (tmp_path / "file").write_text("content")
    signing.sign(tmp_path / "file", tmp_path / "file.sig")
    monkeypatch.setenv(signing.TRUSTED, str(keys / "sealed.pub"))
    assert signing.fault(tmp_path / "file", tmp_path / "file.sig", signing.trusted_keys()) is None


def pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("variable", "content", "wrong"),
    [
        (signing.KEY, None, "cannot be read .No such file"),
        (signing.KEY, b"none", "not a private key in PEM"),
        (signing.KEY, pem(ed25519.Ed25519PrivateKey.generate()), "must be an EC key .P-256"),
        (signing.KEY, pem(ec.generate_private_key(ec.SECP256K1())), "must be an EC key .P-256"),
        (signing.TRUSTED, None, "cannot be read .No such file"),
        (signing.TRUSTED, pem(ec.generate_private_key(ec.SECP256R1())), "must hold public EC keys"),
        (signing.TRUSTED, b"-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----", "not a public key in PEM"),
    ],
)
def test_a_bad_key_is_said_before_work_starts(
    tmp_path: Path, variable: str, content: bytes | None, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key.pem"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv(variable, str(file))
    with pytest.raises(BadRequest, match=f"{variable}={file}: {wrong}"):
        signing.require_settings()
    [found] = [each for each in machine.variables() if each.place == variable]
    assert found.severity == "mistake"
    assert check.exit_code([found]) == 2


def test_a_key_that_others_may_read_is_warned_of(keys: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = Path(shutil.copy(keys / "ours.pem", tmp_path / "open.pem"))
    file.chmod(0o600)
    monkeypatch.setenv(signing.KEY, str(file))
    assert signing.exposed() is None
    file.chmod(0o640)
    assert f"`chmod 600 {file}`" in (signing.exposed() or "")


def test_a_run_with_a_bad_key_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.run.run import run

    monkeypatch.setenv(signing.KEY, str(tmp_path / "none.pem"))
    with pytest.raises(BadRequest, match="HEADRACE_SIGNING_KEY"):
        run(Workspace(tmp_path), "recipe")
    assert list(tmp_path.iterdir()) == []
