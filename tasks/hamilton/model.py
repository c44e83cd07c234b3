"""Models that a prompt can be put to: one that computes its answer, and any that speaks OpenAI's chat protocol."""

import abc
import json
import re
import urllib.error
import urllib.request
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """What a model said, and what it counted."""

    text: str
    tokens_in: int
    tokens_out: int


class Model(abc.ABC):
    """Whatever answers."""

    name: str

    @abc.abstractmethod
    def ask(self, prompt: str) -> Answer:
        """One answer to one prompt."""


class Refused(Exception):
    """The model did not answer; the text says what helps."""


def tokens(text):
    """A count that every machine agrees on: words, numbers and signs."""
    return len(re.findall(r"\w+|[^\w\s]", text))


class Deterministic(Model):
    """Names the queue with the longest mean wait, computed from the prompt: the same answer each time, for nothing."""

    name = "deterministic"

    def ask(self, prompt):
        waits = {queue: int(wait) for queue, wait in re.findall(r"^- (.+): .*mean wait (\d+) s", prompt, re.MULTILINE)}
        if not waits:
            raise Refused("the prompt has no figures")
        worst = max(sorted(waits), key=waits.get)
        text = f"Look at {worst} first: callers wait {waits[worst]} s."
        return Answer(text, tokens(prompt), tokens(text))


class Network(Model):
    """A model behind a URL. The key goes into one header and nowhere else."""

    def __init__(self, name, url, key, timeout_s=60):
        self.name, self._url, self._key, self._timeout_s = name, url.rstrip("/"), key, timeout_s

    def ask(self, prompt):
        body = {"model": self.name, "temperature": 0, "messages": [{"role": "user", "content": prompt}]}
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self._url}/chat/completions", json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_s) as reply:
                said = json.load(reply)
            text, used = said["choices"][0]["message"]["content"], said["usage"]
            return Answer(text, int(used["prompt_tokens"]), int(used["completion_tokens"]))
        except urllib.error.HTTPError as error:
            remedy = "is LLM_API_KEY right?" if error.code in (401, 403) else "try again later"
            raise Refused(f"{self._url} answers {error.code} {error.reason}; {remedy}") from None
        except (OSError, ValueError) as error:
            raise Refused(f"{self._url} does not answer: {error}; is llm_url right?") from None
        except (KeyError, IndexError, TypeError):
            raise Refused(f"{self._url} answers something that is no chat completion; is llm_url right?") from None
