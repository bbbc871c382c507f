"""Small documents of the formats that are not made from spans, each with one model call."""

from __future__ import annotations

import json
from typing import Any

START = 1_790_000_000_000_000_000

DATADOG: list[Any] = [
    [
        {
            "name": "openai.request", "service": "web", "resource": "create", "trace_id": 77, "span_id": 5,
            "parent_id": 1, "type": "http", "error": 0, "start": START, "duration": 1000,
            "meta": {
                "_dd.llmobs.span_kind": "llm", "_dd.llmobs.model_name": "gpt-4o-mini", "_dd.p.tid": "6a3994fc00000000",
                "runtime-id": "r1", "span.kind": "client", "tenant_id": "acme",
                "_dd.span_links": json.dumps([{"trace_id": "4d", "span_id": "1"}]),
            },
            "metrics": {"_dd.llmobs.input_tokens": 1000.0, "_dd.llmobs.output_tokens": 100.0},
            "span_links": [{"trace_id": 7, "trace_id_high": 3, "span_id": 9}],
        }
    ]
]  # fmt: skip
LLMOBS: dict[str, Any] = {
    "data": {
        "type": "span",
        "attributes": {
            "ml_app": "bot", "session_id": "s-1", "tags": ["env:prod", "tenant_id:acme"],
            "spans": [
                {
                    "trace_id": "6a3994fc00000000000000000000004d", "span_id": "5", "parent_id": "undefined",
                    "name": "generate", "start_ns": START, "duration": 1000, "status": "ok",
                    "meta": {"kind": "llm", "model_name": "gpt-4o-mini", "metadata": {"feature": "x"}},
                    "metrics": {"input_tokens": 1000, "cache_write_input_tokens": 5, "ephemeral_1h_input_tokens": 3},
                    "_dd": {"apm_trace_id": "4d"},
                }
            ],
        },
    }
}  # fmt: skip
MLFLOW: dict[str, Any] = {
    "info": {
        "trace_id": "tr-" + "4d" * 16, "trace_metadata": {"mlflow.trace.user": "u-1"}, "tags": {"tenant_id": "acme"},
    },
    "data": {
        "spans": [
            {
                "trace_id": "TU1NTU1NTU1NTU1NTU1NTQ==", "span_id": "AAAAAAAAAAE=", "parent_span_id": None,
                "name": "chat", "start_time_unix_nano": START, "end_time_unix_nano": START + 1000,
                "status": {"code": "STATUS_CODE_OK"},
                "attributes": {
                    "mlflow.spanType": '"CHAT_MODEL"', "mlflow.llm.model": '"gpt-4o-mini"',
                    "mlflow.llm.provider": '"openai"',
                    "mlflow.chat.tokenUsage": '{"input_tokens": 1000, "output_tokens": 100}',
                },
                "events": [{"name": "usage", "attributes": {"a": 1}}],
                "links": [{"trace_id": "tr-4d", "span_id": "1"}],
            }
        ]
    },
}  # fmt: skip
XRAY: dict[str, Any] = {
    "trace_id": "1-5f2aebcc-b475d14618c51eaa28753d37", "id": "0000000000000001", "name": "web",
    "start_time": 1_790_000_000.25, "end_time": 1_790_000_001.5, "http": {"request": {"method": "GET", "url": "http://x/y"}},
    "annotations": {"tenant_id": "acme"}, "aws": {"xray": {"sdk": "X-Ray for Go"}, "ec2": {"instance_id": "i-1"}},
    "links": [{"trace_id": "1-5f2aebcc-b475d14618c51eaa28753d38", "id": "0000000000000009"}],
    "subsegments": [
        {
            "id": "0000000000000002", "name": "openai", "namespace": "remote", "start_time": 1_790_000_000.5,
            "end_time": 1_790_000_001.0, "error": False,
            "metadata": {
                "default": {
                    "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini",
                    "gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 100,
                }
            },
        }
    ],
}  # fmt: skip
LOGS: dict[str, Any] = {
    "resourceLogs": [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "web"}}]},
            "scopeLogs": [
                {
                    "scope": {"name": "x"},
                    "logRecords": [
                        {
                            "timeUnixNano": str(START), "eventName": "gen_ai.client.inference.operation.details",
                            "traceId": "4d" * 16, "spanId": "01" * 8, "body": {"kvlistValue": {"values": []}},
                            "attributes": [
                                {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
                                {"key": "gen_ai.request.model", "value": {"stringValue": "gpt-4o-mini"}},
                                {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "1000"}},
                                {"key": "gen_ai.usage.output_tokens", "value": {"intValue": "100"}},
                            ],
                        },
                        {
                            "timeUnixNano": str(START), "eventName": "gen_ai.choice", "traceId": "4d" * 16,
                            "spanId": "02" * 8, "body": {
                                "kvlistValue": {"values": [{"key": "finish_reason", "value": {"stringValue": "stop"}}]}
                            },
                        },
                    ],
                }
            ],
        }
    ]
}  # fmt: skip
