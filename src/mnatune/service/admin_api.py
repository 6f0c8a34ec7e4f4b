"""What administrators do beside reviewing: see walls and keys; load, unload and promote models."""

import asyncio
from collections.abc import Awaitable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Path
from pydantic import Field

from ..model.engine.refusals import Refusal, bad_request
from ..runs.errors import DataError, EnvironmentFault, UsageError
from .api import REFUSALS, Serving
from .api_schema import Body, Str
from .caller import Caller
from .feedback.rater_agreement import LEAST_ITEMS, agreement, grades_by_item
from .feedback.sink import MAX_COMMENT
from .keys import Key, Wall
from .model_desk import ModelDesk
from .page_api import Admin, in_store
from .service import Service

T = TypeVar("T")
ServedName = Annotated[str, Path(pattern=r"^[A-Za-z0-9_.-]{1,200}$")]
RegisteredName = Annotated[Str, Field(pattern=r"^[0-9a-f]{1,64}$")]

router = APIRouter(prefix="/api/admin", responses=REFUSALS)


class LoadBody(Body):
    """A registered model, by its name or the beginning of it."""

    model: RegisteredName


class PromoteBody(LoadBody):
    """A model for production, and why it may serve although its verdict is not "promote"."""

    reason: Annotated[Str, Field(max_length=MAX_COMMENT)] = ""


async def overseer_of(admin: Admin) -> Caller:
    """The caller if it is an administrator who sees over all walls; 403 otherwise."""
    if admin.scope is not None:
        raise Refusal(403, "this needs an administrator's key that is behind no wall", code="all_walls_only")
    return admin


Overseer = Annotated[Caller, Depends(overseer_of)]


async def desk_of(service: Serving, overseer: Overseer) -> ModelDesk:
    """Where models are changed; 400 on a server without a registry."""
    if service.desk is None:
        raise bad_request("this server has no registry: mnatune serve --models", code="no_registry")
    return service.desk


Desk = Annotated[ModelDesk, Depends(desk_of)]


@router.get("/walls")
async def walls(service: Serving, admin: Admin) -> dict[str, Any]:
    """The walls that the caller may see, each with its models, its keys and how far its reviewers agree."""
    known = [Wall(""), *service.walls.all.values()]
    keys = await asyncio.to_thread(service.walls.keys.all) if service.walls.keys else []
    seen = [wall for wall in known if admin.scope in (None, wall.name)]
    return {"walls": [await _shown(service, wall, [key for key in keys if key.wall == wall.name]) for wall in seen]}


async def _shown(service: Service, wall: Wall, keys: list[Key]) -> dict[str, Any]:
    grades = await in_store(service, lambda sink: sink.grades(), wall.name)
    by_item = grades_by_item([(one.generation, one.rater, one.grade) for one in grades])
    found = await asyncio.to_thread(agreement, [list(given.values()) for given in by_item.values()])
    now = service.walls.now()
    return {
        "name": wall.name,
        "models": wall.models,
        "documents": bool(wall.documents),
        "keys": [
            {"id": key.id, "name": key.name, "shown": key.shown, "role": key.role, "state": key.state(now)}
            for key in keys
        ],
        "grades": len(grades),
        "alpha": found.alpha if found.items >= LEAST_ITEMS else None,
    }


@router.get("/models")
async def registered(desk: Desk) -> dict[str, Any]:
    """What is registered, what is in production, and what is loaded beside it."""
    return await asyncio.to_thread(desk.facts)


@router.put("/models/{served}")
async def load(served: ServedName, body: LoadBody, desk: Desk) -> dict[str, str]:
    """Serve a registered model under a name; nobody's answer is broken off."""
    model = await _done(desk.load(body.model, served))
    return {"served": served, "model": model.name}


@router.delete("/models/{served}", status_code=204)
async def unload(served: ServedName, desk: Desk) -> None:
    """Serve a loaded model no more; answers that it is making are finished."""
    await _done(desk.unload(served))


@router.put("/production")
async def promote(body: PromoteBody, desk: Desk) -> dict[str, str]:
    """Put a registered model into production; the server takes it up within seconds."""
    model = await _done(asyncio.to_thread(desk.registry.promote, body.model, override=body.reason))
    return {"model": model.name}


async def _done(work: Awaitable[T]) -> T:
    """The work's result; its errors become API errors, without the folders that they name."""
    try:
        return await work
    except UsageError as error:
        raise bad_request(error.what, param="model", code="model_refused") from None
    except (DataError, EnvironmentFault) as error:
        raise Refusal(500, error.what, code="model_unusable") from None
