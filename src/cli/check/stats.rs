//! `check --stats`: what the rules were compiled to, and what that costs.

use std::{fmt::Write, fs, time::Duration};

use serde_json::{Value, json};

use crate::{
    config::show::{grouped, printable},
    policy::{list::List, plan::PlanStats},
    snapshot::Snapshot,
};

pub(super) fn json(snapshot: &Snapshot) -> Value {
    let lists = snapshot.policy.lists().iter().map(
        |list| json!({ "list": list.name(), "entries": list.len(), "folded": list.folded(), "bytes": list.memory() }),
    );
    json!({
        "plan": snapshot.policy.plan_stats(),
        "lists": lists.collect::<Vec<_>>(),
        "compile_seconds": snapshot.compiled_in.as_secs_f64(),
        "peak_process_bytes": peak_process_bytes(),
    })
}

pub(super) fn text(snapshot: &Snapshot) -> String {
    let stats = snapshot.policy.plan_stats();
    let lists: Vec<_> = snapshot.policy.lists().iter().collect();
    let mut text = String::from("\n");
    summary(&mut text, &stats, &lists, snapshot.compiled_in);
    matchers(&mut text, &stats);
    if !lists.is_empty() {
        let rows = lists.iter().map(|list| {
            let entries = match list.len() {
                1 => "1 entry".to_owned(),
                entries => format!("{} entries", grouped(entries)),
            };
            (format!("${}", list.name()), entries, bytes(list.memory()))
        });
        table(&mut text, "list", rows.collect());
    }
    always_asked(&mut text, &stats);
    text
}

fn summary(text: &mut String, stats: &PlanStats, lists: &[&std::sync::Arc<List>], compiled_in: Duration) {
    let never = match stats.never_asked {
        0 => String::new(),
        never => format!(", {} can never match", grouped(never)),
    };
    let peak = peak_process_bytes().map_or(String::new(), |peak| {
        format!("; this process took {} at most", bytes(peak))
    });
    let matchers: usize = stats.matchers.iter().map(|matcher| matcher.bytes).sum();
    let lists: usize = lists.iter().map(|list| list.memory()).sum();
    let _ = write!(
        text,
        "rules    {} enabled; {} asked of every request{never}\n\
         atoms    {} different tests, of which {} bring up rules when they hold\n\
         memory   rules {}, matchers {}, lists {}\n\
         time     rules and lists compiled in {:.2} s{peak}\n",
        grouped(stats.rules),
        grouped(stats.always_asked.len()),
        grouped(stats.atoms),
        grouped(stats.guards),
        bytes(stats.rule_bytes),
        bytes(matchers),
        bytes(lists),
        compiled_in.as_secs_f64(),
    );
}

fn matchers(text: &mut String, stats: &PlanStats) {
    let rows = stats.matchers.iter().map(|matcher| {
        let holds = matcher.holds.iter().map(|held| counted(held.count, held.what));
        (
            matcher.subject.clone(),
            holds.collect::<Vec<_>>().join(", "),
            bytes(matcher.bytes),
        )
    });
    table(text, "matcher", rows.collect());
}

/// Three columns, the last one to the right.
fn table(text: &mut String, heading: &str, rows: Vec<(String, String, String)>) {
    if rows.is_empty() {
        return;
    }
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(name, what, bytes)| (printable(&name), what, bytes))
        .collect();
    let width = |column: fn(&(String, String, String)) -> &str, least: usize| {
        rows.iter()
            .map(|row| column(row).chars().count())
            .max()
            .unwrap_or(0)
            .max(least)
    };
    let name = width(|row| &row.0, heading.len());
    let what = width(|row| &row.1, "holds".len());
    let size = width(|row| &row.2, "memory".len());
    let _ = writeln!(text, "\n{heading:name$}  {:what$}  {:>size$}", "holds", "memory");
    for (subject, holds, bytes) in &rows {
        let _ = writeln!(text, "{subject:name$}  {holds:what$}  {bytes:>size$}");
    }
}

fn always_asked(text: &mut String, stats: &PlanStats) {
    if stats.always_asked.is_empty() {
        return;
    }
    let name = stats.always_asked.iter().map(|rule| rule.id.len()).max().unwrap_or(0);
    text.push_str("\nasked of every request, since nothing in them can be looked up\n");
    for rule in &stats.always_asked {
        let (id, place, because) = (&rule.id, &rule.place, printable(&rule.because));
        let _ = writeln!(text, "{id:name$}  {place}  {because}");
    }
}

/// `1 literal`, `2 literals`
fn counted(count: usize, plural: &str) -> String {
    let what = if count == 1 {
        plural.trim_end_matches('s')
    } else {
        plural
    };
    format!("{} {what}", grouped(count))
}

/// `1.5 MiB`
fn bytes(count: usize) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut scaled = count;
    let mut tenths = 0;
    let mut unit = 0;
    while scaled >= 1024 && unit + 1 < UNITS.len() {
        tenths = scaled % 1024 * 10 / 1024;
        scaled /= 1024;
        unit += 1;
    }
    match unit {
        0 => format!("{scaled} B"),
        _ => format!("{scaled}.{tenths} {}", UNITS[unit]),
    }
}

/// The most memory that this process ever took, where the system tells (Linux: proc(5)).
fn peak_process_bytes() -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_down_to_a_tenth() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(5 << 20), "5.0 MiB");
        assert_eq!(bytes((3 << 30) + (1 << 29)), "3.5 GiB");
    }
}
