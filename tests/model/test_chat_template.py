"""A chat template that came with the weights may not hold the process that renders it."""

import shutil

import pytest

from mnatune.model.chat_template import render_trial, try_template
from mnatune.model.load import LoadedModel, load_tokenizer
from mnatune.runs.errors import DataError

GOOD = """{%- for message in messages %}
{%- if loop.first and message.role != 'system' %}{{ '<s>' }}{% endif %}
{%- generation %}[{{ message.role }}] {{ message['content'].strip() }}{% endgeneration %}
{%- endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"""
ENDLESS = {
    "loops": "{% for a in range(90000) %}{% for b in range(90000) %}{% for c in range(90000) %}{% endfor %}{% endfor %}{% endfor %}",
    "doubling": "{% set n = namespace(s='가') %}{% for a in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
    "letters": "{% for m in messages %}{% for a in m.content %}{% for b in m.content %}{% for c in m.content %}{% endfor %}{% endfor %}{% endfor %}{% endfor %}",
    "macros": "{% macro m(n) %}{{ m(n) }}{{ m(n) }}{% endmacro %}{{ m(1) }}",
    "huge range": "{% for a in range(10 ** 9) %}{% endfor %}",
    "no template": "{% for a in %}",
}


@pytest.fixture
def soon(monkeypatch):
    """A limit of two seconds, so that the suite need not wait for ten."""
    import mnatune.model.chat_template as module

    monkeypatch.setattr(module, "LIMITS", module.TaskLimits(seconds=2.0, memory=1 << 30, output=1 << 20))


def test_templates_of_other_families_pass(soon):
    try_template(GOOD, "model")
    assert render_trial(GOOD) > 18_000


def test_a_template_that_refuses_is_not_refused(soon):
    try_template("{{ raise_exception('roles must alternate') }}", "model")


@pytest.mark.parametrize("fault", ENDLESS)
def test_what_never_ends_is_refused(fault, soon):
    with pytest.raises(DataError, match="the chat template cannot be used"):
        try_template(ENDLESS[fault], "model")


def test_the_tokenizer_is_not_even_loaded_with_it(starter, tmp_path, soon):
    folder = shutil.copytree(starter, tmp_path / "model")
    (folder / "chat_template.jinja").write_text(ENDLESS["doubling"], encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load_tokenizer(str(folder))
    assert caught.value.where == str(folder)


def test_no_weight_is_read_for_a_template_that_is_refused(starter, tmp_path, soon):
    folder = shutil.copytree(starter, tmp_path / "model")
    (folder / "chat_template.jinja").write_text(ENDLESS["doubling"], encoding="utf-8")
    (folder / "model.safetensors").unlink()  # whoever reads weights first, stumbles over this
    with pytest.raises(DataError, match="the chat template cannot be used"):
        LoadedModel(str(folder))


def test_templates_that_were_read_need_no_trial(starter, monkeypatch):
    import mnatune.model.chat_template as module

    monkeypatch.setattr(module, "attempt", lambda *_: pytest.fail("tried again"))
    load_tokenizer(str(starter))
