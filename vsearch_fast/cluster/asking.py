"""Calls of many groups at once: each answered once, by whichever replica, in time or not at all.

::

    gather ── a call a group ──> the least busy replica ── answer ──> done
                   │                    │ lost                │ slow
                   │                    └─> another, or one   └─> another, too: the first
                   │                        begun anew            answer counts
                   └─ no answer in time ──> ClusterError that names the shards
                                            (or, where that was asked for, they are missing)
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import ClusterError, StoreError
from .groups import Group, Replica

#: Seconds between two looks while something is slow or begun anew.
_STEP = 0.05
#: Shards that an error names.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited.

    Attributes:
        seconds: for all answers.
        slow: after which another replica is asked, too.
        partial: whether an answer may lack groups.
        end: of the waiting (`time.monotonic`), where it has begun already.
    """

    seconds: float
    slow: float
    partial: bool = False
    end: float | None = None

    def begun(self) -> Patience:
        """This, from now on."""
        return replace(self, end=time.monotonic() + self.seconds)

    @property
    def until(self) -> float:
        """Its end, from now on where it has not begun."""
        return time.monotonic() + self.seconds if self.end is None else self.end


@dataclass(eq=False, slots=True)
class _Call:
    group: Group
    replica: Replica
    began: float
    name: str
    arguments: tuple[Any, ...]


class Asking:
    """Calls of some groups.

    Args:
        ray: the package, connected.
        groups: all of them.
    """

    def __init__(self, ray: Any, groups: Sequence[Group]) -> None:
        self._ray, self.groups = ray, list(groups)

    def all(self, name: str, *arguments: Any, patience: Patience, consequence: str) -> list[Any]:
        """The answers of all groups to one call, in their order."""
        found, _ = self.gather(
            [(group, name, arguments) for group in self.groups], patience, consequence
        )
        return [found[group] for group in self.groups]

    def each(
        self, name: str, *arguments: Any, patience: Patience, consequence: str
    ) -> dict[int, Any]:
        """Answers of `Host` methods that are by shard, together."""
        parts = self.all(name, *arguments, patience=patience, consequence=consequence)
        found = {number: value for part in parts for number, value in part.items()}
        return dict(sorted(found.items()))

    def put(self, value: Any) -> Any:
        """An argument for several groups that is sent to each node once."""
        return self._ray.put(value)

    def once(
        self, group: Group, name: str, arguments: tuple[Any, ...], patience: Patience,
        consequence: str,
    ) -> Any:  # fmt: skip
        """The answer of a group to a call that changes something, and so is never made twice.

        Raises:
            ClusterError: there is no actor, or it was lost, so that nobody knows whether it did it.
            VsearchError: what the group raised.
        """
        ray, end = self._ray, patience.until
        while (replica := group.choose()) is None:
            group.revive()
            if time.monotonic() > end:
                raise self.late([group], patience.seconds, consequence)
            time.sleep(_STEP)
        try:
            value, error = ray.get(
                replica.actor.call.remote(name, *arguments),
                timeout=max(0.0, end - time.monotonic()),
            )
        except ray.exceptions.RayTaskError:
            raise
        except ray.exceptions.RayError as lost:
            if not isinstance(lost, ray.exceptions.GetTimeoutError):
                group.lost(replica)
            raise ClusterError(
                f"The actor of {group.names[0]} was lost, or late, while it changed the shard"
                f" ({type(lost).__name__})",
                "The change was committed as a whole, or is not there",
                "Look whether its ids are there (id in index), and do it again where not",
            ) from lost
        if error is not None:
            raise error
        return value

    def gather(
        self,
        calls: Iterable[tuple[Group, str, tuple[Any, ...]]],
        patience: Patience,
        consequence: str,
    ) -> tuple[dict[Group, Any], list[Group]]:
        """The answer of each group, and the groups that are missing (where that may be).

        Args:
            calls: group, method of `Host`, and its arguments.
            patience: how long, and whether some may be missing.
            consequence: what is not done without them.

        Raises:
            ClusterError: groups that have not answered in time, and may not be missing.
            VsearchError: what a group raised.
        """
        end = patience.until
        wanted = {group: (name, arguments) for group, name, arguments in calls}
        found: dict[Group, Any] = {}
        failed: list[Group] = []
        pending: dict[Any, _Call] = {}
        try:
            while len(found) + len(failed) < len(wanted):
                now = time.monotonic()
                if now >= end:
                    break
                left = [g for g in wanted if g not in found and g not in failed]
                hasty = self._send(left, wanted, pending, now, patience)
                for call, answer in self._ready(pending, end, hasty, patience):
                    group = call.group
                    if group in found or group in failed:
                        continue
                    value, error = answer
                    if error is None:
                        found[group] = value
                    elif patience.partial and isinstance(error, StoreError):
                        failed.append(group)
                    else:
                        raise error
        finally:
            for call in pending.values():
                call.replica.waiting -= 1
        missing = failed + [g for g in wanted if g not in found and g not in failed]
        if missing and not patience.partial:
            raise self.late(missing, patience.seconds, consequence)
        return found, missing

    def _send(
        self,
        left: Sequence[Group],
        wanted: dict[Group, tuple[str, tuple[Any, ...]]],
        pending: dict[Any, _Call],
        now: float,
        patience: Patience,
    ) -> bool:
        """Call those groups that have no call under way, or a slow one; whether any has to be
        looked at again soon."""
        hasty = False
        under_way: dict[Group, list[_Call]] = {}
        for call in pending.values():
            under_way.setdefault(call.group, []).append(call)
        for group in left:
            own = under_way.get(group, [])
            if own and now - max(call.began for call in own) < patience.slow:
                continue
            replica = group.choose([call.replica for call in own])
            if replica is not None:
                name, arguments = wanted[group]
                replica.waiting += 1
                sent = replica.actor.call.remote(name, *arguments)
                pending[sent] = _Call(group, replica, now, name, arguments)
            elif not own:
                group.revive()
                hasty = True
        return hasty

    def _ready(
        self, pending: dict[Any, _Call], end: float, hasty: bool, patience: Patience
    ) -> Iterable[tuple[_Call, tuple[Any, Any]]]:
        """The calls that are answered by now, or soon; those of lost actors are dropped."""
        ray, now = self._ray, time.monotonic()
        wait = max(0.0, min(end - now, _STEP if hasty else patience.slow))
        if not pending:
            time.sleep(min(wait, _STEP))
            return
        ready, _ = ray.wait(list(pending), num_returns=1, timeout=wait)
        for reference in ready:
            call = pending.pop(reference)
            call.replica.waiting -= 1
            try:
                answer = ray.get(reference)
            except ray.exceptions.RayTaskError:  # an error of ours, which no retry mends
                raise
            except ray.exceptions.RayError:
                call.group.lost(call.replica)
                continue
            yield call, answer

    def late(self, missing: Sequence[Group], seconds: float, consequence: str) -> ClusterError:
        """The error of groups that have not answered."""
        names = [name for group in missing for name in group.names]
        shown = ", ".join(names[:_NAMED]) + (
            f" and {len(names) - _NAMED:,} others" if len(names) > _NAMED else ""
        )
        why = next((f" ({group.why})" for group in missing if group.why), "")
        return ClusterError(
            f"{len(names):,} of the shards gave no answer within {seconds:g} s: {shown}{why}",
            consequence,
            "Bring their nodes back, allow more time (timeout), or take an answer without them"
            " (allow_partial)",
        )
