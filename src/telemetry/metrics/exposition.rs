//! Prometheus' text format, version 0.0.4.

use std::fmt::{Display, Write};

use super::cells::Distribution;

/// The media type of what the exposition writes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family counts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Families of samples, written one after another.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
    family: &'static str,
}

impl Exposition {
    /// Begins a family; its samples follow.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.family = name;
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// A family of one sample without labels.
    pub(super) fn single(&mut self, name: &'static str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(&[], value);
    }

    /// A sample of the family.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.line("", labels, value);
    }

    /// A sample of a family of histograms.
    pub(super) fn histogram(&mut self, labels: &[(&str, &str)], distribution: &Distribution) {
        for (bound, count) in &distribution.buckets {
            let bound = bound.as_secs_f64().to_string();
            let labels: Vec<_> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
            self.line("_bucket", &labels, count);
        }
        let all: Vec<_> = labels.iter().copied().chain([("le", "+Inf")]).collect();
        self.line("_bucket", &all, distribution.count);
        self.line("_sum", labels, distribution.sum.as_secs_f64());
        self.line("_count", labels, distribution.count);
    }

    pub(super) fn finish(self) -> String {
        self.text
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let family = self.family;
        self.put(format_args!("{family}{suffix}"));
        for (at, (name, value)) in labels.iter().enumerate() {
            let before = if at == 0 { '{' } else { ',' };
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            self.put(format_args!("{before}{name}=\"{value}\""));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        self.put(format_args!("{close} {value}\n"));
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing into memory does not fail.
        let _infallible = self.text.write_fmt(text);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn families_and_samples_are_written_as_prometheus_reads_them() {
        let mut exposition = Exposition::default();
        exposition.single("a_total", Kind::Counter, "How many.", 3);
        exposition.family("b", Kind::Gauge, "What.");
        exposition.sample(&[("x", "q\"u\\o\nte"), ("y", "")], -1);
        exposition.family("c_seconds", Kind::Histogram, "How long.");
        exposition.histogram(
            &[("x", "1")],
            &Distribution {
                buckets: vec![(Duration::from_micros(500), 1)],
                count: 2,
                sum: Duration::from_millis(1500),
            },
        );
        assert_eq!(
            exposition.finish(),
            "# HELP a_total How many.\n# TYPE a_total counter\na_total 3\n\
             # HELP b What.\n# TYPE b gauge\nb{x=\"q\\\"u\\\\o\\nte\",y=\"\"} -1\n\
             # HELP c_seconds How long.\n# TYPE c_seconds histogram\n\
             c_seconds_bucket{x=\"1\",le=\"0.0005\"} 1\nc_seconds_bucket{x=\"1\",le=\"+Inf\"} 2\n\
             c_seconds_sum{x=\"1\"} 1.5\nc_seconds_count{x=\"1\"} 2\n"
        );
    }
}
