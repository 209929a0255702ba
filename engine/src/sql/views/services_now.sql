SELECT
    destination AS service,
    CAST(sum(requests) AS DOUBLE) / 10 AS requests_per_second,
    CAST(sum(requests) - sum(errors) AS DOUBLE) / sum(requests) AS success,
    histogram_quantile(0.5, duration_offset, duration_counts, duration_zero) AS p50_us,
    histogram_quantile(0.99, duration_offset, duration_counts, duration_zero) AS p99_us,
    CAST(sum(CASE WHEN decision = 'deny' THEN requests ELSE 0 END) AS DOUBLE) / 10 AS denied_per_second,
    CAST(sum(CASE WHEN decision IN ('limit', 'shed') THEN requests ELSE 0 END) AS DOUBLE) / 10 AS limited_per_second
FROM traffic_1s
WHERE time > now() - INTERVAL '11 seconds' AND direction <> 'outbound' AND destination IS NOT NULL
GROUP BY destination
