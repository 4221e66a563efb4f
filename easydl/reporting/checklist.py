"""A reporting checklist filled from a run: what it knows is written, the rest stays with the author. It computes no number.

The lists are JSON files in ``checklists/``: the number of each item, a paraphrase in a few words, the facts of
`easydl.reporting.facts` that fill it, and what only the author knows. The lists themselves belong to their authors: each page links them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from easydl.errors import RESEARCH_USE, InputError, unknown_name
from easydl.fileio import write_text
from easydl.reporting.facts import facts
from easydl.reporting.record import RunRecord

CHECKLISTS = ("claim", "tripod", "stard", "modelcard")
FOR_AUTHOR = "TODO (you)"
STATES = ("filled", "partly", FOR_AUTHOR)
OWN_WORDS = "Numbers are the list's; the words are easydl's own and short. Read the list itself before you submit."
ASK = "Add what the run does not say."
FORMATS = {".md": "markdown", ".html": "html"}


@dataclass(frozen=True)
class Item:
    """One item: its number and what it is about, what the run says of it, and what the author must write."""

    number: str
    section: str
    about: str
    state: str
    said: str
    author: str


@dataclass(frozen=True)
class Checklist:
    """A checklist of a run.

    Attributes:
        title: Its name.
        source: The paper.
        link: Its address.
        note: What to know of it.
        run: What the run is called.
        items: In the order of the list.
    """

    title: str
    source: str
    link: str
    note: str
    run: str
    items: tuple[Item, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many items are filled, filled in part, and left to the author."""
        counted = Counter(item.state for item in self.items)
        return {state: counted[state] for state in STATES}

    @property
    def summary(self) -> str:
        """The counts as text."""
        counted = ", ".join(f"{number} {state}" for state, number in self.counts.items())
        return f"{counted}, of {len(self.items)} items."

    @property
    def sections(self) -> dict[str, list[Item]]:
        """The items by section."""
        return {name: [item for item in self.items if item.section == name] for name in self._names}

    @property
    def _names(self) -> dict[str, None]:
        return dict.fromkeys(item.section for item in self.items)

    def __repr__(self) -> str:
        return f"<{self.title}: {self.summary}>"


def checklist(record: RunRecord, name: str) -> Checklist:
    """Fill a checklist from a run.

    Raises:
        InputError: There is no such list.
    """
    if name not in CHECKLISTS:
        raise unknown_name(
            f"There is no checklist {name!r}.", name, CHECKLISTS, do="Correct the name.", kind=InputError
        )
    content, known = _content(name), facts(record)
    items = tuple(_filled(one, known) for one in content.pop("items"))
    return Checklist(**content, run=record.given_name or "A run of easydl", items=items)


def title_of(name: str) -> str:
    """What a checklist is called."""
    return str(_content(name)["title"])


def _content(name: str) -> dict[str, Any]:
    text = files("easydl.reporting").joinpath("checklists", f"{name}.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def write_checklist(record: RunRecord, name: str, path: Path | None = None) -> Path:
    """Write a checklist as Markdown, or as HTML where the file ends so; ``claim.md`` in the run folder when not given."""
    target = record.folder / f"{name}.md" if path is None else path
    if target.suffix.lower() not in FORMATS:
        raise InputError(
            f"The file {target.name} ends in {target.suffix or 'nothing'}.",
            "a file that ends in .md (to write on) or .html (to show).",
            "Correct the ending.",
        )
    render = {"markdown": markdown, "html": page}[FORMATS[target.suffix.lower()]]
    return write_text(target, render(checklist(record, name)))


def markdown(filled: Checklist) -> str:
    """The checklist as Markdown, for a word processor or an editor."""
    lines = [
        f"# {filled.title}: {_plain(filled.run)}",
        f"**{RESEARCH_USE}**",
        filled.summary,
        f"{OWN_WORDS} {filled.note}",
        f"{filled.source}. <{filled.link}>",
    ]
    for section, items in filled.sections.items():
        lines.append(f"## {section}")
        for item in items:
            lines.append(f"**{item.number}. {item.about}** ({item.state})")
            lines += [_plain(item.said)] if item.said else []
            lines += [f"{FOR_AUTHOR}: {item.author}"] if item.author else []
    return "\n\n".join(lines) + "\n"


def page(filled: Checklist) -> str:
    """The checklist as a page of its own."""
    from easydl.reporting.page import environment

    template: Any = environment().get_template("checklist.html.j2")
    return str(template.render(filled=filled, research_use=RESEARCH_USE, own_words=OWN_WORDS, for_author=FOR_AUTHOR))


def _filled(item: dict[str, Any], known: dict[str, str]) -> Item:
    said = [known[name] for name in item["facts"]]
    found = [one for one in said if one]
    author = item["author"]
    if not found:
        state, author = FOR_AUTHOR, author or ASK
    elif author or len(found) < len(said):
        state, author = "partly", author or ASK
    else:
        state = "filled"
    return Item(item["number"], item["section"], item["about"], state, " ".join(found), author)


def _plain(said: str) -> str:
    """Text that no Markdown reader takes for markup: names of classes come from tables."""
    escaped = re.sub(r"([\\`*_\[\]#|])", r"\\\1", " ".join(said.split()))
    return escaped.replace("<", "&lt;").replace(">", "&gt;")
