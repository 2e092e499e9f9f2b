"""What of a LibreChat is used, by its database: how many answers a finding is about."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from tallyspan_collector.librechat.mongo import Mongo
from tallyspan_collector.units.counts import counted

DAYS = 30
MAX_AGENTS = 10_000


@dataclass(frozen=True, slots=True)
class InUse:
    """Agents of a database, and answers of the last DAYS days."""

    mongo: Mongo
    agents: tuple[dict[str, Any], ...]
    since: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(days=DAYS))

    @classmethod
    def read(cls, mongo: Mongo) -> Self:
        """Return it, with all agents. Raises as `Mongo` does."""
        return cls(mongo, tuple(mongo.find("agents", {}, MAX_AGENTS)))

    def of_endpoint(self, name: str) -> str:
        """Return how much the custom endpoint is used, by agents on it too."""
        agents = [str(each["id"]) for each in self.agents if each.get("provider") == name]
        answers = self._answers({"$or": [{"endpoint": name}, {"model": {"$in": agents}}]})
        return _phrase(len(agents), answers)

    def of_tools(self, tools: Collection[str]) -> str:
        """Return how much agents with one of the tools are used; empty without such agents."""
        agents = [
            str(each["id"])
            for each in self.agents
            if {*tools} & {str(tool) for tool in each.get("tools") or ()}
        ]
        return _phrase(len(agents), self._answers({"model": {"$in": agents}})) if agents else ""

    def of_messages(self, endpoints: Collection[str]) -> str:
        """Return how many answers these endpoints gave."""
        return _phrase(0, self._answers({"endpoint": {"$in": list(endpoints)}}))

    def unfinished(self) -> str:
        """Return how many answers were aborted."""
        return _phrase(0, self._answers({"unfinished": True}))

    def _answers(self, condition: dict[str, Any]) -> int:
        recent = {"createdAt": {"$gte": self.since}, "isCreatedByUser": {"$ne": True}}
        return self.mongo.count("messages", {**recent, **condition})


def _phrase(agents: int, answers: int) -> str:
    of_agents = f"{counted(agents, 'agent')}, " if agents else ""
    return f"{of_agents}{counted(answers, 'answer')} in {DAYS} days"
