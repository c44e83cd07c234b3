-- What db-dump dumps of a throw-away PostgreSQL that nobody has filled: a little of everything that can get lost.
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE agents (id serial PRIMARY KEY, name text NOT NULL UNIQUE, mood mood DEFAULT 'good', photo bytea);
CREATE TABLE calls (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent integer NOT NULL REFERENCES agents,
    started timestamptz NOT NULL,
    seconds numeric(8, 2) CHECK (seconds >= 0),
    notes jsonb
);
CREATE INDEX calls_started ON calls (started);
CREATE VIEW busy AS SELECT agent, count(*) AS calls FROM calls GROUP BY agent;
CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.notes := coalesce(NEW.notes, '{}'); RETURN NEW; END $$;
CREATE TRIGGER touched BEFORE INSERT ON calls FOR EACH ROW EXECUTE FUNCTION touched();
INSERT INTO agents (name, mood, photo)
    SELECT 'agent ' || n || E' \t\\ ñ', CASE WHEN n % 3 = 0 THEN 'bad' ELSE 'good' END::mood, decode(md5(n::text), 'hex')
    FROM generate_series(1, 50) n;
INSERT INTO calls (agent, started, seconds, notes)
    SELECT 1 + n % 50, timestamptz '2026-01-01' + n * interval '7 minutes', n % 977 / 3.0, jsonb_build_object('n', n, 'text', E'line\nline')
    FROM generate_series(1, 5000) n;
