"""What can be asked over HTTP, and by whom it is answered."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response

from regard.labels import class_count, class_names
from regard.provenance import version
from regard.web import schema, told
from regard.web.about import about_colours, exam_kinds
from regard.web.desk import Desk
from regard.web.downloads import DOWNLOADS
from regard.web.jobs import Job, Queue, Work
from regard.web.kinds.every import work_of
from regard.web.photos import Sample, ShownPhoto, as_webp
from regard.web.receiving import Arriving, photo_received
from regard.web.refusals import RefusedError
from regard.web.settings import Limits
from regard.web.turns import Turns
from regard.web.visitors import Visitor, Visitors, is_id, new_id

API = "/api/v1"
COOKIE = "regard_visitor"
router = APIRouter(prefix=API, responses={status: {"model": told.ErrorFacts} for status in (404, 422, 429)})


class Room:
    """All that routes share."""

    def __init__(self, desk: Desk, limits: Limits, clock: Callable[[], float]) -> None:
        self.desk, self.limits = desk, limits
        self.visitors = Visitors(limits, clock)
        self.queue = Queue(limits, clock)
        self.arriving = Arriving(limits)
        self.decoding = Turns(2, most=64, each=16)
        self.showing = Turns(2, most=128, each=24)
        self.writing = Turns(1, most=12, each=3)  # matplotlib is not made for several threads
        self.seen_through = asyncio.Event()

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to work: first the classifiers are seen through."""

        def see_through() -> None:
            try:
                self.desk.classifiers.see_through()
            finally:
                loop.call_soon_threadsafe(self.seen_through.set)

        self.queue.start(see_through)

    def look_after(self) -> None:
        """Forget what is to be forgotten."""
        self.queue.drop_unheard()
        self.visitors.forget_idle()


async def room_of(request: Request) -> Room:
    """The one room of the application."""
    room: Room = request.app.state.room
    return room


async def visitor_of(request: Request, response: Response, room: Annotated[Room, Depends(room_of)]) -> Visitor:
    """Who asks, by a cookie that is set where there is none."""
    name = request.cookies.get(COOKIE, "")
    if not is_id(name):
        name = new_id()
        response.set_cookie(COOKIE, name, httponly=True, samesite="strict")
    return room.visitors.heard(name)


InRoom = Annotated[Room, Depends(room_of)]
By = Annotated[Visitor, Depends(visitor_of)]


@router.get("/about")
async def about(room: InRoom, _: By) -> told.About:
    """What this server is and has; just after its start it takes some seconds until the classifiers are known."""
    await room.seen_through.wait()
    return told.About(
        version=version(),
        api="1",
        classifiers=room.desk.classifiers.facts,
        samples=[photo_facts(sample) for sample in room.desk.samples.values()],
        colours=about_colours(),
        exams=exam_kinds(),
        limits=vars(room.limits),
    )


@router.get("/classifiers/{name:path}/classes")
async def classes(
    name: str,
    room: InRoom,
    search: Annotated[str, Query(max_length=100)] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> list[told.ClassFacts]:
    """Classes whose label holds a text, those that begin with it first; or the one whose index it is."""
    classifier = room.desk.classifiers[name].classifier
    wanted = search.strip().casefold()
    labels = enumerate(class_names(range(class_count(classifier)), classifier))
    found = [(index, label) for index, label in labels if wanted in label.casefold() or wanted == str(index)]
    found.sort(key=lambda each: (not each[1].casefold().startswith(wanted), each[0]))
    return [told.ClassFacts(index=index, label=label) for index, label in found[:limit]]


@router.post("/photos", status_code=201)
async def add_photo(request: Request, room: InRoom, visitor: By) -> told.PhotoFacts:
    """Give a photo, as the field `photo` of a form. It stands in memory alone, and is forgotten in time."""
    photo = await photo_received(request, room.limits, room.arriving, functools.partial(room.decoding.run, visitor.id))
    room.visitors.remember(visitor.id, photo)
    return photo_facts(photo)


@router.head("/photos/{name}", include_in_schema=False)
@router.get("/photos/{name}", response_class=Response, responses={200: {"content": {"image/webp": {}}}})
async def photo_shown(
    name: str, room: InRoom, visitor: By, longest: Annotated[int, Query(ge=16, le=2048)] = 1024
) -> Response:
    """A photo, upright, with a longer side of at most so many pixels."""
    photo = room.desk.photo(name, visitor)
    image = await room.showing.run(visitor.id, as_webp, photo, longest)
    kept = "private, max-age=600" if isinstance(photo, Sample) else "no-store"
    return Response(image, media_type="image/webp", headers={"Cache-Control": kept})


@router.delete("/photos/{name}", status_code=204)
async def forget_photo(name: str, visitor: By) -> None:
    """Forget one's photo, and all that was found in it."""
    visitor.photo(name)
    visitor.forget_photo(name)


@router.post("/estimate")
async def estimate(asked: schema.AnyJob, room: InRoom, visitor: By) -> told.Estimate:
    """What a job would cost."""
    work = await worked_out(asked, visitor.id, room)
    seconds, most = room.queue.expected(work), room.limits.job_seconds
    return told.Estimate(
        passes=work.passes, seconds=seconds, too_long=seconds is not None and seconds > most, most_seconds=most
    )


@router.post("/jobs", status_code=202)
async def add_job(asked: schema.AnyJob, room: InRoom, visitor: By) -> told.JobFacts:
    """Ask for something. The job is dropped where nobody asks about it for long."""
    work = await worked_out(asked, visitor.id, room)
    room.queue.check_room(visitor.id)  # who is refused makes nobody forgotten
    visitor = room.visitors.remember(visitor.id)
    job = room.queue.submit(new_id(), visitor.id, work)
    visitor.jobs[job.id] = job
    visitor.forget_results(room.limits.results)
    return job_facts(job, room.queue)


@router.get("/jobs/{name}")
async def job_told(
    name: str,
    request: Request,
    room: InRoom,
    visitor: By,
    wait: Annotated[float, Query(ge=0, le=20, allow_inf_nan=False)] = 0,
) -> told.JobFacts:
    """How far a job is: at once, or as soon as something has changed, after so many seconds at the latest."""
    job = visitor.job(name)
    if wait and not job.over:
        await changed(job, wait, request)
    job.heard = room.queue.clock()
    visitor.keep_concepts(job, room.limits.photos)
    return job_facts(job, room.queue)


@router.delete("/jobs/{name}", status_code=204)
async def cancel_job(name: str, room: InRoom, visitor: By) -> None:
    """End a job: at once where it waits, at its next pass where it runs. Of one that is over nothing changes."""
    room.queue.end(visitor.job(name), "cancelled")


@router.get("/jobs/{name}/{file}", response_class=Response, responses={200: {"content": {"*/*": {}}}})
async def download(
    name: str, file: Literal["picture.png", "maps.safetensors", "report.html"], room: InRoom, visitor: By
) -> Response:
    """What can be kept of a map that is done: its picture, the raw numbers, a report."""
    job = visitor.job(name)
    found = job.result
    if found is None or found.explanation is None or found.photo is None:
        raise RefusedError(409, "this job has no map to be kept", came=f"{job.work.kind}, {job.state}")
    make, media = DOWNLOADS[file]
    content = await room.writing.run(visitor.id, make, found.explanation, found.photo)
    named = f"{found.explanation.method}-{file}"
    return Response(content, media_type=media, headers={"Content-Disposition": f'attachment; filename="{named}"'})


async def worked_out(asked: schema.AnyJob, visitor: str, room: Room) -> Work:
    """What a request asks for; once the classifiers are known."""
    await room.seen_through.wait()
    work = work_of(asked, room.visitors.heard(visitor), room.desk)
    room.queue.check_cost(work.passes)
    return work


async def changed(job: Job, seconds: float, request: Request) -> None:
    """Return when something of a job has changed, the time is over, or nobody listens any more."""
    loop, event = asyncio.get_running_loop(), asyncio.Event()

    def tell() -> None:
        loop.call_soon_threadsafe(event.set)

    job.waiters.append(tell)
    try:
        end = loop.time() + seconds
        while not (event.is_set() or job.over or await request.is_disconnected()):
            left = min(1.0, end - loop.time())
            if left <= 0:
                break
            try:
                await asyncio.wait_for(event.wait(), left)
            except TimeoutError:
                continue
    finally:
        job.waiters.remove(tell)


def job_facts(job: Job, queue: Queue) -> told.JobFacts:
    """As it travels."""
    end = job.ended if job.over else queue.clock()
    return told.JobFacts(
        id=job.id,
        kind=job.work.kind,
        state=job.state,
        place=queue.place(job),
        passes_done=job.passes_done,
        passes_expected=job.passes_expected,
        seconds_expected=job.seconds_expected,
        seconds=None if job.started is None or end is None else end - job.started,
        error=None if job.error is None else told.ErrorParts(**job.error),
        result=None if job.result is None else job.result.answer,
    )


def photo_facts(photo: ShownPhoto) -> told.PhotoFacts:
    """As it travels."""
    alt, credit = (photo.alt, photo.credit) if isinstance(photo, Sample) else (photo.name, "")
    return told.PhotoFacts(id=photo.id, name=photo.name, alt=alt, credit=credit, width=photo.width, height=photo.height)
