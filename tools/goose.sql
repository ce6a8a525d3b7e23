-- goose's own table, as far as queries read it: sqlc does not know it from the migrations.
CREATE TABLE goose_db_version (
    id integer NOT NULL,
    version_id bigint NOT NULL,
    is_applied boolean NOT NULL
);
