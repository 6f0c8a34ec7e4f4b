"""The model card: front matter that any hub can read, and the licences of the composed rows."""

import pytest
import yaml
from tiny_run import make_recipe, train_job

from mnatune.runs.workspace import Manifest, Run, Stage
from mnatune.stages.train.adapter import model_card


@pytest.mark.parametrize("base", ["models: 8B", "[v2]/base", "Qwen/Qwen3-8B"])
def test_the_card_is_read_and_names_the_licences_of_the_data(tmp_path, base) -> None:
    run = Run(tmp_path)
    run.folder("compose").mkdir(parents=True)
    manifest = Manifest("compose", "key", {}, {}, 42)
    manifest.facts["licences"] = ["CC BY 4.0", "사내"]
    Stage(run.folder("compose"), manifest).finish(0.0)
    job = train_job(make_recipe(base), run)
    adapter = {"r": 4, "alpha": 8, "dropout": 0.1}
    job.manifest.facts["setting"] = {"quantize": "nf4", "learning_rate": 2e-6, "adapter": adapter}
    job.manifest.facts["thinking"] = "none"
    card = model_card(job)
    assert "r 4, alpha 8, dropout 0.1" in card
    assert "양자화 nf4" in card
    assert "2e-06" in card
    assert "none: 기반 모델의 대화 틀 그대로" in card
    assert yaml.safe_load(card.split("---\n")[1])["base_model"] == base
    assert "이용 조건: CC BY 4.0; 사내." in card
