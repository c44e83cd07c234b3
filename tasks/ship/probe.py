"""Asks a running site over HTTP. Every request has a time limit; an answer is judged by status and content, not by a connection."""

import http.client
import json

HEALTH = "/api/health"
SMOKE = (HEALTH, "/api/session-check", "/")
TIMEOUT_S = 5


def get(port, path, timeout_s=TIMEOUT_S):
    """Status and body, or None and what went wrong."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        return answer.status, answer.read(1 << 20)
    except (OSError, http.client.HTTPException) as error:
        return None, str(error) or type(error).__name__
    finally:
        connection.close()


def ask_health(port, release):
    """Why the site is not healthy, or None. It has to be the release that is asked about."""
    status, body = get(port, HEALTH)
    if status != 200:
        return f"{HEALTH} {says(status, body)}"
    try:
        found = json.loads(body)
    except ValueError:
        return f"{HEALTH} answers no JSON"
    if found.get("ok") is not True:
        return f"{HEALTH} answers ok = {found.get('ok')}"
    if found.get("release") != release:
        return f"{HEALTH} is answered by release {found.get('release')}, not by {release}"
    return None


def ask_smoke(port):
    """Each path with what is wrong about it, or None."""
    found = []
    for path in SMOKE:
        status, body = get(port, path)
        wrong = None if status == 200 else says(status, body)
        if wrong is None and path == "/" and b"<html" not in body.lower():
            wrong = "is no page"
        found.append((path, wrong))
    return found


def says(status, body):
    """An answer, in words."""
    if status is None:
        return f"does not answer: {body}"
    return f"answers {status}"
