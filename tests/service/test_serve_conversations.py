"""Dialogues in real Chromium: names, search, files, another answer, another question; and nothing of one in another."""

import io
import json
import random
import zipfile

import pytest
from pages import PHONE, answered, ask, axe_findings, expect, ready
from served_app import make_app, wait_for

from mnatune.model.engine.echo import EchoEngine

pytestmark = pytest.mark.browser

ATTACK = "<script>window.hit=1</script><img src=x onerror=window.hit=1>"


def app_counting(seen, pause=0.0, words=1):
    """Every answer has its number; `seen` gets what each request carried."""

    def reply(task):
        seen.append([message["content"] for message in task.messages if message["role"] != "system"])
        return f"{task.messages[-1]['content']}의 답 {len(seen)} " * words

    return make_app(EchoEngine(("tuned", "base"), pause=pause, reply=reply))


def chats(page):
    return json.loads(page.evaluate("localStorage.getItem('mnatune.chats')") or "[]")


def menu(page, item):
    page.get_by_label("대화 메뉴").click()
    page.get_by_role("button", name=item).click()


def test_a_dialogue_is_renamed_found_and_deleted_after_a_question(visit):
    page, _ = visit(app_counting([]))
    ask(page, "소규모합병의 요건")
    answered(page)
    menu(page, "이름 바꾸기")
    page.get_by_label("이름", exact=True).fill("가나 사건 1차")
    page.press("#new-title", "Enter")
    page.locator("#chat-title", has_text="가나 사건 1차").wait_for()
    page.click("#new-chat")
    ask(page, "영업양도")
    answered(page)
    page.fill("#search", "소규모합병")  # found by what was said, under its new name
    assert page.locator("#history .entry").all_text_contents() == ["가나 사건 1차"]
    page.fill("#search", "없는 말")
    page.get_by_text("찾는 말이 든 대화가 없습니다.").wait_for()
    page.fill("#search", "")
    menu(page, "대화 삭제")
    page.get_by_role("button", name="취소").click()
    assert len(chats(page)) == 2
    menu(page, "대화 삭제")
    page.get_by_role("button", name="삭제", exact=True).click()
    expect(page.locator("#welcome")).to_be_visible()
    assert [chat["title"] for chat in chats(page)] == ["가나 사건 1차"]


def test_another_answer_keeps_the_earlier_one(visit):
    seen = []
    page, _ = visit(app_counting(seen))
    ask(page, "합병")
    answered(page)
    page.get_by_role("button", name="다시 생성").click()
    page.get_by_text("합병의 답 2").wait_for()
    answered(page)
    assert seen == [["합병"], ["합병"]]
    expect(page.locator(".answer")).to_have_count(1)
    page.get_by_role("button", name="다른 답변 보기 (1)").click()
    page.get_by_text("합병의 답 1").wait_for()
    ask(page, "분할")
    answered(page, 1)
    assert seen[2] == ["합병", "합병의 답 1", "분할"]  # what is shown is what goes along


def test_an_answer_comes_back_when_no_new_one_came(visit):
    page, _ = visit(app_counting([]))
    ask(page, "합병")
    answered(page)
    page.route("**/v1/chat/completions", lambda route: route.abort())
    page.get_by_role("button", name="다시 생성").click()
    page.locator("[role=alert]", has_text="연결할 수 없습니다").wait_for()
    page.get_by_text("합병의 답 1").wait_for()
    assert [turn["content"] for turn in chats(page)[0]["turns"]] == ["합병", "합병의 답 1"]


def test_a_question_in_other_words_leaves_the_old_dialogue_as_it_was(visit):
    seen = []
    page, _ = visit(app_counting(seen))
    ask(page, "하나")
    answered(page)
    ask(page, "둘")
    answered(page, 1)
    page.locator(".question").nth(1).get_by_role("button", name="질문 고치기").click()
    page.get_by_label("고친 질문").fill("셋")
    page.get_by_role("button", name="고쳐서 묻기").click()
    page.get_by_text("셋의 답 3").wait_for()
    assert seen[2] == ["하나", "하나의 답 1", "셋"]
    kept = {chat["title"]: [turn["content"] for turn in chat["turns"]] for chat in chats(page)}
    assert kept == {
        "하나": ["하나", "하나의 답 1", "둘", "둘의 답 2"],
        "하나 (고친 질문)": ["하나", "하나의 답 1", "셋", "셋의 답 3"],
    }


def test_a_reload_in_mid_answer_keeps_what_had_come(visit):
    page, _ = visit(app_counting([], pause=0.02, words=200))
    ask(page, "가사건")
    page.get_by_text("가사건의 답").first.wait_for()
    page.reload()
    ready(page).get_by_text("이 답변은 끝까지 오지 않았습니다.").wait_for()
    (chat,) = chats(page)
    assert chat["turns"][1]["content"].startswith("가사건의 답 1")
    page.get_by_role("button", name="다시 시도").wait_for()


def saved(page, item):
    with page.expect_download() as download:
        menu(page, item)
    return download.value.suggested_filename, download.value.path().read_bytes()


def test_a_dialogue_is_saved_as_markdown_and_as_a_word_document(visit):
    answer = (
        "**결론**입니다.\n\n1. 첫째\n   - 안쪽\n2. 둘째\n\n| 가 | 나 |\n|---|---|\n| 1 | <b>2</b> |\n\n```\n코드\n```"
    )
    page, _ = visit(make_app(EchoEngine(("tuned",), reply=lambda task: answer)))
    ask(page, f"요건은? {ATTACK}\u0001")
    answered(page)
    menu(page, "이름 바꾸기")
    page.fill("#new-title", 'A/B: "주식" 사건')
    page.click("#rename-save")
    name, text = saved(page, "Markdown")
    assert name == "A B 주식 사건.md"
    assert f"> 요건은? {ATTACK}" in text.decode()
    assert answer in text.decode()
    name, word = saved(page, "Word")
    assert name == "A B 주식 사건.docx"
    with zipfile.ZipFile(io.BytesIO(word)) as archive:
        assert archive.testzip() is None
        document = archive.read("word/document.xml")
        assert set(archive.namelist()) == {
            "[Content_Types].xml", "_rels/.rels", "word/_rels/document.xml.rels", "word/styles.xml", "word/document.xml",
        }  # fmt: skip
    etree = pytest.importorskip("lxml.etree", reason="the documents extra is not installed")
    w = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
    root = etree.fromstring(document)
    lines = ["".join(node.text or "" for node in p.iter(f"{w}t")) for p in root.iter(f"{w}p")]
    assert f"요건은? {ATTACK}" in lines
    assert {"결론입니다.", "1.첫째", "•안쪽", "2.둘째", "코드", "<b>2</b>"} <= set(lines)
    assert len(list(root.iter(f"{w}tbl"))) == 1
    assert root.find(f".//{w}b") is not None


def test_the_readers_of_the_documents_room_read_the_word_document(visit, tmp_path):
    dochan = pytest.importorskip("dochan", reason="the documents extra is not installed")
    page, _ = visit(app_counting([]))
    ask(page, "합병 기일")
    answered(page)
    _, word = saved(page, "Word")
    file = tmp_path / "a.docx"
    file.write_bytes(word)
    read = str(dochan.Dochan(str(file)).to_markdown())
    assert "합병 기일의 답 1" in read


def test_hostile_names_stay_text(visit):
    page, _ = visit(app_counting([]))
    ask(page, ATTACK)
    answered(page)
    menu(page, "이름 바꾸기")
    page.fill("#new-title", ATTACK)
    page.click("#rename-save")
    page.fill("#search", "script")
    menu(page, "대화 삭제")
    expect(page.locator("#delete-text")).to_contain_text(ATTACK)
    expect(page.locator(":is(main, nav, dialog, header) :is(script, img)")).to_have_count(0)
    assert page.evaluate("window.hit") is None


def test_menus_and_dialogs_have_no_serious_finding(visit):
    page, _ = visit(app_counting([]), viewport=PHONE)
    ask(page, "합병")
    answered(page)
    page.get_by_label("대화 메뉴").click()
    assert axe_findings(page) == []
    place = page.locator(".menu-list").bounding_box()
    assert place["x"] >= 0
    assert place["x"] + place["width"] <= PHONE["width"]
    page.get_by_role("button", name="이름 바꾸기").click()
    assert axe_findings(page) == []
    page.keyboard.press("Escape")
    page.get_by_role("button", name="질문 고치기").click()
    assert axe_findings(page) == []


COME = """document.getElementById("stop").hidden ? 1e9
    : [...document.querySelectorAll(".answer .text")].at(-1)?.textContent.split(" ").length ?? 0"""
MOVES = ("ask", "ask", "ask", "switch", "switch", "new", "new", "delete", "reload", "stop", "again", "change")


@pytest.mark.parametrize("seed", range(2))
def test_no_text_of_one_dialogue_is_ever_in_another(visit, seed):
    """A seeded walk: at any moment of a stream one asks, switches, deletes, reloads, stops, asks again or in other words.

    Every question carries the mark of its dialogue, and every answer that of its question.
    """
    seen, names, walk = [], iter("가나다라마바사아자차카타파하"), random.Random(seed)
    page, _ = visit(app_counting(seen, pause=0.01, words=60))
    ready(page)
    mark = None

    def pieces():
        """Wait until some more of the answer, or none of it, has come: a moment that the walk chooses."""
        wanted = walk.choice((0, 1, 2, 8, 20, 91))
        wait_for(lambda: not wanted or page.evaluate(COME) >= wanted, 10)

    for _ in range(36):
        move = walk.choice(MOVES) if mark else "ask"
        entries = page.locator("#history .entry")
        if move == "ask" and page.locator("#send").is_visible():
            mark = mark or f"{next(names)}건"
            ask(page, f"{mark} 질문")
        elif move == "switch" and entries.count():
            entries.nth(walk.randrange(entries.count())).click()
            mark = page.locator("#chat-title").text_content()[:2]
        elif move == "new":
            page.click("#new-chat")
            mark = None
        elif move == "delete" and entries.count():
            held = entries.count()
            at = walk.randrange(held)
            gone = entries.nth(at).get_attribute("aria-current")
            page.locator("#history .icon").nth(at).click()
            page.get_by_role("button", name="삭제", exact=True).click()
            expect(entries).to_have_count(held - 1)  # a closed dialog tells of it a moment later
            mark = None if gone else mark
        elif move == "reload":
            page.reload()
            ready(page)
            mark = page.locator("#chat-title").text_content()[:2] if chats(page) else None
        elif move == "stop" and page.locator("#stop").is_visible():
            page.keyboard.press("Escape")
        elif move == "again" and (button := page.get_by_role("button", name="다시")).count():
            button.first.evaluate("node => node.click()")
        elif move == "change" and (button := page.get_by_role("button", name="질문 고치기")).count():
            button.last.evaluate("node => node.click()")
            page.get_by_label("고친 질문").last.fill(f"{mark} 고친 질문 {walk.random()}")
            page.get_by_role("button", name="고쳐서 묻기").last.evaluate("node => node.click()")
        pieces()
        for chat in chats(page):
            assert len({turn["content"][:2] for turn in chat["turns"]}) == 1, chat
        on_screen = {text[:2] for text in page.locator("#turns .text").all_text_contents() if text.strip()}
        assert on_screen <= {page.locator("#chat-title").text_content()[:2]}
        assert all(len({text[:2] for text in carried}) == 1 for carried in seen), seen
