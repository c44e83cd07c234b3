//! `iact why`: why a target would run, from the root cause down, with everything that moved since its last run.
//!
//! Invariant: nothing is changed and nothing runs but `probes` and `check`.
#![allow(clippy::disallowed_methods, reason = "shell: asks the time, reads a summary")]

use super::build::{Goals, given};
use super::{End, answer, document, open};
use crate::cli::{Asked, Typed, Why};
use crate::decision::Reason;
use crate::difference::{Change, Difference, Moved};
use crate::engine::assess::Force;
use crate::engine::drive::unix_ms;
use crate::engine::forecast::Foretold;
use crate::engine::inquiry::Inquiry;
use crate::error::{Error, Kind, Result};
use crate::report::Forecast;
use crate::ui::phrase;
use rustc_hash::FxHashMap;
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

/// Tells why.
///
/// # Errors
/// What has to be right before anything starts; a summary that cannot be read.
pub fn why(typed: &Typed, why: &Why) -> Result<End> {
    let asked = Asked { goals: vec![why.one.target.clone()], vars: why.one.vars.clone(), args: Vec::new() };
    let workspace = open(typed, given(&asked))?;
    let goals = Goals::of(&workspace, &asked, &[])?;
    let plan = goals.plan(&workspace, false);
    workspace.graph.refuse_unused(&workspace.given.vars, &plan.actions)?;
    let against = why.against.as_deref().map(read_summary).transpose()?;
    let inquiry = Inquiry::open(&workspace, &plan)?;
    let all = inquiry.forecast(&Force::Nothing);
    let mut wanted: Vec<u32> = Vec::new();
    for (node, _) in plan.nodes().zip(&plan.goal).filter(|(_, goal)| **goal) {
        workspace.graph.each_member(plan.actions[node.index()], &mut |member| wanted.push(member));
    }
    let answers = Answers { inquiry: &inquiry, all: &all, by_name: by_name(&inquiry, &all) };
    let goals: Vec<&Foretold> =
        all.iter().filter(|one| wanted.contains(&plan.actions[one.node.index()])).collect();
    if let Some(summary) = against {
        return compared(&answers, &goals, &summary, why.json.json);
    }
    if why.json.json {
        return document(&goals.iter().map(|one| answers.told(one)).collect::<Vec<Value>>());
    }
    answer(goals.iter().map(|one| answers.said(one)).collect::<String>())
}

fn by_name<'a>(inquiry: &'a Inquiry<'_>, all: &'a [Foretold]) -> FxHashMap<&'a str, &'a Foretold> {
    all.iter().map(|one| (inquiry.name(one.node), one)).collect()
}

struct Answers<'a> {
    inquiry: &'a Inquiry<'a>,
    /// Dependencies first.
    all: &'a [Foretold],
    by_name: FxHashMap<&'a str, &'a Foretold>,
}

impl<'a> Answers<'a> {
    fn name(&self, one: &Foretold) -> &'a str {
        self.inquiry.name(one.node)
    }

    /// From the root cause to the target itself: each moved because the one before did.
    fn chain(&self, one: &'a Foretold) -> Vec<&'a Foretold> {
        let mut chain = vec![one];
        let mut at = one;
        while let Some(Reason::DependencyChanged { target, .. }) = &at.reason {
            let Some(&next) = self.by_name.get(target.as_str()) else { break };
            if next.forecast == Forecast::UpToDate {
                break;
            }
            chain.push(next);
            at = next;
        }
        chain.reverse();
        chain
    }

    fn said(&self, one: &'a Foretold) -> String {
        let mut text = String::new();
        for link in self.chain(one) {
            let name = self.name(link);
            let reason = link.trouble.clone().or(link.reason.as_ref().map(phrase::reason));
            let reason = reason.unwrap_or_default();
            let _ = match link.forecast {
                Forecast::UpToDate => writeln!(text, "{name} is up to date"),
                Forecast::Restore => writeln!(text, "{name} would be restored: {reason}"),
                Forecast::Skip => writeln!(text, "{name} would be skipped: {reason}"),
                Forecast::Run => writeln!(text, "{name} would run: {reason}"),
            };
            if let Some(record) = self.inquiry.record(link.node) {
                let ago = phrase::seconds(unix_ms().saturating_sub(record.finished_unix_ms));
                let took = phrase::duration(record.duration_ms);
                let _ = writeln!(text, "  its last result was made {ago} ago in {took}");
            }
            if let Some(difference) = self.inquiry.difference(link) {
                lines(&mut text, &difference);
            }
        }
        text
    }

    fn told(&self, one: &'a Foretold) -> Value {
        let chain = self.chain(one);
        let link = |link: &&Foretold| {
            json!({
                "target": self.name(link), "decision": link.forecast, "reason": link.reason,
                "trouble": link.trouble, "difference": self.inquiry.difference(link),
            })
        };
        let record = self.inquiry.record(one.node);
        json!({
            "target": self.name(one),
            "decision": one.forecast,
            "reason": one.reason,
            "trouble": one.trouble,
            "fingerprint": one.fingerprint.map(|digest| digest.hex()),
            "difference": self.inquiry.difference(one),
            "causes": chain[..chain.len() - 1].iter().map(link).collect::<Vec<_>>(),
            "last_run": record.map(|record| json!({
                "finished_unix_ms": record.finished_unix_ms,
                "duration_ms": record.duration_ms,
                "fingerprint": record.fingerprint_hex(),
            })),
        })
    }
}

/// More lines than that say the same.
const SHOWN: usize = 20;

fn lines(text: &mut String, difference: &Difference) {
    let parts: [(&str, &[Moved]); 6] = [
        ("input", &difference.inputs),
        ("environment", &difference.env),
        ("tool", &difference.tools),
        ("probe", &difference.probes),
        ("dependency", &difference.dependencies),
        ("output", &difference.outputs),
    ];
    for (flag, what) in
        [(difference.command, "its definition"), (difference.output_list, "the list of outputs")]
    {
        if flag {
            let _ = writeln!(text, "  ~ {what}");
        }
    }
    for (what, moved) in parts {
        for one in moved.iter().take(SHOWN) {
            let sign = match one.change {
                Change::Changed => '~',
                Change::Added => '+',
                Change::Removed => '-',
            };
            let of = one.target.as_ref().map(|target| format!(" of {target}")).unwrap_or_default();
            let _ = writeln!(text, "  {sign} {what} {}{of}", one.name);
        }
        if moved.len() > SHOWN {
            let _ = writeln!(text, "  … and {} more", moved.len() - SHOWN);
        }
    }
}

/// As much of a `--summary` document as is compared.
#[derive(Deserialize)]
struct Summary {
    targets: Vec<Ended>,
}

#[derive(Deserialize)]
struct Ended {
    target: String,
    outcome: String,
    fingerprint: Option<String>,
    reason: Option<Value>,
}

fn read_summary(path: &Path) -> Result<Summary> {
    let wrong = |why: String| {
        Error::new(Kind::Usage, format!("`{}` is no summary of a run", path.display()))
            .because(why)
            .hint("`iact build --summary FILE` writes one")
    };
    let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))
}

/// How an action's fingerprint relates to another run's.
fn relation(here: Option<&str>, there: Option<&Ended>) -> &'static str {
    match (here, there.map(|there| there.fingerprint.as_deref())) {
        (_, None) => "absent",
        (Some(here), Some(Some(there))) if here == there => "same",
        (Some(_), Some(Some(_))) => "different",
        _ => "unknown",
    }
}

fn sentence(relation: &str, here: Option<&str>, there: Option<&Ended>) -> String {
    match (relation, here, there) {
        ("same", ..) => "the same fingerprint in both, so the same result".to_owned(),
        (_, Some(here), Some(Ended { fingerprint: Some(theirs), outcome, .. })) => {
            format!("different fingerprints\n  here   {here}\n  there  {theirs} ({outcome})")
        }
        (_, _, None) => "not in the summary, so nothing can be said".to_owned(),
        (_, None, _) => {
            "it has no fingerprint here: it always runs, or its dependencies are to be built first".to_owned()
        }
        (_, _, Some(there)) => format!("the summary has no fingerprint of it ({})", there.outcome),
    }
}

fn compared(answers: &Answers<'_>, goals: &[&Foretold], summary: &Summary, json: bool) -> Result<End> {
    let there: FxHashMap<&str, &Ended> =
        summary.targets.iter().map(|ended| (ended.target.as_str(), ended)).collect();
    let rows: Vec<(&str, Option<String>, Option<&Ended>)> = answers
        .all
        .iter()
        .map(|one| {
            let name = answers.name(one);
            (name, one.fingerprint.map(|digest| digest.hex()), there.get(name).copied())
        })
        .collect();
    let relation_of = |row: &(&str, Option<String>, Option<&Ended>)| relation(row.1.as_deref(), row.2);
    // Dependencies come first, so what differs first may be the cause of the rest.
    let root = rows.iter().find(|row| relation_of(row) == "different").map(|row| row.0);
    let goal_names: Vec<&str> = goals.iter().map(|one| answers.name(one)).collect();
    let wanted = rows.iter().filter(|row| goal_names.contains(&row.0));
    if json {
        let told = |row: &(&str, Option<String>, Option<&Ended>)| {
            json!({
                "target": row.0, "relation": relation_of(row), "fingerprint": row.1,
                "against": row.2.and_then(|there| there.fingerprint.clone()),
                "their_outcome": row.2.map(|there| there.outcome.clone()),
                "their_reason": row.2.and_then(|there| there.reason.clone()),
                "first_different": root,
            })
        };
        return document(&wanted.map(told).collect::<Vec<Value>>());
    }
    let mut text = String::new();
    for row in wanted {
        let _ = writeln!(text, "{}: {}", row.0, sentence(relation_of(row), row.1.as_deref(), row.2));
        if let Some(root) = root.filter(|root| relation_of(row) != "same" && *root != row.0) {
            let _ = writeln!(text, "  the first to differ is {root}: `iact why {root}` tells more");
        }
    }
    if root.is_some() {
        text.push_str("a summary holds fingerprints, not their parts: compare inputs, environment, tools and probes of both places\n");
    }
    answer(text)
}
