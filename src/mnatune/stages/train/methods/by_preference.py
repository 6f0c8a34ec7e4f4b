"""What the methods have in common that learn from preferences."""

from ....runs.job import Job
from ..method import Method
from ..preference_rows import PreferenceForm, preference_lengths, preference_needs


def preference_method(form: PreferenceForm, label: str) -> Method:
    """The method that learns preferences of a form; `label` says in Korean what it does."""

    def work(job: Job) -> None:
        from ..preference import train_on_preferences

        train_on_preferences(job, form)

    return Method(
        form.name,
        label,
        form.file,
        from_feedback=True,
        lengths=lambda recipe, run: preference_lengths(recipe, run, form),
        needs=lambda recipe, lengths: preference_needs(form),
        work=work,
        figures=form.figures,
    )
