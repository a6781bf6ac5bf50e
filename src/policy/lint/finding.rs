//! What is found: a closed set of checks, and what one of them says of a place.

use std::fmt;

use crate::policy::{fault::Place, rule::RuleId};

/// How sure a finding is to matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// A hint: true, and perhaps meant.
    Note,
    /// Proven to do nothing, to do something else than it says, or to leave a way around.
    Warning,
}

impl Severity {
    /// As messages and SARIF spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is wrong with rules, or may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which check found it.
    pub check: Check,
    /// How sure it is to matter.
    pub severity: Severity,
    /// What is wrong, in one lower-case sentence without a full stop.
    pub message: String,
    /// Where; `None`: nowhere in particular.
    pub place: Option<Place>,
    /// What stands under the caret.
    pub label: String,
    /// Other places that have to do with it.
    pub related: Vec<Related>,
    /// What to write, one sentence each.
    pub help: Vec<String>,
    /// The rule that it is about.
    pub rule: Option<RuleId>,
    /// The table that it is about: a comment before it silences the finding.
    pub(super) table: Option<Place>,
    /// Why it is silenced, if a comment does.
    pub allowed: Option<String>,
}

/// Another place, and what it has to do with a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Related {
    /// Where.
    pub place: Place,
    /// What is there.
    pub message: String,
}

impl Finding {
    pub(super) fn new(check: Check, place: impl Into<Option<Place>>, message: impl Into<String>) -> Self {
        let place = place.into();
        Self {
            check,
            severity: check.severity(),
            message: message.into(),
            table: place.clone(),
            place,
            label: String::new(),
            related: Vec::new(),
            help: Vec::new(),
            rule: None,
            allowed: None,
        }
    }

    #[must_use]
    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    #[must_use]
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    #[must_use]
    pub(super) fn related(mut self, place: &Place, message: impl Into<String>) -> Self {
        self.related.push(Related {
            place: place.clone(),
            message: message.into(),
        });
        self
    }

    /// It may well be meant.
    #[must_use]
    pub(super) fn hint(mut self) -> Self {
        self.severity = Severity::Note;
        self
    }

    /// It is about this rule, whose table stands there.
    #[must_use]
    pub(super) fn of(mut self, rule: &crate::policy::rule::Rule) -> Self {
        self.rule = Some(rule.id.clone());
        self.table = Some(rule.place.clone());
        self
    }

    /// It is about the table at this place.
    #[must_use]
    pub(super) fn in_table(mut self, table: Place) -> Self {
        self.table = Some(table);
        self
    }
}

macro_rules! checks {
    ($($(#[doc = $doc:literal])+ $name:ident: $id:literal, $severity:ident, $summary:literal, $fix:literal;)*) => {
        /// What is looked for. Closed and documented: comments in rules files name it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Check {
            $($(#[doc = $doc])+ $name,)*
        }

        impl Check {
            /// All of them, in the order in which the documentation has them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name in messages, comments and SARIF.
            pub fn id(self) -> &'static str {
                match self {
                    $(Self::$name => $id,)*
                }
            }

            /// How sure its findings are to matter, unless one says otherwise.
            pub fn severity(self) -> Severity {
                match self {
                    $(Self::$name => Severity::$severity,)*
                }
            }

            /// What it finds, in a sentence.
            pub fn summary(self) -> &'static str {
                match self {
                    $(Self::$name => $summary,)*
                }
            }

            /// What to do about it, in a sentence.
            pub fn fix(self) -> &'static str {
                match self {
                    $(Self::$name => $fix,)*
                }
            }
        }
    };
}

checks! {
    /// A rule's parts exclude each other.
    Contradiction: "contradiction", Warning,
        "The rule can never match: its parts exclude each other.",
        "Correct the part that is wrong, or remove the rule.";
    /// A rule has lapsed.
    Expired: "expired", Warning,
        "The rule has lapsed: it will never match again.",
        "Move `expires`, or remove the rule.";
    /// A block lapses within a week.
    ExpiresSoon: "expires-soon", Warning,
        "A block or a lock lapses within seven days: what it keeps out may then come in.",
        "Move `expires`, or remove the rule when it is no longer needed.";
    /// A host that no site serves.
    UnservedHost: "unserved-host", Warning,
        "No site serves the host that the rule is for.",
        "Check the spelling against the `hosts` of the sites.";
    /// A rule that an earlier one leaves nothing to do.
    Shadowed: "shadowed", Warning,
        "An earlier rule decides every request that this one would match.",
        "Remove the rule, or narrow or move the one that stands in its way.";
    /// Part of a rule that an earlier one leaves nothing to do.
    ShadowedItem: "shadowed-item", Warning,
        "Another rule decides every request that this item would match; the rule's other items still act.",
        "Remove the item, or narrow the rule that stands in its way.";
    /// Two rules say the same.
    Duplicate: "duplicate", Warning,
        "Two rules match the same requests and do the same.",
        "Remove one of them.";
    /// A rule that a wider one makes unnecessary.
    Redundant: "redundant", Note,
        "A wider rule of the same action and tier makes this one unnecessary.",
        "Remove it, unless its own note or response is wanted in the log.";
    /// An item that another of the same rule covers.
    RedundantItem: "redundant-item", Note,
        "Another item of the same rule covers this one.",
        "Remove it.";
    /// An address inside a wider network with the opposite action.
    OppositeActions: "opposite-actions", Note,
        "An allow lies inside a wider block: it is an exception to it.",
        "Nothing, if the exception is meant.";
    /// An allow that no block can meet.
    AllowWithoutEffect: "allow-without-effect", Warning,
        "No rule could refuse what this one allows: it changes nothing.",
        "Remove it, or correct what it names.";
    /// A skip that leaves nothing out.
    SkipWithoutEffect: "skip-without-effect", Warning,
        "What the rule skips can match none of its requests, or is not there.",
        "Remove it, or correct what it names.";
    /// An allow for everybody.
    AllowsEveryone: "allows-everyone", Warning,
        "The rule lets in every IPv4 or every IPv6 address.",
        "Name the addresses that are meant.";
    /// A part that every request passes.
    AlwaysMatches: "always-matches", Warning,
        "A part of the expression holds for every request.",
        "`ne … or ne …` holds always: write `not … in {…}`. Write `true` if every request is meant.";
    /// A part that never holds.
    DeadPart: "dead-part", Warning,
        "A part of the expression can never hold, where it stands.",
        "Correct the part, or remove it.";
    /// A part that says nothing beside the others.
    RedundantPart: "redundant-part", Note,
        "A part of the expression says nothing that the others do not say.",
        "Remove it.";
    /// A lock that leaves a form of its URL open.
    LockdownHole: "lockdown-hole", Warning,
        "A lock leaves a form of its URL open: `/wiki/*` does not match `/wiki`, nor `/wiki` what is below it.",
        "Lock both forms.";
    /// An exception that takes nothing out.
    ExceptWithoutEffect: "except-without-effect", Warning,
        "An `except` of the entry names nothing that the entry is about.",
        "Correct it, or remove it.";
    /// `contains` where a host was meant.
    HostContains: "host-contains", Warning,
        "`contains` with a domain: `example.com.evil.example` contains it as well.",
        "Compare the host with `eq`, `in {…}` or `wildcard \"*.example.com\"`.";
    /// A regular expression on a host that matches other hosts.
    HostRegex: "host-regex", Warning,
        "A regular expression on a host matches other hosts: a dot is any character, and without `^` and `$` more may stand around it.",
        "Escape the dots and anchor both ends, or use `eq` or `wildcard`.";
    /// A regular expression on a path without anchors.
    PathRegex: "path-regex", Warning,
        "A regular expression on a path has no anchor: it matches anywhere in it. A note for blocks.",
        "Begin with `^`, or write `contains` if that is meant.";
    /// A prefix that ends in the middle of a name.
    PrefixWithoutSlash: "prefix-without-slash", Note,
        "A prefix of a path ends in the middle of a name: `/admin` is the beginning of `/administrator` too.",
        "Write `eq \"/admin\" or starts_with(…, \"/admin/\")` if only that folder is meant.";
    /// `ne` on a value that may be absent.
    AbsentNe: "absent-ne", Warning,
        "A block asks `ne` of a value that a request may lack: without the value it does not hold, and the request passes.",
        "Write `not … eq …`, which holds without the value too.";
    /// A whole URL compared where a query evades it.
    QueryEvades: "query-evades", Warning,
        "A block compares path and query as one text: any query added to the URL evades it.",
        "Compare `http.request.uri.path`.";
    /// A block on the path as sent.
    RawPath: "raw-path", Warning,
        "A block compares the path as sent: `/%61dmin` is another text than `/admin`.",
        "Compare `http.request.uri.path`, which is canonical.";
    /// An allow that rests on what a client says of itself.
    ClaimedByClient: "claimed-by-client", Warning,
        "An allow, or a skip of a lockdown, rests only on headers that anyone can send.",
        "Ask for an address, or for a secret in a header of its own.";
    /// A text that many user agents contain.
    BroadAgent: "broad-agent", Note,
        "A blocked user agent's text is short, and well-known search engines or monitors contain it.",
        "Use a longer text, or a `category`.";
    /// A negated country that catches unknown ones.
    UnknownCountry: "unknown-country", Warning,
        "Not being in some countries holds for `XX` too: private addresses, and those that no source knows.",
        "Add \"XX\" to the set, or say `or ip.src.country eq \"XX\"` if it is meant.";
    /// Rules about addresses behind a proxy that is not trusted.
    UntrustedProxy: "untrusted-proxy", Warning,
        "Rules look at addresses, but the gateway seems to stand behind a proxy that it does not trust: every client has the proxy's address.",
        "Name the proxy's addresses in `[client_ip] trusted_proxies`.";
    /// A list that nothing uses.
    UnusedList: "unused-list", Warning,
        "No enabled rule, and nothing in portcullis.toml, refers to the list.",
        "Remove it, or refer to it.";
    /// A list without entries, in use.
    EmptyList: "empty-list", Warning,
        "A rule refers to a list without entries. A note where that only makes a block do nothing.",
        "Fill the list, or remove the reference.";
    /// A rule that every request is asked about.
    AlwaysAsked: "always-asked", Note,
        "Nothing in the rule can be looked up: every request is asked about it, which costs time.",
        "Add a condition with `eq`, `in`, `contains`, `wildcard` or a regular expression with a literal in it.";
    /// A comment that silences wrongly.
    BadSuppression: "bad-suppression", Warning,
        "A `# lint: allow(…)` comment does not name a check, or gives no reason.",
        "Write `# lint: allow(id) reason`.";
    /// A comment that silences nothing.
    UnusedSuppression: "unused-suppression", Warning,
        "A `# lint: allow(…)` comment silences nothing.",
        "Remove it.";
    /// Rules were not compared with each other.
    NotCompared: "not-compared", Note,
        "There were too many rules alike to compare each with every other: some findings may be missing.",
        "Nothing; the findings that are told are true all the same.";
    /// A rule without a note.
    MissingNote: "missing-note", Warning,
        "The rule does not say why it exists. Only with `--with missing-note`.",
        "Write `note = \"…\"`.";
    /// A rule without an owner.
    MissingOwner: "missing-owner", Warning,
        "The rule does not say who answers for it. Only with `--with missing-owner`.",
        "Write `owner = \"…\"`.";
    /// A disabled rule.
    Disabled: "disabled", Note,
        "The rule is disabled. Only with `--with disabled`.",
        "Enable it, or remove it.";
    /// A rule in shadow mode.
    InShadow: "in-shadow", Note,
        "The rule is in shadow mode: it is counted and never acts. Only with `--with in-shadow`.",
        "Enforce it when its hits are what was meant, or remove it.";
}

impl Check {
    /// The check of this name.
    pub fn named(id: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|check| check.id() == id)
    }

    /// Whether it is looked for only when asked.
    pub fn is_opt_in(self) -> bool {
        matches!(
            self,
            Self::MissingNote | Self::MissingOwner | Self::Disabled | Self::InShadow
        )
    }
}

/// Its id.
impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}
