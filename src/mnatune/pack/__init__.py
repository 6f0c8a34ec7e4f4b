"""A domain pack: the knowledge of a field as data. A second domain is a second folder, without code.

pack.yaml        name, version, language, title, length limits
maps/*.yaml      field maps of data sets
drops.yaml       what curation drops        pii.yaml        patterns of personal data
lexicon.yaml     weighted terms             rubric.yaml     the LLM judge's sub-scores
prompts.yaml     every prompt               citations.yaml  short names of laws
glossary.jsonl   terms of the field         law/             statutes and decisions, searchable
general.jsonl    everyday dialogues (optional)
article_questions.jsonl   what leads to an article in other words than its own (optional)
qa.jsonl         question–answer rows       exam/           items never trained on
evaluate.yaml    denials, guard tasks …     guards/         own lm-evaluation-harness tasks, if any
sample/          rows for a sample archive
"""

from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from ..runs.errors import DataError, UsageError, did_you_mean
from ..runs.recipe import bundled
from ..runs.workspace import file_hash, read_jsonl
from ..runs.yaml_text import parse_yaml, place_and_fault


class Pack:
    """A pack's folder, its files loaded when first used."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def load(cls, name: str) -> "Pack":
        """A bundled pack by name, or any folder with a pack.yaml."""
        for root in (Path(name), bundled("packs") / name):
            if (root / "pack.yaml").is_file():
                return cls(root)
        known = sorted(p.name for p in bundled("packs").iterdir() if p.is_dir())
        hint = did_you_mean(name, known, f"bundled packs: {', '.join(known)}")
        raise UsageError(f"there is no pack {name!r}", next_step=hint)

    def yaml(self, name: str) -> Any:
        """A YAML file of the pack."""
        path = self.path(name)
        try:
            return parse_yaml(path.read_text(encoding="utf-8-sig"))
        except UnicodeDecodeError as error:
            raise DataError("not UTF-8 text", where=str(path), next_step="save it as UTF-8") from error
        except yaml.YAMLError as error:
            where, fault = place_and_fault(error, path)
            raise DataError(f"not valid YAML: {fault}", where=where) from error

    def path(self, name: str) -> Path:
        """A file of the pack; raises `DataError` if the pack lacks it."""
        path = self.root / name
        if not path.exists():
            raise DataError(f"the pack lacks {name}", where=str(self.root), next_step="mnatune pack check")
        return path

    def hashes(self, *names: str) -> dict[str, str]:
        """name → hash of pack files that a stage depends on; folders count file by file."""
        found: dict[str, str] = {}
        for name in names:
            path = self.path(name)
            files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
            found |= {f"pack/{p.relative_to(self.root).as_posix()}": file_hash(p) for p in files}
        return found

    @cached_property
    def facts(self) -> dict[str, Any]:
        """pack.yaml."""
        return dict(self.yaml("pack.yaml"))

    @cached_property
    def prompts(self) -> dict[str, Any]:
        """prompts.yaml: prompt texts with {placeholders}."""
        return dict(self.yaml("prompts.yaml"))

    @cached_property
    def glossary(self) -> list[dict[str, Any]]:
        """glossary.jsonl rows: term, english, hanja, definition, aliases."""
        return read_jsonl(self.path("glossary.jsonl"))

    @cached_property
    def exam_questions(self) -> list[str]:
        """The questions of every exam item: nothing that gives one away may be trained on. Empty without an exam."""
        return [str(item["question"]) for item in self._exam if item.get("question")]

    @cached_property
    def exam_topics(self) -> list[tuple[str, str]]:
        """(topic, question) of every exam item that has a topic; empty without an exam."""
        asked = [item for item in self._exam if item.get("topic") and item.get("question")]
        return [(str(item["topic"]), str(item["question"])) for item in asked]

    @property
    def _exam(self) -> list[dict[str, Any]]:
        return [item for file in sorted((self.root / "exam").glob("*.jsonl")) for item in read_jsonl(file)]

    @property
    def system_prompt(self) -> str:
        """The system prompt of every dialogue."""
        return str(self.prompts["system"])
