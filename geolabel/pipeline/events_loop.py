"""From an event of Label Studio to what follows: a hint, and perhaps a job; nothing is asked of Label Studio here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geolabel.pipeline.labels import clean_project_id
from geolabel.pipeline.loop_state import DELETED, LoopState
from geolabel.services import Services

_CHANGED = frozenset({"ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED"})
_DELETED = frozenset({"ANNOTATIONS_DELETED", "ANNOTATION_DELETED"})
_TASKS_NEW = frozenset({"TASKS_CREATED"})
_TASKS_GONE = frozenset({"TASKS_DELETED"})


def process_event(services: Services, event: Mapping[str, Any]) -> dict[str, Any]:
    """Note what an event tells and ask for what it calls for; any order, any number of times, gives the same end.

    The event is a hint only: labels are always read from Label Studio, so a forged one can at most cause a look.

    Args:
        services: Redis, store, settings.
        event: As `geolabel.pipeline.events.read_event` made it.

    Returns:
        {"news": annotations that are news, "asked": kinds of jobs asked for}
    """
    project_id = clean_project_id(event.get("project"))
    action = str(event.get("action") or "")
    state = LoopState(services, project_id)
    news, asked = 0, set()
    annotations = [a for a in event.get("annotations") or [] if isinstance(a, Mapping) and "id" in a]
    if action in _CHANGED:
        news = sum(state.note(int(a["id"]), str(a.get("updated_at") or "")) for a in annotations)
        asked.add("rank")
    elif action in _DELETED:
        news = sum(state.note(int(a["id"]), DELETED) for a in annotations)
        asked.add("rank")
    elif action in _TASKS_NEW:
        asked.add("refresh")
    elif action in _TASKS_GONE:
        asked.add("rank")
    return {"news": news, "asked": sorted(follow_up(services, state, asked))}


def follow_up(services: Services, state: LoopState, asked: set[str]) -> set[str]:
    """Ask for the jobs that hints call for: training when enough annotations wait, a timer while some do."""
    settings = services.settings.loop
    done: set[str] = set()
    if not settings.enabled:
        return done
    pending = len(state.pending())
    if pending >= settings.retrain_after:
        done |= {"train"} if state.ask("train") else set()
    elif pending:
        done |= {"tick"} if state.ask("tick", delay_s=settings.retrain_wait_s) else set()
    # Training ranks at its end; asking for both would do the work twice.
    if "refresh" in asked:
        done |= {"refresh"} if state.ask("refresh", delay_s=settings.rank_wait_s) else set()
    elif "rank" in asked and not state.waits("train"):
        done |= {"rank"} if state.ask("rank", delay_s=settings.rank_wait_s) else set()
    return done


def tick(services: Services, project_id: str) -> dict[str, Any]:
    """Ask for training when annotations wait since the timer was set, however few."""
    state = LoopState(services, project_id)
    state.started("tick")
    pending = len(state.pending())
    return {"pending": pending, "job": state.ask("train") if pending else ""}
