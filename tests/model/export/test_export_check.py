"""Every export gives the model the tokens of training, and a wrong one is found out."""

import json
import shutil
import subprocess
from dataclasses import replace

import pytest
from gotemplate import ollama_ids, render
from hypothesis import given, settings
from hypothesis import strategies as st

from mnatune.model.export import (
    check_merged,
    check_rendering,
    dialogues,
    merge,
    ollama_template,
    policy_template,
    require_rendering,
    template_ids,
)
from mnatune.model.export.ollama import require_qwen3
from mnatune.model.load import load_tokenizer
from mnatune.runs.errors import DataError, UsageError


@pytest.fixture(scope="module")
def tokenizer(tiny):
    return load_tokenizer(str(tiny[0]))


@pytest.fixture(scope="module")
def asked(subject):
    return dialogues(subject.pack)


@pytest.fixture(scope="module")
def merged(subject, tmp_path_factory):
    return merge(subject, tmp_path_factory.mktemp("merged") / "model")


def test_fifty_dialogues_of_one_to_three_turns(asked):
    assert len(asked) == 50
    assert {sum(m["role"] == "user" for m in d) for d in asked} == {1, 2, 3}
    assert asked[-1][-1]["content"].endswith("/no_think")


def test_both_templates_give_the_tokens_of_training(tokenizer, asked):
    for ids in (template_ids(tokenizer, policy_template(tokenizer)), ollama_ids(tokenizer, ollama_template())):
        checked = check_rendering(tokenizer, asked, ids).require()
        assert checked.dialogues == 50


@pytest.mark.parametrize(
    ("part", "wrong"),
    [(" /no_think", "/no_think"), ("</think>\\n\\n", "</think>\\n"), ("end|>\\n", "end|>"), ("<|im_start|>", "")],
)
def test_a_template_that_differs_is_found_out(tokenizer, asked, part, wrong):
    for template, ids in ((policy_template(tokenizer), template_ids), (ollama_template(), ollama_ids)):
        assert part in template
        broken = ids(tokenizer, template.replace(part, wrong))
        with pytest.raises(DataError, match="differs in"):
            check_rendering(tokenizer, asked, broken).require()


TURN = st.text(st.characters(codec="utf-8", exclude_characters="<"), max_size=40)


@settings(max_examples=60, deadline=None)
@given(st.lists(TURN, min_size=1, max_size=5))
def test_any_dialogue_is_rendered_alike(tokenizer, texts):
    turns = [{"role": "user" if n % 2 == 0 else "assistant", "content": text} for n, text in enumerate(texts)]
    turns = turns if len(turns) % 2 else turns[:-1]
    policy = check_rendering(tokenizer, [turns], template_ids(tokenizer, policy_template(tokenizer)))
    assert not policy.faults
    trimmed = [{**t, "content": t["content"].rstrip()} if t["role"] == "user" else t for t in turns]
    assert not check_rendering(tokenizer, [trimmed], ollama_ids(tokenizer, ollama_template())).faults


def test_the_template_refuses_roles_it_was_not_trained_for(tokenizer):
    with pytest.raises(Exception, match="role tool"):
        template_ids(tokenizer, policy_template(tokenizer))([{"role": "tool", "content": "x"}])


def test_the_merged_model_answers_like_base_and_adapter(subject, merged):
    checked = check_merged(subject, merged, dialogues(subject.pack, 12)).require()
    assert checked.dialogues == 12
    assert checked.equal_answers + checked.near_ties == checked.answers > 0
    assert checked.equal_answers >= checked.answers - 1


def test_a_merge_without_the_adapter_is_found_out(subject, merged, tiny, tmp_path):
    wrong = tmp_path / "wrong"
    shutil.copytree(merged, wrong)
    shutil.copyfile(tiny[0] / "model.safetensors", wrong / "model.safetensors")
    with pytest.raises(DataError, match="another answer"):
        check_merged(subject, wrong, dialogues(subject.pack, 6)).require()


def test_the_merged_folder_is_complete_and_safe(subject, merged, tokenizer):
    names = {p.name for p in merged.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja", "README.md"} <= names
    assert not {n for n in names if n.endswith((".bin", ".pt", ".py"))}
    assert (merged / "chat_template.jinja").read_text() == policy_template(tokenizer)
    assert "library_name: transformers" in (merged / "README.md").read_text()
    generation = json.loads((merged / "generation_config.json").read_text())
    assert (generation["temperature"], generation["top_k"], generation["repetition_penalty"]) == (0.1, 2, 1.2)


def test_an_export_never_writes_over_anything(subject, tmp_path):
    with pytest.raises(UsageError, match="exists already"):
        merge(subject, tmp_path)


@pytest.mark.parametrize(
    "template", ["{{ .X | printf }}", "{{ if .A }}x", "{{ end }}", "{{ unknown .A }}", "{{ eq (.A }}", "{{ $x := 1 }}"]
)
def test_go_beyond_the_subset_is_refused(template):
    with pytest.raises(DataError):
        render(template, {"A": "1"})


CASES = [
    ("a {{- .A -}}  b", {"A": "한"}),
    ("{{ range .L }}[{{ . }}]{{ else }}none{{ end }}", {"L": ["x", "y"]}),
    ("{{ range .L }}[{{ . }}]{{ else }}none{{ end }}", {"L": []}),
    ("{{ if eq .A \"x\" \"y\" }}1{{ else }}2{{ end }} {{ len .A }} {{ slice .A 1 }}", {"A": "y국"}),
    ("{{ if and .A (ge (len .A) 3) }}long{{ end }}{{ if or .A .B }}some{{ end }}{{ not .A }}", {"A": "", "B": "b"}),
    ("{{ \"q\\\"\\n\" }}\n  {{- \" \" }} end", {}),
]  # fmt: skip
GO = """package main
import ("encoding/json"; "os"; "text/template")
func main() {
  var cases []struct { Template string; Data map[string]any }
  if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil { panic(err) }
  for _, c := range cases {
    template.Must(template.New("").Parse(c.Template)).Execute(os.Stdout, c.Data)
    os.Stdout.WriteString("\\x00")
  }
}
"""


@pytest.mark.slow
def test_the_renderer_does_what_go_does(asked, tmp_path):
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed: the renderer cannot be compared with text/template")
    talks = [{"Messages": [{"Role": m["role"], "Content": m["content"]} for m in d]} for d in asked]
    edges = ("", "짧다", "/no_think", "가/no_thin", "123456789")
    short = [{"Messages": [{"Role": "user", "Content": text}]} for text in edges]
    cases = [*CASES, *((ollama_template(), data) for data in talks + short)]
    (tmp_path / "main.go").write_text(GO)
    given = json.dumps([{"Template": t, "Data": d} for t, d in cases])
    done = subprocess.run([go, "run", "main.go"], input=given, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.split("\0")[:-1] == [render(t, d) for t, d in cases]


def test_a_base_that_opens_answers_without_a_thought_is_exported_so(subject, tiny, tmp_path):
    """Such as Qwen2.5, whose template knows no think block: its own template is what it was trained under."""
    base = tmp_path / "base"
    shutil.copytree(tiny[0], base)
    template = (base / "chat_template.jinja").read_text(encoding="utf-8")
    (base / "chat_template.jinja").write_text(
        "\n".join(line for line in template.split("\n") if "enable_thinking is false else" not in line), "utf-8"
    )
    recipe = subject.recipe.model_copy(update={"model": subject.recipe.model.model_copy(update={"id": str(base)})})
    assert require_rendering(replace(subject, recipe=recipe)).dialogues == 50
    own = load_tokenizer(str(base))
    with pytest.raises(DataError, match="differs in"):
        check_rendering(
            own, dialogues(subject.pack), template_ids(own, policy_template(load_tokenizer(str(tiny[0]))))
        ).require()
    with pytest.raises(UsageError, match="Modelfile's template is Qwen3's"):
        require_qwen3(replace(subject, recipe=recipe))


def test_a_merge_that_fails_its_check_leaves_nothing(subject, tmp_path):
    def refuse(folder):
        assert (folder / "model.safetensors").is_file()
        raise DataError("differs")

    with pytest.raises(DataError):
        merge(subject, tmp_path / "out", refuse)
    assert list(tmp_path.iterdir()) == []
