"""`regard metrics`: what can be measured, and what each needs."""

from __future__ import annotations

from typing import Annotated

import typer

from regard.cli.output import print_json, print_table

DIRECTIONS = {True: "higher is better", False: "lower is better", None: "neither is better"}


def metrics(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the metrics: what each measures, what it needs, which direction is better, its settings.

    Example: regard metrics
    """
    from regard.metrics.registry import metrics as all_metrics

    found = all_metrics()
    if as_json:
        print_json([vars(metric) for metric in found])
        return
    print_table(
        ["metric", "better", "needs", "settings", "what it measures"],
        [
            [
                metric.name,
                DIRECTIONS[metric.higher_is_better],
                metric.needs,
                ", ".join(f"{name}={value}" for name, value in metric.settings.items()) or "–",
                f"{metric.summary}; {metric.rule}",
            ]
            for metric in found
        ],
    )
