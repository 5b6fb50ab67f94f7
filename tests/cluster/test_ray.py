"""A sweep on a Ray cluster of two nodes, which the test starts and ends by its own processes."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cmt_cli.sweeps.status import read_status
from tests.cluster.project import Project, sweep_folder, wait_for
from tests.command_line import SMALL

pytest.importorskip("ray", reason="pip install 'cmt-cli[ray]'")
pytestmark = pytest.mark.cluster
RAY = Path(sys.executable).parent / "ray"


def descendants(pid: int) -> list[int]:
    """Return the process ids below a process, read from /proc."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = list(children.get(pid, []))
    return found + [below for child in found for below in descendants(child)]


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and everything below it."""
    below = descendants(process.pid)
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in below:
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            continue


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Project]:
    """Return a project whose environment joins a running cluster of two nodes with one core each."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    folder = tempfile.mkdtemp(prefix="ray")  # short: the names of unix sockets have a limit
    project = Project(tmp_path, {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": address})
    project.environment["RAY_USAGE_STATS_ENABLED"] = "0"
    own = ["--num-cpus=1", "--object-store-memory=80000000", "--block", "--disable-usage-stats"]
    head = ["--head", f"--port={address.partition(':')[2]}", "--include-dashboard=false", f"--temp-dir={folder}"]
    nodes = []
    try:
        for further in ([*head, "--node-ip-address=127.0.0.1"], [f"--address={address}"]):
            with (tmp_path / "ray.log").open("ab") as log:
                command = [str(RAY), "start", *further, *own]
                nodes.append(subprocess.Popen(command, env=project.environment, stdout=log, stderr=log, cwd=folder))
            wait_for(lambda: num_nodes(address) >= len(nodes), 90.0)
        yield project
    finally:
        for node in reversed(nodes):
            end(node)
        shutil.rmtree(folder, ignore_errors=True)


def num_nodes(address: str) -> int:
    script = f"import ray; ray.init('{address}', log_to_driver=False); print(sum(n['Alive'] for n in ray.nodes()))"
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    return int(done.stdout.split()[-1]) if done.returncode == 0 else 0


def test_the_cells_run_on_both_nodes_of_a_cluster(cluster: Project) -> None:
    # Nodes are started in another folder: relative paths still count from the one in which the sweep was started.
    told = cluster.cmt("run", "-m", "method=frozen", "seed=0,1,2,3", "hydra/launcher=ray", *SMALL)
    assert "4 jobs: 4 complete" in told
    jobs = read_status(sweep_folder(cluster)).jobs
    assert len({job.record.pid for job in jobs if job.record}) == 2
    assert len(list((cluster.folder / "runs").glob("frozen-*/result.json"))) == 4


def test_a_cluster_that_is_not_there_is_named(project: Project) -> None:
    place = "hydra.launcher.ray.init.address=127.0.0.1:1"
    told = project.cmt("run", "-m", "method=frozen", "seed=0", "hydra/launcher=ray", place, *SMALL, code=2)
    assert "no Ray cluster answers there" in told
