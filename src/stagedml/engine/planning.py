"""Planning: what would happen to each derivation of a closure, and why. It reads the store and builds nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stagedml.authoring.stage import OwnRealizer
from stagedml.core import plan as plans
from stagedml.core.adoption import Template, key_of, template_of
from stagedml.core.config import Config, inputs_of
from stagedml.core.plan import Decision, PlanStep, Verdict
from stagedml.core.reasons import Cause, Reason
from stagedml.core.refs import RealizationRef, dref_of, is_dref, parse_dref, parse_rref
from stagedml.engine.explain import Explainer, Explanation, latest_realization, seconds_of
from stagedml.engine.nodes import Node
from stagedml.store import adoptions, blessings
from stagedml.store import survey as surveys
from stagedml.store.blessings import Blessing
from stagedml.store.metadata import UnreadableMetadata
from stagedml.store.objects import Store, output_exists
from stagedml.store.survey import Survey


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known of an input while a plan is drawn.

    Attributes:
        rrefs: the realizations that stand for it; none of what will be adopted, which has no reference yet.
        contents: their content digests, where they were looked up.
    """

    rrefs: tuple[str, ...]
    contents: tuple[str, ...] | None = None


@dataclass
class Planner:
    """Plans derivations against one store.

    Attributes:
        lent: derivation -> the realization that is to stand for it, whatever it was made from.
        explainer: what compares with earlier realizations.
    """

    store: Store
    lent: dict[str, Blessing] = field(default_factory=dict)
    explainer: Explainer = field(init=False)

    def __post_init__(self) -> None:
        self.explainer = Explainer(self.store)
        self._templates: dict[str, Template | None] = {}
        self._blessings = blessings.blessed(self.store)

    def steps(self, nodes: Collection[Node]) -> list[PlanStep]:
        """The steps of a plan, one for each node; nodes come after their inputs."""
        self.explainer = Explainer(self.store, {node.dref for node in nodes})
        self._blessings = blessings.blessed(self.store)
        known: dict[str, Outlook] = {}
        steps = []
        for node in nodes:
            step = self.step(node, known)
            if step.verdict is Verdict.REUSE:
                known[node.dref] = Outlook(step.rrefs)
            elif step.verdict is Verdict.ADOPT and len(step.rrefs) == 1 and not self.store.realizations(node.ref):
                contents = self.contents(step.rrefs)  # of several it cannot be told here which the matcher takes
                if contents is not None:
                    known[node.dref] = Outlook((), contents)
            steps.append(step)
        return steps

    def step(self, node: Node, known: Mapping[str, Outlook]) -> PlanStep:
        def planned(verdict: Verdict, explained: Explanation, decision: Decision | None = None) -> PlanStep:
            build, selected = (decision.build, decision.selected) if decision else ((), ())
            if verdict is Verdict.ADOPT and decision:
                selected = tuple(source for _, source in decision.adopt)
            since = str(explained.since) if explained.since else ""
            seconds = explained.seconds * max(len(build), 1) if explained.seconds is not None else None
            seconds = None if verdict in (Verdict.REUSE, Verdict.ADOPT) else seconds
            return PlanStep(node.dref, node.ref.name, verdict, explained.reasons, since, build, selected, seconds)

        unsettled = [dref for dref in node.inputs if dref not in known or not known[dref].rrefs]
        if unsettled and node.forced:
            return planned(Verdict.BUILD, Explanation((Reason(Cause.FORCED),), *self._own_history(node)))
        unknown = [dref for dref in unsettled if dref not in known]
        if unknown:
            on = Reason(Cause.INPUT, "on " + ", ".join(parse_dref(dref).name for dref in unknown))
            if self.store.realizations(node.ref):
                return planned(Verdict.DEPENDS, Explanation((on,), *self._own_history(node)))
            explained = self.explainer.first_build(node.ref, node.code)
            if explained.only_inputs:
                return planned(Verdict.DEPENDS, replace(explained, reasons=(on,)))
            return planned(Verdict.BUILD, explained)
        # of what will be adopted there is no reference yet that something could rest on
        if unsettled:
            found = Survey([], [], len(self.store.realizations(node.ref)))
        else:
            found = self.survey(node, {dref: known[dref].rrefs for dref in node.inputs})

        def contents_of(dref: str) -> Sequence[str] | None:
            return self._outlook(dref, known)

        decision = self.decide(node, found, lambda: self.key(node, contents_of), contents_of, forced=node.forced)
        if decision.selected:
            return PlanStep(node.dref, node.ref.name, Verdict.REUSE, (), "", (), decision.selected)
        inputs = {dref: known[dref].rrefs for dref in node.inputs}
        explained = self.explained(node, decision, found, inputs)
        adopted = bool(decision.build) and len(decision.adopt) == len(decision.build)
        return planned(Verdict.ADOPT if adopted else Verdict.BUILD, explained, decision)

    def decide(
        self,
        node: Node,
        found: Survey,
        key: Callable[[], str | None],
        contents_of: Callable[[str], Sequence[str] | None],
        *,
        forced: bool,
    ) -> Decision:
        """What is to be done about a derivation whose inputs are settled.

        Args:
            node: the derivation.
            found: its realizations for these inputs.
            key: gives its key of adoption; asked only where something is missing.
            contents_of: the content digests of an input's realizations.
            forced: make it anew.
        """

        def offered(instance: int) -> str | None:
            if node.dref in self.lent:
                return self.lent[node.dref].old
            known = key()
            source = adoptions.offered(self.store, known, instance) if known is not None else None
            source = source or self._blessed(node, instance, contents_of)
            return str(source) if source is not None else None

        return plans.decide(
            node.matcher, found.whole, found.damaged, instances=node.instances, forced=forced, offered=offered
        )

    def key(self, node: Node, contents_of: Callable[[str], Sequence[str] | None]) -> str | None:
        """The key of adoption of a derivation; None where nothing of it can be adopted."""
        if node.dref not in self._templates:
            realizer = node.derivation.realizer
            view = realizer.view(self.store) if isinstance(realizer, OwnRealizer) else None
            self._templates[node.dref] = template_of(view) if view is not None else None
        template = self._templates[node.dref]
        return key_of(template, contents_of) if template is not None else None

    def _blessed(
        self, node: Node, instance: int, contents_of: Callable[[str], Sequence[str] | None]
    ) -> RealizationRef | None:
        """A realization of the derivation that a person declared this one to be equal to, for inputs that are equal."""
        blessing = self._blessing_of(node)
        if blessing is None:
            return None
        wanted = _contents_by_field(self.store.config(node.ref), contents_of)
        old = parse_dref(blessing.old)
        for ref in self.store.realizations(old):
            try:
                known = self.store.metadata(ref)
            except UnreadableMetadata:
                continue
            if known is None or instance not in known.instances or self.store.missing_outputs(ref, known):
                continue
            theirs = known.inputs

            def contents_then(dref: str, theirs: Mapping[str, tuple[str, ...]] = theirs) -> Sequence[str] | None:
                return self.contents(theirs.get(dref, ()))

            folder = self.store.path(ref)
            holds_all = all(output_exists(folder, path, is_prefix) for path, is_prefix in node.outputs)
            if holds_all and _contents_by_field(self.store.config(old), contents_then) == wanted:
                return ref
        return None

    def _blessing_of(self, node: Node) -> Blessing | None:
        return blessings.blessing_of(self.store, node.ref) if node.ref.folder in self._blessings else None

    def blessing(self, node: Node, source: str) -> tuple[Reason, ...]:
        """That a person, and not equal keys, made a derivation adopt something."""
        blessing = self.lent.get(node.dref) or self._blessing_of(node)
        if blessing is None or blessing.old not in (source, dref_of(source)):
            return ()
        words = f"blessed by {blessing.user} as equal to {_brief(blessing.old)}: {blessing.reason}"
        return (Reason(Cause.BLESSED, words),)

    def _outlook(self, dref: str, known: Mapping[str, Outlook]) -> Sequence[str] | None:
        outlook = known.get(dref)
        if outlook is None:
            return None
        return outlook.contents if outlook.contents is not None else self.contents(outlook.rrefs)

    def contents(self, rrefs: Iterable[str]) -> tuple[str, ...] | None:
        """The content digests of realizations; None where one has no metadata."""
        found = []
        for rref in rrefs:
            try:
                content = self.store.content_of(rref)
            except UnreadableMetadata:
                return None
            if content is None:
                return None
            found.append(content)
        return tuple(found)

    def explained(
        self, node: Node, decision: Decision, found: Survey, inputs: Mapping[str, tuple[str, ...]]
    ) -> Explanation:
        """Why a derivation is not simply reused whose inputs are settled; `inputs` stand for them."""
        for _, source in decision.adopt:
            if blessed := self.blessing(node, source):
                explained = self.explainer.against(node.ref, parse_rref(source), node.code)
                return replace(explained, reasons=(*blessed, *explained.reasons))
        if decision.cause is Cause.FIRST_BUILD:
            if not found.total:
                explained = self.explainer.first_build(node.ref, node.code)
                blessing = None if decision.adopt else self._blessing_of(node)
                if blessing is not None:
                    there = bool(self.store.realizations(parse_dref(blessing.old)))
                    problem = "whose inputs hold other contents" if there else "of which nothing is left"
                    unfit = Reason(Cause.BLESSED, f"blessed as equal to {_brief(blessing.old)}, {problem}")
                    return replace(explained, reasons=(*explained.reasons, unfit))
                return explained
            since = latest_realization(self.store, node.ref)
            reason = Reason(Cause.INPUT, f"other realizations of {self._others(since, inputs) or 'its inputs'}")
        else:
            subject = {
                Cause.BYTES_MISSING: f"bytes missing of {', '.join(found.damaged)}",
                Cause.INSTANCE_MISSING: ", ".join(map(str, decision.build)),
                Cause.MATCHER: "no realization that its matcher takes",
            }
            cause = decision.cause or Cause.MATCHER
            reason = Reason(cause, subject.get(cause, ""))
        return Explanation((reason,), *self._own_history(node))

    def _others(self, since: RealizationRef | None, inputs: Mapping[str, tuple[str, ...]]) -> str:
        """The names of the inputs for which other realizations stand than for those of an earlier realization."""
        if since is None:
            return ""
        earlier = self.store.inputs_of(since, self.store.metadata(since))
        return ", ".join(
            parse_dref(dref).name for dref, rrefs in inputs.items() if sorted(rrefs) != sorted(earlier.get(dref, ()))
        )

    def _own_history(self, node: Node) -> tuple[RealizationRef | None, bool, float | None]:
        """The realization of a derivation that was built last, and how long that took."""
        since = latest_realization(self.store, node.ref)
        return since, False, seconds_of(self.store, since) if since is not None else None

    def survey(self, node: Node, inputs: Mapping[str, tuple[str, ...]]) -> Survey:
        """The realizations of a derivation for these inputs: those that are whole, and those that are not."""
        return surveys.survey(self.store, node.ref, inputs, node.outputs)


def _contents_by_field(config: Config, contents_of: Callable[[str], Sequence[str] | None]) -> dict[str, object]:
    """The fields of a config that name inputs, with the contents of these in place of their references.

    What is not known, as of an input that Pylightnix built, is equal to nothing.
    """

    def replaced(value: Any) -> object:
        if isinstance(value, list):
            return [replaced(item) for item in value]
        if isinstance(value, dict):
            return {name: replaced(item) for name, item in value.items()}
        if not is_dref(value):
            return value
        contents = contents_of(value)
        return object() if contents is None else sorted(contents)

    return {name: replaced(value) for name, value in config.items() if inputs_of({name: value})}


def _brief(ref: str) -> str:
    """A reference as a person knows it: the name, and the start of the hash."""
    name = parse_dref(ref).name if is_dref(ref) else parse_rref(ref).name
    return f"{name} {ref[5:11]}"
