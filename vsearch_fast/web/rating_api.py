"""The HTTP API of the page /rate. What it sends names no system, no file and no item.

All endpoints are plain functions, which FastAPI runs in its pool of threads: SQLite waits for the
disk there, not in the event loop.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from ..errors import ImageError
from ..rating.ratings import Ratings
from ..rating.schedule import Task, tasks, total
from ..rating.study import digest
from .faults import RequestError
from .schemas import errors
from .thumbnails import Size

#: Tasks that an answer names beyond the next one, so that their pictures can be there in time.
AHEAD = 3
#: Codes of errors of its own.
_OWN = ("no_such_item", "no_picture", "no_such_task", "bad_order")
#: Raters whose schedules are kept in memory.
_KEPT = 64


Nickname = Annotated[str, Field(max_length=200)]


class Shown(BaseModel):
    """A picture: `key` for /pictures; `region` is left, top, right and bottom of the item in it,
    as shares of its width and height, or None for the whole of it."""

    key: int
    region: tuple[float, float, float, float] | None


class MatchTask(BaseModel):
    """Is the result the query's item?"""

    number: int
    mode: Literal["match"] = "match"
    query: Shown
    result: Shown


class BetterTask(BaseModel):
    """Which row fits the query better?"""

    number: int
    mode: Literal["better"] = "better"
    query: Shown
    left: list[Shown]
    right: list[Shown]


AnyTask = MatchTask | BetterTask


class Progress(BaseModel):
    """Where a rater stands; `task` is None when all is done, `upcoming` follow it."""

    done: int
    total: int
    task: AnyTask | None
    upcoming: list[AnyTask]


class Rater(BaseModel):
    """A rater, and how far they are."""

    nickname: str
    done: int
    total: int


class About(BaseModel):
    """The study, as raters may know it. `id` tells it from another one at the same address."""

    id: str
    name: str
    mode: Literal["match", "better", "both"]
    systems_count: int
    queries: int
    results_per_row: int
    judgements_total: int


class JoinRequest(BaseModel):
    nickname: Nickname


class JudgementRequest(BaseModel):
    nickname: Nickname
    number: int = Field(ge=1, le=2**53)
    answer: Literal["same", "similar", "different", "left", "right", "equal", "unsure"]


class UndoRequest(BaseModel):
    """`number`: undo this task's judgement if it is the last one, else nothing: so that a
    request that was not answered can be sent again."""

    nickname: Nickname
    number: int | None = Field(default=None, ge=1, le=2**53)


def router(ratings: Ratings) -> APIRouter:
    """The endpoints, without a prefix.

    `request.app.state.thumbnails` makes the pictures (`vsearch_fast.web.thumbnails.Thumbnails`).
    Errors are raised as `VsearchError`, which the app turns into JSON.
    """
    routes = APIRouter()
    study = ratings.study
    every = total(study)

    @lru_cache(_KEPT)
    def tasks_of(nickname: str) -> tuple[Task, ...]:
        return tuple(tasks(study, nickname))

    def picture_of(number: int) -> Shown:
        return Shown(key=number, region=study.pictures[number].region)

    def shown(task: Task) -> AnyTask:
        query = picture_of(study.queries[task.query])
        if task.mode == "match":
            assert task.picture is not None
            return MatchTask(number=task.number, query=query, result=picture_of(task.picture))
        assert task.sides is not None
        left, right = (
            [picture_of(picture) for picture in study.rows[task.query][system]]
            for system in task.sides
        )
        return BetterTask(number=task.number, query=query, left=left, right=right)

    def progress(nickname: str) -> Progress:
        done = ratings.done(nickname)
        open_tasks = (task for task in tasks_of(nickname) if task.key not in done)
        first = [shown(task) for task, _ in zip(open_tasks, range(1 + AHEAD), strict=False)]
        return Progress(
            done=len(done), total=every, task=first[0] if first else None, upcoming=first[1:]
        )

    @routes.get("/study", responses=errors(), summary="What is rated, without names of systems")
    def about() -> About:
        return About(
            id=f"{digest(study.settings.seed, [p.id for p in study.pictures]):016x}",
            name="Rate search results",
            mode=study.settings.mode,
            systems_count=len(study.systems),
            queries=len(study.queries),
            results_per_row=study.settings.results,
            judgements_total=every,
        )

    @routes.post("/raters", responses=errors(), summary="Begin, or go on, under a nickname")
    def join(body: JoinRequest) -> Rater:
        nickname = ratings.join(body.nickname)
        return Rater(nickname=nickname, done=len(ratings.done(nickname)), total=every)

    @routes.get(
        "/next",
        responses=errors(*_OWN),
        summary="The rater's next task",
    )
    def following(nickname: Annotated[str, Query(max_length=200)]) -> Progress:
        return progress(nickname.strip())

    @routes.post(
        "/judgements",
        responses=errors(*_OWN),
        summary="Store a judgement, once however often it is sent",
    )
    def judge(body: JudgementRequest) -> Progress:
        nickname = body.nickname.strip()
        done = ratings.done(nickname)
        own = tasks_of(nickname)
        if body.number > len(own):
            raise RequestError(
                "no_such_task",
                f"There is no task {body.number}: the study has {len(own)}",
                "The judgement was not stored",
                "Reload the page",
            )
        task = own[body.number - 1]
        earlier = next((t.number for t in own[: body.number - 1] if t.key not in done), None)
        if earlier is not None and task.key not in done:
            raise RequestError(
                "bad_order",
                f"Task {body.number} comes after task {earlier}, which is not judged yet",
                "The judgement was not stored",
                "Reload the page",
            )
        ratings.judge(nickname, task, body.answer)
        return progress(nickname)

    @routes.post(
        "/undo",
        responses=errors(*_OWN),
        summary="Take the rater's last judgement back",
    )
    def undo(body: UndoRequest) -> Progress:
        nickname = body.nickname.strip()
        ratings.undo(nickname, body.number)
        return progress(nickname)

    @routes.get(
        "/pictures",
        summary="A picture of the study",
        response_class=Response,
        responses=errors(*_OWN) | {200: {"content": {"image/jpeg": {}}, "description": "A JPEG"}},
    )
    def picture(
        request: Request, key: Annotated[int, Query(ge=0, le=2**53)], size: Size = Size.MEDIUM
    ) -> Response:
        if key >= len(study.pictures):
            raise RequestError(
                "no_such_item",
                f"There is no picture {key} in this study",
                "Nothing was sent",
                "Reload the page",
            )
        try:
            content = request.app.state.thumbnails.jpeg(study.pictures[key].path, int(size))
        except ImageError as error:
            # Its message names the file, and a file's name may name its system.
            raise RequestError(
                "no_picture",
                f"Picture {key} is gone or cannot be read",
                "It cannot be shown",
                "Answer can't say, and tell whoever runs the study",
            ) from error
        return Response(
            content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"}
        )

    return routes
