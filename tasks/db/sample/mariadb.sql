-- What db-dump dumps of a throw-away MariaDB that nobody has filled: a little of everything that can get lost.
CREATE TABLE agents (id int AUTO_INCREMENT PRIMARY KEY, name varchar(60) NOT NULL UNIQUE, mood enum('good', 'bad'), photo blob);
CREATE TABLE calls (
    id bigint AUTO_INCREMENT PRIMARY KEY, agent int NOT NULL, started datetime NOT NULL, seconds decimal(8, 2) CHECK (seconds >= 0),
    notes text, KEY calls_started (started), FOREIGN KEY (agent) REFERENCES agents (id)
);
CREATE VIEW busy AS SELECT agent, count(*) AS calls FROM calls GROUP BY agent;
CREATE FUNCTION doubled(n int) RETURNS int DETERMINISTIC RETURN 2 * n;
CREATE TRIGGER touched BEFORE INSERT ON calls FOR EACH ROW SET NEW.notes = coalesce(NEW.notes, '');
INSERT INTO agents (name, mood, photo)
    SELECT concat('agent ', seq, ' \t\\ ñ'), if(seq % 3 = 0, 'bad', 'good'), unhex(md5(seq)) FROM seq_1_to_50;
INSERT INTO calls (agent, started, seconds, notes)
    SELECT 1 + seq % 50, timestamp('2026-01-01') + interval 7 * seq minute, seq % 977 / 3, if(seq % 2, 'line\nline', NULL) FROM seq_1_to_5000;
