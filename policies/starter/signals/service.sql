-- entity: Service
-- every: 1s
--
-- How each service has been doing for the last ten seconds. The first column names the service. Each further one is a
-- signal, an integer or a text, which policies read as `resource.signals.p99_ms`.
--
-- Inbound and gateway rows count each request once: an outbound proxy records the same call from the caller's side.
SELECT
    destination AS service,
    CAST(count(*) / 10 AS BIGINT) AS requests_per_s,
    CAST(approx_percentile_cont(duration_us, 0.50) / 1000 AS BIGINT) AS p50_ms,
    CAST(approx_percentile_cont(duration_us, 0.99) / 1000 AS BIGINT) AS p99_ms,
    CAST(100 * count(*) FILTER (WHERE status >= 500) / count(*) AS BIGINT) AS error_pct
FROM requests
WHERE time >= now() - INTERVAL '10 seconds'
  AND direction IN ('inbound', 'gateway')
  AND destination IS NOT NULL
GROUP BY destination
