"""Reading and curating an AI Hub-sized set: the notebook's way against mnatune; near-duplicates against datasketch.

    python bench/curate.py --quick                 a hundredth of the set, 3,000 rows for datasketch
    python bench/curate.py --scale 1               all 1,015,160 training rows

The baseline is what the notebooks of this field do: json.load of whole members, rows in a list, pandas, CSV. Both read
the same replica (bench/replica.py) in the same call, in turn, each in its own process; memory is the peak of the sum
over the process and its children, CPU seconds are theirs together. The last line is JSON.
"""

import argparse
import itertools
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

import psutil
import replica

ROOT = Path(__file__).parents[1]


def notebook(root: str, csv: str) -> dict[str, float]:
    """The baseline's own steps, written anew: everything in memory, one row at a time."""
    import pandas as pd

    started = time.perf_counter()
    data = Path(root) / "dataset/data"
    rows = []
    with zipfile.ZipFile(data / "Other/Other.zip") as archive:
        for name in archive.namelist():
            with archive.open(name) as member:
                for document in json.load(member):
                    for pair in document["contents"][0]["QA"]:
                        pair["category"] = document["data_category"]["middle"]
                        rows.append(pair)
    for side, name in (("Training", "TL_02.RLHF데이터.zip"), ("Validation", "VL.zip")):
        labels = []
        with zipfile.ZipFile(data / side / "02.라벨링데이터" / name) as archive:
            for member_name in archive.namelist():
                with archive.open(member_name) as member:
                    for row in json.load(member)["data_info"]:
                        answer = row["answer01"] if "answer01" in row else row["answer"]
                        group = row["data_category"]["middle"]
                        labels.append({"question": row["question"], "answer": answer["contents"], "category": group})
        kept = [row for row in labels if row["answer"].strip() != row["question"].strip()]
        if side == "Training":
            rows += kept
    frame = pd.DataFrame(rows)
    total = len(frame)
    frame = frame[~frame["category"].isin(replica.LEFT_OUT)]
    after = len(frame)
    frame = frame.drop_duplicates(["question", "answer"])
    frame.to_csv(csv, index=False, encoding="utf-8-sig")
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "cpu": cpu(), "rows": total, "after_category": after, "after_exact": len(frame)}


def ours(root: str, out: str) -> dict[str, float]:
    """`read`, then `curate` with near-duplicates, masking and every rule."""
    from mnatune.pack import Pack
    from mnatune.runs.job import Job
    from mnatune.runs.recipe import Recipe, bundled
    from mnatune.runs.workspace import Run
    from mnatune.stages.curate import curate
    from mnatune.stages.read import read

    recipe = Recipe.model_validate({"name": "bench", "read": {"sources": [{"kind": "archive", "path": root}]}})
    run, pack = Run(Path(out)), Pack(bundled("packs") / "mna_ko")
    told: dict[str, float] = {}
    for name, stage in (("read", read), ("curate", curate)):
        print(f"stage {name}", flush=True)
        started, used = time.perf_counter(), cpu()

        def work(place, stage=stage):
            stage(Job(recipe, pack, run, place))

        manifest, _ = run.perform(name, {}, {}, 42, "", work, force=True)
        told |= {f"{name}_seconds": time.perf_counter() - started, f"{name}_cpu": cpu() - used}
    steps = {step["step"]: step["rows"] for step in manifest.facts["funnel"]["train"]}
    near, exact = (manifest.dropped.get(reason, 0) for reason in ("near-duplicate", "duplicate"))
    return told | {"rows": steps["echo"], "after_category": steps["category"], "near": near, "exact": exact}


def cpu() -> float:
    """CPU seconds of this process and of its children that have ended."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def measured(function: str, *arguments: str) -> dict[str, float]:
    """Call one of the functions above in a process of its own; adds the peak memory of each of its stages in MB."""
    code = f"import json, curate; print(json.dumps(curate.{function}(*{arguments!r})))"
    os.sync()  # what the one has left to the kernel to write is not written in the other's time
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT / 'bench'}"}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    peaks: dict[str, float] = {}
    stage = [function]

    def watch() -> None:
        tree: list[psutil.Process] = []
        for turn in itertools.count():
            if process.poll() is not None:
                return
            try:
                if turn % 10 == 0:  # looking for children goes through every process of the machine
                    tree = [root := psutil.Process(process.pid), *root.children(recursive=True)]
                used = sum(p.memory_info().rss for p in tree) / 1e6
                peaks[stage[0]] = max(peaks.get(stage[0], 0), used)
            except psutil.Error:
                tree = [p for p in tree if p.is_running()]
            time.sleep(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    last = ""
    assert process.stdout is not None
    for line in process.stdout:
        last = line
        if line.startswith("stage "):
            stage[0] = line.split()[1]
    process.wait()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{function} failed")
    return json.loads(last) | {f"{name}_mb": peak for name, peak in peaks.items()}


def duplicates(count: int) -> dict[str, float]:
    """The same rows through datasketch and through mnatune: rows per second, recall on planted twins, false merges."""
    import random

    import daft  # noqa: F401, else its loading would be timed and datasketch's not
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasketch import MinHash, MinHashLSH

    from mnatune.stages.curate.clean import BATCH
    from mnatune.stages.curate.result import Fate
    from mnatune.stages.curate.unique import _connect_here
    from mnatune.text.shingles import shingles, spaceless

    dice = random.Random(5)
    rows = [replica.pair(dice, n) for n in range(count * 99 // 100)]
    planted = len(rows)
    for n in range(count - planted):
        question, answer = rows[n]["question"].replace("에 대해", "에 관해"), rows[n]["answer"].replace("은 ", "도 ", 1)
        rows.append({"question": question, "answer": answer})
    template = "{}호 공고의 합병비율은 외부평가기관의 평가를 거쳤고 주주총회의 특별결의로 승인을 받았다."
    first_template = len(rows)
    rows += [{"question": "합병비율 산정 현황은?", "answer": template.format(n)} for n in range(count // 10)]
    texts = [f"{row['question']}\n{row['answer']}" for row in rows]

    started = time.perf_counter()
    index = MinHashLSH(num_perm=100, params=(20, 5))
    for n, text in enumerate(texts):
        signature = MinHash(num_perm=100, seed=1)
        signature.update_batch([piece.encode() for piece in shingles(spaceless(text), 5)])
        index.query(signature)
        index.insert(n, signature)
    baseline = time.perf_counter() - started

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.parquet"
        columns = {key: [row[key] for row in rows] for key in ("question", "answer")}
        alone = pa.array([[]] * len(rows), pa.list_(pa.string()))
        table = pa.table({"row": range(len(rows)), "history": alone, **columns})
        pq.write_table(table, file, row_group_size=BATCH)  # as `clean` does
        started = time.perf_counter()
        _, merges = _connect_here([file], 0.8, Fate([len(rows)]))
        mine = time.perf_counter() - started
    found = sum(merges.root(planted + n) == merges.root(n) for n in range(first_template - planted))
    false = sum(len(members) - 1 for members in merges.groups().values() if members[-1] >= first_template)
    return {
        "rows": len(rows), "datasketch_rows_per_s": len(rows) / baseline, "rows_per_s": len(rows) / mine,
        "recall": found / max(1, first_template - planted), "template_rows": count // 10, "false_merges": false,
    }  # fmt: skip


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--duplicates", type=int, default=100_000)
    parser.add_argument("--quick", action="store_true")
    choice = parser.parse_args()
    if choice.quick:
        choice.scale, choice.duplicates = 0.01, 3000
    sys.path.insert(0, str(ROOT / "src"))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "replica"
        truth = replica.build(root, choice.scale)
        print("truth", json.dumps(truth), flush=True)
        old, new = [], []
        for turn in range(choice.repeat):
            old.append(measured("notebook", str(root), f"{folder}/rows.csv"))
            new.append(measured("ours", str(root), f"{folder}/run"))
            print(turn, json.dumps({"notebook": old[-1], "ours": new[-1]}), flush=True)
    expected = truth["other"] + truth["labels"] - truth["echo"]
    for result in (*old, *new):
        assert result["rows"] == expected, (result, expected)
        assert result["after_category"] == expected - truth["left_out"], (result, truth)
    near = duplicates(choice.duplicates)

    def middle(results: list[dict[str, float]], name: str) -> float:
        return round(statistics.median(result[name] for result in results), 2)

    names = [f"{stage}_{unit}" for stage in ("read", "curate") for unit in ("seconds", "cpu", "mb")]
    sketch = round(near.pop("datasketch_rows_per_s"), 1)
    mine = {name: middle(new, name) for name in names} | {name: round(value, 3) for name, value in near.items()}
    base = {"seconds": middle(old, "seconds"), "cpu": middle(old, "cpu"), "mb": middle(old, "notebook_mb")}
    ratio = {
        "read_speed": base["seconds"] / mine["read_seconds"],
        "read_cpu": base["cpu"] / mine["read_cpu"],
        "read_memory": base["mb"] / mine["read_mb"],
        "near_duplicates": near["rows_per_s"] / sketch,
    }
    head = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(head, cwd=ROOT, capture_output=True, text=True, check=False)
    facts = {
        "bench": "curate",
        "commit": commit.stdout.strip(),
        "device": f"{os.cpu_count()} cores, {platform.machine()}",
        "scale": choice.scale,
        "ratio": {name: round(value, 2) for name, value in ratio.items()},
        "ours": mine,
        "baseline": base | {"datasketch_rows_per_s": sketch},
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
