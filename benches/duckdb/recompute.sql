-- The minute table of the contract, recomputed from all events: what Recount is held against.
-- All copies of a click lie within seven days in this workload, so the first copy is the click.
COPY (
  WITH events AS (
    SELECT * FROM read_json(getvariable('events'), format = 'newline_delimited', columns = {
      click: 'STRUCT(click_id VARCHAR, ad_id VARCHAR, "timestamp" BIGINT, user_id VARCHAR, price_micros BIGINT)',
      verdict: 'STRUCT(click_id VARCHAR, decision VARCHAR, "timestamp" BIGINT)'
    })
  ),
  copies AS (
    SELECT
      click.click_id AS id, click.ad_id AS ad_id, click.user_id AS user_id, click.price_micros AS price_micros,
      click."timestamp" AS event_ms,
      row_number() OVER (PARTITION BY click.click_id ORDER BY click."timestamp", click.price_micros) = 1 AS is_click
    FROM events WHERE click IS NOT NULL
  ),
  standing AS (
    SELECT
      verdict.click_id AS id,
      max((verdict."timestamp", verdict.decision = 'INVALID')) AS latest
    FROM events WHERE verdict IS NOT NULL GROUP BY ALL
  ),
  judged AS (
    SELECT
      copies.*,
      is_click AND coalesce(latest[2] AND latest[1] >= event_ms - 300000, false) AS is_invalid,
      is_click AND NOT coalesce(latest[2] AND latest[1] >= event_ms - 300000, false) AS is_valid
    FROM copies LEFT JOIN standing USING (id)
  )
  SELECT
    ad_id,
    event_ms // 60000 * 60000 AS window_start_ms,
    count(*) AS received,
    count(*) FILTER (NOT is_click) AS duplicates,
    count(*) FILTER (is_click) AS gross_clicks,
    count(*) FILTER (is_invalid) AS invalid_clicks,
    count(*) FILTER (is_valid) AS clicks,
    count(DISTINCT user_id) FILTER (is_valid AND user_id <> '') AS unique_users,
    coalesce(sum(price_micros) FILTER (is_valid), 0)::BIGINT AS spend_micros,
    coalesce(sum(price_micros) FILTER (is_invalid), 0)::BIGINT AS invalid_spend_micros
  FROM judged
  GROUP BY ALL
  ORDER BY ad_id, window_start_ms
) TO 'OUT' (FORMAT csv, HEADER);
