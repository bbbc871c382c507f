"""A gateway answers calls and logs them without tokens, or without a cost.

What goes wrong
    The provider bills every call that it answers. A gateway counts only what
    it understands: a request that is passed through unread, an embedding that
    it makes for its own cache, a line of a batch or a model that is missing
    from its price list ends up in the log with nothing or zero in it. Budgets
    and invoices that are made from the log leave these calls out.

How it is recognised
    A row of a gateway's log with a call that succeeded, was not answered from
    the gateway's cache and has no usage; or a row with usage whose cost is
    zero, or is missing although the same log knows the cost of others, while
    the model has a price. A row with a cost and no tokens is well: some calls
    are billed by the piece. So are moderation, and models that cost nothing.
    Streams that broke off are ``stream-span-closure``.

How to fix it
    Send these calls through a route whose answers the gateway reads, or give
    the route a price a request; enter the price of the model; where it really
    is free or your own, say so with a rate of zero in the price file. Until
    then compare the log with the provider's bill, never with itself.
"""

from __future__ import annotations

from auditor.rule import Case, Confidence, Diagnosis, Hop, HopKind, Operation, Rule, StreamSign, Survey, UsageStatus

COUNTS = {
    "litellm": "Call the model through LiteLLM's own routes, such as /chat/completions, /embeddings and /rerank; or set cost_per_request on the pass-through endpoint, or let its target answer with x-litellm-response-cost.",
    "helicone": "Send the header helicone-stream-usage: true with streams, and calls that Helicone cannot count through a route that it knows.",
    "envoy": "List the token types under llmRequestCosts of the AIGatewayRoute, and the metadata keys in the access log's format.",
    "kong": "Add the embeddings of Kong's semantic cache from the provider's bill: its log has no tokens for them.",
}
"""What makes a gateway count, by its name."""
OF_A_BATCH = "Take the counts from the provider's output file, or from the usage of the batch object, and collect again the lines that have none."
PRICES = {
    "litellm": "Give the deployment input_cost_per_token and output_cost_per_token, or base_model where only the name is unknown, in LiteLLM's model_info.",
    "kong": "Set model.options.input_cost and output_cost on Kong's AI plugin.",
    "cloudflare": "Send the header cf-aig-custom-cost with the model's price, or use a model that the gateway knows.",
    "portkey": "Enter the model's price in Portkey's model catalog.",
}
"""What makes a gateway price, by its name."""


def diagnose(case: Case, survey: Survey) -> Diagnosis | None:
    """Claim answered calls that a gateway's log knows no tokens, or no cost, of."""
    if case.failed or case.conflict or case.operation is Operation.MODERATION:
        return None
    if case.unpriced_by:
        return _without_cost(case)
    if not case.is_row or case.usage is not UsageStatus.MISSING or case.has_logged_cost:
        return None
    if case.streamed or case.stream is not StreamSign.UNKNOWN:
        return None
    return _without_tokens(case)


def _without_tokens(case: Case) -> Diagnosis:
    evidence = [f"{_calls(case)} logged as answered, without tokens and without a cost"]
    sure = Confidence.CERTAIN
    if case.is_unread:
        evidence.append("the log does not even know the model: the requests were passed on unread")
    elif case.streamed is None and not case.batch and not case.is_embedding:
        evidence.append("the log does not say whether the answers were streamed: a stream that broke off looks alike")
        sure = Confidence.LIKELY
    return _diagnosis(case, case.service, sure, evidence, OF_A_BATCH if case.batch else COUNTS.get(case.service, ""))


def _without_cost(case: Case) -> Diagnosis:
    gateway = case.unpriced_by
    evidence = [
        f"{_calls(case)} logged with usage and with a cost of zero or none",
        "the model has a price: what the calls cost is computed from it",
    ]
    return _diagnosis(case, gateway, Confidence.LIKELY, evidence, PRICES.get(gateway, ""))


def _calls(case: Case) -> str:
    return f"1 {case.operation} call" if case.calls == 1 else f"{case.calls} {case.operation} calls"


def _diagnosis(case: Case, gateway: str, sure: Confidence, evidence: list[str], remedy: str) -> Diagnosis:
    return Diagnosis(
        # Whose calls they are matters more than what the log says of their cost.
        confidence=Confidence.POSSIBLE if case.is_unattributed else sure,
        hop=Hop(gateway, gateway, HopKind.NONE),
        evidence=tuple(evidence),
        remedy=remedy,
    )


RULE = Rule(
    id="unlogged-spend",
    title="A gateway logs calls without tokens or cost",
    remedy="Send the calls through a route that the gateway reads and prices, or enter the price of the model or route.",
    needs="a gateway's log",
    diagnose=diagnose,
    specificity=30,
    unchecked=lambda survey: None if survey.has_rows else "no gateway's log in this input",
)
