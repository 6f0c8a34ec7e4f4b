"""Which bases the kit can train and score: plain language models whose logits are their LM head's."""

from ..runs.errors import DataError, EnvironmentFault


def not_loaded(what: str, error: Exception) -> EnvironmentFault:
    """The fault of a model or tokenizer that Transformers could not load."""
    return EnvironmentFault(
        f"{what} cannot be loaded: {first_line(error)}",
        next_step="check the name and the network (mnatune doctor), or use model.id: starter",
    )


def first_line(error: Exception) -> str:
    """What an error says first; the rest of Transformers' messages is advice for other programs."""
    return str(error).strip().split("\n", 1)[0][:300]


def refuse_unknown_shape(path: str, revision: str | None = None) -> None:
    """Refuse, before weights are read, a base whose logits are more than its LM head's, or that is no language model.

    Training and scoring compute losses from the decoder's states and the head alone, so a cap or scale behind the head
    would be passed over without a word.

    Args:
        path: folder or hub id.

    Raises:
        DataError: it is such a base.
        EnvironmentFault: its configuration is not there.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise not_loaded(f"the model {path!r}", error) from error
    if not hasattr(config, "max_position_embeddings"):
        raise DataError(
            f"{config.model_type!r} is not a plain language model (no max_position_embeddings)",
            where=path,
            next_step="choose the family's text-only instruct model",
        )
    neutral = {"final_logit_softcapping": (None,), "logit_scale": (None, 1, 1.0), "logits_scaling": (None, 1, 1.0)}
    for name, values in neutral.items():
        if getattr(config, name, None) not in values:
            raise DataError(
                f"{name}: {getattr(config, name)} in the model's configuration is not supported", where=path,
                next_step="choose another base, such as Qwen/Qwen3-8B",
            )  # fmt: skip
