SELECT
    source,
    destination,
    sum(requests) AS requests,
    CAST(sum(requests) AS DOUBLE) / 60 AS requests_per_second,
    CAST(sum(requests) - sum(errors) AS DOUBLE) / sum(requests) AS success,
    histogram_quantile(0.5, duration_offset, duration_counts, duration_zero) AS p50_us,
    histogram_quantile(0.99, duration_offset, duration_counts, duration_zero) AS p99_us,
    sum(CASE WHEN decision = 'deny' THEN requests ELSE 0 END) AS denied,
    sum(CASE WHEN decision IN ('limit', 'shed') THEN requests ELSE 0 END) AS limited,
    sum(request_bytes) AS request_bytes,
    sum(response_bytes) AS response_bytes
FROM traffic_1s
WHERE time > now() - INTERVAL '61 seconds' AND direction <> 'outbound'
GROUP BY source, destination
