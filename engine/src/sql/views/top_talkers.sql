SELECT
    source,
    sum(requests) AS requests,
    CAST(sum(requests) AS DOUBLE) / 60 AS requests_per_second,
    sum(request_bytes) + sum(response_bytes) AS bytes,
    count(DISTINCT destination) AS destinations,
    sum(CASE WHEN decision = 'deny' THEN requests ELSE 0 END) AS denied,
    sum(CASE WHEN decision IN ('limit', 'shed') THEN requests ELSE 0 END) AS limited
FROM traffic_1s
WHERE time > now() - INTERVAL '61 seconds' AND direction <> 'outbound'
GROUP BY source
ORDER BY requests DESC
LIMIT 10000
