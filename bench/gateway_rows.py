"""Rows of a gateway's log in the shape of LiteLLM's StandardLoggingPayload, about 2.7 KB each."""

from __future__ import annotations

import random
from collections.abc import Iterator

from story import Cast, Truth, Usage

KEYS = 24
SHARED_KEY_SHARE = 0.18  # rows whose key belongs to no team and whose caller named nobody
EMBEDDING_SHARE = 0.10
FAILED_SHARE = 0.02
MODELS = (("openai", "gpt-4o-mini", 0.15e-6, 0.60e-6), ("openai", "gpt-4o", 2.5e-6, 10e-6),
          ("openai", "gpt-4.1-mini", 0.4e-6, 1.6e-6))  # fmt: skip
START_S = 1_793_491_200.0

_NONE = (
    "user_api_key_max_budget",
    "user_api_key_budget_reset_at",
    "user_api_key_user_spend",
    "user_api_key_user_max_budget",
    "user_api_key_team_spend",
    "user_api_key_team_max_budget",
    "user_api_key_org_id",
    "user_api_key_org_alias",
    "user_api_key_project_id",
    "user_api_key_project_alias",
    "user_api_key_user_email",
)
_USAGE = (
    '{"prompt_tokens":%(input)d,"completion_tokens":%(output)d,"total_tokens":%(total)d,'
    '"prompt_tokens_details":{"cached_tokens":%(cached)d},"completion_tokens_details":{"reasoning_tokens":0}}'
)
_ROW = (
    '{"id":"chatcmpl-%(id)s","trace_id":"%(trace)s","session_id":"%(trace)s","litellm_call_id":"%(call)s",'
    '"call_type":"%(operation)s","stream":null,"response_cost":%(cost).10f,"cost_breakdown":null,'
    '"response_cost_failure_debug_info":null,"status":"%(status)s",'
    '"status_fields":{"llm_api_status":"%(status)s","guardrail_status":"not_run"},"custom_llm_provider":"%(provider)s",'
    '"total_tokens":%(total)d,"prompt_tokens":%(input)d,"completion_tokens":%(output)d,"startTime":%(start).3f,'
    '"endTime":%(end).3f,"completionStartTime":%(end).3f,"response_time":%(took).3f,'
    '"model_map_information":{"model_map_key":"%(model)s","model_map_value":null},"model":"%(provider)s/%(model)s",'
    '"model_id":"dep-%(deployment)d","model_group":"%(model)s","api_base":"https://api.openai.com","metadata":{'
    '"user_api_key_hash":"%(hash)s","user_api_key_alias":"%(alias)s","user_api_key_spend":12.5,'
    + ",".join(f'"{name}":null' for name in _NONE)
    + ',"user_api_key_team_id":%(team)s,"user_api_key_user_id":"default_user_id",'
    '"user_api_key_team_alias":null,'
    '"user_api_key_end_user_id":%(end_user)s,"user_api_key_request_route":"/v1/chat/completions",'
    '"user_api_key_auth_metadata":{},"spend_logs_metadata":%(spend_metadata)s,"requester_ip_address":"10.0.3.7",'
    '"user_agent":"OpenAI/Python 1.99.0","requester_metadata":{},"requester_custom_headers":{},'
    '"prompt_management_metadata":null,"mcp_tool_call_metadata":null,"vector_store_request_metadata":null,'
    '"applied_guardrails":[],"usage_object":' + _USAGE + ',"cold_storage_object_key":null,"team_alias":null,'
    '"team_id":null},"cache_hit":false,"cache_key":null,"saved_cache_cost":0.0,'
    '"request_tags":["env:prod","User-Agent: OpenAI","User-Agent: OpenAI/Python 1.99.0"],'
    '"end_user":%(end_user)s,'
    '"requester_ip_address":"10.0.3.7","user_agent":"OpenAI/Python 1.99.0",'
    '"messages":"redacted-by-litellm","response":{"id":"chatcmpl-%(id)s","model":"%(model)s",'
    '"usage":' + _USAGE + '},"error_str":%(error)s,"error_information":%(error_information)s}\n'
)
_EMPTY_ERROR = '{"error_code":"","error_class":"","llm_provider":"","traceback":"","error_message":""}'
_REFUSED = (
    '{"error_code":"429","error_class":"RateLimitError","llm_provider":"openai","traceback":"",'
    '"error_message":"rate limit reached for requests"}'
)


def rows(seed: int, count: int, truth: Truth) -> Iterator[str]:
    """Yield log rows, newline included, and report what is true of them."""
    rng = random.Random(seed)
    cast = Cast(rng)
    keys = [f"{rng.getrandbits(256):064x}" for _ in range(KEYS)]
    now = START_S
    for _ in range(count):
        now += rng.expovariate(1 / 0.05)
        shared = rng.random() < SHARED_KEY_SHARE
        failed = rng.random() < FAILED_SHARE
        embedding = rng.random() < EMBEDDING_SHARE
        usage = Usage()
        if not failed:
            usage.input = 120 + int(rng.expovariate(1 / 1400))
            usage.output = 0 if embedding else 8 + int(rng.expovariate(1 / 220))
            if not embedding and usage.input > 1100 and rng.random() < 0.5:
                usage.cached = (usage.input - 64) // 128 * 128
        provider, model, input_price, output_price = MODELS[int(rng.random() * len(MODELS))]
        if embedding:
            provider, model, input_price, output_price = "openai", "text-embedding-3-small", 0.02e-6, 0.0
        tenant = cast.tenant()
        key = 0 if shared else 1 + int(tenant[-4:]) % (KEYS - 1)
        took = 0.25 + usage.output * 0.008
        tally = truth.of("gateway-single-key" if shared else "healthy-key")
        tally.calls += 1
        tally.failed += failed
        tally.without_tenant += shared and not failed
        tally.input_tokens += usage.input
        tally.output_tokens += usage.output
        tally.cache_read_tokens += usage.cached
        if shared:
            tally.input_tokens_without_tenant += usage.input
            tally.output_tokens_without_tenant += usage.output
        yield _ROW % {
            "id": f"{rng.getrandbits(96):024x}",
            "trace": f"{rng.getrandbits(128):032x}",
            "call": f"{rng.getrandbits(128):032x}",
            "operation": "aembedding" if embedding else "acompletion",
            "cost": usage.input * input_price + usage.output * output_price,
            "status": "failure" if failed else "success",
            "provider": provider,
            "model": model,
            "input": usage.input,
            "output": usage.output,
            "cached": usage.cached,
            "total": usage.input + usage.output,
            "start": now,
            "end": now + took,
            "took": took,
            "deployment": 1 + key % 3,
            "hash": keys[key],
            "alias": "shared-backend" if shared else f"team-key-{key}",
            "team": "null" if shared else f'"{tenant}"',
            "end_user": "null" if shared else f'"{tenant}:u_{rng.getrandbits(9)}"',
            "spend_metadata": "null" if shared else f'{{"tenant_id":"{tenant}","feature":"answers"}}',
            "error": '"rate limit reached for requests"' if failed else "null",
            "error_information": _REFUSED if failed else _EMPTY_ERROR,
        }
