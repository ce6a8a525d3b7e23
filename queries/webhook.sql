-- name: InsertWebhook :execrows
-- Adds a webhook, unless there are too many.
INSERT INTO webhooks (
    id, url, types, user_prefix, group_prefix, batch, description, secret, created_at, version, feed_cursor, replays, resync, attempts, failures
)
SELECT
    @id, @url, @types::text[], @user_prefix, @group_prefix, @batch, @description, @secret, @created_at::timestamptz, 1, @feed_cursor, 0, false, 0, 0
WHERE (SELECT count(*) FROM webhooks) < @max_webhooks::bigint;

-- name: ListWebhooks :many
-- All webhooks, the oldest first, without their secrets.
SELECT
    id, url, types, user_prefix, group_prefix, batch, description, previous_secret_until, created_at, version, failures, failing_since,
    last_attempt_at, last_success_at, last_error, next_attempt_at, paused_at, pause_reason, feed_cursor, leased_by,
    (leased_until IS NOT NULL AND leased_until BETWEEN clock_timestamp() AND clock_timestamp() + interval '1 hour')::boolean AS leased
FROM webhooks
ORDER BY created_at, id;

-- name: GetWebhook :one
-- A webhook with its secrets.
SELECT
    id, url, types, user_prefix, group_prefix, batch, description, secret, previous_secret, previous_secret_until, created_at, version, feed_cursor,
    replays, resync, told_at, attempts, failures, failing_since, last_attempt_at, last_success_at, last_error, next_attempt_at, paused_at,
    pause_reason, leased_by, leased_until
FROM webhooks
WHERE id = @id;

-- name: UpdateWebhook :execrows
-- Sets what may be chosen, if nobody has changed the webhook meanwhile. Another address is tried at once.
UPDATE webhooks SET
    url = @url, types = @types::text[], user_prefix = @user_prefix, group_prefix = @group_prefix, batch = @batch, description = @description,
    version = version + 1,
    failures = CASE WHEN url = @url THEN failures ELSE 0 END,
    failing_since = CASE WHEN url = @url THEN failing_since END,
    last_error = CASE WHEN url = @url THEN last_error END,
    next_attempt_at = CASE WHEN url = @url THEN next_attempt_at END
WHERE id = @id AND version = @version;

-- name: PauseWebhook :execrows
-- Pauses a webhook. Of one that is paused it says that somebody wants it so.
UPDATE webhooks SET paused_at = coalesce(paused_at, @paused_at::timestamptz), pause_reason = 'requested', version = version + 1
WHERE id = @id;

-- name: ResumeWebhook :execrows
UPDATE webhooks SET
    paused_at = NULL, pause_reason = NULL, failures = 0, failing_since = NULL, last_error = NULL, next_attempt_at = NULL, version = version + 1
WHERE id = @id;

-- name: DeleteWebhook :execrows
WITH attempts AS (
    DELETE FROM webhook_attempts WHERE webhook_id = @id
)
DELETE FROM webhooks WHERE id = @id;

-- name: ReplayWebhook :execrows
-- Sets the cursor.
UPDATE webhooks SET
    feed_cursor = @feed_cursor, resync = @resync, replays = replays + 1, next_attempt_at = NULL, version = version + 1
WHERE id = @id;

-- name: RotateWebhookSecret :execrows
-- Replaces the secret, and keeps it valid until a moment; null: it is no longer.
UPDATE webhooks SET
    previous_secret = CASE WHEN sqlc.narg('previous_until')::timestamptz IS NOT NULL THEN secret END,
    previous_secret_until = sqlc.narg('previous_until')::timestamptz,
    secret = @secret, version = version + 1
WHERE id = @id;

-- name: LeaseWebhooks :many
-- Takes those of some webhooks that nobody else has, and gives them with their secrets. A lease of
-- more than an hour was given by a clock that was wrong.
UPDATE webhooks AS w SET leased_by = @holder::uuid, leased_until = clock_timestamp() + make_interval(secs => @lease_seconds)
WHERE w.id = ANY (@ids::uuid[]) AND w.paused_at IS NULL
  AND (w.leased_by = @holder OR w.leased_until IS NULL
       OR w.leased_until NOT BETWEEN clock_timestamp() AND clock_timestamp() + interval '1 hour')
RETURNING
    id, url, types, user_prefix, group_prefix, batch, description, secret, previous_secret, previous_secret_until, created_at, version, feed_cursor,
    replays, resync, told_at, attempts, failures, failing_since, last_attempt_at, last_success_at, last_error, next_attempt_at, paused_at,
    pause_reason, leased_by, leased_until;

-- name: RenewWebhooks :many
-- Keeps leases, and says which still are the holder's.
UPDATE webhooks SET leased_until = clock_timestamp() + make_interval(secs => @lease_seconds)
WHERE id = ANY (@ids::uuid[]) AND leased_by = @holder::uuid
RETURNING id;

-- name: ReleaseWebhooks :exec
UPDATE webhooks SET leased_by = NULL, leased_until = NULL
WHERE id = ANY (@ids::uuid[]) AND leased_by = @holder::uuid;

-- name: ClaimDelivery :one
-- Lets the holder of the lease deliver, if the webhook is as it knows it, and says as of when.
UPDATE webhooks SET
    leased_until = clock_timestamp() + make_interval(secs => @lease_seconds), told_at = greatest(told_at, @told_at::timestamptz)
WHERE id = @id AND leased_by = @holder::uuid AND version = @version AND paused_at IS NULL
RETURNING told_at;

-- name: SaveWebhookCursor :execrows
-- Moves the cursor beyond what the webhook does not want.
UPDATE webhooks SET feed_cursor = @feed_cursor
WHERE id = @id AND leased_by = @holder::uuid AND replays = @replays;

-- name: SaveSuccess :one
-- Moves the cursor beyond what was delivered, unless it was set meanwhile, keeps the attempt, and says
-- whether the lease was still the holder's.
WITH saved AS (
    UPDATE webhooks AS w SET
        feed_cursor = CASE WHEN w.replays = @replays THEN @feed_cursor ELSE w.feed_cursor END,
        resync = w.resync AND w.replays <> @replays,
        attempts = w.attempts + 1, failures = 0, failing_since = NULL, last_error = NULL, next_attempt_at = NULL,
        last_attempt_at = @started_at::timestamptz, last_success_at = @started_at
    WHERE w.id = @id AND w.leased_by = @holder::uuid
    RETURNING w.id, w.attempts
),
kept AS (
    INSERT INTO webhook_attempts (webhook_id, number, started_at, duration_ms, status, answer, changes, test)
    SELECT s.id, s.attempts, @started_at, @duration_ms, @status::integer, sqlc.narg('answer'), @changes, false
    FROM saved AS s
),
dropped AS (
    DELETE FROM webhook_attempts AS a USING saved AS s WHERE a.webhook_id = s.id AND a.number <= s.attempts - @keep::bigint
)
SELECT count(*) FROM saved;

-- name: SaveFailure :one
-- Keeps an attempt that has failed, and says whether the lease was still the holder's. What follows from
-- it does not where the webhook was changed meanwhile.
WITH saved AS (
    UPDATE webhooks AS w SET
        attempts = w.attempts + 1, last_attempt_at = @started_at::timestamptz,
        failures = w.failures + CASE WHEN w.version = @version THEN 1 ELSE 0 END,
        failing_since = CASE WHEN w.version = @version THEN coalesce(w.failing_since, @started_at) ELSE w.failing_since END,
        last_error = CASE WHEN w.version = @version THEN @error ELSE w.last_error END,
        next_attempt_at = CASE WHEN w.version = @version THEN @next_attempt_at::timestamptz ELSE w.next_attempt_at END,
        paused_at = CASE WHEN w.version = @version THEN sqlc.narg('paused_at')::timestamptz ELSE w.paused_at END,
        pause_reason = CASE WHEN w.version = @version THEN sqlc.narg('pause_reason')::webhook_pause_reason ELSE w.pause_reason END
    WHERE w.id = @id AND w.leased_by = @holder::uuid
    RETURNING w.id, w.attempts
),
kept AS (
    INSERT INTO webhook_attempts (webhook_id, number, started_at, duration_ms, status, error, answer, changes, test)
    SELECT s.id, s.attempts, @started_at, @duration_ms, sqlc.narg('status')::integer, @error, sqlc.narg('answer'), @changes, false
    FROM saved AS s
),
dropped AS (
    DELETE FROM webhook_attempts AS a USING saved AS s WHERE a.webhook_id = s.id AND a.number <= s.attempts - @keep::bigint
)
SELECT count(*) FROM saved;

-- name: SaveTest :one
-- Keeps a test, which changes nothing else, and says whether there is such a webhook.
WITH saved AS (
    UPDATE webhooks AS w SET attempts = w.attempts + 1
    WHERE w.id = @id
    RETURNING w.id, w.attempts
),
kept AS (
    INSERT INTO webhook_attempts (webhook_id, number, started_at, duration_ms, status, error, answer, changes, test)
    SELECT s.id, s.attempts, @started_at::timestamptz, @duration_ms, sqlc.narg('status')::integer, sqlc.narg('error'), sqlc.narg('answer'), 0, true
    FROM saved AS s
),
dropped AS (
    DELETE FROM webhook_attempts AS a USING saved AS s WHERE a.webhook_id = s.id AND a.number <= s.attempts - @keep::bigint
)
SELECT count(*) FROM saved;

-- name: ListWebhookAttempts :many
-- The last attempts, the newest first.
SELECT started_at, duration_ms, status, error, answer, changes, test
FROM webhook_attempts
WHERE webhook_id = @webhook_id
ORDER BY number DESC
LIMIT @max_rows;

-- name: PurgeWebhookAnswers :exec
-- Forgets answers of receivers that name somebody.
UPDATE webhook_attempts SET answer = NULL WHERE strpos(answer, @named::text) > 0;

-- name: FirstChangeFrom :one
-- The first transaction of which a change is kept that was recorded from a moment on; null: there is
-- none. And what tells from where on changes are kept.
SELECT
    pg_current_snapshot()::text AS snapshot,
    (SELECT min(c.xid) FROM changes AS c WHERE c.recorded_at >= @recorded_from::timestamptz)::text::int8 AS xid,
    r.changes_dropped_xid::text::int8 AS dropped_xid
FROM retention AS r
WHERE r.id = 1;

-- name: ListFirstUnseen :many
-- Of the snapshots of some webhooks, when the first change was recorded that each does not show: transactions from xmax on, and those
-- that ran, with commas between. A snapshot that shows all has no row. Rows that a restored backup has brought may be
-- of transactions to come.
SELECT s.id::uuid AS id, c.recorded_at
FROM (SELECT unnest(@ids::uuid[]) AS id, unnest(@xmaxes::text[]) AS xmax, unnest(@running::text[]) AS running) AS s
CROSS JOIN LATERAL (
    SELECT u.recorded_at
    FROM (
        (
            SELECT o.xid, o.recorded_at
            FROM changes AS o
            WHERE o.xid >= s.xmax::xid8 AND o.xid < pg_snapshot_xmax(pg_current_snapshot())
            ORDER BY o.xid
            LIMIT 1
        )
        UNION ALL
        (
            SELECT o.xid, o.recorded_at
            FROM changes AS o
            WHERE o.xid = ANY (string_to_array(s.running, ',')::xid8[])
            ORDER BY o.xid
            LIMIT 1
        )
    ) AS u
    ORDER BY u.xid
    LIMIT 1
) AS c;

-- name: ListWebhookCursors :many
SELECT id, feed_cursor FROM webhooks ORDER BY id;

-- name: ReplaceWebhookCursor :exec
-- Replaces a cursor that has not moved by one that has everything behind it, too.
UPDATE webhooks SET feed_cursor = @feed_cursor, version = version + 1
WHERE id = @id AND feed_cursor = @before;
