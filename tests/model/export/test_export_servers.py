"""What other servers get: GGUF through a converter, Modelfile, vLLM folder, hub push; and what is refused."""

import json
import shlex
import subprocess
import sys
from itertools import pairwise

import pytest

from mnatune.model.export import Subject, merge, ollama_template, policy_template, push, write_modelfile, write_vllm
from mnatune.model.export.gguf import convert, find_converter, to_gguf
from mnatune.model.load import load_tokenizer
from mnatune.model.registry import Lineage, Registry
from mnatune.runs.errors import DataError, EnvironmentFault, UsageError

CONVERTER = """
import json, sys
from pathlib import Path
import gguf
merged, out = Path(sys.argv[1]), sys.argv[sys.argv.index("--outfile") + 1]
tokenizer = json.loads((merged / "tokenizer.json").read_text())
vocabulary = tokenizer["model"]["vocab"] | {t["content"]: t["id"] for t in tokenizer["added_tokens"]}
tokens = [t for t, _ in sorted(vocabulary.items(), key=lambda pair: pair[1])]
template = (merged / "chat_template.jinja").read_text()
end, bos = "<|im_end|>", False
FAULT
writer = gguf.GGUFWriter(out, "qwen3")
writer.add_token_list(tokens)
writer.add_eos_token_id(vocabulary[end])
writer.add_add_bos_token(bos)
writer.add_chat_template(template)
writer.write_header_to_file(); writer.write_kv_data_to_file(); writer.write_tensors_to_file(); writer.close()
"""


def converter(folder, *, fault=""):
    folder.mkdir(exist_ok=True)
    script = folder / "convert_hf_to_gguf.py"
    script.write_text(CONVERTER.replace("FAULT", fault))
    return script


@pytest.fixture(scope="module")
def merged(subject, tmp_path_factory):
    return merge(subject, tmp_path_factory.mktemp("merged") / "model")


def needs_gguf():
    for name in ("gguf", "sentencepiece"):
        pytest.importorskip(name, reason=f"the package {name} of llama.cpp's converter is not installed")


def test_without_llama_cpp_the_error_says_what_to_install(subject, tmp_path, monkeypatch):
    monkeypatch.delenv("LLAMA_CPP", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentFault, match="converter") as told:
        to_gguf(subject, tmp_path / "out" / "m.gguf", "q8_0", tmp_path)
    assert "git clone" in told.value.next_step
    assert not (tmp_path / "out").exists()


def test_the_converter_is_found_where_it_is_said_to_be(tmp_path, monkeypatch):
    needs_gguf()
    script = converter(tmp_path / "llama")
    assert find_converter(tmp_path / "llama") == script
    monkeypatch.setenv("LLAMA_CPP", str(tmp_path / "llama"))
    assert find_converter(None) == script


def test_a_converted_file_is_checked(subject, merged, tmp_path):
    needs_gguf()
    out = convert(merged, tmp_path / "m.gguf", "q8_0", converter(tmp_path / "a"))
    assert out.read_bytes()[:4] == b"GGUF"
    for fault, told in (
        ("tokens[5] = 'x'", "1 tokens differ"),
        ("template += 'x'", "the template differs"),
        ("end = '<|endoftext|>'", "the turn end differs"),
        ("bos = True", "put in front"),
    ):
        with pytest.raises(DataError, match=told):
            convert(merged, tmp_path / "bad.gguf", "q8_0", converter(tmp_path / "b", fault=fault))
        assert not (tmp_path / "bad.gguf").exists()


def test_the_converters_last_words_are_told(merged, tmp_path):
    script = tmp_path / "convert_hf_to_gguf.py"
    script.write_text("import sys; sys.exit('BPE pre-tokenizer was not recognized')")
    with pytest.raises(EnvironmentFault, match="was not recognized") as told:
        convert(merged, tmp_path / "m.gguf", "q8_0", script)
    assert "tokenizer of its own" in told.value.next_step
    assert list(tmp_path.iterdir()) == [script]


def test_the_modelfile_holds_template_system_and_sampling(subject, tmp_path):
    text = write_modelfile(subject, tmp_path / "m.gguf", tmp_path / "Modelfile", 2048).read_text()
    parts = text.split('"""')
    assert parts[1] == ollama_template()
    assert parts[3] == subject.system
    assert parts[0].startswith("FROM ./m.gguf\n")
    given = [line.removeprefix("PARAMETER ") for line in parts[4].splitlines() if line]
    assert {"num_ctx 2048", "temperature 0.1", "repeat_penalty 1.2", "repeat_last_n -1"} <= set(given)
    assert 'stop "<|im_end|>"' in given


def test_the_vllm_folder_can_be_launched(subject, tmp_path):
    out, tokenizer = write_vllm(subject, tmp_path / "served here", 2048), load_tokenizer(subject.recipe.model.id)
    assert (out / "chat_template.jinja").read_text() == policy_template(tokenizer)
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "vllm").write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    (fake / "vllm").chmod(0o755)
    command = [out / "launch.sh", "--seed", "1"]
    told = subprocess.run(command, env={"PATH": f"{fake}:/usr/bin:/bin"}, capture_output=True, check=True)
    arguments = json.loads(told.stdout)
    assert arguments[:2] == ["serve", subject.recipe.model.id]
    assert arguments[-2:] == ["--seed", "1"]
    given = dict(pairwise(arguments))
    assert given["--max-lora-rank"] == "8"
    assert given["--max-model-len"] == "2048"
    assert given["--host"] == "127.0.0.1"
    assert json.loads(given["--override-generation-config"])["top_k"] == 2
    name, _, path = given["--lora-modules"].partition("=")
    assert name == "tiny-tuned"
    assert (out / "adapter" / "adapter_model.safetensors").samefile(path + "/adapter_model.safetensors")


@pytest.mark.parametrize(("change", "told"), [({"r": 1024}, "rank"), ({"use_dora": True}, "DoRA")])
def test_an_adapter_that_vllm_cannot_serve_is_refused(subject, tmp_path, change, told):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    config = json.loads((subject.adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(DataError, match=told):
        write_vllm(Subject("x", adapter, subject.recipe), tmp_path / "out", 2048)


class Hub:
    """Remembers what it was asked."""

    def __init__(self, error=None):
        self.asked, self.error = {}, error

    def create_repo(self, repo_id, *, private, exist_ok):
        if self.error:
            raise self.error
        self.asked |= {"repo": repo_id, "private": private}

    def upload_folder(self, *, repo_id, folder_path, allow_patterns, commit_message):
        self.asked |= {"folder": folder_path, "patterns": allow_patterns}


def test_a_push_is_private_and_needs_a_card(subject, tmp_path):
    hub = Hub()
    assert push(subject.adapter, "firm/model", hub=hub).endswith("firm/model")
    assert (hub.asked["repo"], hub.asked["private"]) == ("firm/model", True)
    assert not {"*", "*.bin", "*.pt"} & set(hub.asked["patterns"])
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(DataError, match="card"):
        push(tmp_path, "firm/model", hub=hub)
    (tmp_path / "model.bin").write_bytes(b"x")
    with pytest.raises(DataError, match="pickled"):
        push(tmp_path, "firm/model", hub=hub)
    with pytest.raises(EnvironmentFault, match="no network"):
        push(subject.adapter, "firm/model", hub=Hub(OSError("no network\nmore")))
    with pytest.raises(EnvironmentFault, match="no such host"):  # an error of the client's own HTTP library
        push(subject.adapter, "firm/model", hub=Hub(RuntimeError("no such host")))


def test_the_promoted_model_is_what_is_exported(subject, tmp_path):
    registry = Registry(tmp_path / "models")
    with pytest.raises(UsageError, match="no model is in production"):
        Subject.of_model(registry)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("name: 빠른 시작\nmodel: {id: Qwen/Qwen3-8B}\n", encoding="utf-8")
    model = registry.register(subject.adapter, Lineage(verdict={"verdict": "promote"}), recipe=recipe)
    registry.promote(model.name)
    found = Subject.of_model(registry)
    assert found.name == shlex.quote(found.name) == "qwen3-8b-tuned"
    assert found.adapter == model.adapter
