WITH seen AS (
    SELECT
        destination AS service,
        CAST(sum(requests) AS DOUBLE) / 60 AS requests_per_second,
        CAST(sum(requests) - sum(errors) AS DOUBLE) / sum(requests) AS success,
        histogram_quantile(0.5, duration_offset, duration_counts, duration_zero) AS p50_us,
        histogram_quantile(0.99, duration_offset, duration_counts, duration_zero) AS p99_us,
        sum(requests) AS requests,
        sum(CASE WHEN decision = 'allow' THEN requests ELSE 0 END) AS allowed,
        sum(CASE WHEN decision = 'deny' THEN requests ELSE 0 END) AS denied,
        sum(CASE WHEN decision IN ('limit', 'shed') THEN requests ELSE 0 END) AS limited,
        max(time) AS last_seen
    FROM traffic_1s
    WHERE time > now() - INTERVAL '61 seconds' AND direction <> 'outbound' AND destination IS NOT NULL
    GROUP BY destination
),
known AS (SELECT entity AS service FROM entities WHERE entity_type = 'Service')
SELECT
    coalesce(seen.service, known.service) AS service,
    coalesce(seen.requests_per_second, 0.0) AS requests_per_second,
    seen.success,
    seen.p50_us,
    seen.p99_us,
    coalesce(seen.requests, 0) AS requests,
    coalesce(seen.allowed, 0) AS allowed,
    coalesce(seen.denied, 0) AS denied,
    coalesce(seen.limited, 0) AS limited,
    seen.last_seen
FROM seen FULL OUTER JOIN known ON seen.service = known.service
