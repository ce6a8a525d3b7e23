-- name: GetOpenIMToken :one
SELECT sealed FROM openim_tokens WHERE name = @name;

-- name: LeaseOpenIMToken :execrows
-- Lets one process log in: if nobody else does, and what is saved is what it has seen. The clock is read again
-- behind the lock of the row: who has waited for it would take a lease of meanwhile for one that is too long.
INSERT INTO openim_tokens AS t (name, leased_by, leased_until)
VALUES (@name, @leased_by, clock_timestamp() + make_interval(secs => @lease_seconds))
ON CONFLICT (name) DO UPDATE SET leased_by = excluded.leased_by, leased_until = excluded.leased_until
WHERE t.sealed IS NOT DISTINCT FROM sqlc.narg(seen)::bytea
  AND (t.leased_until IS NULL OR t.leased_until NOT BETWEEN clock_timestamp() AND clock_timestamp() + make_interval(secs => @lease_seconds));

-- name: SaveOpenIMToken :execrows
-- Saves a new token and ends the lease, if it still is the caller's.
UPDATE openim_tokens SET sealed = @sealed, leased_by = NULL, leased_until = NULL
WHERE name = @name AND leased_by = @leased_by;

-- name: ReleaseOpenIMToken :exec
-- Ends the lease without a new token.
UPDATE openim_tokens SET leased_by = NULL, leased_until = NULL
WHERE name = @name AND leased_by = @leased_by;
