"""Emitting and sampling: what is sent is exactly the answer, and what is drawn follows the request's values."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mnatune.model.engine.emitter import BROKEN, Emitter
from mnatune.model.engine.protocol import Sampling
from mnatune.model.engine.sampler import Draws
from mnatune.model.load import load_tokenizer
from mnatune.runs.recipe import bundled

TOKENIZER = load_tokenizer(str(bundled("starter") / "model"))
KOREAN = st.text(st.sampled_from("합병계약서 주식매수청구權의 10%, 🙂é\n가나다뷁"), max_size=40)


def emitted(text, stop=(), trim=True):
    emitter = Emitter(TOKENIZER, stop, trim=trim)
    pieces = []
    for token in TOKENIZER(text, add_special_tokens=False)["input_ids"]:
        pieces.append(emitter.add(token))
        if emitter.stopped:
            break
    pieces.append(emitter.finish())
    return pieces


@settings(max_examples=150, deadline=None)
@given(KOREAN)
def test_pieces_make_up_the_text_and_never_end_inside_a_character(text):
    pieces = emitted(text)
    assert "".join(pieces) == text.strip()
    assert all(BROKEN not in piece for piece in pieces)
    assert "".join(emitted(text, trim=False)) == text


@settings(max_examples=150, deadline=None)
@given(KOREAN, st.lists(st.text(st.sampled_from("합병계약 의10%"), min_size=1, max_size=3), max_size=3))
def test_nothing_of_a_stop_string_or_after_it_is_sent(text, stops):
    said = "".join(emitted(text, stops, trim=False))
    assert text.startswith(said)
    assert all(stop not in said for stop in stops)
    # It ends at the stop string that was complete first, which need not be the one that began first.
    assert said == text or any(text[len(said) :].startswith(stop) for stop in stops)
    if all(stop not in text for stop in stops):
        assert said == text


def test_text_is_sent_as_soon_as_it_is_certain():
    pieces = emitted("합병은 두 회사가 하나로 되는 것입니다.", stop=("없는 말",))
    assert len([piece for piece in pieces if piece]) > 3


LOGITS = torch.linspace(3, -3, 50).repeat(4, 1)


def draws(*sampling, width=50, prompts=None):
    return Draws(sampling, prompts or [[] for _ in sampling], width, torch.device("cpu"))


def draw(**values):
    return Sampling(**values)


def test_greedy_rows_take_the_best_beside_rows_that_sample():
    torch.manual_seed(0)
    logits = torch.randn(3, 200)
    best = logits.argmax(-1).tolist()
    chosen = draws(draw(), draw(temperature=1.0, seed=3), draw(), width=200).next_tokens(logits.clone())
    assert [chosen[0], chosen[2]] == [best[0], best[2]]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.floats(0.05, 1.0), st.floats(0.2, 2.0), st.integers(0, 10**9))
def test_draws_stay_inside_top_k_and_top_p(top_k, top_p, temperature, seed):
    chosen = draws(*[draw(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)] * 4).next_tokens(
        LOGITS.clone()
    )
    shares = (LOGITS[0, :top_k] / temperature).softmax(-1)
    allowed = int((shares.cumsum(-1) - shares < top_p).sum())
    assert max(chosen) < allowed
    free = draws(*[draw(temperature=temperature, top_p=top_p, seed=seed)] * 4).next_tokens(LOGITS.clone())
    whole = (LOGITS[0] / temperature).softmax(-1)
    assert max(free) < int((whole.cumsum(-1) - whole < top_p + 1e-5).sum())


def test_a_row_draws_the_same_whoever_is_beside_it():
    one = draws(draw(temperature=1.0, seed=9))
    alone = [one.next_tokens(LOGITS[:1].clone())[0] for _ in range(20)]
    batch = draws(*(draw(temperature=1.5, seed=seed) for seed in range(3)))
    batch.join(draws(draw(temperature=1.0, seed=9)))
    beside = [batch.next_tokens(LOGITS.clone())[3] for _ in range(10)]
    batch.keep([0, 3])
    beside += [batch.next_tokens(LOGITS[:2].clone())[1] for _ in range(10)]
    assert alone == beside


def test_draws_follow_the_distribution():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    one = draws(draw(temperature=1.0, seed=1), width=4)
    counts = torch.bincount(torch.tensor([one.next_tokens(logits.clone())[0] for _ in range(4000)]), minlength=4)
    assert torch.allclose(counts / 4000, logits[0].softmax(-1), atol=0.03)


def test_penalties_are_compared_in_fp32():
    """Of bf16 scores that the penalty sets apart by less than bf16 can tell, the better one is taken."""
    logits = torch.tensor([[2.0, 1.6640625]], dtype=torch.bfloat16)
    one = draws(draw(repetition_penalty=1.2), width=2, prompts=[[0]])
    assert 2.0 / 1.2 > 1.6640625
    assert one.next_tokens(logits) == [0]


@pytest.mark.parametrize("values", [{"temperature": 1e-39}, {"temperature": 1.0, "top_p": 1e-320}])
def test_tiny_values_are_greedy_and_leave_the_other_rows_alone(values):
    torch.manual_seed(4)
    logits = torch.randn(2, 50)
    batch = draws(draw(**values), draw(temperature=1.0, seed=3))
    assert batch.next_tokens(logits.clone()) == [
        int(logits[0].argmax()),
        *draws(draw(temperature=1.0, seed=3)).next_tokens(logits[1:].clone()),
    ]


def test_the_repetition_penalty_is_that_of_transformers():
    from transformers import RepetitionPenaltyLogitsProcessor

    torch.manual_seed(2)
    logits, seen = torch.randn(1, 30), [3, 7, 9]
    expected = RepetitionPenaltyLogitsProcessor(1.7)(torch.tensor([seen]), logits.clone()).argmax(-1).tolist()
    assert draws(draw(repetition_penalty=1.7), width=30, prompts=[seen]).next_tokens(logits.clone()) == expected


def test_an_answer_that_quotes_is_penalised_for_its_own_tokens_alone():
    logits = torch.tensor([[2.0, 1.9], [2.0, 1.9]])
    batch = draws(draw(repetition_penalty=1.2), draw(repetition_penalty=1.2, quoting=True), width=2, prompts=[[0], [0]])
    assert [batch.next_tokens(logits.clone()) for _ in range(2)] == [[1, 0], [0, 1]]


@pytest.mark.parametrize("top_k", [1, 0])
def test_top_k_one_is_greedy_and_a_tiny_top_p_too(top_k):
    logits = torch.randn(4, 60)
    values = {"top_k": 1} if top_k else {"top_p": 1e-6}
    assert (
        draws(*[draw(temperature=2.0, **values)] * 4, width=60).next_tokens(logits.clone())
        == logits.argmax(-1).tolist()
    )
