//! What `/metrics` shows.

use std::sync::{PoisonError, atomic::Ordering::Relaxed};

use super::{
    Metrics, Named, ServerFigures, UpstreamFigures,
    exposition::{Exposition, Kind},
};
use crate::{
    policy::rule::Timestamp,
    telemetry::{
        access::Judgement,
        metrics::{Meters, RequestDecision, WorkerIndex},
    },
};

impl Metrics {
    /// Counts what the policy did with a request.
    pub(in crate::telemetry) fn judged(&self, worker: WorkerIndex, judgement: &Judgement<'_>, meters: Option<&Meters>) {
        let Judgement::Decided { decision, took } = judgement else {
            return;
        };
        self.decision_duration.observe(worker, *took);
        for rule in decision.matched.iter().chain(decision.shadow) {
            self.decisions.matched(worker, rule);
            if let Some(meters) = meters {
                meters.hit(worker, rule);
            }
        }
        if judgement.rule().is_none() {
            self.decisions.default(worker, judgement.decision());
        }
    }

    /// Counts a request that ended.
    pub(in crate::telemetry) fn ended(
        &self,
        worker: WorkerIndex,
        site: Option<&super::SiteMeter>,
        decision: RequestDecision,
        status: Option<http::StatusCode>,
        took: std::time::Duration,
    ) {
        self.request_duration.observe(worker, took);
        site.unwrap_or(&self.no_site).ended(worker, decision, status);
    }

    /// All metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        let mut out = Exposition::default();
        self.render_build(&mut out);
        // Copied, so that nobody who takes meters waits for the formatting.
        let named = self.named().clone();
        self.render_requests(&named, &mut out);
        render_upstreams(&named, &mut out);
        drop(named);
        render_servers(&self.upstreams(), &mut out);
        self.render_connections(&mut out);
        self.render_reloads(&mut out);
        self.render_loaded(&mut out);
        out.single(
            "portcullis_log_records_dropped_total",
            Kind::Counter,
            "Access records that were not written: the queue was full, or writing failed.",
            self.log_dropped.load(Relaxed),
        );
        out.single(
            "portcullis_log_write_errors_total",
            Kind::Counter,
            "Failed writes of the access log.",
            self.log_write_errors.load(Relaxed),
        );
        out.single(
            "portcullis_messages_dropped_total",
            Kind::Counter,
            "Messages that were not written: standard error was not read, or writing failed.",
            self.messages_dropped.load(Relaxed),
        );
        out.finish()
    }

    fn render_build(&self, out: &mut Exposition) {
        out.family("portcullis_build_info", Kind::Gauge, "The running version.");
        out.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    }

    fn render_requests(&self, named: &Named, out: &mut Exposition) {
        out.family(
            "portcullis_requests_total",
            Kind::Counter,
            "Requests that ended, by how they were decided, the class of the status and the site.",
        );
        let sites = named.sites.iter().map(|(name, meter)| (name.as_str(), &**meter));
        for (site, meter) in sites.chain([("", &self.no_site)]) {
            for (decision, class, total) in meter.requests() {
                let labels = [("decision", decision.as_str()), ("code_class", class), ("site", site)];
                out.sample(&labels, total);
            }
        }
        out.family(
            "portcullis_decisions_total",
            Kind::Counter,
            "What matching rules did, or in shadow mode would have done; phase default: no rule decided.",
        );
        for (action, phase, mode, total) in self.decisions.totals() {
            out.sample(&[("action", action), ("phase", phase), ("mode", mode)], total);
        }
        out.family(
            "portcullis_rule_hits_total",
            Kind::Counter,
            "Requests that a rule matched.",
        );
        for (rule, counter) in &named.rules {
            out.sample(&[("rule", rule)], counter.total());
        }
        out.family(
            "portcullis_request_duration_seconds",
            Kind::Histogram,
            "From a request's head to the end of its response.",
        );
        out.histogram(&[], &self.request_duration.distribution());
        out.family(
            "portcullis_decision_duration_seconds",
            Kind::Histogram,
            "What the rules took.",
        );
        out.histogram(&[], &self.decision_duration.distribution());
        self.phase_durations.render(out);
    }

    fn render_connections(&self, out: &mut Exposition) {
        let (figures, tunnels) = (self.connections(), self.tunnels());
        out.family(
            "portcullis_connections",
            Kind::Gauge,
            "Open client connections by what they carry.",
        );
        out.sample(&[("state", "http")], figures.open.saturating_sub(tunnels));
        out.sample(&[("state", "tunnel")], tunnels);
        out.single(
            "portcullis_connections_accepted_total",
            Kind::Counter,
            "Client connections taken from a listener.",
            figures.accepted,
        );
        out.family(
            "portcullis_connections_refused_total",
            Kind::Counter,
            "Client connections closed before a request was read.",
        );
        for (cause, count) in [
            ("limit", figures.over_limit),
            ("client_limit", figures.over_client_limit),
            ("proxy_header", figures.proxy_header),
            ("handshake", figures.handshake),
            ("malformed_head", figures.malformed_head),
        ] {
            out.sample(&[("cause", cause)], count);
        }
        out.family(
            "portcullis_tls_handshakes_total",
            Kind::Counter,
            "TLS handshakes that succeeded, by whether a session was resumed.",
        );
        let handshakes = figures.handshakes;
        for (version, resumed, count) in [
            ("1.2", "no", handshakes.full_tls12),
            ("1.2", "yes", handshakes.resumed_tls12),
            ("1.3", "no", handshakes.full_tls13),
            ("1.3", "yes", handshakes.resumed_tls13),
        ] {
            out.sample(&[("version", version), ("resumed", resumed)], count);
        }
        out.single(
            "portcullis_accept_errors_total",
            Kind::Counter,
            "Times that accepting failed for want of file descriptors or memory.",
            figures.accept_errors,
        );
    }

    fn render_reloads(&self, out: &mut Exposition) {
        out.family("portcullis_config_reloads_total", Kind::Counter, "Reloads by result.");
        for (result, count) in ["failure", "success"].iter().zip(&self.reloads) {
            out.sample(&[("result", result)], count.load(Relaxed));
        }
        out.single(
            "portcullis_config_last_reload_successful",
            Kind::Gauge,
            "Whether the last load of the configuration succeeded.",
            u8::from(self.last_reload_successful.load(Relaxed)),
        );
        out.single(
            "portcullis_config_last_reload_success_timestamp_seconds",
            Kind::Gauge,
            "When the configuration in force was loaded.",
            self.last_reload.load(Relaxed),
        );
        out.single(
            "portcullis_config_restart_required",
            Kind::Gauge,
            "Whether keys were changed that only a restart takes.",
            u8::from(self.restart_required.load(Relaxed)),
        );
        out.single(
            "portcullis_config_unconfirmed",
            Kind::Gauge,
            "Whether the configuration in force waits to be confirmed.",
            u8::from(self.unconfirmed.load(Relaxed)),
        );
        out.family(
            "portcullis_config_returns_total",
            Kind::Counter,
            "Returns to the last confirmed configuration by cause.",
        );
        for (cause, count) in ["not_confirmed", "guard"].iter().zip(&self.returns) {
            out.sample(&[("cause", cause)], count.load(Relaxed));
        }
    }

    fn render_loaded(&self, out: &mut Exposition) {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner).clone();
        out.single(
            "portcullis_config_generation",
            Kind::Gauge,
            "Which load of the configuration is in force.",
            loaded.generation,
        );
        out.family("portcullis_list_entries", Kind::Gauge, "Entries of a list.");
        for (list, entries) in &loaded.lists {
            out.sample(&[("list", list)], entries);
        }
        let mut times = |name, help, label, times: &[(String, Timestamp)]| {
            out.family(name, Kind::Gauge, help);
            for (value, at) in times {
                out.sample(&[(label, value)], at.0);
            }
        };
        times(
            "portcullis_rule_expiry_timestamp_seconds",
            "When a rule stops matching.",
            "rule",
            &loaded.expiries,
        );
        times(
            "portcullis_geoip_build_timestamp_seconds",
            "When a geo file was built.",
            "source",
            &loaded.geo,
        );
        times(
            "portcullis_tls_cert_not_after_timestamp_seconds",
            "When a site's certificate ends.",
            "certificate",
            &loaded.certificates,
        );
    }
}

fn render_upstreams(named: &Named, out: &mut Exposition) {
    out.family(
        "portcullis_upstream_connections",
        Kind::Gauge,
        "Open connections to an upstream.",
    );
    for (name, meter) in &named.upstreams {
        out.sample(&[("upstream", name)], meter.connections());
    }
    out.family(
        "portcullis_upstream_failures_total",
        Kind::Counter,
        "Failed attempts at an upstream.",
    );
    for (name, meter) in &named.upstreams {
        for (reason, total) in meter.failures() {
            out.sample(&[("upstream", name), ("reason", reason)], total);
        }
    }
    out.family(
        "portcullis_upstream_request_duration_seconds",
        Kind::Histogram,
        "From forwarding a request to the head of the upstream's response.",
    );
    for (name, meter) in &named.upstreams {
        out.histogram(&[("upstream", name)], &meter.duration.distribution());
    }
}

fn render_servers(upstreams: &[UpstreamFigures], out: &mut Exposition) {
    out.family(
        "portcullis_upstream_retries_total",
        Kind::Counter,
        "Requests sent to another server after a failure, or not sent because the budget was spent.",
    );
    for upstream in upstreams {
        for (result, count) in [
            ("sent", upstream.retries),
            ("over_budget", upstream.retries_over_budget),
        ] {
            out.sample(&[("upstream", &upstream.upstream), ("result", result)], count);
        }
    }
    let mut family = |name, kind, help, samples: Samples<'_>| {
        out.family(name, kind, help);
        for upstream in upstreams {
            for server in &upstream.servers {
                for (label, value) in samples(server) {
                    let labels = [
                        ("upstream", upstream.upstream.as_str()),
                        ("server", server.server.as_str()),
                    ];
                    let labels: Vec<_> = labels.into_iter().chain(label).collect();
                    out.sample(&labels, value);
                }
            }
        }
    };
    family(
        "portcullis_upstream_server_addresses",
        Kind::Gauge,
        "Addresses of a server by their state.",
        &|server| {
            let states = server.states.iter();
            states
                .map(|(state, count)| (Some(("state", *state)), *count as u64))
                .collect()
        },
    );
    family(
        "portcullis_upstream_server_requests_in_flight",
        Kind::Gauge,
        "Requests that a server has under way.",
        &|server| vec![(None, server.in_flight)],
    );
    family(
        "portcullis_upstream_server_requests_total",
        Kind::Counter,
        "Requests given to a server.",
        &|server| vec![(None, server.requests)],
    );
    family(
        "portcullis_upstream_server_failures_total",
        Kind::Counter,
        "Requests that a server failed: not reached, no answer in time, none that is HTTP.",
        &|server| vec![(None, server.failures)],
    );
    family(
        "portcullis_upstream_server_ejections_total",
        Kind::Counter,
        "Times that an address of a server was left out for failing requests.",
        &|server| vec![(None, server.ejections)],
    );
    family(
        "portcullis_upstream_server_checks_total",
        Kind::Counter,
        "Health checks of a server by result.",
        &|server| {
            let (passed, failed) = (server.checks_passed, server.checks_failed);
            vec![
                (Some(("result", "passed")), passed),
                (Some(("result", "failed")), failed),
            ]
        },
    );
}

type Label = (&'static str, &'static str);
/// A server's samples of a family.
type Samples<'s> = &'s dyn Fn(&ServerFigures) -> Vec<(Option<Label>, u64)>;
