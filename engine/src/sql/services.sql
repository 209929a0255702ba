WITH seen AS (
    SELECT
        destination AS service,
        CAST(sum(weight) AS DOUBLE) / 60 AS requests_per_second,
        CAST(sum(CASE WHEN status < 500 THEN weight ELSE 0 END) AS DOUBLE) / sum(weight) AS success,
        approx_percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_us) AS p50_us,
        approx_percentile_cont(0.99) WITHIN GROUP (ORDER BY duration_us) AS p99_us,
        sum(weight) AS requests,
        sum(CASE WHEN decision = 'allow' THEN weight ELSE 0 END) AS allowed,
        sum(CASE WHEN decision = 'deny' THEN weight ELSE 0 END) AS denied,
        sum(CASE WHEN decision IN ('limit', 'shed') THEN weight ELSE 0 END) AS limited,
        max(time) AS last_seen
    FROM requests
    WHERE time > now() - INTERVAL '60 seconds' AND direction <> 'outbound' AND destination IS NOT NULL
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
