# Sum the tokens of model spans without a tenant: jq -n -c -f sum.jq FILE
def named: reduce .[] as $entry ({}; .[$entry.key] = ($entry.value | .stringValue // .intValue));
reduce (
  inputs | .resourceSpans[]
  | (.resource.attributes | named | .["tenant.id"]) as $resource
  | .scopeSpans[].spans[]
  | {id: (.traceId + .spanId), found: (.attributes | named)}
  | select(.found
      | (.["gen_ai.operation.name"] | IN("chat", "embeddings"))
        or (.["openinference.span.kind"] | IN("LLM", "EMBEDDING", "RERANKER"))
        or .["llm.request.type"] == "chat")
  | select(.found
      | (.["tenant.id"] // .["app.tenant.id"] // .["traceloop.association.properties.tenant_id"]
          // .["langfuse.trace.metadata.tenant_id"] // (.metadata // "{}" | fromjson | .tenant_id) // $resource)
      | IN(null, "default"))
) as $span ({};
  .[$span.id] = ($span.found | [
    (.["gen_ai.usage.input_tokens"] // .["gen_ai.usage.prompt_tokens"] // .["llm.token_count.prompt"] // 0
      | tonumber),
    (.["gen_ai.usage.output_tokens"] // .["gen_ai.usage.completion_tokens"] // .["llm.token_count.completion"] // 0
      | tonumber)
  ])
)
| [length, (map(.[0]) | add), (map(.[1]) | add)]
