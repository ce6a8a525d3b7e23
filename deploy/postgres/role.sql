-- Roles for Readmark: an owner, who migrates and makes partitions; an application role, as
-- which serve runs and which changes no table; and a role that only reads, for
-- READMARK_REPLICA_URL and for people. Run it once, as a superuser, in Readmark's database:
--
--   createdb readmark
--   psql --dbname readmark --file role.sql
--   psql --dbname readmark --command '\password readmark_owner'   # and so for the other two
--
-- Other names: --set owner=… --set app=… --set reader=… --set schema=…. A schema other than
-- public is made, and has to stand in the URLs as ?search_path=….
--
-- Then, as the owner, before serve starts and after each update:
--
--   READMARK_DATABASE_URL=postgres://readmark_owner:…@host/readmark readmark migrate up
--
-- and daily, since the application role may neither make nor drop partitions (docs/deployment.md has
-- a timer and a CronJob for it):
--
--   READMARK_DATABASE_URL=postgres://readmark_owner:…@host/readmark readmark partitions

\set ON_ERROR_STOP on
\if :{?owner}
\else
\set owner readmark_owner
\endif
\if :{?app}
\else
\set app readmark_app
\endif
\if :{?reader}
\else
\set reader readmark_reader
\endif
\if :{?schema}
\else
\set schema public
\endif

BEGIN;

CREATE ROLE :"owner" LOGIN;
CREATE ROLE :"app" LOGIN;
CREATE ROLE :"reader" LOGIN;
GRANT CONNECT ON DATABASE :"DBNAME" TO :"owner", :"app", :"reader";

CREATE SCHEMA IF NOT EXISTS :"schema" AUTHORIZATION :"owner";
REVOKE CREATE ON SCHEMA :"schema" FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA :"schema" TO :"owner";
GRANT USAGE ON SCHEMA :"schema" TO :"app", :"reader";

-- What the owner will make: tables, and the partitions of later days.
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" IN SCHEMA :"schema" GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO :"app";
-- The migrations take this back from the tables about secrets: api_keys, erasure_keys, openim_tokens, webhooks.
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" IN SCHEMA :"schema" GRANT SELECT ON TABLES TO :"reader";

COMMIT;
