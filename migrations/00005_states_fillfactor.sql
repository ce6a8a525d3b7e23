-- Updates of a state change no indexed column: room in its page keeps the new
-- version there (HOT), without a new entry in each index.

-- +goose Up
ALTER TABLE states SET (fillfactor = 80);

-- +goose Down
ALTER TABLE states RESET (fillfactor);
