-- The part of ivr_legacy that the site reads, for a throw-away database, with a day of calls. MariaDB and PostgreSQL both take it.
CREATE TABLE calls (
    id          BIGINT PRIMARY KEY,
    agent       VARCHAR(40) NOT NULL,
    started_at  TIMESTAMP NOT NULL,
    answered_at TIMESTAMP NULL,
    ended_at    TIMESTAMP NOT NULL
);
INSERT INTO calls (id, agent, started_at, answered_at, ended_at) VALUES
    (1, 'ana',  '2025-03-03 09:00:00', '2025-03-03 09:00:20', '2025-03-03 09:05:20'),
    (2, 'ana',  '2025-03-03 09:10:00', NULL,                  '2025-03-03 09:11:00'),
    (3, 'luis', '2025-03-03 09:15:00', '2025-03-03 09:15:40', '2025-03-03 09:25:40'),
    (4, 'luis', '2025-03-03 10:00:00', '2025-03-03 10:00:10', '2025-03-03 10:02:10');
