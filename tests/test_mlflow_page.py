"""MLflow's app behind the door: what it refuses by itself, so that the key is not all that stands before the disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

# In a process of its own: the app reads its settings from the environment, once.
_ASK = """
import sys
from pathlib import Path
from starlette.testclient import TestClient
from registry.store.mlflow_page import mlflow_page

app = mlflow_page(Path(sys.argv[1]), hosts=["testserver"], origin="http://testserver")
client = TestClient(app, raise_server_exceptions=False)
api = "/api/2.0/mlflow"


def post(path, body, **headers):
    return client.post(api + path, json=body, headers=headers)


run = post("/runs/create", {"experiment_id": "0"}).json()["run"]["info"]["run_id"]
post("/registered-models/create", {"name": "films"})
print(post("/experiments/search", {"max_results": 5}).status_code)
print(client.get("/get-artifact", params={"run_uuid": run, "path": "../../../mlflow.db"}).status_code)
print(client.get("/api/2.0/mlflow-artifacts/artifacts/%2e%2e/mlflow.db").status_code)
print(post("/experiments/create", {"name": "web", "artifact_location": "http://127.0.0.1:9/x"}).status_code)
print(post("/experiments/create", {"name": "ftp", "artifact_location": "ftp://127.0.0.1/x"}).status_code)
print(client.get(f"{api}/experiments/create", params={"name": "get"}).status_code)
print(post("/model-versions/create", {"name": "films", "source": "/etc"}).status_code)
print(post("/experiments/create", {"name": "elsewhere"}, Origin="http://evil.example").status_code)
print(post("/experiments/search", {"max_results": 5}, Host="10.evil.example").status_code)
"""


@pytest.mark.slow
def test_what_mlflow_refuses_by_itself(tmp_path: Path) -> None:
    """Traversal, http and ftp locations, state by GET, a local source, another site's page, a foreign name."""
    done = subprocess.run(
        [sys.executable, "-c", _ASK, str(tmp_path / "var")], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["200", "400", "400", "400", "400", "405", "400", "403", "403"]
