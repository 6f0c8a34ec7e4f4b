"""The recipe: everything a run depends on, in one strict YAML file of typed sections.

An unknown key fails with the nearest name, the file and the line; `section.key=value` overrides a value.
"""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from .errors import UsageError, did_you_mean
from .recipe_text import explain, read_tree
from .removed_keys import REMOVED
from .train_options import OPTIONS, LoraOptions, OptionsForm, check_options
from .workspace import atomic_text
from .yaml_text import dump_yaml

Positive = Annotated[int, Field(ge=1)]
Price = Annotated[float, Field(ge=0)]

# What may change between two parts of one training: where it is logged, how often it is saved.
FREE_TRAIN_KEYS = ("tracking", "track_as", "checkpoint_every")


class Section(BaseModel):
    """A part of the recipe: unknown keys are refused, values cannot be changed after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


def without_secret(url: str) -> str:
    """The address; one with a user name or password is refused, because a run keeps its recipe."""
    if "@" in urlsplit(url.partition("#")[0]).netloc:
        raise ValueError("must not hold a user name or password; set the key as MNATUNE_API_KEY")
    return url


class ModelSection(Section):
    """The base model. Its think policy follows from its chat template: off for Qwen3, none for a base that does not think."""

    id: str = "Qwen/Qwen3-8B"
    """Hub id or local folder of the base model; `starter` is the small model that ships with mnatune."""
    revision: str | None = None
    """Commit of the hub repository to pin."""
    max_length: int = Field(384, ge=16)
    """Longest row in tokens, prompt and answer together; longer rows are dropped with a reason, never cut."""

    @model_validator(mode="before")
    @classmethod
    def _thinking_off(cls, values: Any) -> Any:
        """Earlier recipes say `thinking: off`, which is what happens in any case."""
        if isinstance(values, dict) and values.get("thinking") == "off":
            return {key: value for key, value in values.items() if key != "thinking"}
        return values


class SourceSection(Section):
    """One source of records."""

    kind: Literal["archive", "qa", "documents", "law", "precedent", "pages"]
    """`archive`: an AI Hub tree or zip by its field map; `qa`: questions and answers as JSON, JSONL, CSV or Excel; `pages`:
    what `collect` fetched; `law`, `precedent`: legalize-kr, precedent-kr; `documents`: HWP, Office, PDF and text files."""
    path: str
    """File or folder, relative to the working directory; `pack:sample` and `pack:qa` are what the pack brings."""
    name: str = ""
    """Name of the source in manifests; by default the map's or the file's name."""
    map: str = "aihub-71748"
    """Field map of the pack (or path of a YAML file) that describes an archive's layout."""
    licence: str = ""
    """Licence note that every record of this source carries."""


class SiteSection(Section):
    """Overrides for one site of `collect`."""

    private: bool = False
    """A host of your own network: every other private or local address is refused."""
    max_pages: int | None = Field(None, ge=1)
    """Pages of this site at most; None leaves only the run's own limit."""
    delay: float | None = Field(None, ge=0)
    """Least seconds between two requests to this site; None takes the general delay."""
    licence: str = ""
    """Licence note of this site's pages; empty takes the general one."""


class CollectSection(Section):
    """What to crawl, and how gently."""

    start_urls: list[str] = []
    """Pages to begin with, and sitemaps (addresses that end in .xml or .xml.gz) to read addresses from."""
    follow: list[str] = []
    """Regular expressions of addresses to follow; with `!` before one, of addresses never followed."""
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

    @field_validator("start_urls")
    @classmethod
    def _no_password(cls, urls: list[str]) -> list[str]:
        return [without_secret(url) for url in urls]


class ReadSection(Section):
    """Which sources to read."""

    sources: list[SourceSection] = []
    """The sources, in the order in which they are read."""


class CurateSection(Section):
    """What is dropped, masked and merged."""

    near_duplicates: float = Field(0.8, ge=0, le=1)
    """Jaccard similarity of character 5-grams from which two rows are one; 0 switches the search off."""
    mask: list[Literal["personal-data", "parties"]] = ["personal-data"]
    """Replace resident numbers, phones, accounts … by tokens; a document's own parties (이하 "매도인") by 갑, 을 …."""
    ray: str = ""
    """Ray cluster that searches near-duplicates: its address, or `auto` for one on this machine; empty uses none."""


class EndpointSection(Section):
    """An OpenAI-compatible server for judging and synthesis. The key comes from MNATUNE_API_KEY alone."""

    base_url: str = ""
    """Such as http://127.0.0.1:8000/v1; empty means no endpoint."""
    model: str = ""
    """Model name to ask for."""
    per_minute: tuple[Positive, Positive] = (600, 1_000_000)
    """Requests and tokens (prompt and answer) per minute at most."""
    concurrency: int = Field(16, ge=1)
    """Requests in flight at most."""
    prices: tuple[Price, Price] = (0.0, 0.0)
    """Price of a million prompt tokens and of a million answer tokens."""
    max_cost: float = Field(0.0, ge=0)
    """Spend cap of a run in the currency of the prices; 0 means no cap. With prices [1, 1] it caps millions of tokens."""
    timeout: float = Field(60.0, gt=0)
    """Seconds after which a call counts as lost."""
    ledger: str = ".mnatune/ledger.sqlite3"
    """SQLite file of paid replies, shared by all runs that name it; as confidential as the data."""

    @field_validator("base_url")
    @classmethod
    def _no_password(cls, url: str) -> str:
        if "?" in url:
            raise ValueError("must not hold a query; set the key as MNATUNE_API_KEY")
        return without_secret(url)


class SynthesizeSection(Section):
    """Questions from documents."""

    per_passage: int = Field(2, ge=0)
    """Questions per passage; 0 switches synthesis off."""
    max_passages: int = Field(500, ge=0)
    """Passages at most."""


class JudgeSection(Section):
    """How usefulness for the domain is scored, and what is kept."""

    scorer: Literal["lexicon", "llm", "cascade"] = "lexicon"
    """`lexicon`: offline; `llm`: every row by the endpoint; `cascade`: lexicon, sampled LLM labels, a classifier."""
    keep_above: int = Field(30, ge=0, le=100)
    """Rows with a higher score are kept (strictly higher)."""
    recall: float = Field(0.99, gt=0, le=1)
    """Share of the useful rows that the cascade's band of judged rows aims for; see the curve in the report."""
    always_keep: list[str] = []
    """Sources kept whatever the score (it is still recorded); rows made of a source's documents are of NAME-synthesized."""


class ComposeSection(Section):
    """From records to chat examples."""

    splits: tuple[float, float, float] = (0.9, 0.05, 0.05)
    """Shares of train, valid and test; groups and near-duplicate clusters stay whole."""
    max_rows: int | None = Field(None, ge=1)
    """Rows at most, best score first; None keeps all."""
    general: dict[str, Annotated[float, Field(gt=0, lt=1)]] = {}
    """General Korean dialogues against forgetting: a JSONL file, or `pack:general`, → its share of the train rows."""
    evidence: float = Field(0.0, ge=0, le=1)
    """Share of the train and valid rows to ask with articles of the pack's law memory, where the answer rests on some."""
    canaries: int = Field(0, ge=0, le=100)
    """Made-up secrets of each kind planted in train at 1, 4 and 16 repetitions, to measure what a model gives away."""

    @field_validator("general")
    @classmethod
    def _leaves_room(cls, general: dict[str, float]) -> dict[str, float]:
        if sum(general.values()) >= 1:
            raise ValueError("the shares must leave room for the rows of the field")
        return general

    @field_validator("splits")
    @classmethod
    def _shares_sum_to_one(cls, splits: tuple[float, float, float]) -> tuple[float, float, float]:
        if not math.isclose(sum(splits), 1.0, abs_tol=1e-6) or min(splits) < 0:
            raise ValueError("must be three shares that sum to 1")
        return splits


class TrainSection(Section):
    """LoRA and QLoRA through TRL and PEFT, by one of five methods."""

    method: Literal["sft", "dpo", "kto", "grpo", "distill"] = "sft"
    """`sft` learns answers, `dpo` and `kto` preferences, `grpo` what rewards can verify in answers of its own,
    `distill` what it answers itself with a passage at hand."""
    options: dict[str, Any] = {}
    """The method's own keys, checked: see below."""
    lora: LoraOptions = LoraOptions()
    """Variants of LoRA by PEFT's names: `use_rslora`, `use_dora`."""
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
    """Peak learning rate; by default the method's own: `sft` and `distill` 1e-4, `grpo` 1e-5, `dpo` and `kto` 1e-6."""
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
    """Adapter folder to continue from; required for `dpo` and `kto`, and for `grpo` the reference if given."""
    tracking: Literal["none", "wandb", "trackio", "tensorboard"] = "none"
    """Experiment tracker besides metrics.jsonl."""
    track_as: str = "mnatune"
    """Project at the tracker, and after a slash the name of the run."""
    extra: dict[str, Any] = {}
    """Anything else for TRL's trainer configuration, passed through as it is, such as lr_scheduler_type."""

    @field_validator("options")
    @classmethod
    def _options_of_the_method(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "method" in info.data:  # a wrong method is told by itself
            check_options(info.data["method"], options)
        return options

    @property
    def own(self) -> OptionsForm:
        """The method's options with their defaults."""
        return OPTIONS[self.method].model_validate(self.options)


class GenerationSection(Section):
    """How answers are sampled in `ask`, `chat` and `serve`; evaluation is greedy, with the same repetition penalty."""

    temperature: float = Field(0.1, ge=0)
    """0 is greedy."""
    top_k: int = Field(2, ge=0)
    """0 means no limit."""
    top_p: float = Field(0.95, gt=0, le=1)
    """Nucleus sampling."""
    repetition_penalty: float = Field(1.2, ge=1)
    """1 disables it."""
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
    primary: str = "domain"
    """Metric that decides the verdict; `domain` is the pack's weighted score of exam, facts, citations, essays."""
    guard_margin: float | dict[str, float | str] = 2.0
    """How much worse a guard may get: points, or `{metric: points or "5%" of the base, default: points}`."""
    guards: Literal["off", "all"] | Positive = "off"
    """Items of each task that checks general Korean (the pack's lm-evaluation-harness tasks), or `all` of them."""
    answered_by: dict[Literal["base", "tuned"], str] = {}
    """URL#MODEL of the OpenAI-compatible servers that answer as base and tuned; empty answers in this process."""
    labels: str = ""
    """Human labels (CSV or JSONL) that the endpoint's judge is compared with; empty for none."""

    @field_validator("answered_by")
    @classmethod
    def _no_password(cls, sides: dict[str, str]) -> dict[str, str]:
        return {model: without_secret(address) for model, address in sides.items()}


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
        return self.model_dump(mode="json", include=set(names))


def load_recipe(path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read, override and check a recipe.

    Args:
        path: a YAML file, or the name of a bundled recipe ("quickstart").
        overrides: "section.key=value" strings; values are YAML.

    Raises:
        UsageError: the file is missing, is not a YAML mapping, or has wrong keys or values; all are reported at once.
    """
    file = find_recipe(path)
    overrides = list(overrides)
    tree, lines = read_tree(file, overrides)
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        told = explain(error, file, lines, Recipe, REMOVED)
        raise UsageError(told, next_step="see docs/recipe.md for every key") from None


def save_lock(recipe: Recipe, path: Path) -> None:
    """Write the resolved recipe with every default; the file is left alone if nothing changed."""
    text = dump_yaml(recipe.model_dump(mode="json"))
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        with atomic_text(path) as handle:
            handle.write(text)


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
    step = f"{did_you_mean(file.stem, known)} bundled recipes: {', '.join(sorted(known))}".lstrip()
    raise UsageError(f"there is no recipe {str(path)!r}", next_step=step)
