"""The tenant stops at an agent, a tool, or a task that runs on its own.

What goes wrong
    An agent framework starts threads or tasks without the caller's context, or
    sets the tenant on the run and not on the model calls below it. The calls
    hang below a run that nobody can bill, or under no run at all.

How it is recognised
    Below or beside agent, tool or chain spans the tenant stops inside one
    process. Or a model call is a root, or its parent is not in the export,
    although its process knows tenants elsewhere: a thread or a detached task.
    From the file alone this cannot be told from a worker without a consumer
    span; the evidence says so where both fit.

How to fix it
    Run tools and sub-agents with the caller's context (``contextvars`` in
    threads and executors, the threading instrumentation, ``asyncio`` tasks
    that are created inside the span), and put the tenant into baggage with a
    baggage span processor, so that every child gets it.
"""

from __future__ import annotations

from auditor.rule import Case, Confidence, Diagnosis, Ending, Hop, HopKind, Role, Rule, Survey, fitting

REMEDIES = {
    "langchain": "Pass the run's config (with metadata) into every tool and sub-chain, run tools in threads with contextvars.copy_context(), and put the tenant into baggage.",
    "python": "Wrap thread targets with contextvars.copy_context().run (or use opentelemetry-instrumentation-threading), create tasks inside the span, and put the tenant into baggage.",
    "nodejs": "Bind detached work with context.bind / AsyncLocalStorage.run, and put the tenant into baggage.",
}


def diagnose(case: Case, survey: Survey) -> Diagnosis | None:
    """Claim calls that lose the tenant inside one process, at an agent or on their own."""
    path = case.path
    if not case.is_unattributed or case.batch or case.is_row:
        return None
    if path.knew_tenant:
        return _below_agent(case)
    if case.linked or path.has(Role.CONSUMER) or case.cut is not None or case.is_embedding:
        return None
    if path.top.role is Role.SERVER:
        return None
    if path.ending is Ending.MISSING:
        return _stump(case, survey)
    facts = survey.service(path.top.service)
    if path.edges or not case.process_knows_tenant:
        return None
    return Diagnosis(
        confidence=Confidence.LIKELY,
        hop=Hop(path.top.service, case.service, HopKind.THREAD),
        evidence=(
            f"a {path.top.role} span of {path.top.service} is a root, though {facts.spans_with_tenant} other spans "
            "of that service know a tenant: a thread or task without the caller's context",
        ),
        remedy=fitting(REMEDIES, *path.steps),
    )


def _below_agent(case: Case) -> Diagnosis | None:
    path = case.path
    if path.edges or case.is_embedding or not (path.is_agentic or case.beside_agent):
        return None
    if path.is_agentic:
        agent = next(step for step in reversed(path.steps[1:]) if step.role.is_agentic)
        where = f"below its {agent.role} span"
    else:
        where = "that its agent makes, beside the agent's spans and not below them,"
    return Diagnosis(
        confidence=Confidence.CERTAIN,
        hop=Hop(path.top.service, case.service, HopKind.THREAD),
        evidence=(f"a {path.top.role} span of {path.top.service} knows the tenant, the calls {where} do not",),
        remedy=fitting(REMEDIES, *path.steps),
    )


def _stump(case: Case, survey: Survey) -> Diagnosis | None:
    path = case.path
    knows = survey.service(path.top.service).spans_with_tenant
    if case.knowing_services or not case.process_knows_tenant or path.edges:
        return None
    return Diagnosis(
        confidence=Confidence.POSSIBLE,
        hop=Hop(path.top.service, case.service, HopKind.CUT),
        evidence=(
            f"the parent of a {path.top.role} span of {path.top.service} is not in the input; "
            f"{knows} other spans of that service know a tenant",
        ),
        remedy=fitting(REMEDIES, *path.steps),
    )


RULE = Rule(
    id="orphaned-agent-children",
    title="The tenant stops at an agent or a detached task",
    remedy="Run agents, tools and tasks with the caller's context, and put the tenant into baggage.",
    needs="spans of the calling process",
    diagnose=diagnose,
    unchecked=lambda survey: None if survey.has_graph else "a gateway's log has no spans of agents",
)
