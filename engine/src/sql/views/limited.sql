SELECT
    time,
    source,
    destination,
    method,
    path,
    route,
    status,
    decision,
    reason,
    policies,
    priority,
    queued_us,
    "user",
    reporter,
    weight,
    trace_id_text(trace_id) AS trace_id,
    request_id
FROM requests
WHERE decision IN ('limit', 'shed')
