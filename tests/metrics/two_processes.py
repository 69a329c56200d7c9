"""Two processes that measure parts of the same curves. Run as a program, with a folder for what they find."""

import json
import multiprocessing
import sys
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed

from regard.errors import MetricError
from regard.metrics.curves import Curves
from regard.metrics.of_curves import AverageDrop, Deletion

PARTS = {
    "uneven": ([[4, 0], [2]], [[3, 1, 5]]),
    "very uneven": ([[0, 1, 2, 3, 4]], [[5]]),
    "nothing for the second": ([[0, 1], [2, 3, 4, 5]], []),
    "nothing for the first": ([], [[0, 1, 2, 3, 4, 5]]),
    "nothing for anyone": ([], []),
    "different fills": ([[0, 1, 2]], [[3, 4, 5]]),
}


def curves_of(images, fill="Mean()", targets=2):
    """Curves that belong to the numbers of these pictures; picture 3 has no value for its second target."""
    shape = (targets, 5)
    values = [torch.rand(2, *shape, generator=torch.Generator().manual_seed(image)) for image in images]
    insertion, deletion = torch.stack(values, dim=1)
    for place, image in enumerate(images):
        if image == 3:
            insertion[place, 1] = deletion[place, 1] = torch.nan
    return Curves(
        counts=torch.tensor([0, 4, 8, 12, 16]),
        places=16,
        insertion=insertion,
        deletion=deletion,
        retained={0.5: insertion[..., 2], 0.15: insertion[..., 1]},
        level="grid",
        fill=fill,
        precision="float32",
    )


def measured(kind, parts, fill="Mean()"):
    metric = kind()
    for images in parts:
        metric.update(curves_of(images, fill), images=images)
    return metric


def found_by(metric):
    """The mean, the rows of all processes, and what the metric still holds by itself."""
    try:
        mean = float(metric.compute())
        with metric.sync_context():
            rows = metric.rows()
    except MetricError as refusal:
        return {"refused": refusal.problem}
    return {"mean": mean, "rows": rows, "own": sum(len(part) for part in metric.measured) // 3}


def work(rank, folder):
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    results = {}
    for name, parts in PARTS.items():
        fill = f"Blur({rank + 1})" if name == "different fills" else "Mean()"
        results[name] = [found_by(measured(kind, parts[rank], fill)) for kind in (Deletion, AverageDrop)]
    Path(folder, f"{rank}.json").write_text(json.dumps(results))
    distributed.barrier()
    distributed.destroy_process_group()


def main(folder):
    """Forked here, where no thread runs yet, so that torch is imported once."""
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=work, args=(rank, folder)) for rank in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    return max(abs(process.exitcode) for process in both)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
