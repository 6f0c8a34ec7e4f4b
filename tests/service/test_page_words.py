"""The pages speak in the pack's words; a pack without them, or with others, is told so."""

import pytest
from fastapi.testclient import TestClient
from served_app import make_app

from mnatune.pack import Pack
from mnatune.pack.schema import PackFacts
from mnatune.runs.errors import DataError
from mnatune.service.page_words import RATING, WELCOME, PageWords
from mnatune.service.server import ServeOptions, build
from mnatune.service.service import Settings


@pytest.mark.parametrize("name", ["mna_ko", "inheritance_ko"])
def test_the_bundled_packs_say_what_the_pages_need(name):
    facts = Pack.load(name).facts
    PackFacts.model_validate(facts)
    words = PageWords.of(facts)
    assert words.welcome != WELCOME
    assert len(words.rating.grades) == 4
    assert facts["examples"]


def test_a_pack_without_words_gets_general_ones():
    assert PageWords.of({"title": "x"}) == PageWords(WELCOME, RATING)


def test_words_of_another_form_are_refused_with_their_place():
    with pytest.raises(DataError) as refused:
        PageWords.of({"rating": {"guideline": ["하나"], "grades": [{"label": "틀림", "means": "틀림"}]}})
    assert "grades" in str(refused.value)


def test_the_server_takes_them_from_its_pack(tmp_path):
    app = build(ServeOptions(echo=True, pack="inheritance_ko", feedback="", keys=tmp_path / "keys.json"))
    settings = app.state.service.settings
    assert (settings.title, settings.words.welcome.title) == ("상속·증여", "무엇을 알려 드릴까요?")
    assert {topic for topic, _ in settings.exam}


def test_the_page_is_told_them():
    words = PageWords.of(Pack.load("mna_ko").facts)
    with TestClient(make_app(settings=Settings(system="체계", words=words))) as client:
        assert client.get("/api/page").json()["welcome"] == words.welcome.model_dump()
        told = client.get("/api/rating").json()
        assert told["guideline"] == words.rating.guideline
        assert [grade["label"] for grade in told["grades"]] == [grade.label for grade in words.rating.grades]
