"""The recipe: everything a run depends on, in one strict YAML file of typed sections.

An unknown key fails with the nearest name, the file and the line; `section.key=value` overrides a value.
"""

import difflib
import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from .errors import UsageError
from .workspace import atomic_text

# Keys that were taken out, in alphabetical order: what to write instead.
REMOVED = {
    "train.accumulate": "train.rows_per_step (batch x accumulate; how many rows are computed at once is derived)",
    "train.batch": "train.rows_per_step (batch x accumulate; how many rows are computed at once is derived)",
    "train.keep_checkpoints": "nothing in its place: the two newest checkpoints and the best one are kept",
    "train.project": "train.track_as (project/run name)",
    "train.run_name": "train.track_as (project/run name)",
    "train.save_every": "train.log_every and train.checkpoint_every",
    "train.scheduler": "train.extra: {lr_scheduler_type: cosine}; linear is the default",
}


class Section(BaseModel):
    """A part of the recipe: unknown keys are refused, values cannot be changed after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ModelSection(Section):
    """The base model and the one think policy of everything that is rendered for it."""

    id: str = "Qwen/Qwen3-8B"
    """Hub id or local folder of the base model; `starter` is the small model that ships with mnatune."""
    revision: str | None = None
    """Commit of the hub repository to pin."""
    thinking: Literal["off"] = "off"
    """Think policy: `off` ends the user turn with /no_think and opens the answer with an empty think block."""
    max_length: int = Field(384, ge=16)
    """Longest row in tokens, prompt and answer together; longer rows are dropped with a reason, never cut."""


class SourceSection(Section):
    """One source of records."""

    kind: Literal["archive", "qa", "law", "precedent", "pages"]
    """`archive`: an AI Hub tree or zip read through a field map; `qa`: JSON, JSONL or CSV of questions and answers;
    `law`, `precedent`: legalize-kr and precedent-kr folders; `pages`: what `collect` fetched."""
    path: str
    """File or folder, relative to the working directory; `pack:sample` and `pack:qa` are what the pack brings."""
    name: str = ""
    """Name of the source in manifests; by default the map's or the file's name."""
    map: str = "aihub-71748"
    """Field map of the pack (or path of a YAML file) that describes an archive's layout."""
    licence: str = ""
    """Licence note that every record of this source carries."""


class SiteSection(Section):
    """What differs for one site of `collect`."""

    max_pages: int | None = Field(None, ge=1)
    """Pages of this site at most; None leaves only the run's own limit."""
    delay: float | None = Field(None, ge=0)
    """Least seconds between two requests to this site; None takes the general delay."""
    licence: str = ""
    """Licence note of this site's pages; empty takes the general one."""


class CollectSection(Section):
    """What to crawl, and how gently."""

    start_urls: list[str] = []
    """Pages to begin with."""
    sitemaps: list[str] = []
    """Sitemaps to read addresses from."""
    allow: list[str] = []
    """Regular expressions; with any, an address must match one to be followed."""
    deny: list[str] = []
    """Regular expressions of addresses never followed."""
    depth: int = Field(3, ge=0)
    """How many links away from the start."""
    max_pages: int = Field(1000, ge=1)
    """Pages at most, per run."""
    delay: float = Field(1.0, ge=0)
    """Least seconds between two requests to one site; jitter is added."""
    licence: str = ""
    """Licence note of the pages."""
    contact: str = ""
    """E-mail or URL in the user agent, so that a site's owner can reach you."""
    sites: dict[str, SiteSection] = {}
    """Host name → what differs for that site."""
    private_hosts: list[str] = []
    """Hosts of your own network that may be crawled; every other private or local address is refused."""


class ReadSection(Section):
    """Which sources to read."""

    sources: list[SourceSection] = []
    """The sources, in the order in which they are read."""


class CurateSection(Section):
    """What is dropped, masked and merged."""

    near_duplicates: float = Field(0.8, ge=0, le=1)
    """Jaccard similarity of character 5-grams from which two rows are one; 0 switches the search off."""
    mask_personal_data: bool = True
    """Replace resident numbers, phones, e-mail, cards, accounts … by tokens such as [전화번호]."""
    engine: Literal["local", "ray"] = "local"
    """Where near-duplicates are searched: this machine, or a Ray cluster."""
    ray_address: str | None = None
    """Address of the Ray cluster for `engine: ray`."""


class EndpointSection(Section):
    """An OpenAI-compatible server for judging and synthesis. The key comes from MNATUNE_API_KEY alone."""

    base_url: str = ""
    """Such as http://127.0.0.1:8000/v1; empty means that there is none."""
    model: str = ""
    """Model name to ask for."""
    requests_per_minute: int = Field(600, ge=1)
    """Requests per minute at most."""
    tokens_per_minute: int = Field(1_000_000, ge=1)
    """Tokens per minute at most, prompt and answer."""
    concurrency: int = Field(16, ge=1)
    """Requests in flight at most."""
    max_cost: float = Field(0.0, ge=0)
    """Spend cap in the currency of the prices; 0 means no cap."""
    price_in: float = Field(0.0, ge=0)
    """Price of a million prompt tokens."""
    price_out: float = Field(0.0, ge=0)
    """Price of a million answer tokens."""
    max_tokens: int = Field(0, ge=0)
    """Token cap of a run, prompt and answer together; 0 means no cap."""
    timeout: float = Field(60.0, gt=0)
    """Seconds after which a call counts as lost."""
    ledger: str = ".mnatune/ledger.sqlite3"
    """SQLite file of paid replies, shared by all runs that name it; as confidential as the data."""


class SynthesizeSection(Section):
    """Questions from documents."""

    per_passage: int = Field(2, ge=0)
    """Questions per passage; 0 switches synthesis off."""
    passage_tokens: int = Field(600, ge=50)
    """Longest passage in tokens."""
    max_passages: int = Field(500, ge=0)
    """Passages at most."""


class JudgeSection(Section):
    """How usefulness for the domain is scored, and what is kept."""

    scorer: Literal["lexicon", "llm", "cascade"] = "lexicon"
    """`lexicon`: offline; `llm`: every row by the endpoint; `cascade`: lexicon, sampled LLM labels, a classifier."""
    keep_above: int = Field(30, ge=0, le=100)
    """Rows with a higher score are kept (strictly higher)."""
    sample: int = Field(20_000, ge=10)
    """Rows that the LLM labels for the cascade's classifier, at most (and at most 6 % of all)."""
    recall: float = Field(0.99, gt=0, le=1)
    """Share of the useful rows that the cascade's band of judged rows aims for; see the curve in the report."""
    always_keep: list[str] = []
    """Sources kept whatever the score (their score is still recorded)."""


class ComposeSection(Section):
    """From records to chat examples."""

    splits: tuple[float, float, float] = (0.9, 0.05, 0.05)
    """Shares of train, valid and test; groups and near-duplicate clusters stay whole."""
    max_rows: int | None = None
    """Rows at most, best score first; None keeps all."""

    @field_validator("splits")
    @classmethod
    def _shares_sum_to_one(cls, splits: tuple[float, float, float]) -> tuple[float, float, float]:
        if not math.isclose(sum(splits), 1.0, abs_tol=1e-6) or min(splits) < 0:
            raise ValueError("must be three shares that sum to 1")
        return splits


class TrainSection(Section):
    """LoRA and QLoRA, supervised or on preferences, through TRL and PEFT."""

    method: Literal["sft", "dpo", "kto"] = "sft"
    """Supervised fine-tuning, or preference training from an SFT adapter."""
    quantize: Literal["none", "nf4", "fp8"] = "none"
    """Quantisation of the frozen base: `none` is LoRA, `nf4` is QLoRA."""
    r: int = Field(8, ge=1)
    """LoRA rank."""
    alpha: int = Field(32, ge=1)
    """LoRA scaling numerator."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """LoRA dropout."""
    targets: list[str] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    """Modules that get an adapter."""
    epochs: float = Field(3, gt=0)
    """Passes over the training split."""
    rows_per_step: int = Field(8, ge=1)
    """Rows in an optimizer step; how many of them are computed at once follows from the memory."""
    learning_rate: float | None = Field(None, gt=0)
    """Peak learning rate; by default 1e-4, and 1e-6 for `dpo` and `kto`."""
    warmup: float = Field(0.03, ge=0, lt=1)
    """Share of the steps in which the learning rate rises; afterwards it falls linearly."""
    max_grad_norm: float = Field(0.3, gt=0)
    """Gradient norm is clipped to this."""
    log_every: int = Field(10, ge=1)
    """Steps between log lines."""
    checkpoint_every: int | None = Field(None, ge=1)
    """Steps between checkpoints; by default `log_every`, or as much more as keeps saving under 2 % of the time."""
    memory_gb: float | None = Field(None, gt=0)
    """Memory of the card, by default this machine's; rows at once, checkpointing and, if need be, nf4 follow from it."""
    throughput: Literal["auto", "plain", "packing", "shared-prefix"] = "auto"
    """`plain` pads, `packing` isolates rows in one sequence, `shared-prefix` reads the common prompt once; `auto` decides."""
    from_adapter: str | None = None
    """Adapter folder to continue from; required for preference training."""
    preferences: str | None = None
    """Preference rows for `dpo` and `kto`, such as a feedback export's; by default the run's own from ranked answers."""
    margin: int = Field(1, ge=1)
    """Least difference in rank of a preference pair; a higher one trains on clear differences only."""
    tracking: Literal["none", "wandb", "trackio", "tensorboard"] = "none"
    """Experiment tracker besides metrics.jsonl."""
    track_as: str = "Qwen3-8B-M&A/qlora_finetuning-qwen3-8B-mna"
    """Project and run name at the tracker."""
    extra: dict[str, Any] = {}
    """Anything else for TRL's trainer configuration, passed through as it is, such as lr_scheduler_type."""


class GenerationSection(Section):
    """How answers are sampled in `ask`, `chat` and `serve`; evaluation is greedy, with the same repetition penalty."""

    temperature: float = Field(0.1, ge=0)
    """0 is greedy."""
    top_k: int = Field(2, ge=0)
    """0 means no limit."""
    top_p: float = Field(0.95, gt=0, le=1)
    """Nucleus sampling."""
    repetition_penalty: float = Field(1.2, ge=1)
    """1 is none."""
    max_new_tokens: int = Field(512, ge=1)
    """Longest answer in tokens, in evaluation too."""


class EvaluateSection(Section):
    """How base and tuned are compared, and when the tuned one is better."""

    items: int = Field(200, ge=1)
    """Held-out questions answered, at most."""
    exam: bool = True
    """Take the pack's exam."""
    samples: int = Field(0, ge=0)
    """Sampled answers per question for the consistency metric; 0 leaves it out."""
    primary: str = "chrf"
    """Metric that decides the verdict."""
    guard_margin: float = Field(2.0, ge=0)
    """Points that a guard metric may get worse."""
    guards: Literal["off", "in-process", "served"] = "off"
    """Where general Korean (the pack's lm-evaluation-harness tasks) is checked: here, or by `answered_by`."""
    guard_items: int = Field(100, ge=0)
    """Items of each such task at most; 0 takes all."""
    answered_by: dict[Literal["base", "tuned"], str] = {}
    """URL#MODEL of the OpenAI-compatible servers that answer as base and tuned; empty answers in this process."""
    labels: str = ""
    """Human labels (CSV or JSONL) that the endpoint's judge is compared with; empty for none."""


class Recipe(Section):
    """A whole run. Sections may be left out: their defaults are the seed's."""

    name: str
    """Name of the run in reports."""
    pack: str = "mna_ko"
    """Domain pack: a bundled name or a folder."""
    seed: int = 42
    """Seed of every random choice."""
    model: ModelSection = ModelSection()
    collect: CollectSection = CollectSection()
    read: ReadSection = ReadSection()
    curate: CurateSection = CurateSection()
    endpoint: EndpointSection = EndpointSection()
    synthesize: SynthesizeSection = SynthesizeSection()
    judge: JudgeSection = JudgeSection()
    compose: ComposeSection = ComposeSection()
    train: TrainSection = TrainSection()
    generation: GenerationSection = GenerationSection()
    evaluate: EvaluateSection = EvaluateSection()

    def section(self, *names: str) -> dict[str, Any]:
        """The named sections (or top-level values) as JSON-able values: what a stage's result depends on."""
        whole = self.model_dump(mode="json")
        return {name: whole[name] for name in names}


def load_recipe(path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read, override and check a recipe.

    Args:
        path: a YAML file, or the name of a bundled recipe ("quickstart").
        overrides: "section.key=value" strings; values are YAML.

    Raises:
        UsageError: the file is missing, is no YAML mapping, or has wrong keys or values; all are named at once.
    """
    file = find_recipe(path)
    text = file.read_text(encoding="utf-8")
    try:
        tree = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"{file}:{mark.line + 1}" if mark else str(file)
        raise UsageError("the recipe is not valid YAML", where=line) from error
    if not isinstance(tree, dict):
        raise UsageError("the recipe is not a mapping of sections", where=str(file))
    for override in overrides:
        _apply(tree, override)
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        lines = _lines_of(yaml.compose(text, Loader=yaml.SafeLoader))
        raise UsageError(_explain(error, file, lines), next_step="see docs/recipe.md for every key") from None


def save_lock(recipe: Recipe, path: Path) -> None:
    """Write the resolved recipe, every default spelled out."""
    with atomic_text(path) as handle:
        yaml.safe_dump(recipe.model_dump(mode="json"), handle, allow_unicode=True, sort_keys=False)


def bundled(kind: str) -> Path:
    """Folder of what ships with mnatune: "recipes", "packs" or "starter/model", in a checkout or an installed wheel."""
    package = Path(__file__).parents[1]
    for root in (package / "bundled", package.parents[1]):
        if (root / kind).is_dir():
            return root / kind
    raise UsageError(f"the installation lacks its {kind!r} folder", next_step="pip install --force-reinstall mnatune")


def find_recipe(path: str | Path) -> Path:
    """The file of a recipe path or bundled name."""
    file = Path(path)
    if file.is_file():
        return file
    known = {p.stem: p for p in sorted(bundled("recipes").glob("*.yaml"))}
    if file.stem in known and file.suffix in ("", ".yaml"):
        return known[file.stem]
    near = difflib.get_close_matches(file.stem, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UsageError(f"there is no recipe {str(path)!r}", next_step=f"{hint}bundled recipes: {', '.join(known)}")


def _apply(tree: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator:
        raise UsageError(f"--set takes section.key=value, not {override!r}")
    *sections, last = key.strip().split(".")
    for name in sections:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            raise UsageError(f"--set {key}: {name!r} is not a section")
    try:
        tree[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {key}: the value is not valid YAML") from error
    if isinstance(tree[last], str):  # YAML 1.1 reads 5e-5 as text
        with suppress(ValueError):
            tree[last] = float(tree[last])


def _lines_of(node: yaml.Node | None, path: tuple[str | int, ...] = ()) -> dict[tuple[str | int, ...], int]:
    """Path of every key → its line, from 1."""
    lines: dict[tuple[str | int, ...], int] = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, key.value)
            lines[here] = key.start_mark.line + 1
            lines |= _lines_of(value, here)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*path, index)] = value.start_mark.line + 1
            lines |= _lines_of(value, (*path, index))
    return lines


def _explain(error: ValidationError, file: Path, lines: Mapping[tuple[str | int, ...], int]) -> str:
    """All faults of a recipe, one line each, with place and nearest name."""
    told = []
    for fault in error.errors():
        path = tuple(fault["loc"])
        line = next((lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in lines), None)
        place = f"{file}:{line}" if line else f"{file} or --set"
        dotted = ".".join(map(str, path))
        if fault["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(path[-1]), _keys_at(path[:-1]), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            removed = f"{dotted} was removed; use {REMOVED[dotted]}" if dotted in REMOVED else ""
            told.append(f"{place}: " + (removed or f"unknown key {dotted!r}{hint}"))
        else:
            told.append(f"{place}: {dotted}: {fault['msg']}")
    return "the recipe is wrong\n  " + "\n  ".join(told)


def _keys_at(path: tuple[str | int, ...]) -> list[str]:
    section: Any = Recipe
    for name in path:
        if isinstance(name, int):
            section = SourceSection
        elif name in section.model_fields:
            section = section.model_fields[name].annotation
    return list(getattr(section, "model_fields", {}))
