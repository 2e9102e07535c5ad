"""GET /api/jobs: the queue and the history as one list of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rxpipe.testing.servers.comfyui.answers import json_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rxpipe.testing.servers.comfyui.queueing import Entry, Item, JobQueue
    from rxpipe.testing.servers.core.wire import Answer

_STATUSES = ("pending", "in_progress", "completed", "failed", "cancelled")


def list_jobs(queue: JobQueue, query: Mapping[str, str]) -> Answer:
    """Return the jobs, newest first, of some statuses only and in pages where the query says so."""
    wanted = [word.strip() for word in query.get("status", ",".join(_STATUSES)).split(",")]
    unknown = [word for word in wanted if word not in _STATUSES]
    if unknown:
        allowed = ", ".join(_STATUSES)
        return json_of({"error": f"Invalid status value(s): {', '.join(unknown)}. Valid values: {allowed}"}, 400)
    jobs = [job for job in _all(queue) if job["status"] in wanted]
    jobs.sort(key=lambda job: job["create_time"], reverse=query.get("sort_order", "desc") != "asc")
    offset, limit = _number(query, "offset") or 0, _number(query, "limit")
    page = jobs[offset:] if limit is None else jobs[offset : offset + limit]
    more = offset + len(page) < len(jobs)
    return json_of(
        {"jobs": page, "pagination": {"offset": offset, "limit": limit, "total": len(jobs), "has_more": more}}
    )


def one_job(queue: JobQueue, prompt_id: str) -> Answer:
    """Return one job with its outputs and its graph."""
    with queue.job_log.changed:
        if queue.running is not None and queue.running.prompt_id == prompt_id:
            return json_of(_waiting(queue.running, "in_progress"))
        entry = queue.find(prompt_id)
        if entry is not None:
            item = entry.item
            workflow = {"prompt": item.graph, "extra_data": item.extra_data}
            status = entry.shown()["status"]
            details = {"outputs": entry.outputs, "execution_status": status, "workflow": workflow}
            return json_of({**_finished(entry), **details})
        for item in queue.pending():
            if item.prompt_id == prompt_id:
                return json_of(_waiting(item, "pending"))
    return json_of({"error": "Job not found"}, 404)


def _all(queue: JobQueue) -> list[dict[str, Any]]:
    with queue.job_log.changed:
        jobs = [_waiting(item, "pending") for item in queue.pending()]
        if queue.running is not None:
            jobs.append(_waiting(queue.running, "in_progress"))
        return [*jobs, *(_finished(entry) for entry in queue.history.values())]


def _waiting(item: Item, status: str) -> dict[str, Any]:
    return {**_head(item, status), "outputs_count": 0, "previewable_outputs_count": 0}


def _head(item: Item, status: str) -> dict[str, Any]:
    created = item.extra_data.get("create_time")
    return {"id": item.prompt_id, "status": status, "priority": item.number, "create_time": created}


def _finished(entry: Entry) -> dict[str, Any]:
    last, details = entry.messages[-1]
    status = {"execution_success": "completed", "execution_interrupted": "cancelled"}.get(last, "failed")
    shown = _head(entry.item, status)
    shown["execution_start_time"] = entry.messages[0][1]["timestamp"]
    shown["execution_end_time"] = details["timestamp"]
    if status == "failed":
        shown["execution_error"] = details
    counted = sum(len(items) for ui in entry.outputs.values() for items in ui.values())
    images = [
        {**image, "nodeId": node_id, "mediaType": "images"}
        for node_id, ui in entry.outputs.items()
        for image in ui.get("images", ())
        if "filename" in image
    ]
    shown |= {"outputs_count": counted, "previewable_outputs_count": len(images)}
    return {**shown, "preview_output": images[0]} if images else shown


def _number(query: Mapping[str, str], name: str) -> int | None:
    return int(query[name]) if query.get(name, "").isdigit() else None
