"""`grpo`: learn from one's own answers by what rewards can verify in them."""

from collections.abc import Sequence

from ....model.load import load_tokenizer
from ....runs.job import Job
from ....runs.recipe import Recipe
from ....runs.train_options import REWARD_NAMES
from ....runs.workspace import Run
from ..asked_rows import answered_lengths, asked_questions, fitting_questions, grpo_options
from ..method import TRAIN_ROWS, Figure, Method, rows_file
from ..plan import Needs, Rollout

# Korean names of the rewards
PARTS = {
    "citation_exists": "있는 조문",
    "citation_supported": "맞는 조문",
    "citation_shown": "근거 안의 조문",
    "abstention": "모를 때만 모른다고 함",
    "values_grounded": "근거 있는 숫자·날짜",
    "letter": "시험 정답",
    "ends": "스스로 끝맺음",
    "korean": "한국어",
    "length": "길이",
    "polite": "합니다체",
    "rubric": "심사 모델의 채점",
}
FIGURES = {
    "reward": Figure("보상", ".2~f"),
    "reward_std": Figure("보상의 퍼짐", ".2~f"),
    "kl": Figure("시작 어댑터와의 거리(KL)", ".3~f"),
    "completions/mean_length": Figure("답변 토큰", ".0f"),
    "completions/clipped_ratio": Figure("잘린 답변", ".0%"),
    "frac_reward_zero_std": Figure("배울 것 없는 질문", ".0%"),
    "tricks/share": Figure("꼼수 답변", ".1%"),
    "eval_reward": Figure("보류 질문의 보상", ".2~f"),
    **{f"rewards/{name}/mean": Figure(f"보상: {label}", ".2~f") for name, label in PARTS.items()},
    **{f"rewards/{name}/std": Figure(f"보상의 퍼짐: {label}", ".2~f") for name, label in PARTS.items()},
}
assert PARTS.keys() == set(REWARD_NAMES)


def _lengths(recipe: Recipe, run: Run) -> list[int]:
    tokenizer, options = load_tokenizer(recipe.model.id, recipe.model.revision), grpo_options(recipe)
    asked = asked_questions(rows_file(run, options.rows), tokenizer)
    return answered_lengths(fitting_questions(asked, options.answer_tokens, recipe.model.max_length), options)


def _needs(recipe: Recipe, lengths: Sequence[int]) -> Needs:
    """A rate between the others': a tenth of supervised training's, for answers that are the model's own."""
    options = grpo_options(recipe)
    widest = max(lengths, default=recipe.model.max_length) - options.answer_tokens
    rollout = Rollout(recipe.train.rows_per_step, options.answer_tokens, max(1, widest))
    return Needs(learning_rate=1e-5, reference=options.kl > 0, rollout=rollout, trl_loss=True)


def _work(job: Job) -> None:
    from ..grpo_loop import train_on_rewards

    train_on_rewards(job, GRPO)


GRPO = Method(
    "grpo",
    "검증되는 보상으로 배움",
    TRAIN_ROWS,
    False,
    _lengths,
    _needs,
    _work,
    FIGURES,
    answers=True,
    pack_files=(
        "evaluate.yaml",
        "rubric.yaml",
        "citations.yaml",
        "law/law.json",
        "law/articles.parquet",
    ),
    code=("law", "text"),
)
