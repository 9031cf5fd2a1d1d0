"""Versions signed with a key of one's own: Sigstore's model-signing in its key mode, on files, nothing goes online.

A version has two signatures among its evidence: model.sig over the folder that MLflow loads, whole, and evidence.sig
over evidence.json, which names the model. The package's own command verifies them too.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import BadRequest, HeadraceError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

KEY = "HEADRACE_SIGNING_KEY"
PASSPHRASE = "HEADRACE_SIGNING_PASSPHRASE"  # noqa: S105  the variable's name
TRUSTED = "HEADRACE_TRUSTED_KEY"
MODEL, EVIDENCE = "model.sig", "evidence.sig"
BUNDLE = "evidence.json"
_CURVES = ("secp256r1", "secp384r1", "secp521r1")  # what model-signing takes
_PUBLIC = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)
_MAKE = "`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out private.pem` makes one"
_MAKE_PUBLIC = "`openssl pkey -in private.pem -pubout -out public.pem` makes one"
_BESIDE = ["registered_model_meta"]  # MLflow writes it into the folder when it loads a version by its name
_SHOWN, _FEW = 400, 5  # characters and files of what model-signing says
_DIFFERS = re.compile(r"Hash mismatch for \\*'(.+?)\\*':")
_COUNTED = re.compile(r"((?:Extra|Missing) files).*? in model \\*'.+?\\*': (.+?)\\*['\"]")


@dataclass(frozen=True)
class PublicKey:
    """pem: as cryptography writes it, so that equal keys are equal bytes."""

    pem: bytes

    @property
    def fingerprint(self) -> str:
        """As model-signing names the key in a signature."""
        return hashlib.sha256(self.pem).hexdigest()

    def __str__(self) -> str:
        return self.fingerprint[:12]


def signing_key() -> PublicKey | None:
    """The public part of the key to sign with; None when none is configured. Raises BadRequest for one that is none."""
    path = _configured(KEY)
    return _public(_private(path).public_key()) if path else None


def trusted_keys() -> list[PublicKey]:
    """The keys one of which must have signed what is used; none: nothing is asked. Raises BadRequest for a bad file."""
    path = _configured(TRUSTED)
    if path is None:
        return []
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        keys = [load_pem_public_key(block) for block in _PUBLIC.findall(_read(TRUSTED, path))]
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadRequest(f"{TRUSTED}={path}: not a public key in PEM ({error}). {_MAKE_PUBLIC}.") from None
    if not keys or not all(_usable(key) for key in keys):
        raise BadRequest(f"{TRUSTED}={path}: must hold public EC keys (P-256, P-384, P-521) in PEM. {_MAKE_PUBLIC}.")
    return [_public(key) for key in keys]


def require_settings() -> None:
    """Raise BadRequest when a key that is configured cannot be used."""
    signing_key(), trusted_keys()


def exposed() -> str | None:
    """What to say of a private key that others may read; None: nobody may, or there is none."""
    path = _configured(KEY)
    if path is None or not path.is_file() or not path.stat().st_mode & 0o077:
        return None
    return f"{path} may be read by others than its owner: who has it signs as you do. `chmod 600 {path}`."


def sign(target: Path, signature: Path) -> None:
    """Sign a folder or a file. Raises HeadraceError for what cannot be signed: a link, say."""
    from model_signing import signing

    config = signing.Config().set_hashing_config(_everything(target))
    key, passphrase = _configured(KEY), os.environ.get(PASSPHRASE)
    try:
        config.use_elliptic_key_signer(private_key=key, password=passphrase.encode() if passphrase else None)
        config.sign(target, signature)
    except ValueError as error:
        raise HeadraceError(f"{target} cannot be signed: {error}.") from None


def fault(target: Path, signature: Path | None, keys: Sequence[PublicKey]) -> str | None:
    """Why none of the keys vouches for a folder or file, in words; None: one does."""
    if signature is None:
        return "it is not signed"
    trusted = ", ".join(map(str, keys))
    try:
        hint = json.loads(signature.read_bytes())["verificationMaterial"]["publicKey"]["hint"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return f"{signature.name} is no signature made with a key"
    key = next((each for each in keys if each.fingerprint == hint), None)
    if key is None:
        return f"it is signed with the key {str(hint)[:12]}; trusted: {trusted}"
    said = _refusal(target, signature, key)
    return None if said is None else f"{signature.name}, of the trusted key {key}, is not over {target.name}: {said}"


def _refusal(target: Path, signature: Path, key: PublicKey) -> str | None:
    """What model-signing says against a signature; None: nothing."""
    from cryptography.exceptions import InvalidSignature
    from model_signing import verifying

    with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
        (file := Path(folder) / "key.pem").write_bytes(key.pem)
        config = verifying.Config().set_hashing_config(_everything(target))
        try:
            config.use_elliptic_key_verifier(public_key=file).verify(target, signature)
        except InvalidSignature:
            return "it was altered"
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:  # of a torn or forged one
            return _shortly(str(error))
    return None


def _shortly(said: str) -> str:
    """What model-signing says of files, without the bytes of their hashes."""
    differ = [f"{name} differs" for name in _DIFFERS.findall(said)]
    return "; ".join([*differ, *(f"{what}: {names}" for what, names in _COUNTED.findall(said))][:_FEW]) or said[:_SHOWN]


def _everything(target: Path) -> Any:
    """What counts of a folder: every file but the bytecode that Python leaves and what MLflow adds in loading it.

    Bytecode may be planted, but nothing here runs a version's own code unless it is this workspace's, byte for byte,
    without any (registry/version/packing.py).
    """
    from model_signing import hashing

    bytecode = [path.relative_to(target) for path in target.rglob("__pycache__")] if target.is_dir() else []
    return hashing.Config().set_ignored_paths(paths=[*_BESIDE, *bytecode], ignore_git_paths=False)


def _configured(variable: str) -> Path | None:
    path = os.environ.get(variable)
    if not path:
        return None
    if find_spec("model_signing") is None:
        raise BadRequest(f"{variable} needs the package model-signing: pip install 'headrace[signing]'")
    return Path(path).expanduser()


def _private(path: Path) -> EllipticCurvePrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    passphrase = os.environ.get(PASSPHRASE)
    content = _read(KEY, path)
    try:
        key = load_pem_private_key(content, passphrase.encode() if passphrase else None)
    except TypeError:
        wrong = f"it has no passphrase, unset {PASSPHRASE}" if passphrase else f"it needs a passphrase: {PASSPHRASE}"
        raise BadRequest(f"{KEY}={path}: {wrong}.") from None
    except (ValueError, UnsupportedAlgorithm):  # their words may hold parts of the file
        encrypted = b"ENCRYPTED" in content
        wrong = f"{PASSPHRASE} does not open it" if encrypted else f"not a private key in PEM. {_MAKE}"
        raise BadRequest(f"{KEY}={path}: {wrong}.") from None
    if not _usable(key.public_key()):
        raise BadRequest(f"{KEY}={path}: must be an EC key (P-256, P-384, P-521). {_MAKE}.")
    return key  # type: ignore[return-value]  # _usable() saw it


def _read(variable: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadRequest(f"{variable}={path}: cannot be read ({error.strerror}). Name a key file in PEM.") from None


def _usable(key: Any) -> bool:
    return getattr(getattr(key, "curve", None), "name", None) in _CURVES


def _public(key: Any) -> PublicKey:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return PublicKey(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
