"""How much a server does for its visitors."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """What one server takes on; all of it is told at `/api/v1/about`.

    Attributes:
        upload_bytes: of one photo's file; a phone's largest photos have 12 MiB.
        pixels: of one photo; 40 million decode to 120 MB.
        body_bytes: of any other request.
        arriving_bytes: of all photos on their way in.
        upload_seconds, body_seconds: within which a photo, and any other body, must have arrived.
        photos: of one visitor; also concepts, each. Older ones are forgotten.
        results: of one visitor; older ones are forgotten.
        visitors: that are remembered at the same time.
        all_bytes: of all visitors' photos and results together; those of jobs that are done just now come on top.
        queue: jobs that wait, of all visitors.
        waiting: jobs of one visitor that wait.
        passes: that one job may cost.
        job_seconds: that one job may take.
        idle_seconds: after which a visitor who is not heard of is forgotten, with photos and all.
        unheard_seconds: after which a job is dropped that nobody asks about: the page was closed.
    """

    upload_bytes: int = 12 * MIB
    pixels: int = 40_000_000
    body_bytes: int = MIB // 4
    arriving_bytes: int = 128 * MIB
    upload_seconds: float = 60
    body_seconds: float = 15
    photos: int = 24
    results: int = 24
    visitors: int = 1000
    all_bytes: int = 512 * MIB
    queue: int = 32
    waiting: int = 4
    passes: int = 20_000
    job_seconds: float = 120
    idle_seconds: float = 1800
    unheard_seconds: float = 15
