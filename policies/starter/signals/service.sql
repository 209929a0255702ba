-- entity: Service
-- every: 1s
--
-- How each service has been doing for the last ten seconds. The first column names the service. Each further one is a
-- signal, an integer or a text, which policies read as `resource.signals.p99_ms`.
--
-- `traffic_1s` has every request already counted by the second, so that this costs the same however many there were. Over
-- `requests` it could ask for anything that one row says. Inbound and gateway rows count each request once: an outbound proxy
-- records the same call from the caller's side.
SELECT
    destination AS service,
    CAST(sum(requests) / 10 AS BIGINT) AS requests_per_s,
    CAST(round(histogram_quantile(0.50, duration_offset, duration_counts, duration_zero) / 1000) AS BIGINT) AS p50_ms,
    CAST(round(histogram_quantile(0.99, duration_offset, duration_counts, duration_zero) / 1000) AS BIGINT) AS p99_ms,
    CAST(100 * sum(errors) / sum(requests) AS BIGINT) AS error_pct
FROM traffic_1s
WHERE time >= now() - INTERVAL '10 seconds'
  AND direction IN ('inbound', 'gateway')
  AND destination IS NOT NULL
GROUP BY destination
