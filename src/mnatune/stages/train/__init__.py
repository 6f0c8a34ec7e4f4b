"""LoRA and QLoRA through TRL and PEFT: one path, where `train.quantize` is the only difference.

Training is laid out as one fixed sequence of steps (token_rows.py), checkpointed atomically (checkpoints.py) and continued
from the newest checkpoint that verifies; the result after an interruption equals the uninterrupted one bit for bit. What
is learnt from, and how, is a method: one module each in methods/.

    adapter/         LoRA weights, tokenizer, template, model card, mnatune.json with the lineage
    metrics.jsonl    one line per log step
    checkpoints/     state for continuing; not a result
"""

from ...model.load import release
from ...model.memory import forget_frames, memory_faults
from ...runs.job import Job
from .held_out_rows import refuse_test_questions
from .methods import METHODS

__all__ = ["train"]

ADVICE = "set a smaller train.memory_gb (fewer rows at once), train.quantize: nf4, or a smaller model.max_length"


def train(job: Job) -> None:
    """Train the adapter of a run's composed data; continues after an interruption.

    However it ends, no model stays in memory.

    Raises:
        DataError: the rows that `train.options.rows` names ask what the run is tested on.
        Interrupted: SIGTERM or Ctrl-C came; a checkpoint was saved.
        EnvironmentFault: the machine cannot do it (memory, CUDA, disk, a missing extra).
    """
    method = METHODS[job.recipe.train.method]
    refuse_test_questions(job.recipe, job.run, method.rows)
    try:
        with memory_faults("training", ADVICE):
            method.work(job)
    except BaseException as error:
        forget_frames(error)
        raise
    finally:
        release()
