//! What becomes of one past request: under the configuration, and compared with what became of it then.

mod compare;

pub use compare::{By, Judged, Kind, NotCompared, Unchanged, WHICH_SITE};

use std::{collections::BTreeSet, net::IpAddr, rc::Rc};

use self::compare::{Decided, Verdict};
use super::{
    record::{Record, Request, Then},
    sides::{Case, Facts, Side, Stated},
    unknown::{Headers, Ignorance},
};
use crate::{
    gateway::head::HeadError,
    policy::{
        decision::Reason,
        facts::{Country, RequestFacts},
        normalize::Host,
        rule::Rule,
        view::{self, View, ViewScratch},
    },
    snapshot::Snapshot,
};

/// Views that are kept, each for requests of which the same is unknown. A log lacks the same in nearly every line.
const MAX_VIEWS: usize = 64;

/// Judges past requests under a configuration, and compares.
pub struct Judge<'s> {
    after: Side<'s>,
    /// With what it is compared; `None`: with what the log says.
    before: Option<Side<'s>>,
    stated: Rc<Stated>,
    views: Vec<Views<'s>>,
    scratch: ViewScratch,
    headers: Headers,
    unknown: Unknowns,
    /// What some requests did not say, in words.
    missing: BTreeSet<String>,
    about: About,
}

/// What is unknown of a request, after and before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Unknowns {
    after: Ignorance,
    before: Ignorance,
}

/// The policies where the same is unknown.
struct Views<'s> {
    unknown: Unknowns,
    after: View<'s>,
    before: Option<View<'s>>,
}

/// Who asked for what: of requests that are noted.
#[derive(Debug, Default, Clone)]
pub struct About {
    /// The canonical path; `None`: it is not known.
    pub path: Option<String>,
    /// The client.
    pub client: Option<IpAddr>,
    /// Its country.
    pub country: Option<Country>,
    /// The host, if it is known.
    pub host: Option<String>,
    /// Whether the client spoke TLS.
    pub tls: bool,
    /// When.
    pub now: i64,
}

impl<'s> Judge<'s> {
    /// Judges under `after`, and compares with `before`, or with what logs say.
    pub fn new(after: &'s Snapshot, before: Option<&'s Snapshot>, stated: Stated) -> Self {
        Self {
            after: Side::new(after, &stated),
            before: before.map(|before| Side::new(before, &stated)),
            stated: Rc::new(stated),
            views: Vec::new(),
            scratch: ViewScratch::default(),
            headers: Headers::default(),
            unknown: Unknowns::default(),
            missing: BTreeSet::new(),
            about: About::default(),
        }
    }

    /// The host that requests are taken to have whose log names none.
    pub fn assumed_host(&self) -> Option<&Host> {
        self.after.assumed_host()
    }

    /// Who asked for what, of the request that was judged last; only of one that is noted.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Judges a request.
    pub fn judge(&mut self, record: &Record<'_>) -> Judged<'s> {
        match &record.then {
            Then::Rejected { reason } => return Judged::NotCompared(NotCompared::RefusedThen(reason.to_string())),
            Then::Answered => return Judged::NotCompared(NotCompared::Answered),
            Then::NotJudged | Then::Allowed { .. } | Then::Blocked { .. } => {}
        }
        let request = match &record.request {
            Ok(request) => request,
            Err(detail) => return Judged::NotCompared(NotCompared::Refused(Reason::Malformed, detail)),
        };
        let mut headers = std::mem::take(&mut self.headers);
        let taken = headers.take(request, |name| self.reads(name));
        let judged = match taken {
            Err(error) => Judged::NotCompared(NotCompared::Refused(error.reason, error.detail)),
            Ok(()) => self.with_headers(&Case {
                record,
                request,
                headers: &headers,
                stated: &Rc::clone(&self.stated),
            }),
        };
        self.headers = headers;
        judged
    }

    fn reads(&self, name: &str) -> bool {
        let sides = std::iter::once(&self.after).chain(&self.before);
        let mut snapshots = sides.map(|side| side.snapshot);
        // Headers that no rule reads say who the client is, all the same.
        snapshots.any(|snapshot| {
            snapshot.policy.reads_header(name) || *snapshot.client_ip.header() == name || is_always_read(name)
        })
    }

    fn with_headers(&mut self, case: &Case<'_>) -> Judged<'s> {
        let said = case.request.host.as_ref();
        let before = match self.before.as_mut().map(|side| side.sites(said)) {
            None => None,
            Some(Ok((host, _))) => Some(Ok(host)),
            Some(Err(error)) => Some(Err(error)),
        };
        let (host, sites) = match self.after.sites(said) {
            Ok(found) => found,
            Err(error) => {
                let was = before.map(|host| self.before_alone(case, host));
                return self.compared(case, was, Verdict::Refused(error), None);
            }
        };
        let mut first: Option<Judged<'s>> = None;
        for site in sites {
            let judged = self.at_site(case, host.as_deref(), site, before.as_ref());
            first = match first {
                None => Some(judged),
                Some(first) if first.agrees(&judged) => Some(first),
                Some(_) => return Judged::Noted(Kind::Undecided, By::host()),
            };
        }
        first.unwrap_or(Judged::NotCompared(NotCompared::Refused(
            Reason::UnknownHost,
            "no site",
        )))
    }

    /// What it came to under the other configuration, where this one refuses it before any rule.
    fn before_alone(&mut self, case: &Case<'_>, host: Result<Option<Rc<Host>>, HeadError>) -> Verdict<'s> {
        let Some(side) = &mut self.before else {
            return Verdict::Refused(NO_SITE);
        };
        let host = match host {
            Ok(host) => host,
            Err(error) => return Verdict::Refused(error),
        };
        let site = side
            .sites(case.request.host.as_ref())
            .map_or(0, |(_, sites)| sites.start);
        let facts = match side.facts(case, host.as_deref(), site, &mut self.unknown.before) {
            Ok(facts) => facts,
            Err(error) => return Verdict::Refused(error),
        };
        let policy = &side.snapshot.policy;
        let view = self.unknown.before.unknown(|unknown| policy.view(unknown));
        match side.request_facts(&facts) {
            Some(facts) => Verdict::Foreseen(view.decide(&facts, &mut self.scratch)),
            None => Verdict::Refused(NO_SITE),
        }
    }

    fn at_site(
        &mut self,
        case: &Case<'_>,
        host: Option<&Host>,
        site: usize,
        before: Option<&Result<Option<Rc<Host>>, HeadError>>,
    ) -> Judged<'s> {
        let facts = match self.after.facts(case, host, site, &mut self.unknown.after) {
            Ok(facts) => facts,
            Err(error) => {
                let was = before.map(|host| self.before_alone(case, host.clone()));
                return self.compared(case, was, Verdict::Refused(error), None);
            }
        };
        let Some(before) = before else {
            return self.against_log(case, &facts);
        };
        self.against_other(case, &facts, before)
    }

    fn against_log(&mut self, case: &Case<'_>, facts: &Facts<'_>) -> Judged<'s> {
        self.unknown.before = Ignorance::default();
        let view = self.view();
        let (Some(views), Some(told)) = (self.views.get(view), self.after.request_facts(facts)) else {
            return self.compared(case, None, Verdict::Refused(NO_SITE), None);
        };
        let foreseen = views.after.decide(&told, &mut self.scratch);
        self.compared(case, None, Verdict::Foreseen(foreseen), Some(facts))
    }

    fn against_other(
        &mut self,
        case: &Case<'_>,
        facts: &Facts<'_>,
        before_host: &Result<Option<Rc<Host>>, HeadError>,
    ) -> Judged<'s> {
        let before = self.before_facts(case, facts, before_host);
        let view = self.view();
        let (Some(views), Some(told), Some(side)) =
            (self.views.get(view), self.after.request_facts(facts), &self.before)
        else {
            return self.compared(case, None, Verdict::Refused(NO_SITE), None);
        };
        let told_before = before.as_ref().map(|before| side.request_facts(before));
        let (Some(view_before), Ok(Some(told_before))) = (&views.before, told_before) else {
            let is = views.after.decide(&told, &mut self.scratch);
            let was = Verdict::Refused(before.err().unwrap_or(NO_SITE));
            return self.compared(case, Some(was), Verdict::Foreseen(is), Some(facts));
        };
        let shared = match same_facts(&told_before, &told) {
            true => view::Facts::Shared,
            false => view::Facts::Apart,
        };
        let change = view::change(
            (view_before, &told_before),
            (&views.after, &told),
            shared,
            &mut self.scratch,
        );
        let judged = Judged::of_change(change);
        self.note(&judged, case, Some(facts));
        judged
    }

    /// The facts under the other configuration, at its site of the host, or of the same name when that is not known.
    fn before_facts<'r>(
        &mut self,
        case: &Case<'r>,
        facts: &Facts<'_>,
        host: &'r Result<Option<Rc<Host>>, HeadError>,
    ) -> Result<Facts<'r>, HeadError> {
        let host = host.as_ref().map_err(|error| *error)?.as_deref();
        let Some(side) = &self.before else {
            return Err(NO_SITE);
        };
        let sites = &side.snapshot.sites;
        let site = match host {
            Some(host) => side.snapshot.site_table.choose(&host.name, None)?,
            None => {
                let name = |site: usize| {
                    self.after
                        .snapshot
                        .sites
                        .get(site)
                        .map(|site| &site.settings.facts.name)
                };
                let wanted = name(facts.site);
                let same = sites.iter().position(|site| Some(&site.settings.facts.name) == wanted);
                same.ok_or(NO_SITE)?
            }
        };
        side.facts(case, host, site, &mut self.unknown.before)
    }

    /// The views of what is unknown now; made, if there are none yet.
    fn view(&mut self) -> usize {
        let known = self.views.iter().position(|views| views.unknown == self.unknown);
        known.unwrap_or_else(|| {
            if self.views.len() >= MAX_VIEWS {
                self.views.clear();
            }
            self.missing.extend(self.unknown.after.in_words());
            let policy = &self.after.snapshot.policy;
            let mut after = self.unknown.after.unknown(|unknown| policy.view(unknown));
            let before = self.before.as_ref().map(|side| {
                let policy = &side.snapshot.policy;
                self.unknown.before.unknown(|unknown| policy.view(unknown))
            });
            if let Some(before) = &before {
                after = after.beside(before);
            }
            self.views.push(Views {
                unknown: self.unknown.clone(),
                after,
                before,
            });
            self.views.len() - 1
        })
    }

    /// Compares what it would come to with what it came to: in the log, or as `was`.
    fn compared(
        &mut self,
        case: &Case<'_>,
        was: Option<Verdict<'s>>,
        is: Verdict<'s>,
        facts: Option<&Facts<'_>>,
    ) -> Judged<'s> {
        let was = match was {
            Some(was) => Decided::of(was),
            None => Decided::then(&case.record.then),
        };
        let judged = Judged::between(was, Decided::of(is));
        self.note(&judged, case, facts);
        judged
    }

    /// Keeps who asked for what, if anybody is going to ask.
    fn note(&mut self, judged: &Judged<'_>, case: &Case<'_>, facts: Option<&Facts<'_>>) {
        if !matches!(judged, Judged::Noted(..)) {
            return;
        }
        let unknown = &self.unknown.after;
        let client = facts.and_then(|facts| facts.client(unknown));
        let raw_path = case.request.target.raw.split('?').next().unwrap_or_default();
        self.about = About {
            path: match facts {
                Some(facts) if unknown.knows_path() => Some(facts.path().to_owned()),
                Some(_) => None,
                None => Some(raw_path.to_owned()),
            },
            client: client.map(|client| client.ip.addr()),
            country: client.map(|client| client.geo.country),
            host: self.host_of(case.request),
            tls: case.request.tls.or(self.stated.tls).unwrap_or(true),
            now: self.stated.now.or(case.record.time).map_or(0, |now| now.0),
        };
    }

    fn host_of(&self, request: &Request<'_>) -> Option<String> {
        let said = request.host.as_ref().map(|host| host.authority.to_string());
        said.or_else(|| self.after.assumed_host().map(|host| host.authority().to_owned()))
    }

    /// What of a rule's expression was unknown when it left the last request undecided.
    pub fn needs(&self, rule: &Rule) -> BTreeSet<String> {
        let needs = needs_of(rule, &self.unknown.after);
        if needs.is_empty() {
            needs_of(rule, &self.unknown.before)
        } else {
            needs
        }
    }

    /// What requests did not say so far, in words.
    pub fn unknown(&self) -> &BTreeSet<String> {
        &self.missing
    }
}

fn needs_of(rule: &Rule, ignorance: &Ignorance) -> BTreeSet<String> {
    let mut needs = BTreeSet::new();
    let mut add = |value| {
        needs.insert(value);
    };
    ignorance.unknown(|unknown| rule.expression.root().unknown_values(unknown, &mut add));
    needs
}

/// Headers that say who the client is, or how it connected, whatever the rules read.
fn is_always_read(name: &str) -> bool {
    matches!(name, "connection" | "x-forwarded-proto" | "forwarded")
}

const NO_SITE: HeadError = HeadError {
    reason: Reason::UnknownHost,
    status: http::StatusCode::MISDIRECTED_REQUEST,
    detail: "no site has this host",
};

/// Whether what is unknown of a request is the same to both: nothing that is known differs.
fn same_facts(before: &RequestFacts<'_>, after: &RequestFacts<'_>) -> bool {
    before.site.name == after.site.name
        && before.site.hosts == after.site.hosts
        && before.client == after.client
        && before.tls == after.tls
        && before.target == after.target
        && before.host == after.host
}
