"""Rephrasing with answers that the tests write themselves: a document is "TEXT || ANSWER", or "TEXT || REASON!" where a
gate refused the answer. Plan, duplicates, monitor and what is kept are the real ones."""

from typing import Any, ClassVar

import pyarrow as pa

from pipeline.stage import Composite, Context, Expansion, Map, Outcome, documents, removal
from stages.rephrase.choice import Chooser
from stages.rephrase.plan import PlanConfig, chosen_styles, read_shares
from tests.stages.rephrase.small_styles import count_words

STAGE = f"{__name__}:SmallRephrase"
MEASURED = [
    pa.field("rephrase.style", pa.string()),
    pa.field("rephrase.parent_source", pa.string()),
    pa.field("rephrase.prompt_tokens", pa.int64()),
    pa.field("rephrase.completion_tokens", pa.int64()),
    pa.field("rephrase.support", pa.float64()),
]


class SmallConfig(PlanConfig):
    """With prices, as the real stage has them."""

    price_in: float = 0.0
    price_out: float = 0.0


class SmallWrite(Map[PlanConfig]):
    """Write what the documents themselves say their answers are."""

    name = "rephrase_write"
    config_type = PlanConfig
    provides = tuple(field.name for field in MEASURED)
    commits_output: ClassVar[bool] = True
    passes_on: ClassVar[bool] = False

    def setup(self, context: Context) -> None:
        styles = chosen_styles(self.config.style, self.config.styles)
        self._chooser = Chooser(self.config, styles, read_shares(context.side["plan"]), context.seed)

    def process(self, batch: pa.Table) -> Outcome:
        kept, removed, created = [], [], 0
        noted = {"rephrase_requests": 0, "rephrase_retries": 0, "rephrase_prompt_tokens": 0}
        noted |= {"rephrase_completion_tokens": 0, "rephrase_reused": 1}
        for row, choice in zip(batch.to_pylist(), self._chooser.choices(batch, count_words), strict=True):
            removed.append(removal(row, "dropped", choice.reason or "rephrased", choice.evidence))
            for style in choice.styles:
                child = written(row, style.name)
                created += 1
                noted["rephrase_requests"] += 1
                noted["rephrase_prompt_tokens"] += child["rephrase.prompt_tokens"]
                noted["rephrase_completion_tokens"] += child["rephrase.completion_tokens"]
                if child["text"].endswith("!"):
                    noted["rephrase_retries"] += 1
                    removed.append(removal(child, "dropped", child["text"][:-1], "0.31 < 0.6"))
                else:
                    kept.append(child)
        table = documents(kept, MEASURED)
        return Outcome(table, removed, {"rephrased": created} if created else {}, {"rephrased": noted})


def written(row: dict[str, Any], style: str) -> dict[str, Any]:
    """The document that a style makes of another one."""
    _, _, answer = row["text"].partition(" || ")
    return {
        **row,
        "id": f"{row['id']}~{style}",
        "text": answer,
        "source": "rephrased",
        "parent": row["id"],
        "rephrase.style": style,
        "rephrase.parent_source": row["source"],
        "rephrase.prompt_tokens": len(row["text"].split()),
        "rephrase.completion_tokens": len(answer.split()),
        "rephrase.support": 0.9,
    }


class SmallRephrase(Composite[SmallConfig]):
    """From documents to what is kept of their rephrasings."""

    name = "rephrase"
    config_type = SmallConfig

    def expand(self, inputs: tuple[str, ...]) -> list[Expansion]:
        options = self.config.model_dump(mode="json", include=set(PlanConfig.model_fields))
        write = f"{__name__}:SmallWrite"
        return [
            Expansion(".plan", "stages.rephrase.plan:RephrasePlan", options, inputs),
            Expansion(".masked", "privacy", {}, inputs),
            Expansion(".written", write, options, (".masked",), side={"plan": ".plan"}),
            Expansion(".signatures", "dedup_signatures", {}, (".written",)),
            Expansion(".duplicates", "dedup_duplicates", {"alarm": "warn"}, (".signatures", ".written")),
            Expansion(
                ".monitor",
                "stages.rephrase.monitor:RephraseMonitor",
                {},
                (".written", ".duplicates"),
                side={"plan": ".plan"},
            ),
            Expansion(
                "",
                "stages.rephrase.keep:RephraseKeep",
                {},
                (".written",),
                side={"monitor": ".monitor", "duplicates": ".duplicates"},
            ),
        ]
