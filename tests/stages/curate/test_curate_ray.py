"""The same files from this machine and from a Ray cluster of two workers."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from korean import edited, row

pytest.importorskip("ray", reason="ray is not installed: pip install 'mnatune[ray]'")

SCRIPT = """
import sys
from pathlib import Path
from ray.cluster_utils import Cluster
from mnatune.runs.job import Job
from mnatune.pack import Pack
from mnatune.runs.recipe import Recipe, bundled
from mnatune.stages.curate import curate
from mnatune.stages.read import read
from mnatune.runs.workspace import Run

folder = Path(sys.argv[1])
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
pack = Pack(bundled("packs") / "mna_ko")
for engine in ("local", "ray"):
    recipe = Recipe.model_validate({"name": "test", "read": {"sources": [{"kind": "qa", "path": str(folder / "rows.jsonl")}]},
                                    "curate": {"ray": cluster.address if engine == "ray" else ""}})
    run = Run(folder / engine)
    for name, stage in (("read", read), ("curate", curate)):
        run.perform(name, {}, {}, 42, "", lambda place, stage=stage: stage(Job(recipe, pack, run, place)))
import ray
print("nodes", len(ray.nodes()))
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.slow
def test_ray_gives_what_this_machine_gives(tmp_path: Path) -> None:
    dice = random.Random(4)
    rows = [row(dice, 3) for _ in range(150)]
    rows += [edited(dice, original) for original in rows[:50]] + rows[:5]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(r) for r in rows))
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "nodes 2" in done.stdout
    outputs = [
        json.loads((tmp_path / engine / "2-curate/manifest.json").read_text())["outputs"] for engine in ("local", "ray")
    ]
    assert outputs[0] == outputs[1]
    assert json.loads((tmp_path / "ray/2-curate/manifest.json").read_text())["dropped"]["near-duplicate"] > 30
