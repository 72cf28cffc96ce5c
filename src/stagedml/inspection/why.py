"""Why something was built, or would be: the events that led to it, from their causes to the target."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from stagedml.core import config as configs
from stagedml.core import differences, words
from stagedml.core.plan import PlanStep, Verdict
from stagedml.core.reasons import Cause, Reason
from stagedml.core.refs import RealizationRef, dref_of, is_dref, parse_dref, parse_rref
from stagedml.engine.console import told
from stagedml.engine.events import Observer
from stagedml.engine.realize import Target, prepare
from stagedml.errors import UsageError
from stagedml.inspection.listing import hash_of
from stagedml.inspection.selectors import find
from stagedml.store import blessings
from stagedml.store.metadata import BuildRecord, Metadata, UnreadableMetadata
from stagedml.store.objects import Store

LONGEST_NAME = 40  #: of a stage, where there is little room


@dataclass(frozen=True, slots=True)
class Event:
    """One derivation on the way from a cause to the target.

    Attributes:
        name: of its stage.
        ref: the realization; of what is not made yet, the derivation.
        verdict: `built` or `adopted`; of what is not made yet, the plan's: `reuse`, `adopt`, `build` or `depends`.
        reasons: why.
        since: the realization that the reasons compare with; "" if none.
        when: seconds since the epoch; None of what is not made yet, or where nothing tells.
        seconds: how long the build took, or would take; None where nothing tells.
        source: of what was adopted, the realization that it was taken from; "" otherwise.
        again: whether it came to the bytes that were there already, such as what was forced; why these were there,
            the event before tells.
    """

    name: str
    ref: str
    verdict: str
    reasons: tuple[Reason, ...]
    since: str = ""
    when: float | None = None
    seconds: float | None = None
    source: str = ""
    again: bool = False

    @property
    def because(self) -> tuple[str, ...]:
        """The reasons in words, places in the code told from the working directory."""
        return (*map(told, self.reasons), *["the same bytes again"] * self.again)

    @property
    def takes(self) -> str:
        """About how long it would take, in words; "" of what is made, and where nothing tells."""
        is_ahead = self.when is None and self.seconds is not None
        return f"~{words.span(self.seconds)}" if is_ahead else ""


@dataclass(frozen=True, slots=True)
class Why:
    """The answer: events with causes before what they led to; the target is the last.

    Attributes:
        blessed: what else of all that the target rests on a person answers for, who blessed it or made it by hand.
    """

    target: str
    events: tuple[Event, ...]
    blessed: tuple[Event, ...] = ()

    def __str__(self) -> str:
        rows = [(event.verdict, event.name, hash_of(event.ref)[:6], ", ".join(event.because)) for event in self.events]
        return "\n".join([*words.table(("", "STAGE", "HASH", "WHY"), rows), *self.since()])

    def since(self) -> list[str]:
        """What the target was adopted from, and what the reasons compare it with, in a line each."""
        target = next(event for event in self.events if event.ref == self.events[-1].ref)
        lines = [f"adopted from {brief(target.source)}"] if target.source else []
        if target.since and target.since != target.source:
            lines.append(f"compared with {brief(target.since)}")
        return lines


def brief(rref: str) -> str:
    """A realization by its name and what `show` and `diff` take for it."""
    ref = parse_rref(rref)
    return f"{words.shortened(ref.name, LONGEST_NAME)} {ref.rhash[:12]}"


def why(of: str | Target[Any], store: Store | None = None) -> Why:
    """Why a realization was built; or, of what `instantiate` returned, why its targets would be.

    Targets that would be reused are left out where others would not; where all would be, the answer is why they were
    built.

    Args:
        of: a realization, as on the command line; or a closure.
        store: where the realization is; default the current store.

    Raises:
        UsageError: it is neither, or says too little.
        NotInStore: there is no such realization.
    """
    if isinstance(of, str):
        if is_dref(of):
            raise UsageError(f"why: {of!r} is no realization; pass one, or what `instantiate(stage, ...)` returned")
        from stagedml.authoring.session import current_store

        there = store or current_store()
        return _why_built(there, find(there, of))
    return _why_planned(of)


# -- what was built ---------------------------------------------------------------------------------------------------


def _why_built(store: Store, target: RealizationRef) -> Why:
    store.path(target)
    history = _History(store)
    events = (*_from_causes(str(target), history.causes_of, history.event), *history.again(str(target)))
    return Why(str(target), events, _others(history.blessed_behind([str(target)]), events))


def _others(found: Iterable[Event], events: Iterable[Event]) -> tuple[Event, ...]:
    told = {event.ref for event in events}
    return tuple(event for event in found if event.ref not in told)


class _History:
    """What the metadata in a store tells of builds."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._known: dict[str, Metadata | None] = {}

    def event(self, rref: str) -> Event:
        """What made a realization."""
        known = self.known(rref)
        if known is None:
            return Event(parse_rref(rref).name, rref, "built", ())
        return _past_event(rref, _last_build(known))

    def again(self, rref: str) -> list[Event]:
        """The last build of a realization, if it came to no other bytes than were there."""
        known = self.known(rref)
        last = max(known.builds, key=_moment) if known is not None else None
        return [_past_event(rref, last)] if known and last and last != _last_build(known) else []

    def known(self, rref: str) -> Metadata | None:
        if rref not in self._known:
            try:
                self._known[rref] = self.store.metadata(parse_rref(rref))
            except UnreadableMetadata:
                self._known[rref] = None
        return self._known[rref]

    def causes_of(self, rref: str) -> list[str]:
        """The inputs of a realization that are others than those of what it is compared with."""
        known = self.known(rref)
        if known is None:
            return []
        build = _last_build(known)
        if build.since and self.known(build.since) is None:
            return self._told_of(rref, known, build)
        return self.changed([other for others in known.inputs.values() for other in others], build.since)

    def changed(self, inputs: Sequence[str], since: str) -> list[str]:
        """Those of some inputs that take the places of others of an earlier realization.

        An input of another name is not among them: that it is one now is no doing of what made it.

        Args:
            inputs: realizations; of what is not made yet, derivations.
            since: the earlier realization.

        Returns:
            those with other contents; if none have, all that are other realizations.
        """
        earlier = self.known(since) if since else None
        if earlier is None:
            return []
        before = {rref for rrefs in earlier.inputs.values() for rref in rrefs}
        gone = {parse_rref(rref).name for rref in before.difference(inputs)}
        others = [ref for ref in inputs if ref not in before and _name(ref) in gone]
        contents = {self._content(rref) for rref in before}
        differing = [ref for ref in others if is_dref(ref) or self._content(ref) not in contents]
        return differing or others

    def _told_of(self, rref: str, known: Metadata, build: BuildRecord) -> list[str]:
        """The inputs that the reasons speak of: what they compare with is gone."""
        config = self.store.config(parse_rref(rref).derivation)
        fields = [differences.input_field(reason) for reason in build.reasons]
        drefs = [dref for field in fields for dref in configs.inputs_of({field: config.get(field)})]
        return [input for dref in drefs for input in known.inputs.get(dref, ())]

    def blessed_behind(self, rrefs: Iterable[str]) -> list[Event]:
        """What a person answers for, of realizations and all that they rest on."""
        pending = list(rrefs)
        seen = set(pending)
        found = []
        while pending:
            rref = pending.pop()
            known = self.known(rref)
            if known is None:
                continue
            build = _last_build(known)
            blessed = build.adopted and any(reason.cause is Cause.BLESSED for reason in build.reasons)
            if blessed or build.by_hand:
                found.append(self.event(rref))
            for other in (other for others in known.inputs.values() for other in others):
                if other not in seen:
                    seen.add(other)
                    pending.append(other)
        return found

    def _content(self, rref: str) -> str:
        known = self.known(rref)
        return known.content if known is not None else rref


def _name(ref: str) -> str:
    return parse_dref(ref).name if is_dref(ref) else parse_rref(ref).name


def _past_event(rref: str, build: BuildRecord) -> Event:
    is_again = build.since == rref
    return Event(
        name=parse_rref(rref).name,
        ref=rref,
        verdict="adopted" if build.adopted else "built",
        reasons=build.reasons,
        since="" if is_again else build.since,
        when=_moment(build) or None,
        seconds=build.stopped - build.started,
        source=build.adopted,
        again=is_again,
    )


def _moment(build: BuildRecord) -> float:
    return max(build.started, build.published)


def _last_build(known: Metadata) -> BuildRecord:
    """The last build that came to other bytes than were there: those that are compared with their own say nothing."""
    made = [build for build in known.builds if build.since != known.rref]
    return max(made or known.builds, key=_moment)


# -- what would be built ----------------------------------------------------------------------------------------------


def _why_planned(target: Target[Any]) -> Why:
    _, run = prepare(target, observer=Observer())
    drawn = run.plan()
    steps = {step.dref: step for step in drawn.steps}
    history = _History(run.store)

    def causes_of(ref: str) -> list[str]:
        if not is_dref(ref):
            return history.causes_of(ref)
        step = steps[ref]
        if step.verdict is Verdict.REUSE:
            return [cause for rref in step.rrefs for cause in history.causes_of(rref)]
        inputs = [steps[dref] for dref in configs.inputs_of(run.store.config_of(ref))]
        made = [one.dref for one in inputs if one.verdict is not Verdict.REUSE]
        if not step.since:
            return made
        return history.changed(
            [*made, *(rref for one in inputs if one.verdict is Verdict.REUSE for rref in one.rrefs)], step.since
        )

    def event(ref: str) -> Event:
        return _planned_event(steps[ref], history) if is_dref(ref) else history.event(ref)

    events: dict[Event, None] = {}
    unmade = [dref for dref in drawn.targets if steps[dref].verdict is not Verdict.REUSE]
    for dref in unmade or drawn.targets:
        events |= dict.fromkeys(_from_causes(dref, causes_of, event))
        events |= dict.fromkeys(history.again(steps[dref].rrefs[-1]) if dref not in unmade else ())
    reused = (rref for step in drawn.steps if step.verdict is Verdict.REUSE for rref in step.rrefs)
    return Why(", ".join(drawn.targets), tuple(events), _others(history.blessed_behind(reused), events))


def _planned_event(step: PlanStep, history: _History) -> Event:
    if step.verdict is Verdict.REUSE:
        return history.event(step.rrefs[-1])
    sources = ", ".join(step.rrefs) if step.verdict is Verdict.ADOPT else ""
    name = parse_dref(step.dref).name
    reasons = step.reasons
    if step.verdict is Verdict.DEPENDS:
        reasons = (*_settled(step, history.store), *_pending_blessing(step, history.store)) or reasons
    return Event(name, step.dref, step.verdict.value, reasons, step.since, None, step.seconds, sources)


def _settled(step: PlanStep, store: Store) -> tuple[Reason, ...]:
    """Why something that depends on an input would not be reused, as its metadata will tell once it is made."""
    if not step.since or dref_of(step.since) == step.dref:
        return step.reasons
    return differences.reasons(store.config_of(dref_of(step.since)), store.config_of(step.dref)) or step.reasons


def _pending_blessing(step: PlanStep, store: Store) -> tuple[Reason, ...]:
    """That something would be adopted for a person's word, if its inputs come out as that says."""
    blessing = blessings.blessing_of(store, parse_dref(step.dref))
    if blessing is None:
        return ()
    old = f"{parse_dref(blessing.old).name} {blessing.old[5:11]}"
    words = f"blessed by {blessing.user} as equal to {old}, if its inputs hold the same contents: {blessing.reason}"
    return (Reason(Cause.BLESSED, words),)


def _from_causes(
    target: str, causes_of: Callable[[str], list[str]], event: Callable[[str], Event]
) -> tuple[Event, ...]:
    """The events behind a target, each after its causes."""
    done: dict[str, None] = {}
    opened = {target}
    stack = [(target, iter(causes_of(target)))]
    while stack:
        ref, causes = stack[-1]
        following = next((cause for cause in causes if cause not in opened), None)
        if following is None:
            done[ref] = None
            stack.pop()
        else:
            opened.add(following)
            stack.append((following, iter(causes_of(following))))
    return tuple(map(event, done))
