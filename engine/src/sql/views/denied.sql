SELECT
    time,
    source,
    destination,
    method,
    path,
    route,
    status,
    reason,
    policies,
    "user",
    source_principal,
    source_address,
    reporter,
    snapshot,
    weight,
    trace_id_text(trace_id) AS trace_id,
    request_id
FROM requests
WHERE decision = 'deny'
