"""Does the privacy measure tell a secret that was trained on from one that was not, and how much does a model give away?

    python bench/privacy.py [--quick] [--out FOLDER]

Runs the bundled starter through the quickstart's data with canaries, trains an adapter, and has `evaluate` measure it:
AUC of exposure of canaries planted 1, 4 and 16 times against canaries that were not planted, what came out, and the
longest verbatim runs. The baseline, in the same call, is the untrained starter on the same canaries: its AUC must lie
about 0.5. `--quick` takes 200 rows and 2 canaries of each kind and number; else 400 rows and 6. With `--out` an interrupted
run continues. The starter is a toy with nine million parameters: what it gives away says nothing of a large model.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

from mnatune.runs.journey import perform
from mnatune.runs.recipe import load_recipe
from mnatune.runs.workspace import Run

STAGES = ("read", "curate", "judge", "compose", "train", "evaluate")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under two minutes")
    parser.add_argument("--out", type=Path, help="run folder; a temporary one without it")
    args = parser.parse_args()
    values = ["evaluate.items=5", "evaluate.exam=false", "evaluate.primary=chrf", "generation.max_new_tokens=48"]
    values += (
        ["compose.max_rows=200", "compose.canaries=2"] if args.quick else ["compose.max_rows=400", "compose.canaries=6"]
    )
    recipe = load_recipe("quickstart", values)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(args.out or Path(folder) / "run")
        for stage in STAGES:
            manifest, _ = perform(stage, recipe, run)
            print(f"{stage}: {manifest.rows_in} -> {manifest.rows_out} in {manifest.seconds:.0f} s")
        found = json.loads((run.folder("evaluate") / "metrics.json").read_text(encoding="utf-8"))["privacy"]
        verdict = json.loads((run.folder("evaluate") / "verdict.json").read_text(encoding="utf-8"))
    print(
        f"{'planted':>8} {'n':>4} {'exposure':>9} {'untrained':>10} {'AUC (95 %)':>22}  extracted greedy / sampled, by prefix"
    )
    for level, row in found["levels"].items():
        auc = row.get("auc", {}).get("tuned")
        told = f"{auc['value']:.3f} ({auc['low']:.3f}-{auc['high']:.3f})" if auc else "-"
        out = " / ".join(
            ", ".join(str(cell["tuned"]) for cell in row["extracted"][way].values()) for way in ("greedy", "sampled")
        )
        print(
            f"{level:>8} {row['n']:>4} {row['exposure']['tuned']:>9.2f} {row['exposure']['base']:>10.2f} {told:>22}  {out}"
        )
    print("verbatim", json.dumps(found["verbatim"]), "masked", json.dumps(found["masked"]))
    print("\n".join(verdict["reasons"]))
    most = max(found["levels"], key=int)
    aucs = {
        model: {n: row["auc"][model] for n, row in found["levels"].items() if "auc" in row}
        for model in ("tuned", "base")
    }
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    ratio = {"untrained": round(aucs["tuned"][most]["value"] / aucs["base"][most]["value"], 2)}
    ours = {"auc": aucs["tuned"], "levels": found["levels"], "verbatim": found["verbatim"], "masked": found["masked"]}
    facts = {"bench": "privacy", "commit": commit.stdout.strip(), "device": "CPU", "ratio": ratio}
    print(json.dumps(facts | {"ours": ours, "baseline": {"auc": aucs["base"]}}, ensure_ascii=False))


if __name__ == "__main__":
    main()
