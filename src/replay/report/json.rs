//! A report for programs.

use serde_json::{Value, json};

use super::{Report, time};
use crate::replay::{
    judge::Kind,
    tally::{Noted, Top},
};

impl Report<'_> {
    /// For programs.
    pub fn json(&self) -> Value {
        let tally = self.tally;
        let kinds: serde_json::Map<String, Value> = Kind::ALL
            .into_iter()
            .map(|kind| (kind.key().to_owned(), self.kind_json(tally.kinds.get(&kind))))
            .collect();
        let not_compared = tally.not_compared.iter();
        let not_compared: Vec<Value> = not_compared
            .map(|((why, what), count)| json!({ "why": why, "what": what, "count": count }))
            .collect();
        let unreadable = tally.unreadable_lines.iter();
        let unreadable: Vec<Value> = unreadable
            .map(|line| json!({ "place": line.place, "why": line.why, "text": line.text }))
            .collect();
        let formats = self.formats.iter();
        let formats: serde_json::Map<String, Value> = formats
            .map(|(format, lines)| (format.as_str().to_owned(), json!(lines)))
            .collect();
        let mut report = json!({
            "requests": tally.requests,
            "files": self.files,
            "formats": formats,
            "first": tally.span.map(|(first, _)| time(first)),
            "last": tally.span.map(|(_, last)| time(last)),
            "judged_by": self.after,
            "against": self.before.as_deref().unwrap_or("log"),
            "not_judged_then": tally.not_judged,
            "passed_then": tally.passed,
            "unchanged": {
                "count": tally.unchanged(),
                "allowed": tally.unchanged.get("allowed").copied().unwrap_or(0),
                "blocked": tally.unchanged.get("blocked").copied().unwrap_or(0),
                "depends": tally.unchanged.get("depends").copied().unwrap_or(0),
            },
            "not_compared": not_compared,
            "unreadable": { "count": tally.unreadable, "first": unreadable },
            "left_out": tally.outside,
            "notes": self.notes,
            "assumed_host": self.assumed_host,
            "unknown": self.unknown,
        });
        if let Some(report) = report.as_object_mut() {
            report.extend(kinds);
        }
        report
    }

    fn kind_json(&self, noted: Option<&Noted>) -> Value {
        let nothing = Noted::default();
        let noted = noted.unwrap_or(&nothing);
        let rows = |top: &Top| -> Vec<Value> {
            let rows = top.first(self.top).into_iter();
            rows.map(|(name, count)| json!({ "name": name, "count": count }))
                .collect()
        };
        let rules = noted.by_rule.first(self.top).into_iter().map(|(rule, count)| {
            json!({
                "name": rule,
                "count": count,
                "place": noted.places.get(rule),
                "needs": noted.needs.get(rule),
            })
        });
        let samples = noted.samples.first(self.samples).map(|sample| {
            json!({
                "place": sample.place,
                "request": sample.request,
                "then": sample.then,
                "now": sample.now,
                "explain": sample.explain,
            })
        });
        json!({
            "count": noted.count,
            "clients": noted.by_client.different(),
            "exact": noted.by_path.is_exact() && noted.by_client.is_exact(),
            "rules": rules.collect::<Vec<_>>(),
            "paths": rows(&noted.by_path),
            "countries": rows(&noted.by_country),
            "clients_by_count": rows(&noted.by_client),
            "samples": samples.collect::<Vec<_>>(),
        })
    }
}
