import { useCallback, useEffect, useState } from "react";
import { percent, state, talk } from "./words.js";

async function ask(address) {
  const answer = await fetch(address);
  return answer.json();
}

export function Page() {
  const [health, setHealth] = useState(null);
  const [days, setDays] = useState([]);
  const [asked, setAsked] = useState(0);

  const refresh = useCallback(async () => {
    const [found, summary] = await Promise.allSettled([ask("/api/health"), ask("/api/summary")]);
    setHealth(found.value ?? { ok: false, databases: [] });
    setDays(summary.value?.days ?? []);
    setAsked((n) => n + 1);
  }, []);
  useEffect(() => {
    refresh();
  }, [refresh]);

  return (
    <>
      <h1>Call centre</h1>
      <p id="health" data-asked={asked}>
        {state(health)}
      </p>
      <ul id="databases">
        {(health?.databases ?? []).map((database) => (
          <li key={database.name}>
            {database.name}: {database.ok ? "answers" : "does not answer"}
          </li>
        ))}
      </ul>
      <button id="refresh" onClick={refresh}>
        Refresh
      </button>
      <table id="days">
        <thead>
          <tr>
            <th>Agent</th>
            <th>Day</th>
            <th>Calls</th>
            <th>Answered</th>
            <th>Talk</th>
          </tr>
        </thead>
        <tbody>
          {days.map((row) => (
            <tr key={row.agent + row.day}>
              <td>{row.agent}</td>
              <td>{row.day}</td>
              <td>{row.calls}</td>
              <td>{percent(row.service_level)}</td>
              <td>{talk(row.talk_s)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}
