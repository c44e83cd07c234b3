import { expect, test } from "vitest";
import { percent, state, talk } from "./words.js";

test.each([
  [0, "0:00"],
  [59, "0:59"],
  [600, "10:00"],
  [3725, "62:05"],
])("%i seconds of talk read %s", (seconds, text) => expect(talk(seconds)).toBe(text));

test("no calls have no service level", () => expect(percent(null)).toBe("–"));
test("a service level has one digit", () => expect(percent(66.7)).toBe("66.7 %"));

test.each([
  [null, "asking…"],
  [{ ok: true }, "all databases answer"],
  [{ ok: false }, "a database does not answer"],
])("health %o reads %s", (health, text) => expect(state(health)).toBe(text));
