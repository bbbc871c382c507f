"""The formats of gateways and providers that are read as rows; specific ones before general ones."""

from __future__ import annotations

from typing import Any

from auditor.load.gateways import (
    anthropic_batch,
    azure,
    bedrock,
    bifrost,
    cloudflare,
    databricks,
    envoy,
    helicone,
    kong,
    openai_batch,
    openrouter,
    portkey,
    provider_objects,
    tensorzero,
    vertex,
)
from auditor.load.litellm import (
    SPEND_COLUMNS,
    batch_item_reader,
    is_batch_item,
    is_litellm,
    is_spend_log,
    spend_log_reader,
)
from auditor.load.litellm_payloads import LiteLLMReader
from auditor.load.rows import RowFormat, reader_of

LITELLM_CAP = 10_000
"""Rows that LiteLLM's ``/spend/logs`` answers with at most: the newest."""
PORTKEY_CAP = 50_000
"""Records of one of Portkey's exports."""


def _never(_: Any) -> bool:
    """For a table of text."""
    return False


ROW_FORMATS: tuple[RowFormat, ...] = (
    RowFormat(
        "litellm-spend-logs",
        is_spend_log,
        spend_log_reader,
        title="LiteLLM: rows of its table of spend, or an answer of /spend/logs that holds them",
        recognised_by="rows with request_id, call_type, spend and startTime",
        marks=(b'"spend"',),
        cap=LITELLM_CAP,
    ),
    RowFormat(
        "litellm",
        is_litellm,
        LiteLLMReader,
        title="LiteLLM: logging payloads, one an object, one a line or a list",
        recognised_by="objects with call_type, response_cost and metadata",
        marks=(b'"call_type"', b'"response_cost"'),
        shows_callers=True,
    ),
    RowFormat(
        "litellm-spend-logs-csv",
        _never,
        spend_log_reader,
        title="LiteLLM: the table of spend as CSV",
        recognised_by="a header line with request_id, call_type, spend and startTime",
        columns=SPEND_COLUMNS,
        is_splittable=False,
    ),
    RowFormat(
        "litellm-batch-line-items",
        is_batch_item,
        batch_item_reader,
        title="LiteLLM: line items of a batch",
        recognised_by="rows with batch_id, custom_id, response_cost and metadata",
    ),
    RowFormat(
        "helicone",
        helicone.is_helicone,
        reader_of(helicone.SYSTEM, helicone.helicone_row),
        title="Helicone: requests as JSON, JSON lines or an answer of its API",
        recognised_by="rows with request_id, request_created_at, delay_ms and request_properties",
        marks=(b'"request_properties"',),
        shows_callers=True,
    ),
    RowFormat(
        "helicone-csv",
        _never,
        reader_of(helicone.SYSTEM, helicone.helicone_row),
        title="Helicone: its CSV export",
        recognised_by="a header line with response_id, response_created_at, response_status and request_properties",
        columns=helicone.COLUMNS,
        is_splittable=False,
    ),
    RowFormat(
        "openrouter",
        openrouter.is_openrouter,
        reader_of(openrouter.SYSTEM, openrouter.openrouter_row),
        title="OpenRouter: generation records",
        recognised_by="records with native_tokens_prompt, total_cost and upstream_id",
        marks=(b'"native_tokens_prompt"',),
    ),
    RowFormat(
        "openrouter-activity-csv",
        _never,
        reader_of(openrouter.SYSTEM, openrouter.openrouter_row),
        title="OpenRouter: activity as CSV, which is refused",
        recognised_by="a header line with date, model_permaslug and requests",
        columns=("date", "model_permaslug", "requests"),
        refused=(
            "OpenRouter's activity sums the calls of a day and holds none",
            "collect generation records by their ids",
        ),
        is_splittable=False,
    ),
    RowFormat(
        "portkey",
        portkey.is_portkey,
        reader_of(portkey.SYSTEM, portkey.portkey_row),
        title="Portkey: log exports, analytics records and log files in blob storage",
        recognised_by="records with ai_org, ai_model, req_units and res_units, or with request.portkeyHeaders",
        marks=(b'"req_units"', b'"portkeyHeaders"'),
        cap=PORTKEY_CAP,
        shows_callers=True,
    ),
    RowFormat(
        "cloudflare",
        cloudflare.is_cloudflare,
        reader_of(cloudflare.SYSTEM, cloudflare.cloudflare_row),
        title="Cloudflare AI Gateway: an answer of the logs API",
        recognised_by="records with tokens_in, tokens_out, cached and step",
        marks=(b'"tokens_in"',),
        shows_callers=True,
    ),
    RowFormat(
        "bedrock",
        bedrock.is_bedrock,
        reader_of(bedrock.SYSTEM, bedrock.bedrock_row),
        title="Amazon Bedrock: model invocation logs, also wrapped by CloudWatch",
        recognised_by="records whose schemaType is ModelInvocationLog",
        marks=(b"ModelInvocationLog",),
    ),
    RowFormat(
        "openai-batch",
        openai_batch.is_openai_batch,
        openai_batch.OpenAIBatchReader,
        title="OpenAI Batch: input, output and error files, and batch objects",
        recognised_by="lines with custom_id and either response and error, or method, url and body; a batch object",
        marks=(b'"input_file_id"',),
        is_splittable=False,
    ),
    RowFormat(
        "anthropic-batch",
        anthropic_batch.is_anthropic_batch,
        reader_of(anthropic_batch.SYSTEM, anthropic_batch.anthropic_batch_row),
        title="Anthropic Message Batches: result files",
        recognised_by="lines with custom_id and result.type",
    ),
    RowFormat(
        "provider-objects",
        provider_objects.is_provider_object,
        provider_objects.ProviderObjectReader,
        title="answers of OpenAI and Anthropic as they came, one a line or a list",
        recognised_by="objects with model and usage that are chat completions, responses, embeddings or messages",
    ),
    RowFormat(
        "kong",
        kong.is_kong,
        reader_of(kong.SYSTEM, kong.kong_row),
        title="Kong AI Gateway: what its log plugins send",
        recognised_by="objects whose ai holds a plugin with meta and usage, or mcp",
        marks=(b'"llm_latency"',),
        shows_callers=True,
    ),
    RowFormat(
        "envoy",
        envoy.is_envoy,
        reader_of(envoy.SYSTEM, envoy.envoy_row),
        title="Envoy AI Gateway: access logs",
        recognised_by="objects with keys that start with gen_ai. beside response_flags or upstream_cluster",
        marks=(b'"upstream_cluster"',),
        shows_callers=True,
    ),
    RowFormat(
        "bifrost",
        bifrost.is_bifrost,
        reader_of(bifrost.SYSTEM, bifrost.bifrost_row),
        title="Bifrost: rows of its log store",
        recognised_by="rows with fallback_index, number_of_retries and virtual_key_id",
        marks=(b'"fallback_index"',),
    ),
    RowFormat(
        "tensorzero",
        tensorzero.is_tensorzero,
        tensorzero.TensorZeroReader,
        title="TensorZero: rows of its inference tables",
        recognised_by="rows with inference_id and model_provider_name, or with function_name and episode_id",
        marks=(b'"model_provider_name"',),
        is_splittable=False,
    ),
    RowFormat(
        "databricks",
        databricks.is_databricks,
        reader_of(databricks.SYSTEM, databricks.databricks_row),
        title="Databricks: rows of its usage tables",
        recognised_by="rows with databricks_request_id and input_token_count, or request_tags and destination_model",
        marks=(b'"databricks_request_id"',),
        shows_callers=True,
    ),
    RowFormat(
        "azure",
        azure.is_azure,
        azure.AzureReader,
        title="Azure: logs of API Management and the diagnostic log of Azure OpenAI",
        recognised_by="rows of ApiManagementGatewayLlmLog or ApiManagementGatewayLogs, or of category RequestResponse",
        marks=(b"ApiManagementGatewayLlmLog",),
        is_splittable=False,
    ),
    RowFormat(
        "vertex",
        vertex.is_vertex,
        reader_of(vertex.SYSTEM, vertex.vertex_row),
        title="Vertex AI: request-response logs",
        recognised_by="rows with full_request, full_response and api_method",
        marks=(b'"full_response"',),
        caution="the log may hold a sample of the calls, at a rate that is not in it: totals may be too low",
    ),
)
