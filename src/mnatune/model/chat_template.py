"""A chat template is a program that came with the weights: it is tried in a limited process before it may render here.

Transformers renders in a sandbox that refuses attributes and shell commands, but bounds neither time nor memory: two
nested loops over 100,000 numbers, or a string that doubles a hundred times, hold a server for good. The trial finds what
happens with any dialogue. A template that waits for a certain word to misbehave is not found.
"""

import re
from functools import lru_cache
from hashlib import sha256

from ..documents.blocks import Unreadable
from ..documents.sandbox import Lost, TaskLimits, attempt
from ..runs.errors import DataError

LIMITS = TaskLimits(seconds=10.0, memory=1 << 30, output=1 << 20)
TURNS = 40
LONG_TURN = "상법 제522조의3에 따른 주식매수청구권에 관하여 설명하십시오. " * 500  # about 18,000 characters
OWN_TAGS = re.compile(r"\{%-?\s*+(?:end)?generation\s*+-?%\}")  # Transformers' own; they render nothing

# SHA-256 of templates that were read: the starter's and Qwen3's.
READ = frozenset(
    {
        "f917a81f5ee6852542c2b0d4f174bc7a65f082686cfedbcd8fb003b4cc626c7a",
        "87a2728cb8dc9fe424d624542f6060ec05a1d285ebbec578bb078900e33396b5",
    }
)


@lru_cache(maxsize=16)
def try_template(template: str, where: str) -> None:
    """Render two dialogues with a template that was not read before.

    Raises:
        DataError: it needs more than ten seconds or a GiB, or is no template.
    """
    if sha256(template.encode("utf-8", "surrogatepass")).hexdigest() in READ:
        return
    found = next(attempt(render_trial, [(template,)], 1, LIMITS))
    if isinstance(found, Lost):
        step = "look at its chat_template; take the model from where its maker published it"
        raise DataError(f"the chat template cannot be used: {found.reason}", where=where, next_step=step)


def render_trial(template: str) -> int:
    """Render a long dialogue and one with a long turn; returns the characters. A template's own refusal is no fault."""
    from jinja2 import TemplateError
    from jinja2.exceptions import TemplateSyntaxError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise TemplateError(message)

    loops = ["jinja2.ext.loopcontrols"]
    rendering = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=loops)
    rendering.globals |= {"raise_exception": refuse, "strftime_now": lambda form: form}
    many = [{"role": ("user", "assistant")[at % 2], "content": "합병이란?"} for at in range(TURNS + 1)]
    characters = 0
    try:
        compiled = rendering.from_string(OWN_TAGS.sub("", template))
        for messages in (many, [{"role": "system", "content": "답하십시오."}, {"role": "user", "content": LONG_TURN}]):
            try:
                text = compiled.render(messages=messages, add_generation_prompt=True, bos_token="", eos_token="")
                characters += len(text)
            except (TemplateError, TypeError, KeyError):  # it wants what these dialogues do not have
                continue
    except TemplateSyntaxError as error:
        raise Unreadable(f"line {error.lineno}: {error.message}") from None
    except OverflowError:  # the sandbox's own limit on ranges
        raise Unreadable("needs too much memory") from None
    return characters
